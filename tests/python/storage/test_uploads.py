"""Buckets, uploads and downloads, as google-cloud-storage does them."""

import base64
import hashlib
import json
import os

import google_crc32c
import pytest
from google.api_core import exceptions

QUANTUM = 256 * 1024


def crc32c(content):
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def md5(content):
    return base64.b64encode(hashlib.md5(content).digest()).decode()


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
    assert [it.name for it in bucket.list_blobs()] == [name]
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
