//! What may be published, and who gets it.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PubsubMessage, Subscription};
use tonic::Code;

use crate::bench::{Bench, message, refused, text, texts};

crate::cases![
    a_message_arrives_as_it_was_published,
    every_subscription_gets_its_own_copy,
    a_subscription_sees_nothing_from_before_it_was_made,
    an_empty_publish_is_refused,
    an_empty_message_is_refused,
    attributes_over_the_limits_are_refused,
    more_than_a_thousand_messages_at_once_are_refused,
    more_than_ten_megabytes_are_refused,
    two_ordering_keys_in_one_publish_are_refused,
    a_filter_lets_matching_messages_through_only,
];

fn with_attributes(attributes: &[(&str, &str)]) -> PubsubMessage {
    let owned = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    PubsubMessage { attributes: owned.collect(), ..message("x") }
}

async fn a_message_arrives_as_it_was_published(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let published = PubsubMessage {
        data: vec![0, 159, 146, 150].into(),
        ordering_key: "key".to_owned(),
        ..with_attributes(&[("kind", "order"), ("empty", "")])
    };
    let ids = bench.publish_all(vec![published.clone()]).await?;
    let received = bench.pull_one("worker").await?.message.context("a message")?;
    ensure!(ids == [received.message_id.clone()], "{ids:?} {received:?}");
    ensure!(received.publish_time.is_some(), "{received:?}");
    ensure!(received.data == published.data, "{received:?}");
    ensure!(received.attributes == published.attributes, "{received:?}");
    ensure!(received.ordering_key == published.ordering_key, "{received:?}");
    Ok(())
}

async fn every_subscription_gets_its_own_copy(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.subscribe("auditor", "orders", Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let ours = bench.pull("worker", 1).await?;
    bench.ack("worker", &ours).await?;
    ensure!(text(&bench.pull_one("auditor").await?) == "a");
    Ok(())
}

async fn a_subscription_sees_nothing_from_before_it_was_made(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    bench.publish(&["early"]).await?;
    bench.subscribe("worker", "orders", Subscription::default()).await?;
    bench.publish(&["late"]).await?;
    ensure!(text(&bench.pull_one("worker").await?) == "late");
    bench.pull_nothing("worker").await
}

async fn an_empty_publish_is_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    refused(bench.publish_all(vec![]).await, Code::InvalidArgument)
}

async fn an_empty_message_is_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    refused(bench.publish_all(vec![PubsubMessage::default()]).await, Code::InvalidArgument)
}

async fn attributes_over_the_limits_are_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    bench.publish_all(vec![with_attributes(&[(&"k".repeat(256), &"v".repeat(1024))])]).await?;
    let many: HashMap<_, _> = (0..101).map(|it| (format!("k{it}"), String::new())).collect();
    let refusals = [
        ("key too long", with_attributes(&[(&"k".repeat(257), "")])),
        ("value too long", with_attributes(&[("k", &"v".repeat(1025))])),
        ("empty key", with_attributes(&[("", "v")])),
        ("too many", PubsubMessage { attributes: many, ..message("x") }),
    ];
    for (name, message) in refusals {
        let answer = bench.publish_all(vec![message]).await;
        refused(answer, Code::InvalidArgument).context(name)?;
    }
    Ok(())
}

async fn more_than_a_thousand_messages_at_once_are_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    bench.publish_all(vec![message("x"); 1000]).await?;
    refused(bench.publish_all(vec![message("x"); 1001]).await, Code::InvalidArgument)
}

async fn more_than_ten_megabytes_are_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    let data =
        |length: usize| PubsubMessage { data: vec![0; length].into(), ..PubsubMessage::default() };
    bench.publish_all(vec![data(9_999_000)]).await?;
    refused(bench.publish_all(vec![data(11_000_000)]).await, Code::InvalidArgument)
}

async fn two_ordering_keys_in_one_publish_are_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    let keyed = |key: &str| PubsubMessage { ordering_key: key.to_owned(), ..message("x") };
    refused(bench.publish_all(vec![keyed("a"), keyed("b")]).await, Code::InvalidArgument)
}

async fn a_filter_lets_matching_messages_through_only(mut bench: Bench) -> Result<()> {
    let filter =
        "attributes.kind = \"order\" AND NOT hasPrefix(attributes.region, \"eu-\")".to_owned();
    bench.orders(Subscription { filter, ..Subscription::default() }).await?;
    let of = |text: &str, attributes: &[(&str, &str)]| PubsubMessage {
        data: text.to_owned().into(),
        ..with_attributes(attributes)
    };
    bench
        .publish_all(vec![
            of("plain", &[]),
            of("invoice", &[("kind", "invoice")]),
            of("european", &[("kind", "order"), ("region", "eu-west1")]),
            of("american", &[("kind", "order"), ("region", "us-east1")]),
            of("nowhere", &[("kind", "order")]),
        ])
        .await?;
    let mut received = bench.pull("worker", 2).await?;
    received.extend(bench.pull_once("worker", 100).await?);
    let mut received = texts(&received);
    received.sort();
    ensure!(received == ["american", "nowhere"], "{received:?}");
    Ok(())
}
