//! Messages are published, received and settled; streams stop and recover.

use crate::serve;
use branchline_gcp::pubsub::{
    Admin, Deliveries, Delivery, Message, Publish as _, Publisher, Receive as _, SubscribeOptions,
    Subscriber, SubscriptionSpec,
};
use branchline_gcp::{Class, Config};
use branchline_local::faults::Dice;
use branchline_local::pubsub::PubSub;
use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const TOPIC: &str = "projects/p/topics/ready";
const SUBSCRIPTION: &str = "projects/p/subscriptions/worker";
const OPTIONS: SubscribeOptions = SubscribeOptions {
    outstanding_max: 10,
    bytes_max: 10_000_000,
    lease_max: Duration::from_mins(5),
    silence_max: Duration::from_mins(5),
    quiet: Duration::from_millis(50),
    closing_max: Duration::from_secs(5),
};
/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// Pub/Sub with a topic and no subscription.
async fn start() -> Config {
    let config = serve(PubSub::open(None, Dice::default()).unwrap().router()).await;
    Admin::connect(&config).await.unwrap().create_topic(TOPIC).await.unwrap();
    config
}

async fn create_subscription(config: &Config) {
    let admin = Admin::connect(config).await.unwrap();
    let dead = "projects/p/topics/dead";
    admin.create_topic(dead).await.unwrap();
    let spec = SubscriptionSpec {
        topic: TOPIC,
        ack_deadline: Duration::from_secs(10),
        retry: (Duration::ZERO, Duration::ZERO),
        dead_letter: Some((dead, 50)),
        ordering: true,
    };
    admin.create_subscription(SUBSCRIPTION, spec).await.unwrap();
}

async fn subscribe(config: &Config) -> Deliveries {
    Subscriber::connect(config).await.unwrap().subscribe(SUBSCRIPTION, OPTIONS)
}

async fn publish(config: &Config, texts: &[&str], ordering_key: Option<&str>) {
    let publisher = Publisher::connect(config).await.unwrap();
    for text in texts {
        let message = Message {
            data: (*text).to_owned().into(),
            attributes: BTreeMap::from([("ce-id".to_owned(), (*text).to_owned())]),
            ordering_key: ordering_key.map(str::to_owned),
        };
        assert!(!publisher.publish(TOPIC, message).await.unwrap().is_empty());
    }
}

async fn next(deliveries: &mut Deliveries) -> Delivery {
    timeout(SOON, deliveries.recv()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn what_is_published_is_received_in_order_with_all_it_carries() {
    let config = start().await;
    create_subscription(&config).await;
    publish(&config, &["one", "two", "three"], Some("run")).await;
    let mut deliveries = subscribe(&config).await;
    for text in ["one", "two", "three"] {
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.data, text);
        assert_eq!(delivery.attributes["ce-id"], text);
        assert_eq!(delivery.ordering_key, "run");
        assert_eq!(delivery.delivery_attempt, Some(1));
        assert!(delivery.publish_time.as_second() > 1_700_000_000);
        delivery.ack();
    }
    timeout(SOON, deliveries.settled()).await.unwrap();
}

#[tokio::test]
async fn a_nacked_message_comes_again_and_an_acked_one_does_not() {
    let config = start().await;
    create_subscription(&config).await;
    publish(&config, &["one"], None).await;
    let mut deliveries = subscribe(&config).await;
    next(&mut deliveries).await.nack();
    let second = next(&mut deliveries).await;
    assert_eq!(second.delivery_attempt, Some(2));
    second.ack();
    timeout(SOON, deliveries.settled()).await.unwrap();

    publish(&config, &["two"], None).await;
    let mut deliveries = subscribe(&config).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.data, "two", "the ack of the first was sent before the stream ended");
    delivery.ack();
}

#[tokio::test]
async fn receiving_can_be_cancelled_at_any_moment() {
    const SHORT: Duration = Duration::from_millis(5);
    let config = start().await;
    create_subscription(&config).await;
    let mut deliveries = subscribe(&config).await;
    for _ in 0..20 {
        assert!(timeout(SHORT, deliveries.recv()).await.is_err());
    }
    publish(&config, &["one"], None).await;
    let received = async {
        loop {
            if let Ok(received) = timeout(SHORT, deliveries.recv()).await {
                break received.unwrap().unwrap();
            }
        }
    };
    timeout(SOON, received).await.unwrap().ack();
}

#[tokio::test]
async fn a_stop_hands_out_what_was_received_so_that_nothing_costs_an_attempt() {
    let config = start().await;
    create_subscription(&config).await;
    // Without a key the server sends them all at once.
    publish(&config, &["one", "two", "three", "four", "five"], None).await;
    let mut deliveries = subscribe(&config).await;
    let mut taken = vec![next(&mut deliveries).await];
    deliveries.stop();
    while let Some(delivery) = timeout(SOON, deliveries.recv()).await.unwrap() {
        taken.push(delivery.unwrap());
    }
    assert_eq!(taken.len(), 5);

    let settled = tokio::spawn(deliveries.settled());
    tokio::task::yield_now().await;
    assert!(!settled.is_finished(), "five are still being handled");
    taken.into_iter().for_each(Delivery::ack);
    timeout(SOON, settled).await.unwrap().unwrap();

    publish(&config, &["last"], None).await;
    let mut deliveries = subscribe(&config).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.data, "last", "what was handled during the stop is gone");
    delivery.ack();
}

