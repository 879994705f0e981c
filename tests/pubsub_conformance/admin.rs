//! Topics and subscriptions: made, read, listed, changed, deleted, refused.

use anyhow::{Result, ensure};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeadLetterPolicy, DeleteSubscriptionRequest, DeleteTopicRequest, GetSubscriptionRequest,
    GetTopicRequest, ListSubscriptionsRequest, ListTopicSubscriptionsRequest, ListTopicsRequest,
    RetryPolicy, Subscription, Topic, UpdateSubscriptionRequest, UpdateTopicRequest,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::bench::{Bench, refused, seconds};

crate::cases![
    a_topic_lives_from_create_to_delete,
    a_taken_name_is_refused,
    the_labels_of_a_topic_are_updated,
    a_missing_topic_is_not_found,
    the_subscriptions_of_a_missing_topic_are_not_found,
    a_missing_subscription_is_not_found,
    a_malformed_name_is_an_invalid_argument,
    a_subscription_is_read_back_with_its_settings_and_the_defaults,
    a_subscription_is_changed_where_the_mask_says,
    what_was_fixed_at_creation_cannot_be_updated,
    an_ack_deadline_out_of_range_is_refused,
    a_dead_letter_policy_out_of_range_is_refused,
    a_retry_policy_out_of_range_is_refused,
    a_retention_out_of_range_is_refused,
    a_malformed_filter_is_refused,
    lists_come_in_pages,
    a_deleted_topic_leaves_its_subscriptions_behind,
    a_deleted_subscription_is_gone,
    exactly_once_delivery_is_refused_rather_than_pretended,
];

fn mask(paths: &[&str]) -> FieldMask {
    FieldMask { paths: paths.iter().map(ToString::to_string).collect() }
}

async fn a_topic_lives_from_create_to_delete(mut bench: Bench) -> Result<()> {
    let topic = bench.topic("orders");
    let made = bench.create_topic("orders").await?;
    ensure!(made.name == topic, "{made:?}");
    let get = GetTopicRequest { topic: topic.clone() };
    let read = bench.publisher.get_topic(get.clone()).await?.into_inner();
    ensure!(read == made, "{read:?}");
    bench.publisher.delete_topic(DeleteTopicRequest { topic }).await?;
    refused(bench.publisher.get_topic(get).await, Code::NotFound)
}

async fn the_labels_of_a_topic_are_updated(mut bench: Bench) -> Result<()> {
    let labelled = |bench: &Bench, team: &str| Topic {
        name: bench.topic("orders"),
        labels: [("team".to_owned(), team.to_owned())].into(),
        ..Topic::default()
    };
    let topic = labelled(&bench, "blue");
    bench.publisher.create_topic(topic).await?;
    let update = UpdateTopicRequest {
        topic: Some(labelled(&bench, "red")),
        update_mask: Some(mask(&["labels"])),
    };
    bench.publisher.update_topic(update).await?;
    let get = GetTopicRequest { topic: bench.topic("orders") };
    let read = bench.publisher.get_topic(get).await?.into_inner();
    ensure!(read.labels.get("team").is_some_and(|it| it == "red"), "{read:?}");
    Ok(())
}

async fn a_taken_name_is_refused(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    refused(bench.create_topic("orders").await, Code::AlreadyExists)?;
    refused(bench.subscribe("worker", "orders", Subscription::default()).await, Code::AlreadyExists)
}

async fn a_missing_topic_is_not_found(mut bench: Bench) -> Result<()> {
    let topic = bench.topic("orders");
    let get = GetTopicRequest { topic: topic.clone() };
    refused(bench.publisher.get_topic(get).await, Code::NotFound)?;
    refused(bench.publisher.delete_topic(DeleteTopicRequest { topic }).await, Code::NotFound)?;
    refused(bench.publish(&["a"]).await, Code::NotFound)?;
    refused(bench.subscribe("worker", "orders", Subscription::default()).await, Code::NotFound)
}

async fn the_subscriptions_of_a_missing_topic_are_not_found(mut bench: Bench) -> Result<()> {
    let list = ListTopicSubscriptionsRequest { topic: bench.topic("orders"), ..Default::default() };
    refused(bench.publisher.list_topic_subscriptions(list).await, Code::NotFound)
}

