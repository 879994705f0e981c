//! Cloud Storage from outside: hand-made HTTP over a socket, as no client
//! library would repeat our own mistakes, and Google's generated gRPC client.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use branchline_local::storage::Storage;
use googleapis_tonic_google_storage_v2::google::storage::v2::storage_client::StorageClient;
use googleapis_tonic_google_storage_v2::google::storage::v2::{
    Bucket, CreateBucketRequest, DeleteObjectRequest, GetObjectRequest, ListObjectsRequest, Object,
    RewriteObjectRequest, UpdateObjectRequest,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

const BUCKET: &str = "projects/_/buckets/bucket";
const UPLOAD: &str = "/upload/storage/v1/b/bucket/o";
const QUANTUM: usize = 256 * 1024;

/// A service with one bucket, on a port of its own.
struct Server {
    storage: Storage,
    port: u16,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Server {
    async fn start(data_dir: Option<&Path>) -> Self {
        let storage = Storage::open(data_dir).unwrap();
        storage.create_bucket("bucket").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        storage.set_external_url(&format!("http://127.0.0.1:{port}"));
        let router = storage.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { storage, port }
    }

    /// Sends the bytes of a request that asks for the connection to be closed.
    async fn send(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    async fn call(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        let mut stream = self.send(&[head.as_bytes(), body].concat()).await;
        Answer::read(&mut stream).await
    }

    /// Begins a resumable upload and returns the request line of its pieces.
    async fn begin(&self, parameters: &str) -> String {
        let start = format!("POST {UPLOAD}?uploadType=resumable&{parameters}");
        let started = self.call(&start, "x-upload-content-type: text/plain\r\n", b"").await;
        let base = format!("http://127.0.0.1:{}", self.port);
        let session = started.header("location").unwrap().strip_prefix(&base).unwrap();
        format!("PUT {session}")
    }
}

impl Answer {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines();
        lines.filter_map(|it| it.split_once(": ")).find(|it| it.0 == name).map(|it| it.1)
    }
}

#[tokio::test]
async fn an_upload_in_three_chunked_parts_is_checked_by_its_last() {
    let server = Server::start(None).await;
    for (crc32c, status) in [("AAAAAA==", 400), ("4waSgw==", 200)] {
        let parts = [
            "--b-1\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\
             Content-Type: application/json; charset=UTF-8\r\n\r\n{\"metadata\":{\"k\":\"v\"}}",
            "\r\n--b-1\r\nContent-Disposition: form-data; name=\"media\"\r\n\r\n",
            "1234",
            "56789\r\n--b-",
            "1\r\nContent-Type: application/json\r\n\r\n{\"crc32c\":\"",
            &format!("{crc32c}\"}}\r\n--b-1--\r\n"),
        ];
        let mut request = format!(
            "POST {UPLOAD}?uploadType=multipart&name=a%2Fb&ifGenerationMatch=0 HTTP/1.1\r\n\
             host: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
             content-type: multipart/related; boundary=b-1\r\n\r\n"
        );
        for part in parts {
            write!(request, "{:x}\r\n{part}\r\n", part.len()).unwrap();
        }
        let mut stream = server.send((request + "0\r\n\r\n").as_bytes()).await;
        let answer = Answer::read(&mut stream).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let (object, content) = server.storage.get("bucket", "a/b").unwrap();
    assert_eq!(&content[..], b"123456789");
    assert_eq!(object.attributes.metadata["k"], "v");
    // The check value of CRC-32C, over the digits 1 to 9.
    assert_eq!(object.checksums.crc32c, 0xE306_9283);
}

#[tokio::test]
async fn a_precondition_that_fails_is_told_as_the_real_service_tells_it() {
    let server = Server::start(None).await;
    let line = format!("POST {UPLOAD}?uploadType=media&name=a&ifGenerationMatch=0");
    assert_eq!(server.call(&line, "", b"one").await.status, 200);
    let refused = server.call(&line, "", b"two").await;
    assert_eq!(refused.status, 412);
    let text = "At least one of the pre-conditions you specified did not hold.";
    let error = &refused.json()["error"];
    assert_eq!(error["message"], text);
    assert_eq!(error["errors"][0]["reason"], "conditionNotMet");
    assert_eq!(&server.storage.get("bucket", "a").unwrap().1[..], b"one");

    let generation = server.storage.get("bucket", "a").unwrap().0.generation;
    let get = "GET /storage/v1/b/bucket/o/a?ifGenerationNotMatch=";
    let same = server.call(&format!("{get}{generation}"), "", b"").await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    let older = format!("GET /storage/v1/b/bucket/o/a?alt=media&generation={}", generation - 1);
    let missing = server.call(&older, "", b"").await;
    assert_eq!((missing.status, missing.body.as_str()), (404, "No such object: bucket/a"));
}

#[tokio::test]
async fn of_many_who_create_an_object_exactly_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(Some(directory.path())).await;
    // All may begin: the object is not there yet.
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(server.begin("name=a&ifGenerationMatch=0").await);
    }
    let bodies: Vec<String> = (0..sessions.len()).map(|it| it.to_string()).collect();
    let finish = |at: usize| server.call(&sessions[at], "", bodies[at].as_bytes());
    let answers = futures::future::join_all((0..sessions.len()).map(finish)).await;
    let winner = answers.iter().position(|it| it.status == 200).unwrap();
    assert_eq!(answers.iter().filter(|it| it.status == 412).count(), 7);
    assert_eq!(server.storage.get("bucket", "a").unwrap().1, bodies[winner]);
    assert_eq!(directory.path().join("drafts").read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_continues_where_its_connection_broke() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(Some(directory.path())).await;
    let session = server.begin("name=a").await;
    let content = vec![b'x'; 3 * QUANTUM];

    let head = format!(
        "{session} HTTP/1.1\r\nhost: x\r\ncontent-range: bytes 0-{0}/{1}\r\ncontent-length: {1}\r\n\r\n",
        content.len() - 1,
        content.len()
    );
    drop(server.send(&[head.as_bytes(), &content[..QUANTUM + 7]].concat()).await);
    let last = eventually(async || {
        let answer = server.call(&session, "content-range: bytes */*\r\n", b"").await;
        assert_eq!(answer.status, 308);
        let last = answer.header("range")?.strip_prefix("bytes=0-")?.parse::<usize>().ok()?;
        (last == QUANTUM + 6).then_some(last)
    })
    .await;
    let odd = format!("content-range: bytes {}-{}/*\r\n", last + 1, content.len() - 1);
    let odd = server.call(&session, &odd, &content[last + 1..]).await;
    assert_eq!(odd.status, 400, "only the last piece may have any size");
    let size = content.len();
    // A client may repeat what has arrived.
    let rest = format!("content-range: bytes {QUANTUM}-{}/{size}\r\n", size - 1);
    let whole = server.call(&session, &rest, &content[QUANTUM..]).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    assert_eq!(server.storage.get("bucket", "a").unwrap().1, content);
}

async fn eventually<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = condition().await {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), wait).await.expect("it comes true in time")
}

