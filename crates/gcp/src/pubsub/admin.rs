//! Pub/Sub, control plane: what a demonstration creates and readiness looks up.
//! In production Terraform owns topics and subscriptions.

use crate::call::{CALL_TIME_MAX, Call, RETRY_TIME_MAX, bounded};
use crate::config::Config;
use crate::error::{Class, Error, Result};
use google_cloud_gax::retry_policy::{Aip194Strict, RetryPolicyExt as _};
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{DeadLetterPolicy, RetryPolicy, Subscription};
use google_cloud_wkt::Duration as SdkDuration;
use std::time::Duration;
use tracing::instrument;

/// The administration of topics and subscriptions.
#[derive(Clone, Debug)]
pub struct Admin {
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

/// A subscription to create.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionSpec<'a> {
    /// `projects/P/topics/T`
    pub topic: &'a str,
    /// How long a client has to settle a message that it does not extend.
    pub ack_deadline: Duration,
    /// The shortest and longest wait before a redelivery.
    pub retry: (Duration, Duration),
    /// Where a message goes that was delivered this often in vain, 5 to 100 times.
    pub dead_letter: Option<(&'a str, u8)>,
    /// Whether messages with one ordering key come in order.
    pub ordering: bool,
}

impl Admin {
    /// Builds the clients; nothing is sent yet.
    pub fn connect(config: &Config) -> Call<'_, Self> {
        const DOING: &str = "connecting to Pub/Sub for administration";
        Box::pin(async move {
            config.check(DOING)?;
            let credentials = config.credentials(DOING)?;
            let mut topics = TopicAdmin::builder()
                .with_credentials(credentials.clone())
                .with_retry_policy(Aip194Strict.with_time_limit(RETRY_TIME_MAX));
            let mut subscriptions = SubscriptionAdmin::builder()
                .with_credentials(credentials)
                .with_retry_policy(Aip194Strict.with_time_limit(RETRY_TIME_MAX));
            if let Some(endpoint) = &config.pubsub_endpoint {
                topics = topics.with_endpoint(endpoint);
                subscriptions = subscriptions.with_endpoint(endpoint);
            }
            Ok(Self {
                topics: topics.build().await.map_err(|it| Error::client(DOING, it))?,
                subscriptions: subscriptions
                    .build()
                    .await
                    .map_err(|it| Error::client(DOING, it))?,
            })
        })
    }

    /// Creates `projects/P/topics/T`, unless it exists.
    #[instrument(name = "pubsub.create_topic", skip_all, fields(messaging.destination.name = topic))]
    pub fn create_topic<'a>(&'a self, topic: &'a str) -> Call<'a, ()> {
        Box::pin(async move {
            let call = self.topics.create_topic().set_name(topic).send();
            let created = bounded(format!("creating {topic}"), CALL_TIME_MAX, call).await;
            absorb(created.map(drop), Class::Conflict).map(drop)
        })
    }

    /// Creates `projects/P/subscriptions/S`, unless it exists. One that exists
    /// is left as it is.
    #[instrument(name = "pubsub.create_subscription", skip_all, fields(messaging.destination.subscription.name = subscription))]
    pub fn create_subscription<'a>(
        &'a self,
        subscription: &'a str,
        spec: SubscriptionSpec<'a>,
    ) -> Call<'a, ()> {
        Box::pin(async move {
            let wanted = wanted(subscription, spec);
            let call = self.subscriptions.create_subscription().with_request(wanted).send();
            let created = bounded(format!("creating {subscription}"), CALL_TIME_MAX, call).await;
            absorb(created.map(drop), Class::Conflict).map(drop)
        })
    }

    /// Whether a subscription exists; also a sign of life from Pub/Sub, which a
    /// stream of messages does not give.
    #[instrument(name = "pubsub.get_subscription", skip_all, fields(messaging.destination.subscription.name = subscription))]
    pub fn subscription_exists<'a>(&'a self, subscription: &'a str) -> Call<'a, bool> {
        Box::pin(async move {
            let call = self.subscriptions.get_subscription().set_subscription(subscription).send();
            let found = bounded(format!("looking up {subscription}"), CALL_TIME_MAX, call).await;
            absorb(found.map(drop), Class::NotFound)
        })
    }
}

/// Whether it went well, where one kind of failure is an answer too.
fn absorb(outcome: Result<()>, expected: Class) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.class() == expected => Ok(false),
        Err(error) => Err(error),
    }
}

fn wanted(subscription: &str, spec: SubscriptionSpec<'_>) -> Subscription {
    let (backoff_min, backoff_max) = spec.retry;
    let dead_letter = spec.dead_letter.map(|(topic, attempts_max)| {
        DeadLetterPolicy::new()
            .set_dead_letter_topic(topic)
            .set_max_delivery_attempts(i32::from(attempts_max))
    });
    Subscription::new()
        .set_name(subscription)
        .set_topic(spec.topic)
        .set_ack_deadline_seconds(i32::try_from(spec.ack_deadline.as_secs()).unwrap_or(i32::MAX))
        .set_retry_policy(
            RetryPolicy::new()
                .set_minimum_backoff(duration(backoff_min))
                .set_maximum_backoff(duration(backoff_max)),
        )
        .set_or_clear_dead_letter_policy(dead_letter)
        .set_enable_message_ordering(spec.ordering)
}

fn duration(it: Duration) -> SdkDuration {
    let seconds = i64::try_from(it.as_secs()).unwrap_or(i64::MAX);
    SdkDuration::clamp(seconds, it.subsec_nanos().cast_signed())
}
