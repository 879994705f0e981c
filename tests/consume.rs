//! Consuming and settling, over the wire of the embedded Pub/Sub.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::pubsub::{Publisher, Receive as _, SubscribeOptions, Subscriber};
use branchline_gcp::{Config, Credentials};
use branchline_local::faults::Dice;
use branchline_local::pubsub::{DeadLetterPolicy, PubSub, Subscription};
use branchline_service::consume::Options;
use branchline_service::consume::Source;
use branchline_service::metrics::Role;
use branchline_service::{
    DeadLetters, Failure, Health, Message, Metrics, Period, Reason, Settlement, consume,
};
use branchline_tests::eventually::eventually;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "projects/p/topics/work";
const SUBSCRIPTION: &str = "projects/p/subscriptions/work";
const DEAD_TOPIC: &str = "projects/p/topics/dead";
const DEAD_SUBSCRIPTION: &str = "projects/p/subscriptions/dead";
const ATTEMPTS_MAX: u32 = 5;

/// Long enough for a busy machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    pubsub: PubSub,
    google: Config,
    dead_topic: &'static str,
}

/// A consumer and the data of what its handler got, with its attempt.
struct Consumer {
    handled: mpsc::UnboundedReceiver<(String, u32)>,
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        let pubsub = PubSub::open(None, Dice::default()).unwrap();
        pubsub.create_topic(TOPIC).unwrap();
        pubsub.create_topic(DEAD_TOPIC).unwrap();
        let policy = DeadLetterPolicy {
            dead_letter_topic: DEAD_TOPIC.to_owned(),
            max_delivery_attempts: i32::try_from(ATTEMPTS_MAX).unwrap(),
        };
        let subscription = |name: &str, topic: &str, policy| Subscription {
            name: name.to_owned(),
            topic: topic.to_owned(),
            dead_letter_policy: policy,
            ..Subscription::default()
        };
        pubsub.create_subscription(subscription(SUBSCRIPTION, TOPIC, Some(policy))).unwrap();
        pubsub.create_subscription(subscription(DEAD_SUBSCRIPTION, DEAD_TOPIC, None)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = pubsub.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let google = Config {
            credentials: Credentials::Anonymous,
            pubsub_endpoint: Some(endpoint),
            ..Config::default()
        };
        Self { pubsub, google, dead_topic: DEAD_TOPIC }
    }

    fn publish(&self, data: &'static str) {
        let attributes = HashMap::from([("ce-id".to_owned(), data.to_owned())]);
        self.pubsub.publish(TOPIC, data.into(), attributes).unwrap();
    }

    async fn consume<F>(
        &self,
        grace: Period,
        handle: impl Fn(Arc<Message>) -> F + Send + Sync + 'static,
    ) -> Consumer
    where
        F: Future<Output = Settlement> + Send + 'static,
    {
        let options =
            Options { grace, attempts_max: ATTEMPTS_MAX.try_into().unwrap(), ..Options::default() };
        let publisher = Publisher::connect(&self.google).await.unwrap();
        let subscriber = Subscriber::connect(&self.google).await.unwrap();
        let (dead, from) = (self.dead_topic.to_owned(), SUBSCRIPTION.to_owned());
        let dead_letters = DeadLetters::new(Arc::new(publisher), dead, from);
        let (sender, handled) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let metrics = Metrics::new(Role::Worker, Timestamp::now);
        let counting = metrics.clone();
        let task = tokio::spawn(async move {
            let handle = move |message: Arc<Message>| {
                let data = String::from_utf8(message.data.to_vec()).unwrap();
                sender.send((data, message.delivery_attempt.unwrap())).unwrap();
                handle(message)
            };
            let bury = move |message: Arc<Message>, failure| {
                let dead_letters = dead_letters.clone();
                async move { dead_letters.publish(&message, &failure).await }
            };
            let source = Source::open(
                &subscriber,
                SUBSCRIPTION,
                options,
                &Health::default(),
                "subscription",
            );
            consume(source, options, &counting, stopped, handle, bury).await;
        });
        Consumer { handled, metrics, stop, task }
    }

    /// The next dead letter.
    async fn dead_letter(&self) -> (String, Vec<(String, String)>) {
        let subscriber = Subscriber::connect(&self.google).await.unwrap();
        let options = SubscribeOptions {
            outstanding_max: 1,
            bytes_max: 1 << 20,
            lease_max: PATIENCE,
            silence_max: PATIENCE,
            quiet: Duration::ZERO,
            closing_max: PATIENCE,
        };
        let mut deliveries = subscriber.subscribe(DEAD_SUBSCRIPTION, options);
        let letter = timeout(PATIENCE, deliveries.recv()).await.unwrap().unwrap().unwrap();
        let data = String::from_utf8(letter.data.to_vec()).unwrap();
        let attributes = letter.attributes.clone().into_iter().collect();
        letter.ack();
        deliveries.settled().await;
        (data, attributes)
    }
}