async fn a_missing_subscription_is_not_found(mut bench: Bench) -> Result<()> {
    let subscription = bench.subscription("worker");
    let get = GetSubscriptionRequest { subscription: subscription.clone() };
    refused(bench.subscriber.get_subscription(get).await, Code::NotFound)?;
    let delete = DeleteSubscriptionRequest { subscription };
    refused(bench.subscriber.delete_subscription(delete).await, Code::NotFound)?;
    refused(bench.pull_once("worker", 1).await, Code::NotFound)
}

async fn a_malformed_name_is_an_invalid_argument(mut bench: Bench) -> Result<()> {
    for name in [
        "orders",
        "projects/p/topics/1orders",
        "projects/p/topics/x",
        "projects/p/subscriptions/orders",
    ] {
        let topic = Topic { name: name.to_owned(), ..Topic::default() };
        refused(bench.publisher.create_topic(topic).await, Code::InvalidArgument)?;
    }
    Ok(())
}

async fn a_subscription_is_read_back_with_its_settings_and_the_defaults(
    mut bench: Bench,
) -> Result<()> {
    bench.create_topic("graveyard").await?;
    let settings = Subscription {
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        enable_message_ordering: true,
        filter: "attributes:kind".to_owned(),
        dead_letter_policy: Some(DeadLetterPolicy {
            dead_letter_topic: bench.topic("graveyard"),
            max_delivery_attempts: 7,
        }),
        retry_policy: Some(RetryPolicy {
            minimum_backoff: Some(seconds(2)),
            maximum_backoff: Some(seconds(30)),
        }),
        ..Subscription::default()
    };
    bench.orders(settings.clone()).await?;
    let get = GetSubscriptionRequest { subscription: bench.subscription("worker") };
    let read = bench.subscriber.get_subscription(get).await?.into_inner();
    ensure!(read.topic == bench.topic("orders"), "{read:?}");
    ensure!(read.ack_deadline_seconds == 10, "{read:?}");
    ensure!(read.message_retention_duration == Some(seconds(7 * 24 * 60 * 60)), "{read:?}");
    ensure!(read.labels == settings.labels, "{read:?}");
    ensure!(read.enable_message_ordering, "{read:?}");
    ensure!(read.filter == settings.filter, "{read:?}");
    ensure!(read.dead_letter_policy == settings.dead_letter_policy, "{read:?}");
    ensure!(read.retry_policy == settings.retry_policy, "{read:?}");
    Ok(())
}

async fn a_subscription_is_changed_where_the_mask_says(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let changed = Subscription {
        name: bench.subscription("worker"),
        ack_deadline_seconds: 60,
        labels: [("ignored".to_owned(), "by the mask".to_owned())].into(),
        retry_policy: Some(RetryPolicy {
            minimum_backoff: Some(seconds(1)),
            maximum_backoff: Some(seconds(5)),
        }),
        ..Subscription::default()
    };
    let update_mask = Some(mask(&["ack_deadline_seconds", "retry_policy"]));
    let update = UpdateSubscriptionRequest { subscription: Some(changed.clone()), update_mask };
    let read = bench.subscriber.update_subscription(update).await?.into_inner();
    ensure!(read.ack_deadline_seconds == 60, "{read:?}");
    ensure!(read.retry_policy == changed.retry_policy, "{read:?}");
    ensure!(read.labels.is_empty(), "{read:?}");
    ensure!(read.topic == bench.topic("orders"), "{read:?}");
    Ok(())
}

async fn what_was_fixed_at_creation_cannot_be_updated(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    for paths in
        [&["topic"][..], &["enable_message_ordering"], &["filter"], &["no_such_field"], &[]]
    {
        let subscription = Subscription {
            name: bench.subscription("worker"),
            topic: bench.topic("orders"),
            enable_message_ordering: true,
            filter: "attributes:kind".to_owned(),
            ..Subscription::default()
        };
        let update = UpdateSubscriptionRequest {
            subscription: Some(subscription),
            update_mask: Some(mask(paths)),
        };
        refused(bench.subscriber.update_subscription(update).await, Code::InvalidArgument)?;
    }
    Ok(())
}

/// Checks that none of these settings makes a subscription.
async fn check_refused(mut bench: Bench, code: Code, all: [Subscription; 2]) -> Result<()> {
    bench.create_topic("orders").await?;
    for settings in all {
        refused(bench.subscribe("worker", "orders", settings).await, code)?;
    }
    Ok(())
}

