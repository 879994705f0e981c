//! Unary pull: leases, acknowledgements, retries, order, dead letters, seeking.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    AcknowledgeRequest, DeadLetterPolicy, PubsubMessage, ReceivedMessage, RetryPolicy, SeekRequest,
    Subscription, seek_request,
};
use tonic::Code;

use crate::bench::{Bench, refused, seconds, text, texts};

crate::cases![
    an_acknowledged_message_does_not_come_back,
    a_leased_message_comes_to_nobody_else,
    a_pull_takes_at_most_what_it_asks_for,
    a_pull_for_no_messages_is_refused,
    a_waiting_pull_gets_a_message_that_is_published_meanwhile,
    a_nack_redelivers_the_message,
    an_expired_lease_redelivers_the_message,
    an_extended_lease_is_kept,
    a_repeated_ack_is_no_error,
    a_malformed_ack_id_is_refused,
    a_deadline_out_of_range_is_refused,
    without_a_dead_letter_policy_there_is_no_delivery_attempt,
    delivery_attempts_count_up_and_the_last_ends_in_the_dead_letter_topic,
    a_dead_letter_states_its_publish_time_with_an_offset,
    a_retry_policy_delays_the_first_redelivery,
    a_retry_policy_backs_off_exponentially,
    ordered_messages_of_one_key_come_in_order,
    a_nacked_ordered_message_comes_again_before_its_successors,
    seeking_to_now_drops_the_backlog,
];

fn ordered() -> Subscription {
    Subscription { enable_message_ordering: true, ..Subscription::default() }
}

fn retrying(min: i64, max: i64) -> Subscription {
    let policy =
        RetryPolicy { minimum_backoff: Some(seconds(min)), maximum_backoff: Some(seconds(max)) };
    Subscription { retry_policy: Some(policy), ..Subscription::default() }
}

async fn an_acknowledged_message_does_not_come_back(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let received = bench.pull("worker", 1).await?;
    bench.modify_deadline("worker", &received, 1).await?;
    bench.ack("worker", &received).await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    bench.pull_nothing("worker").await
}

async fn a_leased_message_comes_to_nobody_else(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    bench.pull_one("worker").await?;
    bench.pull_nothing("worker").await
}

async fn a_pull_takes_at_most_what_it_asks_for(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a", "b", "c"]).await?;
    let mut received = 0;
    while received < 3 {
        let part = bench.pull_once("worker", 2).await?;
        ensure!(part.len() <= 2, "{:?} came", texts(&part));
        received += part.len();
    }
    Ok(())
}

async fn a_pull_for_no_messages_is_refused(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    refused(bench.pull_once("worker", 0).await, Code::InvalidArgument)
}

async fn a_waiting_pull_gets_a_message_that_is_published_meanwhile(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let mut waiting = bench.clone();
    let request = googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PullRequest {
        subscription: bench.subscription("worker"),
        max_messages: 1,
        ..Default::default()
    };
    let pull = tokio::spawn(async move { waiting.subscriber.pull(request).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    bench.publish(&["a"]).await?;
    let received = pull.await??.into_inner().received_messages;
    ensure!(texts(&received) == ["a"], "{received:?}");
    ensure!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
    Ok(())
}

async fn a_nack_redelivers_the_message(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let first = bench.pull("worker", 1).await?;
    let started = Instant::now();
    bench.nack("worker", &first).await?;
    let again = bench.pull_one("worker").await?;
    ensure!(text(&again) == "a" && again.ack_id != first[0].ack_id, "{again:?}");
    ensure!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
    Ok(())
}

async fn an_expired_lease_redelivers_the_message(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let first = bench.pull("worker", 1).await?;
    let started = Instant::now();
    bench.modify_deadline("worker", &first, 1).await?;
    ensure!(text(&bench.pull_one("worker").await?) == "a");
    let waited = started.elapsed();
    ensure!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&waited),
        "it took {waited:?}"
    );
    Ok(())
}

async fn an_extended_lease_is_kept(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let first = bench.pull("worker", 1).await?;
    bench.modify_deadline("worker", &first, 1).await?;
    bench.modify_deadline("worker", &first, 60).await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    bench.pull_nothing("worker").await?;
    bench.ack("worker", &first).await?;
    Ok(())
}

async fn a_repeated_ack_is_no_error(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let received = bench.pull("worker", 1).await?;
    bench.ack("worker", &received).await?;
    bench.ack("worker", &received).await?;
    Ok(())
}

async fn a_malformed_ack_id_is_refused(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let request = AcknowledgeRequest {
        subscription: bench.subscription("worker"),
        ack_ids: vec!["nonsense".to_owned()],
    };
    refused(bench.subscriber.acknowledge(request).await, Code::InvalidArgument)
}

async fn a_deadline_out_of_range_is_refused(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let received = bench.pull("worker", 1).await?;
    refused(bench.modify_deadline("worker", &received, 601).await, Code::InvalidArgument)?;
    refused(bench.modify_deadline("worker", &received, -1).await, Code::InvalidArgument)
}

async fn without_a_dead_letter_policy_there_is_no_delivery_attempt(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    for _ in 0..2 {
        let received = bench.pull_one("worker").await?;
        ensure!(received.delivery_attempt == 0, "{received:?}");
        bench.nack("worker", &[received]).await?;
    }
    Ok(())
}

