//! Messages that people and accidents publish: nothing of them is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_ledger::{Archive, Letter};
use branchline_local::installation::{PROJECT, topic};
use branchline_tests::eventually::eventually;
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

    let exported = ada.says(&["dlq", "export"]).await;
    let letters: Vec<Letter> = exported
        .lines()
        .map(|it| {
            serde_json::from_value(serde_json::from_str::<Value>(it).unwrap()["letter"].take())
        })
        .collect::<Result<_, _>>()
        .unwrap();
    for (data, attributes) in &sent {
        let found = letters.iter().find(|it| it.data.0 == *data).unwrap();
        assert_eq!(&found.attributes, attributes);
    }

    // An administrator puts them into another archive, twice: they are what they were.
    world.stack.storage.create_bucket(OTHER).unwrap();
    let file = ada.path("letters.jsonl");
    std::fs::write(&file, &exported).unwrap();
    let member = format!("serviceAccount:{}", branchline_tests::roles::account("operator"));
    let bucket = branchline_local::iam::Resource::bucket(OTHER);
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
