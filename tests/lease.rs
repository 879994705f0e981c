//! The lease over sockets: one pod has it at a time, and knows its own hand.

use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::storage::Storage;
use branchline_gcp::{Config, Credentials};
use branchline_ledger::Lease;
use branchline_local::stack::{Options, Stack};
use tokio::time::Instant;

const LENGTH: Duration = Duration::from_secs(15);
const SEC: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_does_not_lose_the_lease() {
    let stack = Stack::start(Options::default()).await.unwrap();
    stack.storage.create_bucket("queue").unwrap();
    let google = Config {
        credentials: Credentials::Anonymous,
        storage_endpoint: Some(format!("http://{}", stack.endpoints().storage)),
        ..Config::default()
    };
    let storage = Arc::new(Storage::connect(&google).await.unwrap());
    let lease =
        |holder: &str| Lease::new(storage.clone(), "queue".to_owned(), holder.to_owned(), LENGTH);
    let begin = Instant::now();
    let (mut ours, mut theirs) = (lease("ours"), lease("theirs"));
    assert!(ours.hold(begin).await.unwrap());
    assert!(!theirs.hold(begin).await.unwrap());

    // Another hand of the same holder renews it: this one is behind, as after a lost answer.
    let mut hand = lease("ours");
    assert!(hand.hold(begin + SEC).await.unwrap());
    assert!(hand.hold(begin + SEC * 7).await.unwrap());
    assert!(ours.hold(begin + SEC * 8).await.unwrap(), "its own renewal is in its way");

    // Whoever watched it unchanged for its length takes it, and the old holder learns it.
    assert!(!theirs.hold(begin + SEC * 9).await.unwrap());
    assert!(theirs.hold(begin + SEC * 24).await.unwrap());
    assert!(!ours.hold(begin + SEC * 25).await.unwrap());
    stack.shutdown().await;
}
