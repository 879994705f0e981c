//! Two messages that nobody could handle, and the operator who sees to it that both train.

use branchline_contract::Outcome;
use branchline_local::iam::Resource;
use branchline_local::installation::{ARTIFACTS, LEDGER};
use branchline_tests::eventually::eventually;
use branchline_tests::roles::account;
use branchline_tests::world::{World, run_id};
use serde_json::{Value, json};

use crate::operator::Operator;

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_grants_a_role_mends_a_field_and_both_runs_succeed() {
    let (world, ada) = Operator::start().await;
    let worker = format!("serviceAccount:{}", account("worker"));
    let artifacts = Resource::bucket(ARTIFACTS);
    world.stack.iam.unbind(&artifacts, "roles/storage.objectViewer", &worker);

    let unreadable = world.request("unreadable", &json!([world.artifact("a.csv", "1,2")]), "true");
    world.publish(unreadable.to_string()).await;
    let good = world.request("by-hand", &json!([]), "true");
    let mut misspelt = good.clone();
    misspelt["vertex"]["region"] = json!("nowhere");
    world.publish_as_it_is(misspelt.to_string()).await;
    // It is proven, so its commit is told what is wrong with it, and it is no dead letter.
    let mut bad_spec = world.request("bad-spec", &json!([]), "true");
    bad_spec["training"]["custom_job"]["jobSpec"]["workerPoolSpec"] = json!([]);
    world.publish(bad_spec.to_string()).await;
    let history = world.ended(&bad_spec, 1).await;
    assert_eq!(history.run.ending().unwrap().outcome, Outcome::Rejected);

    let ids = found_by_reason(&ada, &unreadable).await;
    let [denied, undecodable] = &ids;
    let shown = ada.says(&["dlq", "show", denied]).await;
    assert!(shown.contains("a replay takes its run up again, where intake left it"), "{shown}");
    assert!(shown.contains("stalled"), "its ledger stands beside it: {shown}");
    let shown = ada.says(&["dlq", "show", undecodable]).await;
    assert!(shown.contains("; edit it first"), "{shown}");
    // What nothing proves is not sent, whoever asks.
    let why = ["-m", "the region was misspelt", "--yes"];
    let refused = ada.run(&[&["dlq", "replay", undecodable], &why[..]].concat(), b"").await;
    assert_eq!(refused.status.code(), Some(69));
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("1 without a proven origin"), "{said}");

    world.stack.iam.bind(&artifacts, "roles/storage.objectViewer", &worker).unwrap();
    let patch = r#"{"vertex":{"region":"europe-west4"}}"#;
    let edited = [&["dlq", "edit", undecodable, "--patch", patch], &why[..]].concat();
    let diff = ada.says(&edited).await;
    assert!(diff.contains("-    \"region\": \"nowhere\""), "{diff}");
    assert!(diff.contains("+    \"region\": \"europe-west4\""), "{diff}");
    let dry = ada.says(&["dlq", "replay", denied, undecodable, "-m", "why"]).await;
    assert!(dry.contains("topics/artifact-ready"), "{dry}");
    assert!(world.history(&good).await.is_none(), "a dry run sends nothing");
    let replayed = ["dlq", "replay", denied, undecodable, "-m", "mended", "--yes"];
    assert_eq!(ada.says(&replayed).await, "2 replayed\n");

    for request in [&unreadable, &good] {
        let history = world.ended(request, 1).await;
        assert_eq!(history.run.ending().unwrap().outcome, Outcome::Succeeded);
        assert_eq!(world.jobs(request).await, 1);
    }
    assert!(ada.lists(&[]).await.is_empty(), "nothing is left to do");

    refused_edits_leave_nothing(&world, &ada, undecodable).await;

    // It is all on record: who asked, why it stuck, who mended it.
    let trail = ada.says(&["audit", "show", run_id(&unreadable).as_str()]).await;
    for told in ["stalled", "roles/storage.objectViewer", &format!("replay {denied}/1"), "anna"] {
        assert!(trail.contains(told), "{told}: {trail}");
    }
    let trail = ada.says(&["audit", "show", run_id(&good).as_str()]).await;
    for told in ["ada@example.com asked", "operators", &format!("replay {undecodable}/2")] {
        assert!(trail.contains(told), "{told}: {trail}");
    }
    let shown = ada.says(&["dlq", "show", undecodable]).await;
    assert!(shown.contains("its run has ended (succeeded): a replay is a no-op"), "{shown}");
    for told in
        ["edited by ada@example.com", "the region was misspelt", "replayed by ada@example.com"]
    {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    world.stop().await;
}

/// Both dead letters, the one that may not be read first: each by its reason, and by nothing else.
async fn found_by_reason(ada: &Operator, unreadable: &Value) -> [String; 2] {
    let denied = eventually("both are in the archive", async || {
        let all = ada.lists(&[]).await;
        (all.len() == 2).then_some(())?;
        ada.lists(&["--reason", "permission-denied"]).await.pop()
    })
    .await;
    let undecodable = ada.lists(&["--reason", "does-not-decode"]).await;
    let [undecodable] = undecodable.as_slice() else { panic!("{undecodable:?}") };
    assert!(ada.lists(&["--reason", "panic"]).await.is_empty());
    let detail = denied["detail"].as_str().unwrap();
    assert!(detail.contains("storage.objects.get"), "{detail}");
    assert!(detail.contains("roles/storage.objectViewer"), "{detail}");
    assert_eq!(denied["run"], run_id(unreadable).as_str());
    assert_eq!((&denied["proven"], &undecodable["proven"]), (&json!(true), &json!(false)));
    let counts = ada.says(&["dlq", "list", "--counts"]).await;
    assert!(counts.contains("1           1  does-not-decode"), "{counts}");
    [&denied["id"], &undecodable["id"]].map(|it| it.as_str().unwrap().to_owned())
}

/// Who proves nothing edits nothing, and what they wrote is kept nowhere.
async fn refused_edits_leave_nothing(world: &World, ada: &Operator, letter: &str) {
    let body = format!("{{\"junk\":\"{}\"}}", "x".repeat(90_000));
    let edit = ["dlq", "edit", letter, "--file", "-", "-m", "why not", "--yes"];
    let nobody = ("BRANCHLINE_OPERATOR_TOKEN", "");
    let refused = ada.run_with(&edit, body.as_bytes(), nobody).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains("operators have to prove who they are"), "{said}");
    let left = said.rsplit_once("lies in ").unwrap().1.split(',').next().unwrap();
    assert_eq!(std::fs::read_to_string(left).unwrap(), body, "what was edited is not lost");
    std::fs::remove_file(left).unwrap();
    for answer in world.stack.storage.list(LEDGER, "answers/") {
        let (_, content) = world.stack.storage.get(LEDGER, &answer.name).unwrap();
        assert!(content.len() < 4_096, "{}: {} bytes", answer.name, content.len());
    }
}
