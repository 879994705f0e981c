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
    attributes_at_the_limits_are_accepted,
    too_long_an_attribute_key_is_refused,
    too_long_an_attribute_value_is_refused,
    an_empty_attribute_key_is_refused,
    too_many_attributes_are_refused,
    more_than_a_thousand_messages_at_once_are_refused,
    almost_ten_megabytes_arrive_whole,
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

async fn an_empty_message_is_refused(bench: Bench) -> Result<()> {
    check_refused(bench, PubsubMessage::default()).await
}

async fn attributes_at_the_limits_are_accepted(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    let many: HashMap<_, _> = (0..100).map(|it| (format!("k{it}"), String::new())).collect();
    let long = with_attributes(&[(&"k".repeat(256), &"v".repeat(1024))]);
    bench.publish_all(vec![long, PubsubMessage { attributes: many, ..message("x") }]).await?;
    Ok(())
}

/// Checks that this message cannot be published.
async fn check_refused(mut bench: Bench, message: PubsubMessage) -> Result<()> {
    bench.create_topic("orders").await?;
    refused(bench.publish_all(vec![message]).await, Code::InvalidArgument)
}

async fn too_long_an_attribute_key_is_refused(bench: Bench) -> Result<()> {
    check_refused(bench, with_attributes(&[(&"k".repeat(257), "")])).await
}

async fn too_long_an_attribute_value_is_refused(bench: Bench) -> Result<()> {
    check_refused(bench, with_attributes(&[("k", &"v".repeat(1025))])).await
}

async fn an_empty_attribute_key_is_refused(bench: Bench) -> Result<()> {
    check_refused(bench, with_attributes(&[("", "v")])).await
}

async fn too_many_attributes_are_refused(bench: Bench) -> Result<()> {
    let attributes = (0..101).map(|it| (format!("k{it}"), String::new())).collect();
    check_refused(bench, PubsubMessage { attributes, ..message("x") }).await
}

async fn more_than_a_thousand_messages_at_once_are_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    bench.publish_all(vec![message("x"); 1000]).await?;
    refused(bench.publish_all(vec![message("x"); 1001]).await, Code::InvalidArgument)
}

async fn almost_ten_megabytes_arrive_whole(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&[&"x".repeat(9_999_000)]).await?;
    let received = bench.pull_one("worker").await?;
    ensure!(text(&received).len() == 9_999_000);
    Ok(())
}

async fn more_than_ten_megabytes_are_refused(bench: Bench) -> Result<()> {
    check_refused(bench, message(&"x".repeat(10_500_000))).await
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
