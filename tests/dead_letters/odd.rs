//! Messages that people and accidents publish: nothing of them is lost.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_ledger::{Archive, Letter};
use branchline_local::iam::Resource;
use branchline_local::installation::{DEAD_LETTERS, PROJECT, topic};
use branchline_tests::eventually::eventually;
use branchline_tests::roles::account;
use branchline_tests::world::World;
use serde_json::Value;

use crate::operator::Operator;

const OTHER: &str = "other-dead-letters";

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_understands_is_listed_shown_exported_and_imported_without_loss() {
    let (world, ada) = Operator::start().await;
    let attributes: BTreeMap<String, String> =
        (0..100).map(|it| (format!("key-{it:03}"), format!("{it}").repeat(300))).collect();
    let few = BTreeMap::from([("ce-type".to_owned(), "something.else.v7".to_owned())]);
    let garbage: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let sent: [(Vec<u8>, BTreeMap<String, String>); 5] = [
        (garbage, few),
        (vec![b'x'; 9_900_000], BTreeMap::new()),
        (b"{}".to_vec(), attributes),
        ("by hand: ü \u{1b}[2J".as_bytes().to_vec(), BTreeMap::new()),
        (Vec::new(), BTreeMap::from([("empty".to_owned(), String::new())])),
    ];
    let publisher = Publisher::connect(world.google()).await.unwrap();
    for (data, attributes) in &sent {
        let message = Message {
            data: data.clone().into(),
            attributes: attributes.clone(),
            ordering_key: None,
        };
        publisher.publish(&topic(PROJECT, "artifact-ready"), message).await.unwrap();
    }
    let listed = eventually("all of them are in the archive", async || {
        let listed = ada.lists(&[]).await;
        (listed.len() == sent.len()).then_some(listed)
    })
    .await;
    assert!(listed.iter().all(|it| it["reason"] == "does-not-decode"), "{listed:?}");
    for it in &listed {
        let shown = ada.says(&["dlq", "show", it["id"].as_str().unwrap()]).await;
        assert!(!shown.contains('\u{1b}') && shown.contains("does-not-decode"), "{shown}");
    }
    assert_eq!(ada.lists(&["--text", "BY HAND"]).await.len(), 1);
    assert_eq!(ada.lists(&["--text", "something.else"]).await.len(), 1);

    // What nobody can read behind a letter hides nothing that is there.
    let id = listed[0]["id"].as_str().unwrap();
    let unread = format!("letters/{id}/000001.json");
    world.stack.storage.put(DEAD_LETTERS, &unread, "nobody's").unwrap();
    ada.says(&["dlq", "discard", id, "-m", "nobody's", "--yes"]).await;
    let shown = ada.says(&["dlq", "show", id]).await;
    assert!(shown.contains("then (2)") && !shown.contains("then (1)"), "{shown}");

    let exported = ada.says(&["dlq", "export"]).await;
    let acts = |line: &str| serde_json::from_str::<Value>(line).unwrap()["acts"].take();
    let acts: Vec<_> = exported.lines().map(acts).filter(|it| !it.is_null()).collect();
    assert_eq!(acts.len(), 1);
    assert_eq!(acts[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["2"]);
    let letters = letters(&exported);
    for (data, attributes) in &sent {
        let found = letters.iter().find(|it| it.data.0 == *data).unwrap();
        assert_eq!(&found.attributes, attributes);
    }

    // An administrator puts them into another archive, twice: they are what they were.
    world.stack.storage.create_bucket(OTHER).unwrap();
    let file = ada.path("letters.jsonl");
    std::fs::write(&file, &exported).unwrap();
    let member = format!("serviceAccount:{}", account("operator"));
    let bucket = Resource::bucket(OTHER);
    world.stack.iam.bind(&bucket, "roles/storage.objectUser", &member).unwrap();
    let import = ["dlq", "import", file.to_str().unwrap(), "--dead-letter-bucket", OTHER];
    ada.says(&import).await;
    ada.says(&import).await;
    let again = ada.says(&["dlq", "export", "--dead-letter-bucket", OTHER]).await;
    assert_eq!(again, exported);
    let archive = Archive::new(Arc::new(world.storage.clone()), OTHER.to_owned());
    assert_eq!(archive.list(None).await.unwrap().len(), sent.len());

    let broken = exported.replacen("\"data\":\"", "\"data\":\"AAAA", 1);
    let refused =
        ada.run(&["dlq", "import", "--dead-letter-bucket", OTHER], broken.as_bytes()).await;
    assert_eq!(refused.status.code(), Some(65));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("line 1: the body of"), "{said}");
    world.stop().await;
}

/// As somebody does it in a hurry: a body, and `--attribute`.
#[tokio::test(flavor = "multi_thread")]
async fn what_gcloud_published_is_listed_shown_and_exported_as_it_was() {
    if Command::new("gcloud").arg("--version").output().is_err() {
        eprintln!("skipped: gcloud is not installed");
        return;
    }
    let (world, ada) = Operator::start().await;
    let many: BTreeMap<String, String> =
        (0..100).map(|it| (format!("key-{it}"), format!("ü={it}"))).collect();
    let sent = [
        ("run again, please: ü \u{1b}[2J", BTreeMap::new()),
        (r#"{"specversion": "1.0", "type": "dev.branchline.artifact.ready.v1"}"#, many),
    ];
    let token = ada.path("token");
    let member =
        format!("serviceAccount:{}", world.stack.iam.create_service_account(PROJECT, "somebody"));
    let ready = topic(PROJECT, "artifact-ready");
    world
        .stack
        .iam
        .bind(&Resource::topic(PROJECT, "artifact-ready"), "roles/pubsub.publisher", &member)
        .unwrap();
    std::fs::write(&token, world.stack.iam.account_token(&account("somebody"))).unwrap();
    for (body, attributes) in &sent {
        let pairs: Vec<String> =
            attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut publish = Command::new("gcloud");
        publish.args(["pubsub", "topics", "publish", &ready, "--message", body]);
        if !pairs.is_empty() {
            publish.arg(format!("--attribute={}", pairs.join(",")));
        }
        let said = gcloud(publish, &world, &ada).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    let listed = eventually("both are in the archive", async || {
        let listed = ada.lists(&["--reason", "does-not-decode"]).await;
        (listed.len() == sent.len()).then_some(listed)
    })
    .await;
    for it in &listed {
        ada.says(&["dlq", "show", it["id"].as_str().unwrap()]).await;
    }
    let exported = ada.says(&["dlq", "export"]).await;
    for (body, attributes) in &sent {
        let found = letters(&exported).into_iter().find(|it| it.data.0 == *body.as_bytes());
        assert_eq!(found.unwrap().attributes, *attributes);
    }
    world.stop().await;
}

/// gcloud with a directory of its own, in the local project.
fn gcloud(mut command: Command, world: &World, ada: &Operator) -> Command {
    let pubsub = format!("http://{}/", world.stack.endpoints().pubsub);
    command
        .env("CLOUDSDK_CONFIG", ada.path("gcloud"))
        .env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", ada.path("token"))
        .env("CLOUDSDK_CORE_PROJECT", PROJECT)
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true")
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", pubsub);
    command
}

fn letters(exported: &str) -> Vec<Letter> {
    let letter = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(line["letter"].take()).unwrap()
    };
    exported.lines().map(letter).collect()
}
