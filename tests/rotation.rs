//! `docs/rotation.md`, done to processes against the local stack while requests keep coming: nobody who is trusted is
//! refused, and nobody is believed by what was withdrawn.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "rotation/requests.rs"]
mod requests;

use branchline_contract::Outcome;
use branchline_gcp::Class;
use branchline_gcp::storage::{Objects as _, Storage};
use branchline_local::iam::Resource;
use branchline_local::installation::{LEDGER, PROJECT, QUEUE};
use branchline_tests::roles::account;
use branchline_tests::rolled::{Rolled, within};
use serde_json::{Value, json};

use self::requests::{Ci, Flow};

/// What stands in the document, with the addresses of here.
fn documented(info: &str, old: &str, new: &str) -> Value {
    let text = include_str!("../docs/rotation.md");
    let block = text.split_once(&format!("```yaml {info}\n")).expect("the document has it").1;
    let block = block.split("```").next().unwrap();
    let block = block.replace("https://gitlab.example.com", old);
    serde_saphyr::from_str(&block.replace("https://gitlab.example.org", new)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_issuers_change_while_requests_keep_coming() {
    // Issuers are asked for their keys twice a minute at most, so it takes minutes. `id_tokens.rs` has the
    // rotation of keys in little.
    if std::env::var_os("ROTATION").is_none() {
        println!("skipped: keys and issuers that change, for `make docs`");
        return;
    }
    let at = Rolled::start().await;
    let (old, new) = (Ci::of(at.stack.gitlab.clone(), &at.gitlab()), Ci::start().await);
    let flow = Flow::start(&at, vec![old.clone(), new.clone()]);

    // The first key, of a GitLab whose keys are handed over by hand.
    let keys = at.path("jwks.json");
    let first = old.gitlab.signer().unwrap();
    let publish = |known: Vec<Value>| std::fs::write(&keys, json!({"keys": known}).to_string());
    publish(vec![first.public()]).unwrap();
    let by_hand = json!({"identity": {"issuers": [{"issuer": old.address, "jwks_file": keys}]}});
    let worker = at.worker(&by_hand).await;
    flow.send(&[0]).await;
    flow.let_in(&at, 0, 5).await;

    // The second is known before GitLab signs with it. Nobody restarts anything.
    old.gitlab.rotate_key().unwrap();
    let second = old.gitlab.signer().unwrap();
    publish(vec![first.public(), second.public()]).unwrap();
    flow.let_in(&at, 0, 5).await;

    // The first is withdrawn at once, by a restart.
    publish(vec![second.public()]).unwrap();
    let worker = at.roll(worker, &by_hand).await;
    let stolen = old.request_signed_by(&first);
    at.publish(&stolen).await;
    at.refused(1).await;
    flow.let_in(&at, 0, 5).await;

    // Both issuers, before any job names the second.
    let overlap = documented("overlap", &old.address, &new.address);
    let worker = at.roll(worker, &overlap).await;
    flow.send(&[0, 1]).await;
    flow.let_in(&at, 0, 5).await;
    flow.let_in(&at, 1, 5).await;

    // No job names the first any more, and no message of one waits.
    flow.send(&[1]).await;
    flow.let_in(&at, 0, 0).await;
    let after = documented("after", &old.address, &new.address);
    let worker = at.roll(worker, &after).await;
    let late = old.request_signed_by(&second);
    at.publish(&late).await;
    at.refused(2).await;
    flow.let_in(&at, 1, 5).await;

    // Whoever was let in stays let in, and nobody else was.
    let sent = flow.stop().await;
    assert!(
        sent.iter().filter(|it| it.ci == 0).count() >= 20 && sent.len() >= 30,
        "{}",
        sent.len()
    );
    for request in &sent {
        let outcome = at.outcome(&request.body).await;
        assert_eq!(outcome, Some(Outcome::Succeeded), "{}", request.body["run"]);
    }
    at.refused(2).await;
    for request in [&stolen, &late] {
        assert!(at.history(request).await.is_none());
    }
    println!(
        "{} requests while keys and issuers changed, none refused; 2 by what was withdrawn, both refused",
        sent.len()
    );
    at.drain(worker).await;
    at.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notifiers_token_changes_and_every_run_is_reported() {
    let at = Rolled::start().await;
    let ci = Ci::of(at.stack.gitlab.clone(), &at.gitlab());
    let worker = at.worker(&json!({"identity": {"issuers": [{"issuer": ci.address}]}})).await;
    let file = at.path("token");
    let first = at.stack.gitlab.token();
    std::fs::write(&file, &first).unwrap();
    let notifier = at.notifier(&file).await;
    let before = ci.request();
    at.publish(&before).await;
    within("the first run is reported", async || at.status(&before, &first).await == "success")
        .await;

    // The harder case: GitLab takes the first one no more before the second is there.
    let second = at.stack.gitlab.rotate_token().unwrap();
    assert_eq!(at.status(&before, &first).await, "401");
    let between = ci.request();
    at.publish(&between).await;
    within("the second run ends", async || at.outcome(&between).await.is_some()).await;
    std::fs::write(&file, &second).unwrap();

    // A role reads its token when it starts.
    at.drain(notifier).await;
    let notifier = at.notifier(&file).await;
    within("the second run is reported", async || at.status(&between, &second).await == "success")
        .await;
    let after = ci.request();
    at.publish(&after).await;
    within("the third run is reported", async || at.status(&after, &second).await == "success")
        .await;
    at.refused(0).await;
    at.drain(notifier).await;
    at.drain(worker).await;
    at.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_account_changes_while_requests_keep_coming() {
    let at = Rolled::start_enforced().await;
    let ci = Ci::of(at.stack.gitlab.clone(), &at.gitlab());
    let flow = Flow::start(&at, vec![ci.clone()]);
    let told = json!({"identity": {"issuers": [{"issuer": ci.address}]}});
    let first = at.worker_as("worker", &told).await;
    flow.send(&[0]).await;
    flow.let_in(&at, 0, 5).await;

    at.grant_worker("worker-two");
    let second = at.worker_as("worker-two", &told).await;
    at.drain(first).await;
    flow.let_in(&at, 0, 5).await;

    // Nothing that still works rests on the first one's rights.
    let member = format!("serviceAccount:{}", account("worker"));
    let iam = &at.stack.iam;
    iam.unbind(&Resource::bucket(QUEUE), "roles/storage.objectUser", &member);
    for role in ["roles/storage.objectCreator", "roles/storage.objectViewer"] {
        iam.unbind(&Resource::bucket(LEDGER), role, &member);
    }
    let worked_on = Resource::subscription(PROJECT, "artifact-ready-worker");
    iam.unbind(&worked_on, "roles/pubsub.subscriber", &member);
    let stale = Storage::connect(&at.google_of("worker").await).await.unwrap();
    let refused = stale.stat(QUEUE, "lease", None).await.unwrap_err();
    assert_eq!(refused.class(), Class::Permission, "{refused}");
    flow.let_in(&at, 0, 5).await;

    let sent = flow.stop().await;
    for request in &sent {
        let outcome = at.outcome(&request.body).await;
        assert_eq!(outcome, Some(Outcome::Succeeded), "{}", request.body["run"]);
    }
    at.refused(0).await;
    println!("{} requests while the worker's account changed, none refused", sent.len());
    at.drain(second).await;
    at.stop().await;
}
