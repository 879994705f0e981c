"""Cloud Storage as google-cloud-storage uses it."""

import base64
import hashlib
import json
import os

import google_crc32c
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse

QUANTUM = 256 * 1024


@pytest.fixture(scope="session")
def client(storage_emulator_host):
    return storage.Client(project="conformance", credentials=AnonymousCredentials())


@pytest.fixture
def bucket(client, unique):
    return client.create_bucket(unique)


def crc32c(content):
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def md5(content):
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def names(blobs):
    return [it.name for it in blobs]


# Buckets.


def test_a_bucket_can_be_found_again(client, bucket):
    assert client.get_bucket(bucket.name).time_created == bucket.time_created
    assert bucket.name in [it.name for it in client.list_buckets(prefix=bucket.name)]
    assert bucket.exists()


def test_a_bucket_cannot_be_created_twice(client, bucket):
    with pytest.raises(exceptions.Conflict):
        client.create_bucket(bucket.name)


def test_a_missing_bucket_is_not_found(client, unique):
    assert client.lookup_bucket(unique) is None
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        list(client.list_blobs(unique))
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.bucket(unique).blob("a").upload_from_string("a")


@pytest.mark.parametrize("name", ["ab", "Upper", "-dash", "dot..dot", "192.168.5.4", "a" * 64])
def test_a_bucket_name_has_rules(client, name):
    # The client has rules of its own; the service must not rely on them.
    response = client._http.post(f"{client._connection.API_BASE_URL}/storage/v1/b", json={"name": name})
    assert response.status_code == 400


# Upload and download.


@pytest.mark.parametrize("checksum", ["auto", "crc32c", "md5", None])
@pytest.mark.parametrize("content", [b"", b"one line\n", os.urandom(3 * QUANTUM + 17)], ids=len)
def test_what_was_uploaded_is_downloaded(bucket, content, checksum):
    blob = bucket.blob("a/b c.bin")
    blob.upload_from_string(content, content_type="text/x-own", checksum=checksum)
    assert blob.size == len(content)
    assert blob.crc32c == crc32c(content)
    assert blob.md5_hash == md5(content)
    assert blob.content_type == "text/x-own"
    assert blob.metageneration == 1
    assert blob.download_as_bytes(checksum=checksum or "auto") == content

    found = bucket.get_blob("a/b c.bin")
    assert found.generation == blob.generation
    assert found.etag == blob.etag
    assert found.download_as_bytes() == content


@pytest.mark.parametrize("name", ["a", "ü/日本", "a?b#c&d=e+f%2F g", "a//b/", "~tilde*", "x" * 1024])
def test_an_object_may_have_any_name(bucket, name):
    bucket.blob(name).upload_from_string("content")
    assert names(bucket.list_blobs()) == [name]
    assert bucket.blob(name).download_as_bytes() == b"content"
    bucket.delete_blob(name)
    assert not bucket.blob(name).exists()


@pytest.mark.parametrize("name", ["a\nb", "a\rb", ".", "..", "x" * 1025])
def test_an_object_name_has_rules(bucket, name):
    with pytest.raises(exceptions.BadRequest):
        bucket.blob(name).upload_from_string("content")


