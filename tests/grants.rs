//! Each part of an installation may do what it needs, and no more: a full run with IAM enforced uses
//! every permission of `deploy/grants.yaml`, and without any one of them the step fails that needs it.

#[path = "grants/methods.rs"]
mod methods;
#[path = "grants/rights.rs"]
mod rights;
#[path = "grants/scene.rs"]
mod scene;
#[path = "grants/steps.rs"]
mod steps;
#[path = "grants/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::{FutureExt as _, StreamExt as _, stream};
use serde_json::Value;
use tokio::time::sleep;

use crate::methods::Asked;
use crate::rights::Right;
use crate::scene::{Scene, Wire};
use crate::steps::STEPS;
use crate::table::{Row, rows};

/// What a step takes at most where several runs share a small machine.
const PASSES_WITHIN: Duration = Duration::from_secs(20);
/// So long it is waited for what follows a refusal: several times what it takes without one.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const RUNS_AT_ONCE: usize = 10;
/// One row of each part, where nobody asks for `GRANTS=all`.
const SOME: [&str; 4] = [
    "ci artifact_bucket storage.objects.list",
    "worker queue_bucket storage.objects.update",
    "notifier ledger_bucket storage.objects.get",
    "service_agent dead_letter_topic pubsub.topics.publish",
];

/// How far a run came.
struct Walked {
    /// The step that failed, and why.
    failed: Option<(&'static str, String)>,
    /// How long each step took.
    times: Vec<(&'static str, Duration)>,
    wire: Vec<Value>,
}

/// Walks until a step fails. What is taken is taken when everybody has started.
async fn walk(without: Option<&Row>) -> Walked {
    let mut scene = Scene::start().await;
    if let Some(row) = without {
        rights::take(&scene.world.stack, &row.right);
    }
    let (mut failed, mut times) = (None, Vec::new());
    for (name, step) in STEPS {
        let (began, refused) = (Instant::now(), scene.wire());
        let walking = async {
            tokio::select! {
                walked = step(&mut scene) => walked,
                () = refusal(without.filter(|it| it.step == *name), &refused) => {
                    bail!("not within {PATIENCE:?} after a refusal")
                }
                () = sleep(PASSES_WITHIN) => bail!("not within {PASSES_WITHIN:?}"),
            }
        };
        let walked = AssertUnwindSafe(walking).catch_unwind().await;
        times.push((*name, began.elapsed()));
        let why = match walked {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "it panicked".to_owned(),
        };
        failed = Some((*name, format!("{why}\n{}", scene.complaints().await)));
        break;
    }
    let wire = scene.wire().lines();
    scene.world.stop().await;
    Walked { failed, times, wire }
}

/// Waits until what a row takes away was missed, and then as long as anybody would.
async fn refusal(row: Option<&Row>, wire: &Wire) {
    let Some(Row { right, .. }) = row else { return pending().await };
    // What Pub/Sub does by itself goes over no wire.
    while right.party != "service_agent" && !wire.tells_of(right) {
        sleep(LOOK_EVERY).await;
    }
    sleep(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_uses_every_permission_and_no_other() {
    let walked = walk(None).await;
    for (step, time) in &walked.times {
        println!("{:>6} ms  {step}", time.as_millis());
    }
    if let Some((step, why)) = walked.failed {
        panic!("{step}: {why}");
    }
    let mut used = BTreeSet::new();
    for line in &walked.wire {
        let Some(asked) = Asked::of(line) else { continue };
        assert!(!asked.is_refused(), "{line}");
        used.extend(asked.took());
    }
    // That of Pub/Sub's own account is told by taking it away.
    let mut given = rights::all();
    given.retain(|it| it.party != "service_agent");
    let names = |rights: BTreeSet<_>| rights.iter().map(Right::to_string).collect::<Vec<_>>();
    assert_eq!(names(&given - &used), Vec::<String>::new(), "given, and not used");
    assert_eq!(names(&used - &given), Vec::<String>::new(), "used, and not given");
}

#[test]
fn the_table_has_every_permission_once() {
    let mut rows: Vec<_> = rows().into_iter().map(|it| it.right).collect();
    rows.sort();
    assert_eq!(rows, rights::all().into_iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lacks_a_permission_fails_at_the_step_that_needs_it() {
    let which = std::env::var("GRANTS").unwrap_or_default();
    let is_wanted = |row: &Row| match which.as_str() {
        "" => SOME.contains(&row.right.to_string().as_str()),
        "all" => true,
        part => row.right.to_string().contains(part),
    };
    let rows: Vec<_> = rows().into_iter().filter(is_wanted).collect();
    assert!(!rows.is_empty(), "no permission is called {which}");
    let began = Instant::now();
    let walks = rows.iter().map(|row| async move { judge(row, &walk(Some(row)).await) });
    let judged: Vec<_> = stream::iter(walks).buffer_unordered(RUNS_AT_ONCE).collect().await;
    let wrong: Vec<_> = judged.into_iter().flatten().collect();
    println!("{} permissions, one by one, in {:?}", rows.len(), began.elapsed());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is wrong with how a run went without something.
fn judge(row: &Row, walked: &Walked) -> Option<String> {
    let Row { right, step, told } = row;
    let wrong = |what: String| Some(format!("without {right}: {what}"));
    let Some((failed, why)) = &walked.failed else {
        return wrong(format!("nothing failed, and {step:?} should have"));
    };
    if failed != step {
        return wrong(format!("{failed:?} failed, and {step:?} should have: {why}"));
    }
    // A step may be slow; what was refused is why it did not come to its end.
    let mut asked = walked.wire.iter().filter_map(Asked::of);
    if right.party != "service_agent" && !asked.any(|it| it.is_refused_without(right)) {
        return wrong(format!("{step:?} failed, and nothing was refused for want of it: {why}"));
    }
    if !why.contains(told) {
        return wrong(format!("{step:?} failed, and nobody was told of {told}: {why}"));
    }
    println!("{right}: {step}");
    None
}
