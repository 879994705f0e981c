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
    a_missing_topic_is_not_found,
    a_missing_subscription_is_not_found,
    a_malformed_name_is_an_invalid_argument,
    a_subscription_is_read_back_with_its_settings_and_the_defaults,
    a_subscription_is_changed_where_the_mask_says,
    what_was_fixed_at_creation_cannot_be_updated,
    settings_out_of_range_are_refused,
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
    let labels = [("team".to_owned(), "blue".to_owned())].into();
    let made = bench
        .publisher
        .create_topic(Topic { name: topic.clone(), labels, ..Topic::default() })
        .await?;
    ensure!(made.get_ref().name == topic, "{made:?}");

    let changed = Topic {
        name: topic.clone(),
        labels: [("team".to_owned(), "red".to_owned())].into(),
        ..Topic::default()
    };
    let update = UpdateTopicRequest { topic: Some(changed), update_mask: Some(mask(&["labels"])) };
    bench.publisher.update_topic(update).await?;
    let read =
        bench.publisher.get_topic(GetTopicRequest { topic: topic.clone() }).await?.into_inner();
    ensure!(read.labels.get("team").is_some_and(|it| it == "red"), "{read:?}");

    bench.publisher.delete_topic(DeleteTopicRequest { topic: topic.clone() }).await?;
    refused(bench.publisher.get_topic(GetTopicRequest { topic }).await, Code::NotFound)
}

async fn a_taken_name_is_refused(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    refused(bench.create_topic("orders").await, Code::AlreadyExists)?;
    refused(bench.subscribe("worker", "orders", Subscription::default()).await, Code::AlreadyExists)
}

async fn a_missing_topic_is_not_found(mut bench: Bench) -> Result<()> {
    let topic = bench.topic("orders");
    refused(
        bench.publisher.get_topic(GetTopicRequest { topic: topic.clone() }).await,
        Code::NotFound,
    )?;
    refused(
        bench.publisher.delete_topic(DeleteTopicRequest { topic: topic.clone() }).await,
        Code::NotFound,
    )?;
    let list = ListTopicSubscriptionsRequest { topic, ..ListTopicSubscriptionsRequest::default() };
    refused(bench.publisher.list_topic_subscriptions(list).await, Code::NotFound)?;
    refused(bench.publish(&["a"]).await, Code::NotFound)?;
    refused(bench.subscribe("worker", "orders", Subscription::default()).await, Code::NotFound)
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

async fn settings_out_of_range_are_refused(mut bench: Bench) -> Result<()> {
    bench.create_topic("orders").await?;
    let graveyard = bench.topic("orders");
    let attempts = |max_delivery_attempts| {
        let policy =
            DeadLetterPolicy { dead_letter_topic: graveyard.clone(), max_delivery_attempts };
        Subscription { dead_letter_policy: Some(policy), ..Subscription::default() }
    };
    let backoff = |max| {
        let policy =
            RetryPolicy { minimum_backoff: Some(seconds(1)), maximum_backoff: Some(seconds(max)) };
        Subscription { retry_policy: Some(policy), ..Subscription::default() }
    };
    let ack_deadline =
        |ack_deadline_seconds| Subscription { ack_deadline_seconds, ..Subscription::default() };
    let retention = |it| Subscription {
        message_retention_duration: Some(seconds(it)),
        ..Subscription::default()
    };
    let day = 24 * 60 * 60;
    let all = [
        ("ack deadline too short", ack_deadline(9)),
        ("ack deadline too long", ack_deadline(601)),
        ("too few attempts", attempts(4)),
        ("too many attempts", attempts(101)),
        ("backoff too long", backoff(601)),
        ("retention too short", retention(599)),
        ("retention too long", retention(31 * day + 1)),
    ];
    for (name, settings) in all {
        let answer = bench.subscribe("worker", "orders", settings).await;
        refused(answer, Code::InvalidArgument).map_err(|error| error.context(name))?;
    }
    Ok(())
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
