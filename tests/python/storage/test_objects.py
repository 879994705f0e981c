"""Generations, metadata, lists and copies, as google-cloud-storage uses them."""

import pytest
from google.api_core import exceptions
from google.cloud.storage.exceptions import InvalidResponse


def names(blobs):
    return [it.name for it in blobs]


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