impl Consumer {
    /// Waits until a family has lines that end so.
    async fn counts(&self, family: &str, endings: &[&str]) {
        let health = Health::default();
        eventually(&format!("{family} counts {endings:?}"), async || {
            let text = self.metrics.text(&health);
            let ours = || text.lines().filter(|it| it.starts_with(&format!("branchline_{family}")));
            endings.iter().all(|end| ours().any(|it| it.ends_with(end))).then_some(())
        })
        .await;
    }

    async fn next(&mut self) -> (String, u32) {
        timeout(PATIENCE, self.handled.recv()).await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn got(data: &str, attempt: u32) -> (String, u32) {
    (data.to_owned(), attempt)
}

#[tokio::test]
async fn a_retry_comes_again_until_its_last_attempt_is_a_dead_letter_with_the_reason() {
    let world = World::start().await;
    world.publish("poison");
    let mut consumer = world
        .consume(Period::secs(10), move |_| async move {
            let detail = "Vertex AI did not answer".to_owned();
            Settlement::Retry(Failure { reason: Reason::Unavailable, detail })
        })
        .await;
    for attempt in 1..=ATTEMPTS_MAX {
        assert_eq!(consumer.next().await, got("poison", attempt));
    }
    let (data, mut attributes) = world.dead_letter().await;
    assert_eq!(data, "poison");
    let published = attributes.iter().position(|it| it.0 == "branchline-first-published").unwrap();
    assert!(attributes.remove(published).1.ends_with('Z'));
    let (retried, died) =
        (r#"retry",class="transient"} 4"#, r#"dead_letter",class="transient"} 1"#);
    consumer.counts("deliveries_total", &[retried, died]).await;
    let expected = [
        ("branchline-attempts", "5"),
        ("branchline-detail", "Vertex AI did not answer"),
        ("branchline-reason", "unavailable"),
        ("branchline-subscription", SUBSCRIPTION),
        ("ce-id", "poison"),
    ];
    assert_eq!(attributes, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    consumer.stop().await;
}

#[tokio::test]
async fn a_panicking_handler_is_tried_again_and_takes_no_neighbour_along() {
    let world = World::start().await;
    world.publish("poison");
    world.publish("healthy");
    let mut consumer = world
        .consume(Period::secs(10), |message| async move {
            assert!(message.data != "poison" || message.delivery_attempt > Some(1), "a bug");
            Settlement::Ack
        })
        .await;
    let mut handled = [consumer.next().await, consumer.next().await, consumer.next().await];
    consumer.counts("panics_total", &[r#"where="handler"} 1"#]).await;
    consumer.counts("deliveries_total", &[r#"ack",class="none"} 2"#, r#"class="bug"} 1"#]).await;
    handled.sort();
    assert_eq!(handled, [got("healthy", 1), got("poison", 1), got("poison", 2)]);
    consumer.stop().await;
}

#[tokio::test]
async fn a_stop_lets_finish_what_is_in_flight_and_nacks_nothing() {
    let world = World::start().await;
    world.publish("slow");
    let finish = Arc::new(Notify::new());
    let waiting = finish.clone();
    let mut consumer = world
        .consume(Period::secs(10), move |_| {
            let waiting = waiting.clone();
            async move {
                waiting.notified().await;
                Settlement::Ack
            }
        })
        .await;
    assert_eq!(consumer.next().await, got("slow", 1));
    consumer.stop.cancel();
    let early = timeout(Duration::from_millis(50), &mut consumer.task).await;
    assert!(early.is_err(), "it did not wait for what is in flight");
    finish.notify_one();
    consumer.stop().await;

    let mut consumer = world.consume(Period::secs(10), |_| async { Settlement::Ack }).await;
    world.publish("next");
    assert_eq!(consumer.next().await, got("next", 1));
    consumer.stop().await;
}

#[tokio::test]
async fn what_outlives_the_grace_period_comes_again() {
    let world = World::start().await;
    world.publish("endless");
    let mut consumer = world.consume(Period::secs(0), |_| pending()).await;
    assert_eq!(consumer.next().await, got("endless", 1));
    consumer.stop().await;

    let mut consumer = world.consume(Period::secs(10), |_| async { Settlement::Ack }).await;
    assert_eq!(consumer.next().await, got("endless", 2));
    consumer.stop().await;
}

#[tokio::test]
async fn nothing_is_acked_whose_dead_letter_was_not_published() {
    let mut world = World::start().await;
    world.dead_topic = "projects/p/topics/missing";
    world.publish("undecodable");
    let mut consumer = world
        .consume(Period::secs(10), |message| async move {
            let detail = "not JSON".to_owned();
            match message.delivery_attempt {
                Some(1) => {
                    Settlement::DeadLetter(Failure { reason: Reason::DoesNotDecode, detail })
                }
                Some(_) | None => Settlement::Ack,
            }
        })
        .await;
    assert_eq!(consumer.next().await, got("undecodable", 1));
    assert_eq!(consumer.next().await, got("undecodable", 2));
    // It became no dead letter, and is not counted as one.
    consumer.counts("deliveries_total", &[r#"retry",class="undecodable"} 1"#]).await;
    consumer.stop().await;
}
