//! One case's own project on one server, and short words for what cases do to it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::publisher_client::PublisherClient;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::subscriber_client::SubscriberClient;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, PublishRequest, PubsubMessage, PullRequest,
    ReceivedMessage, StreamingPullRequest, StreamingPullResponse, Subscription, Topic,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// How long a message that must come may take.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
/// How long is waited for a message that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) publisher: PublisherClient<Channel>,
    pub(crate) subscriber: SubscriberClient<Channel>,
    pub(crate) project: String,
}

impl Bench {
    /// Connects for one case; its name is its project, so that cases do not meet.
    pub(crate) async fn connect(url: &str, case: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        Ok(Self {
            publisher: PublisherClient::new(channel.clone()).max_encoding_message_size(usize::MAX),
            subscriber: SubscriberClient::new(channel).max_decoding_message_size(usize::MAX),
            project: format!("projects/{}", case.replace('_', "-")),
        })
    }

    pub(crate) fn topic(&self, id: &str) -> String {
        format!("{}/topics/{id}", self.project)
    }

    pub(crate) fn subscription(&self, id: &str) -> String {
        format!("{}/subscriptions/{id}", self.project)
    }

    pub(crate) async fn create_topic(&mut self, id: &str) -> Result<Topic, Status> {
        let topic = Topic { name: self.topic(id), ..Topic::default() };
        Ok(self.publisher.create_topic(topic).await?.into_inner())
    }

    /// Creates a subscription to a topic with the given settings.
    pub(crate) async fn subscribe(
        &mut self,
        id: &str,
        topic: &str,
        settings: Subscription,
    ) -> Result<Subscription, Status> {
        let subscription =
            Subscription { name: self.subscription(id), topic: self.topic(topic), ..settings };
        Ok(self.subscriber.create_subscription(subscription).await?.into_inner())
    }

    /// A topic `orders` and its one subscription `worker`: where most cases begin.
    pub(crate) async fn orders(&mut self, settings: Subscription) -> Result<()> {
        self.create_topic("orders").await?;
        self.subscribe("worker", "orders", settings).await?;
        Ok(())
    }

    pub(crate) async fn publish_all(
        &mut self,
        messages: Vec<PubsubMessage>,
    ) -> Result<Vec<String>, Status> {
        let request = PublishRequest { topic: self.topic("orders"), messages };
        Ok(self.publisher.publish(request).await?.into_inner().message_ids)
    }

    pub(crate) async fn publish(&mut self, texts: &[&str]) -> Result<Vec<String>, Status> {
        self.publish_keyed("", texts).await
    }

    pub(crate) async fn publish_keyed(
        &mut self,
        key: &str,
        texts: &[&str],
    ) -> Result<Vec<String>, Status> {
        let keyed = |text: &&str| PubsubMessage { ordering_key: key.to_owned(), ..message(text) };
        self.publish_all(texts.iter().map(keyed).collect()).await
    }

    pub(crate) async fn pull_once(
        &mut self,
        id: &str,
        max_messages: i32,
    ) -> Result<Vec<ReceivedMessage>, Status> {
        #[expect(deprecated, reason = "the only way to ask without waiting")]
        let request = PullRequest {
            subscription: self.subscription(id),
            max_messages,
            return_immediately: true,
        };
        Ok(self.subscriber.pull(request).await?.into_inner().received_messages)
    }