def test_a_range_can_be_downloaded(bucket):
    blob = bucket.blob("digits")
    blob.upload_from_string("0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=-3) == b"789"
    assert blob.download_as_bytes(start=8, end=99) == b"89"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


def test_a_download_in_chunks_is_whole(bucket, tmp_path):
    content = os.urandom(2 * QUANTUM + 5)
    bucket.blob("chunks").upload_from_string(content)
    path = tmp_path / "chunks"
    bucket.blob("chunks", chunk_size=QUANTUM).download_to_filename(path)
    assert path.read_bytes() == content


def test_a_missing_object_is_not_found(bucket):
    assert bucket.get_blob("missing") is None
    assert not bucket.blob("missing").exists()
    with pytest.raises(exceptions.NotFound, match=f"No such object: {bucket.name}/missing"):
        bucket.blob("missing").download_as_bytes()
    with pytest.raises(exceptions.NotFound, match=f"No such object: {bucket.name}/missing"):
        bucket.blob("missing").delete()


def test_a_blob_opened_for_writing_can_be_read_as_a_file(bucket):
    content = os.urandom(2 * QUANTUM + 100)
    blob = bucket.blob("stream")
    with blob.open("wb", chunk_size=QUANTUM) as stream:
        for at in range(0, len(content), 10_000):
            stream.write(content[at : at + 10_000])
    assert bucket.get_blob("stream").crc32c == crc32c(content)
    with blob.open("rb", chunk_size=QUANTUM) as stream:
        assert stream.read(10) == content[:10]
        stream.seek(QUANTUM)
        assert stream.read() == content[QUANTUM:]

    with bucket.blob("lines").open("wt") as stream:
        stream.write("one\ntwo\n")
    with bucket.blob("lines").open("rt") as stream:
        assert list(stream) == ["one\n", "two\n"]


# Resumable uploads.


@pytest.mark.parametrize("size", [0, QUANTUM, 2 * QUANTUM, 2 * QUANTUM + 1])
@pytest.mark.parametrize("known", [True, False], ids=["size-known", "size-unknown"])
def test_a_resumable_upload_is_whole(bucket, tmp_path, size, known):
    content = os.urandom(size)
    path = tmp_path / "content"
    path.write_bytes(content)
    blob = bucket.blob("resumable", chunk_size=QUANTUM)
    blob.metadata = {"step": "1"}
    with path.open("rb") as file:
        blob.upload_from_file(file, size=size if known else None, if_generation_match=0)
    assert blob.crc32c == crc32c(content)
    assert bucket.get_blob("resumable").metadata == {"step": "1"}
    assert blob.download_as_bytes() == content


def test_an_interrupted_upload_says_how_far_it_came(client, bucket):
    content = os.urandom(2 * QUANTUM + 9)
    session = bucket.blob("halves").create_resumable_upload_session(
        content_type="text/x-own", size=len(content)
    )

    def put(content_range, data=b"", **headers):
        headers["content-range"] = content_range
        return client._http.put(session, data=data, headers=headers)

    nothing = put("bytes */*")
    assert (nothing.status_code, nothing.headers.get("range")) == (308, None)
    half = put(f"bytes 0-{QUANTUM - 1}/*", content[:QUANTUM])
    assert (half.status_code, half.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    assert bucket.get_blob("halves") is None
    asked = put(f"bytes */{len(content)}")
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    gap = put(f"bytes {2 * QUANTUM}-{len(content) - 1}/{len(content)}", content[2 * QUANTUM :])
    assert gap.status_code == 400
    odd = put(f"bytes {QUANTUM}-{QUANTUM + 8}/*", content[:9])
    assert odd.status_code == 400
    # What has arrived already may be sent again.
    last = put(f"bytes 0-{len(content) - 1}/{len(content)}", content)
    assert last.status_code == 200
    assert put("bytes */*").json()["generation"] == last.json()["generation"]
    found = bucket.get_blob("halves")
    assert (found.crc32c, found.content_type) == (crc32c(content), "text/x-own")


def test_an_unknown_session_is_not_found(client, bucket):
    url = f"{client._connection.API_BASE_URL}/upload/storage/v1/b/{bucket.name}/o"
    response = client._http.put(f"{url}?uploadType=resumable&upload_id=none", data=b"x")
    assert response.status_code == 404


def test_a_resumable_upload_is_checked_against_its_checksum(client, bucket):
    session = bucket.blob("bad").create_resumable_upload_session()
    headers = {"content-range": "bytes 0-3/4", "x-goog-hash": f"crc32c={crc32c(b'else')}"}
    response = client._http.put(session, data=b"data", headers=headers)
    assert response.status_code == 400
    assert bucket.get_blob("bad") is None


# Checksums.


@pytest.mark.parametrize("field, value", [("crc32c", crc32c(b"else")), ("md5_hash", md5(b"else"))])
def test_a_wrong_checksum_is_refused(bucket, field, value):
    blob = bucket.blob("bad")
    setattr(blob, field, value)
    with pytest.raises(exceptions.BadRequest, match="doesn't match calculated"):
        blob.upload_from_string("content", checksum=None)
    assert bucket.get_blob("bad") is None


def test_a_checksum_in_the_third_part_is_checked(client, bucket):
    def upload(declared):
        parts = [json.dumps({"name": "third"}), "content", json.dumps({"crc32c": declared})]
        types = ["application/json", "text/plain", "application/json"]
        body = "".join(f"--b\r\ncontent-type: {t}\r\n\r\n{p}\r\n" for t, p in zip(types, parts))
        url = f"{client._connection.API_BASE_URL}/upload/storage/v1/b/{bucket.name}/o"
        # A generator is sent chunked, as the Rust client sends it.
        pieces = (it.encode() for it in [body[:40], body[40:], "--b--\r\n"])
        headers = {"content-type": "multipart/related; boundary=b"}
        return client._http.post(f"{url}?uploadType=multipart", data=pieces, headers=headers)

    assert upload(crc32c(b"else")).status_code == 400
    assert bucket.get_blob("third") is None
    assert upload(crc32c(b"content")).status_code == 200
    assert bucket.blob("third").download_as_bytes() == b"content"


# Generations and preconditions.


def test_a_generation_grows_with_every_write(bucket):
    blob = bucket.blob("a")
    generations = []
    for content in ["one", "two", "two"]:
        blob.upload_from_string(content)
        generations.append(blob.generation)
    assert generations == sorted(set(generations))


def test_only_the_live_generation_can_be_read(bucket):
    blob = bucket.blob("a")
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two")
    assert bucket.blob("a", generation=blob.generation).download_as_bytes() == b"two"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=first).download_as_bytes()
    assert bucket.get_blob("a", generation=first) is None
    with pytest.raises(exceptions.NotFound):
        bucket.delete_blob("a", generation=first)


def test_an_object_can_be_created_only_once(bucket):
    blob = bucket.blob("once")
    blob.upload_from_string("one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed) as caught:
        blob.upload_from_string("two", if_generation_match=0)
    assert "conditionNotMet" in caught.value.response.text
    assert blob.download_as_bytes() == b"one"
    with pytest.raises(InvalidResponse) as caught:
        with bucket.blob("once").open("wb", if_generation_match=0) as stream:
            stream.write(b"three")
    assert caught.value.response.status_code == 412


def test_a_write_can_depend_on_the_generation(bucket):
    blob = bucket.blob("cas")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("one", if_generation_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("one", if_generation_not_match=0)
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two", if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("three", if_generation_match=first)
    blob.upload_from_string("three", if_generation_not_match=first)
    assert blob.download_as_bytes() == b"three"


def test_a_read_can_depend_on_the_generation(bucket):
    blob = bucket.blob("a")
    blob.upload_from_string("one")
    generation = blob.generation
    assert blob.download_as_bytes(if_generation_match=generation) == b"one"
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=generation + 1)
    with pytest.raises(exceptions.NotModified):
        bucket.blob("a").reload(if_generation_not_match=generation)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").reload(if_metageneration_match=2)


def test_a_delete_can_depend_on_the_generation(bucket):
    blob = bucket.blob("a")
    blob.upload_from_string("one")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=blob.generation + 1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_metageneration_match=7)
    blob.delete(if_generation_match=blob.generation)
    assert not bucket.blob("a").exists()


# Metadata.


def test_a_patch_changes_metadata_within_the_generation(bucket):
    blob = bucket.blob("a")
    blob.metadata = {"keep": "1", "change": "1", "remove": "1"}
    blob.upload_from_string("content", content_type="text/plain")
    generation, etag = blob.generation, blob.etag

    blob.metadata = {"change": "2", "remove": None}
    blob.patch(if_metageneration_match=1)
    found = bucket.get_blob("a")
    assert found.metadata == {"keep": "1", "change": "2"}
    assert (found.generation, found.metageneration) == (generation, 2)
    assert found.content_type == "text/plain"
    assert found.etag != etag
    assert found.updated >= found.time_created

    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_metageneration_match=1)
    blob.cache_control = "no-store"
    blob.patch()
    assert bucket.get_blob("a").cache_control == "no-store"


