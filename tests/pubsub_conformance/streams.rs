//! Streaming pull: both directions, flow control, and how streams end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeleteSubscriptionRequest, StreamingPullRequest, Subscription,
};
use tonic::Code;

use crate::bench::{Bench, ack_ids, text, texts};

crate::cases![
    a_stream_opens_before_there_is_a_message,
    a_stream_tells_about_its_subscription,
    a_stream_delivers_and_takes_acks,
    acks_may_also_come_outside_the_stream,
    a_nack_on_the_stream_redelivers,
    deadlines_are_modified_on_the_stream,
    an_empty_request_keeps_the_stream_alive,
    a_stream_holds_at_most_its_outstanding_messages,
    a_stream_holds_at_most_its_outstanding_bytes,
    two_streams_share_the_messages,
    a_stream_on_a_missing_subscription_is_not_found,
    a_stream_with_a_deadline_out_of_range_is_refused,
    a_second_initial_request_ends_the_stream,
    deadlines_without_their_ack_ids_end_the_stream,
    a_malformed_ack_id_ends_the_stream,
    a_stream_ends_when_its_subscription_is_deleted,
    a_stream_ends_when_its_client_is_done,
    ordered_messages_come_in_order,
];

fn acks(ack_ids: Vec<String>) -> StreamingPullRequest {
    StreamingPullRequest { ack_ids, ..StreamingPullRequest::default() }
}

fn deadlines(ack_ids: Vec<String>, seconds: i32) -> StreamingPullRequest {
    StreamingPullRequest {
        modify_deadline_seconds: vec![seconds; ack_ids.len()],
        modify_deadline_ack_ids: ack_ids,
        ..StreamingPullRequest::default()
    }
}

async fn a_stream_opens_before_there_is_a_message(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    bench.publish(&["a"]).await?;
    ensure!(texts(&stream.receive(1).await?) == ["a"]);
    Ok(())
}

async fn a_stream_tells_about_its_subscription(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription { enable_message_ordering: true, ..Subscription::default() }).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    let response = stream.response().await?.context("a response")?;
    let properties = response.subscription_properties.context("properties")?;
    ensure!(
        properties.message_ordering_enabled && !properties.exactly_once_delivery_enabled,
        "{properties:?}"
    );
    Ok(())
}

async fn a_stream_delivers_and_takes_acks(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a", "b"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    let received = stream.receive(2).await?;
    stream.send(deadlines(ack_ids(&received), 1)).await?;
    stream.send(acks(ack_ids(&received))).await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    stream.receive_nothing().await
}

async fn acks_may_also_come_outside_the_stream(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    let received = stream.receive(1).await?;
    drop(stream);
    bench.modify_deadline("worker", &received, 1).await?;
    bench.ack("worker", &received).await?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    bench.pull_nothing("worker").await
}

async fn a_nack_on_the_stream_redelivers(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    let first = stream.receive(1).await?;
    stream.send(deadlines(ack_ids(&first), 0)).await?;
    let again = stream.receive(1).await?;
    ensure!(texts(&again) == ["a"] && again[0].ack_id != first[0].ack_id, "{again:?}");
    Ok(())
}

async fn deadlines_are_modified_on_the_stream(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    let first = stream.receive(1).await?;
    stream.send(deadlines(ack_ids(&first), 1)).await?;
    stream.receive_nothing().await?;
    ensure!(texts(&stream.receive(1).await?) == ["a"]);
    Ok(())
}

async fn an_empty_request_keeps_the_stream_alive(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    stream.send(StreamingPullRequest::default()).await?;
    bench.publish(&["a"]).await?;
    ensure!(texts(&stream.receive(1).await?) == ["a"]);
    Ok(())
}

async fn a_stream_holds_at_most_its_outstanding_messages(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a", "b", "c"]).await?;
    let mut stream = bench
        .open(StreamingPullRequest { max_outstanding_messages: 2, ..Default::default() })
        .await;
    let received = stream.receive(2).await?;
    ensure!(received.len() == 2, "{:?} came", texts(&received));
    stream.receive_nothing().await?;
    stream.send(acks(vec![received[0].ack_id.clone()])).await?;
    ensure!(stream.receive(1).await?.len() == 1);
    Ok(())
}