    /// Pulls until so many messages have come.
    pub(crate) async fn pull(&mut self, id: &str, count: usize) -> Result<Vec<ReceivedMessage>> {
        let started = Instant::now();
        let mut received = Vec::new();
        while received.len() < count {
            ensure!(started.elapsed() < ARRIVAL_MAX, "only {:?} came", texts(&received));
            received.extend(self.pull_once(id, 100).await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(received)
    }

    pub(crate) async fn pull_one(&mut self, id: &str) -> Result<ReceivedMessage> {
        let received = self.pull(id, 1).await?;
        let [one] = <[_; 1]>::try_from(received)
            .map_err(|all| anyhow::anyhow!("{:?} came", texts(&all)))?;
        Ok(one)
    }

    /// Checks that nothing comes for a while.
    pub(crate) async fn pull_nothing(&mut self, id: &str) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < SILENCE {
            let received = self.pull_once(id, 100).await?;
            ensure!(received.is_empty(), "{:?} came", texts(&received));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(crate) async fn ack(
        &mut self,
        id: &str,
        messages: &[ReceivedMessage],
    ) -> Result<(), Status> {
        let request =
            AcknowledgeRequest { subscription: self.subscription(id), ack_ids: ack_ids(messages) };
        self.subscriber.acknowledge(request).await.map(drop)
    }

    pub(crate) async fn modify_deadline(
        &mut self,
        id: &str,
        messages: &[ReceivedMessage],
        seconds: i32,
    ) -> Result<(), Status> {
        let request = ModifyAckDeadlineRequest {
            subscription: self.subscription(id),
            ack_ids: ack_ids(messages),
            ack_deadline_seconds: seconds,
        };
        self.subscriber.modify_ack_deadline(request).await.map(drop)
    }

    pub(crate) async fn nack(
        &mut self,
        id: &str,
        messages: &[ReceivedMessage],
    ) -> Result<(), Status> {
        self.modify_deadline(id, messages, 0).await
    }

    /// Opens a stream on `worker` with the usual first request, changed as the case needs.
    pub(crate) async fn open(&mut self, initial: StreamingPullRequest) -> Stream {
        let (requests, receiver) = mpsc::channel(16);
        let initial = StreamingPullRequest {
            subscription: self.subscription("worker"),
            stream_ack_deadline_seconds: match initial.stream_ack_deadline_seconds {
                0 => 10,
                other => other,
            },
            client_id: "conformance".to_owned(),
            protocol_version: 1,
            ..initial
        };
        requests.send(initial).await.expect("the receiver is held here");
        let outgoing =
            futures::stream::unfold(receiver, |mut it| async { Some((it.recv().await?, it)) });
        let mut subscriber = self.subscriber.clone();
        let opening =
            tokio::spawn(
                async move { Ok(subscriber.streaming_pull(outgoing).await?.into_inner()) },
            );
        Stream { requests, responses: Responses::Opening(opening) }
    }
}

/// An open stream, both ways.
pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<StreamingPullRequest>,
    responses: Responses,
}

/// A server may open its side only with its first message, so a case goes on without it.
enum Responses {
    Opening(JoinHandle<Result<Streaming<StreamingPullResponse>, Status>>),
    Open(Box<Streaming<StreamingPullResponse>>),
}

impl Stream {
    pub(crate) async fn send(&self, request: StreamingPullRequest) -> Result<()> {
        self.requests.send(request).await.context("the stream is closed")
    }

    /// The next response; none at the end of the stream.
    pub(crate) async fn response(&mut self) -> Result<Option<StreamingPullResponse>, Status> {
        if let Responses::Opening(opening) = &mut self.responses {
            self.responses =
                Responses::Open(Box::new(opening.await.expect("opening does not panic")?));
        }
        match &mut self.responses {
            Responses::Open(responses) => responses.message().await,
            Responses::Opening(_) => unreachable!("opened above"),
        }
    }

    /// Reads until so many messages have come.
    pub(crate) async fn receive(&mut self, count: usize) -> Result<Vec<ReceivedMessage>> {
        let mut received = Vec::new();
        while received.len() < count {
            let Ok(response) = tokio::time::timeout(ARRIVAL_MAX, self.response()).await else {
                bail!("only {:?} came", texts(&received));
            };
            received.extend(response?.context("the stream ended")?.received_messages);
        }
        Ok(received)
    }

    /// Checks that no message comes for a while.
    pub(crate) async fn receive_nothing(&mut self) -> Result<()> {
        let started = Instant::now();
        while let Some(rest) = SILENCE.checked_sub(started.elapsed()) {
            if let Ok(response) = tokio::time::timeout(rest, self.response()).await {
                let received = response?.context("the stream ended")?.received_messages;
                ensure!(received.is_empty(), "{:?} came", texts(&received));
            }
        }
        Ok(())
    }

    /// Reads to the end of the stream and checks how it ended.
    pub(crate) async fn ends_with(mut self, code: Code) -> Result<()> {
        loop {
            let Ok(response) = tokio::time::timeout(ARRIVAL_MAX, self.response()).await else {
                bail!("the stream did not end");
            };
            let ended = match response {
                Ok(Some(_)) => continue,
                Ok(None) => Code::Ok,
                Err(status) => status.code(),
            };
            ensure!(ended == code, "it ended with {ended:?}");
            return Ok(());
        }
    }
}

pub(crate) fn message(text: &str) -> PubsubMessage {
    PubsubMessage { data: text.to_owned().into(), ..PubsubMessage::default() }
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub(crate) fn ack_ids(messages: &[ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|it| it.ack_id.clone()).collect()
}

pub(crate) fn text(received: &ReceivedMessage) -> String {
    received
        .message
        .as_ref()
        .map_or_else(String::new, |it| String::from_utf8_lossy(&it.data).into_owned())
}

pub(crate) fn texts(received: &[ReceivedMessage]) -> Vec<String> {
    received.iter().map(text).collect()
}

/// Checks that a call was refused with this code.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) -> Result<()> {
    match answer {
        Err(status) if status.code() == code => Ok(()),
        Err(status) => bail!("expected {code:?}, got {:?}: {}", status.code(), status.message()),
        Ok(answer) => bail!("expected {code:?}, got {answer:?}"),
    }
}
