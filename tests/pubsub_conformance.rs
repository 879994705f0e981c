//! One suite, two servers: each case runs against the embedded Pub/Sub and,
//! where it is installed, against Google's own emulator, through nothing but
//! Google's gRPC definitions.
//!
//! Where the two differ, the real service's documented behaviour is what a case
//! asserts, and the emulator's difference stands in `DIFFERENCES` with its reason.
//! A difference that is not listed fails, and so does a listed one that is gone.

#[path = "pubsub_conformance/admin.rs"]
mod admin;
#[path = "pubsub_conformance/bench.rs"]
mod bench;
#[path = "pubsub_conformance/delivery.rs"]
mod delivery;
#[path = "pubsub_conformance/publishing.rs"]
mod publishing;
#[path = "pubsub_conformance/streams.rs"]
mod streams;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, anyhow};
use branchline_local::faults::Dice;
use branchline_local::pubsub::PubSub;
use branchline_tests::emulator::{self, Emulator};
use futures::future::BoxFuture;
use tokio::net::TcpListener;

use self::bench::Bench;

/// A sentence about Pub/Sub, and the code that checks it against one server.
struct Case {
    name: &'static str,
    run: fn(Bench) -> BoxFuture<'static, Result<()>>,
}

/// Lists functions as cases under their own names.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn cases() -> Vec<crate::Case> {
            vec![$(crate::Case { name: stringify!($name), run: |bench| Box::pin($name(bench)) }),*]
        }
    };
}
pub(crate) use cases;

/// What Google's emulator does unlike the real service, and what only ours refuses.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "a_filter_lets_matching_messages_through_only",
        "the emulator stores filters and delivers everything",
    ),
    ("a_malformed_filter_is_refused", "the emulator does not parse filters"),
    ("a_stream_holds_at_most_its_outstanding_messages", "the emulator ignores flow control"),
    ("a_stream_holds_at_most_its_outstanding_bytes", "the emulator ignores flow control"),
    (
        "a_nacked_ordered_message_comes_again_before_its_successors",
        "the emulator delivers the successors first",
    ),
    (
        "a_retry_policy_delays_the_first_redelivery",
        "the emulator redelivers at once the first time",
    ),
    (
        "a_dead_letter_states_its_publish_time_with_an_offset",
        "the emulator ends it with Z, real dead letters with +00:00",
    ),
    (
        "exactly_once_delivery_is_refused_rather_than_pretended",
        "the emulator has exactly-once delivery, the embedded stack has not",
    ),
    (
        "an_ack_deadline_out_of_range_is_refused",
        "the emulator takes any ack deadline; 10 to 600 seconds are documented",
    ),
    (
        "a_deadline_out_of_range_is_refused",
        "the emulator takes any extension; 0 to 600 seconds are documented",
    ),
    ("the_labels_of_a_topic_are_updated", "the emulator cannot update labels"),
    (
        "the_subscriptions_of_a_missing_topic_are_not_found",
        "the emulator answers with an empty list",
    ),
    ("an_empty_attribute_key_is_refused", "the emulator does not check attributes"),
    (
        "too_long_an_attribute_key_is_refused",
        "the emulator does not check attributes; 256 bytes are documented",
    ),
    (
        "too_long_an_attribute_value_is_refused",
        "the emulator does not check attributes; 1024 bytes are documented",
    ),
    (
        "too_many_attributes_are_refused",
        "the emulator does not check attributes; 100 are documented",
    ),
    (
        "more_than_ten_megabytes_are_refused",
        "the emulator takes a little more; 10 MB are documented",
    ),
    (
        "two_ordering_keys_in_one_publish_are_refused",
        "the emulator takes them; the API definition forbids them",
    ),
];

/// A case that takes longer has failed.
const CASE_MAX: Duration = Duration::from_secs(10);

type Verdicts = BTreeMap<&'static str, Result<()>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_pubsub_and_googles_emulator_agree() {
    let ours = PubSub::open(None, Dice::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = ours.router();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let (verdicts_on_ours, emulator) = tokio::join!(run_all(&url), start_googles());
    ours.shutdown();
    server.abort();
    let verdicts_on_googles = match &emulator {
        Some(emulator) => run_all(&emulator.url()).await,
        None => Verdicts::new(),
    };
    let both = verdicts_on_ours.keys().filter(|it| verdicts_on_googles.contains_key(*it)).count();
    say(&format!(
        "pubsub conformance: {} cases ran against ours, {} against Google's emulator, {both} against both; {} listed differences",
        verdicts_on_ours.len(),
        verdicts_on_googles.len(),
        DIFFERENCES.len(),
    ));
    let complaints = judge(&verdicts_on_ours, &verdicts_on_googles);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Google's emulator; a machine without it is told so, but one that it fails on has failed.
async fn start_googles() -> Option<Emulator> {
    match emulator::installed() {
        Ok(script) => Some(Emulator::start(&script).await.expect("the installed emulator starts")),
        Err(missing) => {
            say(&format!("Google's emulator did not run: {missing:#}"));
            None
        }
    }
}

async fn run_all(url: &str) -> Verdicts {
    let all = [admin::cases(), publishing::cases(), delivery::cases(), streams::cases()];
    let running: Vec<_> = all
        .into_iter()
        .flatten()
        .map(|case| {
            let url = url.to_owned();
            (
                case.name,
                tokio::spawn(
                    async move { (case.run)(Bench::connect(&url, case.name).await?).await },
                ),
            )
        })
        .collect();
    let mut verdicts = Verdicts::new();
    for (name, task) in running {
        let verdict = match tokio::time::timeout(CASE_MAX, task).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => Err(anyhow!("{panic}")),
            Err(_) => Err(anyhow!("still running after {CASE_MAX:?}")),
        };
        assert!(verdicts.insert(name, verdict).is_none(), "two cases are named {name}");
    }
    verdicts
}

/// What is wrong with the outcome, one line each.
fn judge(ours: &Verdicts, googles: &Verdicts) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, verdict) in ours {
        if let Err(error) = verdict {
            complaints.push(format!("ours: {name}: {error:#}"));
        }
    }
    let listed = |name: &str| DIFFERENCES.iter().any(|(it, _)| *it == name);
    for (name, verdict) in googles {
        match verdict {
            Err(error) if !listed(name) => {
                complaints.push(format!("Google's, not listed: {name}: {error:#}"));
            }
            Ok(()) if listed(name) => {
                complaints.push(format!("listed as a difference, but Google's agrees: {name}"));
            }
            Ok(()) | Err(_) => {}
        }
    }
    for (name, _) in DIFFERENCES.iter().filter(|(name, _)| !ours.contains_key(name)) {
        complaints.push(format!("listed as a difference, but there is no such case: {name}"));
    }
    complaints
}

/// Past the test harness's capture, so that the counts are always seen.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}