def test_an_update_replaces_all_attributes(bucket):
    blob = bucket.blob("a")
    blob.metadata = {"a": "1"}
    blob.content_language = "en"
    blob.upload_from_string("content")
    blob.metadata = {"b": "2"}
    blob.content_language = None
    blob.update()
    found = bucket.get_blob("a")
    assert (found.metadata, found.content_language) == ({"b": "2"}, None)
    assert found.metageneration == 2


def test_metadata_is_bounded(bucket):
    blob = bucket.blob("a")
    blob.metadata = {"key": "x" * 8 * 1024}
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string("content")


def test_a_download_describes_the_object(client, bucket):
    blob = bucket.blob("a")
    blob.metadata = {"run": "7"}
    blob.upload_from_string("content", content_type="text/plain")
    headers = client._http.get(blob.media_link).headers
    assert headers["x-goog-generation"] == str(blob.generation)
    assert headers["x-goog-metageneration"] == "1"
    assert headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
    assert headers["x-goog-stored-content-length"] == "7"
    assert headers["x-goog-meta-run"] == "7"
    assert headers["content-type"] == "text/plain"


# Lists.


@pytest.fixture
def tree(bucket):
    for name in ["a", "dir/", "dir/one", "dir/sub/two", "dir2/three", "z"]:
        bucket.blob(name).upload_from_string(name)
    return bucket