async fn a_stream_holds_at_most_its_outstanding_bytes(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&[&"a".repeat(1_000), &"b".repeat(1_000)]).await?;
    let mut stream =
        bench.open(StreamingPullRequest { max_outstanding_bytes: 900, ..Default::default() }).await;
    let received = stream.receive(1).await?;
    ensure!(received.len() == 1, "{} came", received.len());
    stream.receive_nothing().await?;
    stream.send(deadlines(ack_ids(&received), 30)).await?;
    stream.receive_nothing().await?;
    bench.ack("worker", &received).await?;
    ensure!(text(&stream.receive(1).await?[0]).starts_with('b'));
    Ok(())
}

async fn two_streams_share_the_messages(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let mut one = bench.open(StreamingPullRequest::default()).await;
    let mut other = bench.open(StreamingPullRequest::default()).await;
    let wanted: Vec<String> = (0..10).map(|it| it.to_string()).collect();
    for text in &wanted {
        bench.publish(&[text]).await?;
    }
    let mut came = Vec::new();
    while came.len() < wanted.len() {
        let response = tokio::select! {
            response = one.response() => response,
            response = other.response() => response,
        };
        came.extend(texts(&response?.context("the stream ended")?.received_messages));
    }
    came.sort();
    ensure!(came == wanted, "{came:?}");
    Ok(())
}

async fn a_stream_on_a_missing_subscription_is_not_found(mut bench: Bench) -> Result<()> {
    bench.open(StreamingPullRequest::default()).await.ends_with(Code::NotFound).await
}

async fn a_stream_with_a_deadline_out_of_range_is_refused(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    let initial = StreamingPullRequest { stream_ack_deadline_seconds: 9, ..Default::default() };
    bench.open(initial).await.ends_with(Code::InvalidArgument).await
}

/// Opens a stream, sends one more request and checks that this ends the stream as invalid.
async fn check_invalid(mut bench: Bench, request: StreamingPullRequest) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    stream.receive(1).await?;
    stream.send(request).await?;
    stream.ends_with(Code::InvalidArgument).await
}

async fn a_second_initial_request_ends_the_stream(bench: Bench) -> Result<()> {
    let subscription = bench.subscription("worker");
    check_invalid(bench, StreamingPullRequest { subscription, ..Default::default() }).await
}

async fn deadlines_without_their_ack_ids_end_the_stream(bench: Bench) -> Result<()> {
    check_invalid(
        bench,
        StreamingPullRequest { modify_deadline_seconds: vec![10], ..Default::default() },
    )
    .await
}

async fn a_malformed_ack_id_ends_the_stream(bench: Bench) -> Result<()> {
    check_invalid(bench, acks(vec!["nonsense".to_owned()])).await
}

async fn a_stream_ends_when_its_subscription_is_deleted(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    stream.receive(1).await?;
    let delete = DeleteSubscriptionRequest { subscription: bench.subscription("worker") };
    bench.subscriber.delete_subscription(delete).await?;
    stream.ends_with(Code::NotFound).await
}

async fn a_stream_ends_when_its_client_is_done(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription::default()).await?;
    bench.publish(&["a"]).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    stream.receive(1).await?;
    let (closed, _) = tokio::sync::mpsc::channel(1);
    stream.requests = closed;
    stream.ends_with(Code::Ok).await
}

async fn ordered_messages_come_in_order(mut bench: Bench) -> Result<()> {
    bench.orders(Subscription { enable_message_ordering: true, ..Subscription::default() }).await?;
    let mut stream = bench.open(StreamingPullRequest::default()).await;
    bench.publish_keyed("key", &["a", "b", "c"]).await?;
    let mut came = Vec::new();
    while came.len() < 3 {
        let received = stream.receive(1).await?;
        came.extend(texts(&received));
        stream.send(acks(ack_ids(&received))).await?;
    }
    ensure!(came == ["a", "b", "c"], "{came:?}");
    Ok(())
}