/// Fails every delivery of one message; answers with its id and the dead letter.
async fn bury(bench: &mut Bench) -> Result<(String, PubsubMessage)> {
    bench.create_topic("graveyard").await?;
    bench.subscribe("mourner", "graveyard", Subscription::default()).await?;
    let policy =
        DeadLetterPolicy { dead_letter_topic: bench.topic("graveyard"), max_delivery_attempts: 5 };
    bench
        .orders(Subscription { dead_letter_policy: Some(policy), ..Subscription::default() })
        .await?;
    let ids = bench.publish(&["a"]).await?;
    for attempt in 1..=5 {
        let received = bench.pull_one("worker").await?;
        ensure!(received.delivery_attempt == attempt, "attempt {attempt}: {received:?}");
        bench.nack("worker", &[received]).await?;
    }
    loop {
        // The emulator forwards only when somebody asks the source again.
        let sixth = bench.pull_once("worker", 1).await?;
        ensure!(sixth.is_empty(), "a further attempt: {sixth:?}");
        if let Some(letter) = bench.pull_once("mourner", 1).await?.pop() {
            return Ok((ids.concat(), letter.message.context("a message")?));
        }
    }
}

async fn delivery_attempts_count_up_and_the_last_ends_in_the_dead_letter_topic(
    mut bench: Bench,
) -> Result<()> {
    let (id, letter) = bury(&mut bench).await?;
    ensure!(letter.data == "a" && letter.message_id != id, "{letter:?}");
    let history =
        |what: &str| letter.attributes.get(&format!("CloudPubSubDeadLetterSource{what}")).cloned();
    ensure!(history("DeliveryCount").as_deref() == Some("5"), "{letter:?}");
    ensure!(history("Subscription").as_deref() == Some("worker"), "{letter:?}");
    ensure!(
        history("SubscriptionProject").as_deref() == bench.project.strip_prefix("projects/"),
        "{letter:?}"
    );
    ensure!(history("TopicPublishTime").is_some(), "{letter:?}");
    bench.pull_nothing("worker").await
}

async fn a_dead_letter_states_its_publish_time_with_an_offset(mut bench: Bench) -> Result<()> {
    let (_, letter) = bury(&mut bench).await?;
    let time =
        letter.attributes.get("CloudPubSubDeadLetterSourceTopicPublishTime").context("a time")?;
    ensure!(
        time.len() == "2026-08-24T10:35:14.812+00:00".len() && time.ends_with("+00:00"),
        "{time}"
    );
    Ok(())
}

/// Hands the message back and measures how long it stays away.
async fn pause_after_nack(
    bench: &mut Bench,
    received: &ReceivedMessage,
) -> Result<(ReceivedMessage, Duration)> {
    let started = Instant::now();
    bench.nack("worker", std::slice::from_ref(received)).await?;
    let again = bench.pull_one("worker").await?;
    Ok((again, started.elapsed()))
}

async fn a_retry_policy_delays_the_first_redelivery(mut bench: Bench) -> Result<()> {
    bench.orders(retrying(1, 600)).await?;
    bench.publish(&["a"]).await?;
    let first = bench.pull_one("worker").await?;
    let (_, pause) = pause_after_nack(&mut bench, &first).await?;
    ensure!(pause >= Duration::from_millis(900), "it came again after {pause:?}");
    Ok(())
}

async fn a_retry_policy_backs_off_exponentially(mut bench: Bench) -> Result<()> {
    bench.orders(retrying(1, 2)).await?;
    bench.publish(&["a"]).await?;
    let first = bench.pull_one("worker").await?;
    let (second, _) = pause_after_nack(&mut bench, &first).await?;
    let (_, pause) = pause_after_nack(&mut bench, &second).await?;
    ensure!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&pause),
        "it came again after {pause:?}"
    );
    Ok(())
}

async fn ordered_messages_of_one_key_come_in_order(mut bench: Bench) -> Result<()> {
    bench.orders(ordered()).await?;
    let wanted: Vec<String> = (0..20).map(|it| it.to_string()).collect();
    for text in &wanted {
        bench.publish_keyed("key", &[text]).await?;
    }
    let mut came = Vec::new();
    while came.len() < wanted.len() {
        let received = bench.pull("worker", 1).await?;
        came.extend(texts(&received));
        bench.ack("worker", &received).await?;
    }
    ensure!(came == wanted, "{came:?}");
    Ok(())
}

async fn a_nacked_ordered_message_comes_again_before_its_successors(
    mut bench: Bench,
) -> Result<()> {
    bench.orders(ordered()).await?;
    bench.publish_keyed("key", &["a", "b", "c"]).await?;
    let first = bench.pull_once("worker", 1).await?;
    ensure!(texts(&first) == ["a"], "{first:?}");
    bench.nack("worker", &first).await?;
    let mut came = Vec::new();
    while came.len() < 3 {
        let received = bench.pull("worker", 1).await?;
        came.extend(texts(&received));
        bench.ack("worker", &received).await?;
    }
    ensure!(came == ["a", "b", "c"], "{came:?}");
    Ok(())
}

async fn seeking_to_now_drops_the_backlog(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["old"]).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let time = seek_request::Target::Time(SystemTime::now().into());
    bench
        .subscriber
        .seek(SeekRequest { subscription: bench.subscription("worker"), target: Some(time) })
        .await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.publish(&["new"]).await?;
    ensure!(text(&bench.pull_one("worker").await?) == "new");
    bench.pull_nothing("worker").await
}