def test_a_list_is_in_order(tree):
    expected = ["a", "dir/", "dir/one", "dir/sub/two", "dir2/three", "z"]
    assert names(tree.list_blobs()) == expected
    assert names(tree.list_blobs(prefix="dir/")) == expected[1:4]
    assert names(tree.list_blobs(start_offset="dir/one", end_offset="z")) == expected[2:5]
    assert names(tree.list_blobs(prefix="nothing")) == []


def test_a_delimiter_makes_folders_of_prefixes(tree):
    listing = tree.list_blobs(delimiter="/")
    assert names(listing) == ["a", "z"]
    assert listing.prefixes == {"dir/", "dir2/"}
    listing = tree.list_blobs(delimiter="/", prefix="dir/")
    assert names(listing) == ["dir/", "dir/one"]
    assert listing.prefixes == {"dir/sub/"}


@pytest.mark.parametrize("delimiter", [None, "/"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_together_are_the_whole_list(tree, delimiter, size):
    whole = tree.list_blobs(delimiter=delimiter)
    expected = names(whole)
    listing = tree.list_blobs(delimiter=delimiter, page_size=size)
    pages = [names(page) for page in listing.pages]
    assert sum(pages, []) == expected
    assert listing.prefixes == whole.prefixes
    assert all(len(page) <= size for page in pages)


def test_a_list_sees_what_was_just_written_and_deleted(bucket):
    for _ in range(5):
        bucket.blob("a").upload_from_string("content")
        assert names(bucket.list_blobs()) == ["a"]
        bucket.delete_blob("a")
        assert names(bucket.list_blobs()) == []


# Copies.


def test_a_copy_keeps_content_and_metadata(client, bucket, unique):
    other = client.create_bucket(f"{unique}-to")
    blob = bucket.blob("from/a")
    blob.metadata = {"a": "1"}
    blob.upload_from_string("content", content_type="text/plain")
    copy = bucket.copy_blob(blob, other, "to/a", if_generation_match=0)
    assert copy.download_as_bytes() == b"content"
    assert (copy.metadata, copy.content_type) == ({"a": "1"}, "text/plain")
    assert (copy.crc32c, copy.size) == (blob.crc32c, 7)
    assert copy.generation != blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.copy_blob(blob, other, "to/a", if_generation_match=0)
    blob.delete()
    assert copy.download_as_bytes() == b"content"


def test_a_rewrite_is_done_in_one_call(bucket):
    blob = bucket.blob("a")
    blob.upload_from_string("content")
    token, rewritten, total = bucket.blob("b").rewrite(
        blob, if_source_generation_match=blob.generation
    )
    assert (token, rewritten, total) == (None, 7, 7)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("c").rewrite(blob, if_source_generation_match=1)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("c").rewrite(bucket.blob("missing"))


def test_a_blob_can_be_renamed_and_a_bucket_emptied(bucket):
    for name in ["a", "b"]:
        bucket.blob(name).upload_from_string(name)
    bucket.rename_blob(bucket.blob("a"), "c")
    assert names(bucket.list_blobs()) == ["b", "c"]
    bucket.delete_blobs(list(bucket.list_blobs()))
    assert names(bucket.list_blobs()) == []
