//! Objects are created once, replaced and deleted on conditions, and listed.

use crate::serve;
use branchline_gcp::Class;
use branchline_gcp::storage::{List, Objects as _, Source, Storage};
use branchline_local::storage::Storage as Embedded;
use std::collections::BTreeMap;

const BUCKET: &str = "branchline-test";

async fn start() -> Storage {
    let embedded = Embedded::open(None).unwrap();
    embedded.create_bucket(BUCKET).unwrap();
    let config = serve(embedded.router()).await;
    Storage::connect(&config).await.unwrap()
}

fn metadata(kind: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("kind".to_owned(), kind.to_owned())])
}

#[tokio::test]
async fn an_object_is_created_once_and_everybody_sees_the_same_of_it() {
    let storage = start().await;
    let created = storage.create(BUCKET, "a/b", "one".into(), metadata("x")).await.unwrap();
    assert_eq!((created.bucket.as_str(), created.name.as_str()), (BUCKET, "a/b"));
    assert_eq!((created.size, created.metageneration), (3, 1));
    assert_eq!(created.metadata, metadata("x"));
    assert!(created.crc32c.is_some() && created.created.is_some());

    assert_eq!(storage.stat(BUCKET, "a/b", None).await.unwrap(), created);
    assert_eq!(storage.stat(BUCKET, "a/b", Some(created.generation)).await.unwrap(), created);
    let (read, content) = storage.read(BUCKET, "a/b", None, 3).await.unwrap();
    assert_eq!((read.generation, read.size, &content[..]), (created.generation, 3, &b"one"[..]));

    let again = storage.create(BUCKET, "a/b", "two".into(), metadata("y")).await.unwrap_err();
    assert_eq!(again.class(), Class::Conflict);
    assert_eq!(again.to_string(), "creating gs://branchline-test/a/b");
    assert_eq!(storage.stat(BUCKET, "a/b", None).await.unwrap(), created);

    let empty = storage.create(BUCKET, "empty", "".into(), BTreeMap::new()).await.unwrap();
    assert_eq!(
        storage.read(BUCKET, "empty", None, 0).await.unwrap().0.generation,
        empty.generation
    );
}

#[tokio::test]
async fn changes_are_made_only_to_what_was_read() {
    let storage = start().await;
    let first = storage.create(BUCKET, "o", "one".into(), metadata("x")).await.unwrap();
    let second = storage.replace(BUCKET, "o", first.generation, "two".into()).await.unwrap();
    assert!(second.generation != first.generation);
    let stale = storage.replace(BUCKET, "o", first.generation, "three".into()).await;
    assert_eq!(stale.unwrap_err().class(), Class::Conflict);
    let gone = storage.read(BUCKET, "o", Some(first.generation), 10).await;
    assert_eq!(gone.unwrap_err().class(), Class::NotFound);

    let renamed =
        storage.set_metadata(BUCKET, "o", second.metageneration, metadata("z")).await.unwrap();
    assert_eq!((renamed.generation, &renamed.metadata), (second.generation, &metadata("z")));
    assert!(renamed.metageneration > second.metageneration);
    let stale = storage.set_metadata(BUCKET, "o", second.metageneration, metadata("y")).await;
    assert_eq!(stale.unwrap_err().class(), Class::Conflict);

    let stale = storage.delete(BUCKET, "o", first.generation).await;
    assert_eq!(stale.unwrap_err().class(), Class::Conflict);
    storage.delete(BUCKET, "o", second.generation).await.unwrap();
    let gone = storage.stat(BUCKET, "o", None).await.unwrap_err();
    assert_eq!(gone.class(), Class::NotFound);
    assert_eq!(gone.to_string(), "looking up gs://branchline-test/o");
    let gone = storage.delete(BUCKET, "o", second.generation).await.unwrap_err();
    assert_eq!(gone.class(), Class::NotFound);
    let gone = storage.read_sha256(BUCKET, "o", second.generation).await.unwrap_err();
    assert_eq!(gone.class(), Class::NotFound);
}

