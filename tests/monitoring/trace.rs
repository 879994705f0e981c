//! One trace, from the CI job's environment to what GitLab receives.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use branchline_contract::TraceParent;
use branchline_ledger::Entry;
use branchline_local::faults::Faults;
use branchline_local::installation::{LEDGER, PROJECT, topic};
use branchline_tests::eventually::eventually;
use branchline_tests::installation::Installation;
use branchline_tests::world::World;
use serde_json::{Value, json};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NAME: &str = "projects/demo-project/traces/0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The messages of the lines that carry the trace.
fn traced(log: &str) -> BTreeSet<String> {
    let lines = log.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let ours = lines.filter(|it| it["logging.googleapis.com/trace"] == NAME);
    let ours = ours.inspect(|it| assert_eq!(it["logging.googleapis.com/spanId"], SPAN, "{it}"));
    ours.filter_map(|it| Some(it["message"].as_str()?.to_owned())).collect()
}

/// The traces that the messages of a kept topic name.
async fn attributes(at: &Installation, kept: &str) -> Vec<Value> {
    let messages = at.pull(kept).await.unwrap();
    let attribute = |it: &Value| it["message"]["attributes"][TraceParent::ATTRIBUTE].clone();
    messages.iter().map(attribute).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_ci_job_to_the_write_in_gitlab() {
    let mut at = Installation::new(Duration::from_secs(5)).unwrap();
    (at.log, at.trace) = ("info,branchline_service=debug", Some(PARENT));
    let stack = at.embedded(Faults::default()).await.unwrap();
    at.keep("artifact-ready", "requests-kept").await.unwrap();
    at.keep("run-events", "events-kept").await.unwrap();
    let (worker, _port) = at.worker().await.unwrap();
    let (notifier, _port) = at.notifier(stack.gitlab.token()).await.unwrap();
    let run = at.publish().await.unwrap();
    eventually("GitLab is told of the end", async || {
        let status = at.commit_status(&run, &stack.gitlab.token()).await.unwrap();
        (status.as_deref() == Some("success")).then_some(())
    })
    .await;
    for role in [worker, notifier] {
        role.terminate().unwrap();
        role.ends(ENDS_WITHIN).await.unwrap();
    }

    assert_eq!(attributes(&at, "requests-kept").await, [PARENT], "the request");
    let events = attributes(&at, "events-kept").await;
    assert!(events.len() >= 3 && events.iter().all(|it| it == PARENT), "{events:?}");
    let objects = at.objects(LEDGER).unwrap();
    let facts = objects.values().map(|it| Entry::decode(it).unwrap().fact);
    let facts: Vec<_> = facts.filter_map(|it| Some((it.body.kind(), it.trace?))).collect();
    assert_eq!(facts, [("requested", TraceParent::parse(PARENT).unwrap())]);

    let lines = traced(&at.logs_of("worker"));
    for line in [
        "run requested",
        "delivery was handled",
        "fact appended",
        "job created",
        "run event published",
    ] {
        assert!(lines.contains(line), "the worker's lines: {line} is not among {lines:?}");
    }
    let lines = traced(&at.logs_of("notifier"));
    assert!(lines.contains("delivery was handled"), "the notifier's lines: {lines:?}");
    let calls = at.wire("gitlab").unwrap();
    for write in ["/statuses/", "/notes"] {
        let mut ours = calls.iter().filter(|it| {
            it["method"] == "POST" && it["path"].as_str().is_some_and(|it| it.contains(write))
        });
        assert!(ours.any(|it| it["traceparent"] == PARENT), "{write}: {calls:?}");
    }
    stack.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_usable_trace_has_none_and_its_run_too() {
    let world = World::start().await;
    for (run, attribute) in [
        ("bare", None),
        ("forged", Some("00-XYZ\n{\"a\":1}")),
        ("upper", Some("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01")),
    ] {
        let request = world.request(run, &json!([]), "true");
        let data = world.signed(request.clone()).to_string();
        let attributes = attribute.map(|it| (TraceParent::ATTRIBUTE.to_owned(), it.to_owned()));
        let attributes: HashMap<_, _> = attributes.into_iter().collect();
        let requests = topic(PROJECT, "artifact-ready");
        world.stack.pubsub.publish(&requests, data.into(), attributes).unwrap();
        let history = world.ended(&request, 1).await;
        assert_eq!(history.run.trace, None, "{run}");
        let first = history.entries[0].fact.encode();
        assert!(!String::from_utf8(first).unwrap().contains("trace"), "{run}");
    }
    world.stop().await;
}