#[tokio::test]
async fn what_is_settled_while_a_stream_is_closed_waits_for_its_end() {
    let pubsub = PubSub::open(None, Dice::default()).unwrap();
    let config = serve(pubsub.router()).await;
    Admin::connect(&config).await.unwrap().create_topic(TOPIC).await.unwrap();
    create_subscription(&config).await;
    publish(&config, &["one"], None).await;
    // Room for another message, which may come until the stream was quiet for so long.
    let options = SubscribeOptions { quiet: Duration::from_secs(3), ..OPTIONS };
    let subscriber = Subscriber::connect(&config).await.unwrap();
    let mut deliveries = subscriber.subscribe(SUBSCRIPTION, options);
    let delivery = next(&mut deliveries).await;
    deliveries.stop();
    sleep(Duration::from_millis(200)).await;
    delivery.ack();
    sleep(Duration::from_millis(400)).await;
    assert_eq!(pubsub.unacknowledged(SUBSCRIPTION).unwrap(), 1, "the server heard of it too early");
    publish(&config, &["late"], None).await;
    let late = timeout(SOON, deliveries.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!(late.data, "late");
    late.ack();
    assert!(timeout(SOON, deliveries.recv()).await.unwrap().is_none());
    timeout(SOON, deliveries.settled()).await.unwrap();
    assert_eq!(
        pubsub.unacknowledged(SUBSCRIPTION).unwrap(),
        0,
        "both are settled once it is closed"
    );
}

#[tokio::test]
async fn what_an_older_stream_handed_out_takes_no_room_of_the_next() {
    let config = start().await;
    create_subscription(&config).await;
    publish(&config, &["one"], None).await;
    let options = SubscribeOptions {
        outstanding_max: 2,
        silence_max: Duration::from_millis(300),
        quiet: OPTIONS.closing_max,
        ..OPTIONS
    };
    let subscriber = Subscriber::connect(&config).await.unwrap();
    let mut deliveries = subscriber.subscribe(SUBSCRIPTION, options);
    let one = next(&mut deliveries).await;
    sleep(2 * options.silence_max).await;
    publish(&config, &["two"], None).await;
    let two = next(&mut deliveries).await;
    assert_eq!(two.data, "two");
    deliveries.stop();
    publish(&config, &["late"], None).await;
    let late = timeout(SOON, deliveries.recv()).await.unwrap();
    assert_eq!(late.expect("there is room for another one").unwrap().data, "late");
    drop((one, two));
}

#[tokio::test]
async fn a_stream_that_fails_is_reported_and_built_again() {
    let config = start().await;
    let mut deliveries = subscribe(&config).await;
    let error = timeout(SOON, deliveries.recv()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert_eq!(error.to_string(), format!("receiving from {SUBSCRIPTION}"));

    create_subscription(&config).await;
    publish(&config, &["one"], None).await;
    let received = async {
        loop {
            if let Ok(delivery) = deliveries.recv().await.unwrap() {
                break delivery;
            }
        }
    };
    timeout(SOON, received).await.unwrap().ack();
    timeout(SOON, deliveries.settled()).await.unwrap();
}

#[tokio::test]
async fn creating_what_exists_is_no_failure_and_looking_it_up_says_so() {
    let config = start().await;
    let admin = Admin::connect(&config).await.unwrap();
    assert!(!admin.subscription_exists(SUBSCRIPTION).await.unwrap());
    admin.create_topic(TOPIC).await.unwrap();
    create_subscription(&config).await;
    create_subscription(&config).await;
    assert!(admin.subscription_exists(SUBSCRIPTION).await.unwrap());
}

#[tokio::test]
async fn a_key_that_failed_can_be_published_again() {
    let config = start().await;
    let publisher = Publisher::connect(&config).await.unwrap();
    for _ in 0..2 {
        let ordering_key = Some("run".to_owned());
        let message = Message { data: "x".into(), ordering_key, ..Message::default() };
        let error = publisher.publish("projects/p/topics/none", message).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound, "{}", error.message());
    }
}

/// A way to a server whose connections, once it is told so, end for the server
/// and go on for the client, which hears nothing any more.
async fn proxy(server: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dead, dies) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut dies = dies.clone();
            dies.mark_unchanged();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let cut_off = tokio::select! {
                    biased;
                    _ = dies.changed() => true,
                    _ = copy_bidirectional(&mut client, &mut server) => false,
                };
                drop(server);
                if cut_off {
                    pending::<()>().await;
                }
            });
        }
    });
    (address, dead)
}

#[tokio::test]
async fn a_connection_that_is_dead_without_an_end_is_noticed_and_built_again() {
    let direct = start().await;
    create_subscription(&direct).await;
    let server = direct.pubsub_endpoint.as_ref().unwrap().strip_prefix("http://").unwrap();
    let (address, dead) = proxy(server.parse().unwrap()).await;
    let config = Config { pubsub_endpoint: Some(format!("http://{address}")), ..direct.clone() };
    let options = SubscribeOptions { silence_max: Duration::from_secs(1), ..OPTIONS };
    let mut deliveries =
        Subscriber::connect(&config).await.unwrap().subscribe(SUBSCRIPTION, options);
    publish(&direct, &["before"], None).await;
    next(&mut deliveries).await.ack();
    dead.send_replace(true);
    publish(&direct, &["after"], None).await;
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.data, "after");
    delivery.ack();
}