#[tokio::test]
async fn a_listing_comes_in_pages_in_the_order_of_names_with_metadata() {
    let storage = start().await;
    for name in ["queue/3", "queue/1", "other", "queue/2", "queue/4"] {
        storage.create(BUCKET, name, "".into(), metadata(name)).await.unwrap();
    }
    let mut list = List { bucket: BUCKET, prefix: "queue/", page_size: 2, ..List::default() };
    let mut names = Vec::new();
    loop {
        let page = storage.list(list.clone()).await.unwrap();
        assert!(page.objects.len() <= 2);
        for object in page.objects {
            assert_eq!(object.metadata, metadata(&object.name));
            names.push(object.name);
        }
        list.page_token = page.next;
        if list.page_token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["queue/1", "queue/2", "queue/3", "queue/4"]);

    let list = List { start: Some("queue/3"), page_size: 10, page_token: None, ..list };
    let page = storage.list(list).await.unwrap();
    assert_eq!(page.objects[0].name, "queue/3");
    assert_eq!((page.objects.len(), page.next), (2, None));
}

#[tokio::test]
async fn an_object_is_copied_if_it_is_what_it_was_to_where_none_lies() {
    let embedded = Embedded::open(None).unwrap();
    embedded.create_bucket(BUCKET).unwrap();
    embedded.create_bucket("branchline-copies").unwrap();
    // Seven bytes take four calls.
    embedded.limit_rewrites(2);
    let storage = Storage::connect(&serve(embedded.router()).await).await.unwrap();
    let first = storage.create(BUCKET, "a", "content".into(), metadata("x")).await.unwrap();
    let source = Source { bucket: BUCKET, name: "a", generation: first.generation };
    let copy = storage.copy(source, "branchline-copies", "b/c").await.unwrap();
    assert_eq!((copy.bucket.as_str(), copy.name.as_str()), ("branchline-copies", "b/c"));
    assert_eq!((copy.size, copy.crc32c, &copy.metadata), (7, first.crc32c, &metadata("x")));
    assert_eq!(storage.stat("branchline-copies", "b/c", None).await.unwrap(), copy);

    let twice = storage.copy(source, "branchline-copies", "b/c").await.unwrap_err();
    assert_eq!(twice.class(), Class::Conflict);
    let text = format!("copying gs://{BUCKET}/a to gs://branchline-copies/b/c");
    assert_eq!(twice.to_string(), text);
    let no_bucket = storage.copy(source, "branchline-missing", "b").await.unwrap_err();
    assert_eq!(no_bucket.class(), Class::NotFound);
    storage.replace(BUCKET, "a", first.generation, "other".into()).await.unwrap();
    let replaced = storage.copy(source, "branchline-copies", "d").await.unwrap_err();
    assert_eq!(replaced.class(), Class::Conflict);
    let missing = Source { name: "missing", ..source };
    let missing = storage.copy(missing, "branchline-copies", "d").await.unwrap_err();
    assert_eq!(missing.class(), Class::NotFound);
    let (_, kept) = storage.read("branchline-copies", "b/c", None, 7).await.unwrap();
    assert_eq!(&kept[..], b"content");
}

#[tokio::test]
async fn files_of_any_size_go_up_and_down_unharmed() {
    let storage = start().await;
    let directory = tempfile::tempdir().unwrap();
    let (up, down) = (directory.path().join("up"), directory.path().join("down"));
    // Up to 16 MiB go in one request, in several pieces.
    for size in [0, 1_000, 4 << 20] {
        let content: Vec<u8> = (0..size).map(|it: u32| it.to_le_bytes()[1]).collect();
        std::fs::write(&up, &content).unwrap();
        let (small, large) = (format!("memory-{size}"), format!("file-{size}"));
        let known = storage.create(BUCKET, &small, content.clone().into(), BTreeMap::new());
        let crc32c = known.await.unwrap().crc32c.unwrap();
        let bytes = u64::from(size);

        let wrong = storage.upload(BUCKET, &large, &up, bytes, !crc32c, |_| ()).await;
        assert_eq!(wrong.unwrap_err().class(), Class::Refused, "{size}");
        let sent = storage.upload(BUCKET, &large, &up, bytes, crc32c, |_| ()).await.unwrap();
        assert_eq!((sent.size, sent.crc32c), (i64::from(size), Some(crc32c)));
        let twice = storage.upload(BUCKET, &large, &up, bytes, crc32c, |_| ()).await;
        assert_eq!(twice.unwrap_err().class(), Class::Conflict, "{size}");

        storage.download(BUCKET, &large, sent.generation, &down, |_| ()).await.unwrap();
        assert!(std::fs::read(&down).unwrap() == content, "{size}");
        let hashed = storage.read_sha256(BUCKET, &large, sent.generation).await.unwrap();
        assert_eq!(hashed.1, bytes);
    }
}