async fn an_ack_deadline_out_of_range_is_refused(bench: Bench) -> Result<()> {
    let settings =
        |ack_deadline_seconds| Subscription { ack_deadline_seconds, ..Subscription::default() };
    check_refused(bench, Code::InvalidArgument, [9, 601].map(settings)).await
}

async fn a_dead_letter_policy_out_of_range_is_refused(bench: Bench) -> Result<()> {
    let dead_letter_topic = bench.topic("orders");
    let settings = |max_delivery_attempts| {
        let policy = DeadLetterPolicy {
            dead_letter_topic: dead_letter_topic.clone(),
            max_delivery_attempts,
        };
        Subscription { dead_letter_policy: Some(policy), ..Subscription::default() }
    };
    check_refused(bench, Code::OutOfRange, [4, 101].map(settings)).await
}

async fn a_retry_policy_out_of_range_is_refused(bench: Bench) -> Result<()> {
    let settings = |(min, max)| {
        let policy = RetryPolicy {
            minimum_backoff: Some(seconds(min)),
            maximum_backoff: Some(seconds(max)),
        };
        Subscription { retry_policy: Some(policy), ..Subscription::default() }
    };
    check_refused(bench, Code::InvalidArgument, [(1, 601), (20, 10)].map(settings)).await
}

async fn a_retention_out_of_range_is_refused(bench: Bench) -> Result<()> {
    let settings = |it| Subscription {
        message_retention_duration: Some(seconds(it)),
        ..Subscription::default()
    };
    check_refused(bench, Code::InvalidArgument, [599, 31 * 24 * 60 * 60 + 1].map(settings)).await
}

async fn a_malformed_filter_is_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    let settings =
        Subscription { filter: "attributes.kind = ".to_owned(), ..Subscription::default() };
    refused(bench.subscribe("worker", "orders", settings).await, Code::InvalidArgument)
}

async fn lists_come_in_pages(mut bench: Bench) -> Result<()> {
    for topic in ["one", "two", "three"] {
        bench.create_topic(topic).await?;
        bench.subscribe(&format!("{topic}-sub"), "one", Subscription::default()).await?;
    }
    let (mut topics, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ListTopicsRequest { project: bench.project.clone(), page_size: 2, page_token };
        let page = bench.publisher.list_topics(list).await?.into_inner();
        ensure!(page.topics.len() <= 2, "{page:?}");
        topics.extend(page.topics.into_iter().map(|it| it.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    topics.sort();
    ensure!(topics == ["one", "three", "two"].map(|it| bench.topic(it)), "{topics:?}");

    let list = ListSubscriptionsRequest {
        project: bench.project.clone(),
        ..ListSubscriptionsRequest::default()
    };
    let all = bench.subscriber.list_subscriptions(list).await?.into_inner().subscriptions;
    ensure!(all.len() == 3, "{all:?}");
    let list = ListTopicSubscriptionsRequest {
        topic: bench.topic("one"),
        ..ListTopicSubscriptionsRequest::default()
    };
    let of_topic = bench.publisher.list_topic_subscriptions(list).await?.into_inner().subscriptions;
    ensure!(
        of_topic.len() == 3 && of_topic.contains(&bench.subscription("two-sub")),
        "{of_topic:?}"
    );
    Ok(())
}

async fn a_deleted_topic_leaves_its_subscriptions_behind(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    bench.publisher.delete_topic(DeleteTopicRequest { topic: bench.topic("orders") }).await?;
    refused(bench.publish(&["b"]).await, Code::NotFound)?;
    let get = GetSubscriptionRequest { subscription: bench.subscription("worker") };
    let read = bench.subscriber.get_subscription(get).await?.into_inner();
    ensure!(read.topic == "_deleted-topic_", "{read:?}");
    bench.pull_one("worker").await?;
    Ok(())
}

async fn a_deleted_subscription_is_gone(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let delete = DeleteSubscriptionRequest { subscription: bench.subscription("worker") };
    bench.subscriber.delete_subscription(delete).await?;
    refused(bench.pull_once("worker", 1).await, Code::NotFound)?;
    bench.subscribe("worker", "orders", Subscription::default()).await?;
    bench.pull_nothing("worker").await
}

async fn exactly_once_delivery_is_refused_rather_than_pretended(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    let settings = Subscription { enable_exactly_once_delivery: true, ..Subscription::default() };
    refused(bench.subscribe("worker", "orders", settings).await, Code::Unimplemented)
}