#[tokio::test]
async fn buckets_and_objects_are_found_over_grpc() {
    let storage = Storage::open(None).unwrap();
    let mut client = StorageClient::new(storage.router());
    let create = CreateBucketRequest {
        parent: "projects/_".to_owned(),
        bucket_id: "bucket".to_owned(),
        bucket: Some(Bucket::default()),
        ..CreateBucketRequest::default()
    };
    let bucket = client.create_bucket(create.clone()).await.unwrap().into_inner();
    assert_eq!(bucket.name, BUCKET);
    let again = client.create_bucket(create).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);

    let get = |object: &str| GetObjectRequest {
        bucket: BUCKET.to_owned(),
        object: object.to_owned(),
        ..GetObjectRequest::default()
    };
    let missing = client.get_object(get("a")).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "No such object: bucket/a"));
    for name in ["a", "b/1", "b/2", "c"] {
        storage.put("bucket", name, name).unwrap();
    }
    let found = client.get_object(get("b/1")).await.unwrap().into_inner();
    assert_eq!((found.bucket.as_str(), found.size), (BUCKET, 3));
    let stale = GetObjectRequest { if_generation_match: Some(1), ..get("b/1") };
    assert_eq!(client.get_object(stale).await.unwrap_err().code(), Code::FailedPrecondition);

    let mut list = ListObjectsRequest {
        parent: BUCKET.to_owned(),
        delimiter: "/".to_owned(),
        lexicographic_start: "b".to_owned(),
        page_size: 1,
        ..ListObjectsRequest::default()
    };
    let page = client.list_objects(list.clone()).await.unwrap().into_inner();
    assert_eq!((page.objects.len(), page.prefixes), (0, vec!["b/".to_owned()]));
    list.page_token = page.next_page_token;
    let page = client.list_objects(list).await.unwrap().into_inner();
    assert_eq!((page.objects[0].name.as_str(), page.next_page_token.as_str()), ("c", ""));
}

