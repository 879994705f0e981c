//! Publishes messages, each until the server has given it an id.

use crate::call::{Call, Observer};
use crate::config::Config;
use crate::error::Error;
use bytes::Bytes;
use google_cloud_gax::retry_policy::RetryPolicyExt as _;
use google_cloud_pubsub::client::{BasePublisher, Publisher as TopicPublisher};
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model;
use google_cloud_pubsub::retry_policy::RetryableErrors;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::instrument;

/// How long the SDK may go on retrying one publish.
const RETRY_TIME_MAX: Duration = Duration::from_mins(1);

/// How long a message may take in all; others with its key may be before it.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(90);

/// Publishes to any topic.
#[derive(Clone, Debug)]
pub struct Publisher {
    base: BasePublisher,
    topics: Arc<Mutex<HashMap<String, TopicPublisher>>>,
    observer: Observer,
}

/// What to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The body.
    pub data: Bytes,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// Messages with the same key arrive in order, where the subscription wants it.
    pub ordering_key: Option<String>,
}

/// Something that takes messages: Google's client, or a simulated world.
pub trait Publish: Send + Sync {
    /// Publishes a message to `projects/P/topics/T` and returns its id. After a
    /// failure it may be there nevertheless, and may be published again at once,
    /// also with an ordering key.
    fn publish<'a>(&'a self, topic: &'a str, message: Message) -> Call<'a, String>;
}

impl Publisher {
    /// Builds the client; nothing is sent yet.
    pub fn connect(config: &Config) -> Call<'_, Self> {
        const DOING: &str = "connecting to Pub/Sub for publishing";
        Box::pin(async move {
            config.check(DOING)?;
            let mut base = BasePublisher::builder()
                .with_credentials(config.credentials(DOING)?)
                .with_retry_policy(RetryableErrors.with_time_limit(RETRY_TIME_MAX));
            if let Some(endpoint) = &config.pubsub_endpoint {
                base = base.with_endpoint(endpoint);
            }
            let base = base.build().await.map_err(|it| Error::client(DOING, it))?;
            Ok(Self { base, topics: Arc::default(), observer: Observer::default() })
        })
    }

    /// The same, with somebody who is told of its calls.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    fn topic(&self, topic: &str) -> TopicPublisher {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_insert_with(|| self.base.publisher(topic).build()).clone()
    }
}

impl Publish for Publisher {
    #[instrument(name = "pubsub.publish", skip_all, fields(messaging.destination.name = topic))]
    fn publish<'a>(&'a self, topic: &'a str, message: Message) -> Call<'a, String> {
        Box::pin(async move {
            let call = async move {
                let doing = || format!("publishing to {topic}");
                let publisher = self.topic(topic);
                let key = message.ordering_key.unwrap_or_default();
                let sent = publisher.publish(
                    model::Message::new()
                        .set_data(message.data)
                        .set_attributes(message.attributes)
                        .set_ordering_key(&key),
                );
                let failure = match tokio::time::timeout(PUBLISH_TIME_MAX, sent).await {
                    Ok(Ok(id)) => return Ok(id),
                    Ok(Err(PublishError::Rpc(source))) => Error::api(doing(), source),
                    Ok(Err(other)) => Error::interrupted(doing(), other),
                    Err(_) => Error::late(doing(), PUBLISH_TIME_MAX),
                };
                // The SDK pauses a key that failed, for the sake of order; whoever
                // sees this failure publishes the same message again or nothing.
                publisher.resume_publish(key);
                Err(failure)
            };
            self.observer.watch("publish", call).await
        })
    }
}
