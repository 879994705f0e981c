//! Cloud Storage: nothing is returned that was not verified.

use super::{Answer, Server, json, page};
use branchline_gcp::Class;
use branchline_gcp::storage::{Object, Objects as _, Storage};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// CRC32C of "hello world", as a number and in base64 of its big-endian bytes.
const CRC32C: (u32, &str) = (0xc994_65aa, "yZRlqg==");

fn content(body: &str, hash: &str) -> Answer {
    let headers = format!(
        "x-goog-generation: 7\r\nx-goog-metageneration: 2\r\nx-goog-meta-kind: lease\r\n\
         x-goog-stored-content-length: 11\r\n{hash}"
    );
    Answer::Http { status: 200, headers, body: body.to_owned() }
}

fn resource() -> serde_json::Value {
    json!({"bucket": "b", "name": "o", "generation": "7", "metageneration": "2", "size": "11",
        "crc32c": CRC32C.1, "timeCreated": "2026-11-01T10:00:00Z", "metadata": {"kind": "lease"}})
}

fn expected() -> Object {
    Object {
        bucket: "b".to_owned(),
        name: "o".to_owned(),
        generation: 7,
        metageneration: 2,
        size: 11,
        crc32c: Some(CRC32C.0),
        metadata: BTreeMap::from([("kind".to_owned(), "lease".to_owned())]),
        created: None,
    }
}

async fn connect(server: &Server) -> Storage {
    Storage::connect(&server.config()).await.unwrap()
}

#[tokio::test]
async fn content_is_read_with_what_is_known_about_it() {
    let server =
        Server::start(vec![content("hello world", "x-goog-hash: crc32c=yZRlqg==\r\n")]).await;
    let storage = connect(&server).await;
    let (object, bytes) = storage.read("b", "o", Some(7), 11).await.unwrap();
    assert_eq!((object, &*bytes), (expected(), &b"hello world"[..]));
    assert!(server.requests()[0].line.contains("generation=7"));

    let (digest, size) = storage.read_sha256("b", "o", 7).await.unwrap();
    assert_eq!((&digest[..4], size), (&[0xb9, 0x4d, 0x27, 0xb9][..], 11));
}

#[tokio::test]
async fn content_that_is_not_what_was_promised_is_not_returned() {
    let right = "x-goog-hash: crc32c=yZRlqg==\r\n";
    let cases = [
        (content("hello worlD", right), Class::Transient, "checksum"),
        (content("hello world", ""), Class::Transient, "carries no CRC32C"),
        (
            content("hello world, longer", right),
            Class::Refused,
            "it has 19 bytes or more; at most 11 are read",
        ),
        (page(404, "No such object: b/o"), Class::NotFound, "No such object"),
        (page(403, "no"), Class::Permission, "HTTP 403: no"),
    ];
    for (answer, class, part) in cases {
        let server = Server::start(vec![answer]).await;
        let error = connect(&server).await.read("b", "o", None, 11).await.unwrap_err();
        assert_eq!(error.class(), class, "{}", error.message());
        assert!(error.message().contains(part), "{}", error.message());
        assert_eq!(error.to_string(), "reading gs://b/o");
    }
}

#[tokio::test]
async fn a_create_says_that_nothing_may_be_there_yet() {
    let exists = json!({"error": {"code": 412, "message": "pre-conditions did not hold"}});
    let server = Server::start(vec![json(200, &resource()), json(412, &exists)]).await;
    let storage = connect(&server).await;
    let content = Bytes::from_static(b"hello world");
    let object = storage.create("b", "o", content.clone(), expected().metadata).await.unwrap();
    let created = Some("2026-11-01T10:00:00Z".parse().unwrap());
    assert_eq!(object, Object { created, ..expected() });
    let error = storage.create("b", "o", content, BTreeMap::new()).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);

    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].line.contains("ifGenerationMatch=0"), "{}", requests[0].line);
    assert!(requests[0].body.contains(r#""kind":"lease""#), "{}", requests[0].body);
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_repeated_under_its_precondition() {
    let server = Server::start(vec![page(503, "later"), json(200, &resource())]).await;
    let storage = connect(&server).await;
    let object = storage.replace("b", "o", 6, Bytes::from_static(b"hello world")).await.unwrap();
    assert_eq!(object.generation, 7);
    let lines: Vec<_> = server.requests().into_iter().map(|it| it.line).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|it| it.contains("ifGenerationMatch=6")), "{lines:?}");
}

#[tokio::test]
async fn a_file_is_uploaded_with_its_checksum_and_its_progress_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.txt");
    std::fs::write(&path, "hello world").unwrap();
    let server = Server::start(vec![json(200, &resource())]).await;
    let told = Arc::<Mutex<Vec<u64>>>::default();
    let on_progress = {
        let told = told.clone();
        move |sent| told.lock().unwrap().push(sent)
    };
    let storage = connect(&server).await;
    let object = storage.upload("b", "o", &path, 11, CRC32C.0, on_progress).await.unwrap();
    assert_eq!(object.crc32c, Some(CRC32C.0));
    assert_eq!(told.lock().unwrap().last(), Some(&11));
    let request = &server.requests()[0];
    assert!(request.line.contains("ifGenerationMatch=0"), "{}", request.line);
    assert!(request.body.contains("hello world"), "{}", request.body);
    assert!(request.body.contains(CRC32C.1), "{}", request.body);

    let error = storage.upload("b", "o", &directory.path().join("none"), 1, 0, |_| ()).await;
    assert_eq!(error.unwrap_err().class(), Class::Refused);
}

#[tokio::test]
async fn a_download_appears_only_when_it_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.txt");
    let hash = "x-goog-hash: crc32c=yZRlqg==\r\n";
    let server =
        Server::start(vec![content("hello worlD", hash), content("hello world", hash)]).await;
    let storage = connect(&server).await;
    storage.download("b", "o", 7, &path, |_| ()).await.unwrap_err();
    assert!(!path.exists());
    storage.download("b", "o", 7, &path, |_| ()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello world");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