#[tokio::test]
async fn objects_are_changed_over_grpc() {
    let storage = Storage::open(None).unwrap();
    storage.create_bucket("bucket").unwrap();
    let first = storage.put("bucket", "a", "content").unwrap();
    let mut client = StorageClient::new(storage.router());

    let update = |key: &str, path: &str| UpdateObjectRequest {
        object: Some(Object {
            bucket: BUCKET.to_owned(),
            name: "a".to_owned(),
            content_type: "text/plain".to_owned(),
            metadata: [(key.to_owned(), "1".to_owned())].into(),
            ..Object::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
        ..UpdateObjectRequest::default()
    };
    let conditional =
        UpdateObjectRequest { if_metageneration_match: Some(1), ..update("head", "metadata") };
    let updated = client.update_object(conditional.clone()).await.unwrap().into_inner();
    assert_eq!((updated.generation, updated.metageneration), (first.generation, 2));
    assert_eq!(updated.content_type, "application/octet-stream", "the mask does not name it");
    let late = client.update_object(conditional).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    let one = client.update_object(update("more", "metadata.more")).await.unwrap().into_inner();
    assert_eq!((one.metadata.len(), one.metageneration), (2, 3));
    let unknown = client.update_object(update("more", "size")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);

    let rewrite = RewriteObjectRequest {
        source_bucket: BUCKET.to_owned(),
        source_object: "a".to_owned(),
        destination_bucket: BUCKET.to_owned(),
        destination_name: "copy".to_owned(),
        if_generation_match: Some(0),
        ..RewriteObjectRequest::default()
    };
    assert!(client.rewrite_object(rewrite).await.unwrap().into_inner().done);
    let delete = |generation| DeleteObjectRequest {
        bucket: BUCKET.to_owned(),
        object: "a".to_owned(),
        if_generation_match: Some(generation),
        ..DeleteObjectRequest::default()
    };
    let refused = client.delete_object(delete(first.generation + 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    client.delete_object(delete(first.generation)).await.unwrap();
    assert!(storage.get("bucket", "a").is_none());
    let (copy, content) = storage.get("bucket", "copy").unwrap();
    assert_eq!((copy.attributes.metadata.len(), &content[..]), (2, &b"content"[..]));
}

#[tokio::test]
async fn a_rewrite_goes_on_with_its_token_while_nothing_has_changed() {
    const PART: i64 = 1 << 20;
    let storage = Storage::open(None).unwrap();
    storage.create_bucket("bucket").unwrap();
    let source = storage.put("bucket", "a", vec![7; 5 << 19]).unwrap();
    storage.put("bucket", "b", vec![7; 5 << 19]).unwrap();
    let mut client = StorageClient::new(storage.router());
    let mut rewrite = RewriteObjectRequest {
        source_bucket: BUCKET.to_owned(),
        source_object: "a".to_owned(),
        if_source_generation_match: Some(source.generation),
        destination_bucket: BUCKET.to_owned(),
        destination_name: "copy".to_owned(),
        if_generation_match: Some(0),
        max_bytes_rewritten_per_call: PART,
        ..RewriteObjectRequest::default()
    };
    for bytes in [PART, 2 * PART] {
        let told = client.rewrite_object(rewrite.clone()).await.unwrap().into_inner();
        assert_eq!(
            (told.total_bytes_rewritten, told.object_size, told.done),
            (bytes, 5 << 19, false)
        );
        assert!(storage.get("bucket", "copy").is_none());
        rewrite.rewrite_token = told.rewrite_token;
    }
    let wrong = |change: fn(&mut RewriteObjectRequest)| {
        let (mut rewrite, mut client) = (rewrite.clone(), client.clone());
        change(&mut rewrite);
        async move { client.rewrite_object(rewrite).await.unwrap_err().code() }
    };
    let other = wrong(|it| (it.source_object, it.if_source_generation_match) = ("b".into(), None));
    assert_eq!(other.await, Code::InvalidArgument);
    assert_eq!(wrong(|it| it.destination_name = "d".into()).await, Code::InvalidArgument);
    assert_eq!(wrong(|it| it.rewrite_token = "AAAA".into()).await, Code::InvalidArgument);
    assert_eq!(wrong(|it| it.max_bytes_rewritten_per_call = 7).await, Code::InvalidArgument);
    assert_eq!(wrong(|it| it.if_source_generation_match = Some(1)).await, Code::FailedPrecondition);

    let told = client.rewrite_object(rewrite.clone()).await.unwrap().into_inner();
    assert_eq!((told.total_bytes_rewritten, told.done), (5 << 19, true));
    assert_eq!(
        told.resource.unwrap().generation,
        storage.get("bucket", "copy").unwrap().0.generation
    );
    assert_eq!(client.rewrite_object(rewrite).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn buckets_that_lie_far_apart_are_rewritten_in_parts() {
    let server = Server::start(None).await;
    server.storage.put("bucket", "a", "content").unwrap();
    server.storage.limit_rewrites(4);
    let line = "POST /storage/v1/b/bucket/o/a/rewriteTo/b/bucket/o/copy";
    let part = server.call(line, "", b"").await.json();
    assert_eq!((&part["totalBytesRewritten"], &part["objectSize"]), (&json!("4"), &json!("7")));
    assert_eq!((&part["done"], &part["resource"]), (&json!(false), &Value::Null));
    let line = format!("{line}?rewriteToken={}", part["rewriteToken"].as_str().unwrap());
    let whole = server.call(&line, "", b"").await.json();
    assert_eq!((&whole["done"], &whole["resource"]["size"]), (&json!(true), &json!("7")));
    // A copy takes one call, however far it goes.
    let line = "POST /storage/v1/b/bucket/o/a/copyTo/b/bucket/o/other";
    assert_eq!(server.call(line, "", b"").await.json()["size"], "7");
}

#[tokio::test]
async fn what_was_answered_survives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Storage::open(Some(directory.path())).unwrap();
    let storage = open();
    storage.create_bucket("bucket").unwrap();
    storage.put("bucket", "kept/ü", "old").unwrap();
    let newest = storage.put("bucket", "kept/ü", "new").unwrap();
    storage.put("bucket", "deleted", "gone").unwrap();
    let mut client = StorageClient::new(storage.router());
    let delete = DeleteObjectRequest {
        bucket: BUCKET.to_owned(),
        object: "deleted".to_owned(),
        ..DeleteObjectRequest::default()
    };
    client.delete_object(delete).await.unwrap();
    // As if the process had been killed in the middle of two writes.
    let content = directory.path().join("buckets/bucket/content");
    std::fs::write(content.join("1"), "no object refers to this").unwrap();
    std::fs::write(directory.path().join("drafts/99"), "unfinished").unwrap();

    let storage = open();
    let objects = storage.list("bucket", "");
    assert_eq!(objects.as_slice(), std::slice::from_ref(&newest));
    assert_eq!(&storage.get("bucket", "kept/ü").unwrap().1[..], b"new");
    assert_eq!(content.read_dir().unwrap().count(), 1, "content without an object is removed");
    assert_eq!(directory.path().join("drafts").read_dir().unwrap().count(), 0);
    assert!(storage.put("bucket", "kept/ü", "newer").unwrap().generation > newest.generation);
}
