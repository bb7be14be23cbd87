"""Recordings in a real S3 server on loopback: moto's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from datetime import UTC, datetime

import httpx
import pytest
import s3fs

from pipeline.dialler.http_api import DiallerApi
from pipeline.recordings import download as steps
from pipeline.recordings.file_store import Checksum, NameTaken, Place, Published, RecordingStore
from pipeline.recordings.keys import KeyDestroyedError, RecordingKeys
from pipeline.recordings.rules.encrypted import KeyName, stored_bytes
from pipeline.recordings.rules.outcome import RetryPolicy
from pipeline.recordings.store_trouble import StoreError
from pipeline.sandbox.api import RecordingsApi
from pipeline.sandbox.process import spawn
from pipeline.sandbox.server import free_port
from pipeline.sandbox.stack import ROOT
from tests.integration.recording_rows import body, row, scheduled, simulated

PLACE = Place("enigma", "845", datetime(2026, 3, 2, 23, 30, tzinfo=UTC), ".wav")
PATH = "enigma/2026/03/02/845.wav"
SECRET = "hunter2hunter2"
KEY = KeyName("enigma", "2026-03")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """An S3 server with a bucket."""
    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    server = spawn(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        folder=folder,
        log=folder / "moto.log",
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while not answers(url):
            assert server.poll() is None, (folder / "moto.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        s3fs.S3FileSystem(**credentials(url)).mkdir("calls")
        yield url
    finally:
        server.terminate()
        server.wait(10)


def answers(url):
    try:
        return httpx.get(url).status_code > 0
    except httpx.TransportError:
        return False


def credentials(url):
    return {"key": "AKIAEXAMPLE", "secret": SECRET, "endpoint_url": url, "skip_instance_cache": True}


@pytest.fixture
def options(endpoint):
    return credentials(endpoint)


@pytest.fixture
def make_store(options, tmp_path, request):
    """A store below a folder of the test's own."""

    def make(keys=None, **changes):
        spool = tmp_path / "spool"
        url = f"s3://calls/{request.node.name.partition('[')[0]}"
        return RecordingStore(url, storage_options=options | changes, spool=spool, keys=keys)

    return make


def keep(store, data, place=PLACE):
    with store.partial() as partial:
        partial.write(data)
        return store.publish(partial, place, size=len(data), sha256=hashlib.sha256(data).digest())


def test_a_recording_is_stored_and_read_again(make_store, tmp_path):
    """The bytes are there with their checksum, and no partial file is left on the disk."""
    store = make_store()
    data = os.urandom(300_000)
    assert keep(store, data) == Published(PATH, fresh=True)
    assert store.checksum(PATH) == Checksum(len(data), hashlib.sha256(data).digest())
    assert list((tmp_path / "spool").iterdir()) == []
    assert store.checksum("enigma/none.wav") is None


def test_trying_it_out_leaves_nothing(make_store, options):
    """What `pipeline doctor` writes is read back and deleted; a bucket that is not there is told."""
    assert make_store().try_out().disk_free is None
    assert s3fs.S3FileSystem(**options).find("calls/test_trying_it_out_leaves_nothing") == []
    with pytest.raises(StoreError, match="cannot write to it") as raised:
        RecordingStore("s3://nowhere/x", storage_options=options).try_out()
    assert SECRET not in str(raised.value)


def test_a_large_recording_goes_in_parts(make_store):
    """More than one chunk is a multipart upload, published as one."""
    store = make_store()
    data = os.urandom(20 * 1024 * 1024)
    assert keep(store, data) == Published(PATH, fresh=True)
    assert store.checksum(PATH) == Checksum(len(data), hashlib.sha256(data).digest())


def test_the_same_bytes_again_are_the_same_recording(make_store):
    """A crash between file and row is healed: the second time is a success that writes nothing."""
    store = make_store()
    keep(store, b"abc")
    assert keep(make_store(), b"abc") == Published(PATH, fresh=False)


def test_nothing_is_overwritten(make_store):
    """Other bytes under that name are refused, and what was there stays."""
    store = make_store()
    keep(store, b"abc")
    refused = keep(store, b"abd")
    assert isinstance(refused, NameTaken)
    assert store.checksum(PATH) == Checksum(3, hashlib.sha256(b"abc").digest())


def test_the_server_itself_refuses_to_overwrite(make_store, monkeypatch):
    """Two that find the name free at the same time: one is stored, the other is told."""
    stores = [make_store(), make_store()]
    barrier = threading.Barrier(2)
    results = []

    def publish(store, data):
        exists = store._files.exists
        looked = []

        def exists_slowly(path):
            found = exists(path)
            if not looked:
                looked.append(path)
                barrier.wait(10)
            return found

        monkeypatch.setattr(store._files, "exists", exists_slowly)
        results.append(keep(store, data))

    threads = [threading.Thread(target=publish, args=pair) for pair in zip(stores, (b"one", b"two"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(type(result).__name__ for result in results) == ["NameTaken", "Published"]


def test_a_deleted_recording_is_gone(make_store):
    """Deleting twice is no error."""
    store = make_store()
    keep(store, b"abc")
    store.delete(PATH)
    assert store.checksum(PATH) is None
    store.delete(PATH)


def test_server_side_encryption_passes_through(make_store, options, request):
    """What the options say about encryption reaches the server."""
    store = make_store(s3_additional_kwargs={"ServerSideEncryption": "AES256"})
    keep(store, b"abc")
    files = s3fs.S3FileSystem(**options)
    info = files.call_s3("head_object", Bucket="calls", Key=f"{request.node.name}/{PATH}")
    assert info["ServerSideEncryption"] == "AES256"


def test_a_key_of_kms_passes_through(make_store, options, request):
    """As docs/recordings.md writes it, for a recording in one part and for one in many."""
    page = (ROOT / "docs/recordings.md").read_text(encoding="utf-8")
    [written] = re.findall(r"with a key of KMS \| `(.*?)` \|", page)
    told = json.loads(written)
    store, key = make_store(**told), told["s3_additional_kwargs"]["SSEKMSKeyId"]
    files = s3fs.S3FileSystem(**options)
    for call_ref, size in (("1", 3), ("2", 20 * 1024 * 1024)):
        published = keep(store, bytes(size), PLACE._replace(call_ref=call_ref))
        info = files.call_s3("head_object", Bucket="calls", Key=f"{request.node.name}/{published.path}")
        assert (info["ServerSideEncryption"], info["SSEKMSKeyId"]) == ("aws:kms", key)


@pytest.fixture
def make_keys(options, request):
    """Keys below a folder of the test's own, in the same server."""
    return lambda: RecordingKeys(f"s3://calls/{request.node.name.partition('[')[0]}-keys", options)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 20_000_001])
def test_an_encrypted_recording(make_store, make_keys, options, size):
    """What comes is what came, whole and in parts; the bucket holds none of it."""
    store, data = make_store(keys=make_keys()), os.urandom(size)
    place = PLACE._replace(call_ref=str(size))
    with store.recording(KEY) as partial:
        partial.write(data)
        published = store.publish(partial, place, size=size, sha256=hashlib.sha256(data).digest())
    assert (published.fresh, published.key_month) == (True, "2026-03")
    path = published.path
    assert store.checksum(path, key=KEY) == Checksum(size, hashlib.sha256(data).digest())
    assert store.size(path) == stored_bytes(size, KEY)
    for first, length in ((0, 1), (65_535, 2), (65_536, 65_536), (1_048_570, 12), (max(0, size - 3), 10)):
        assert b"".join(store.read(path, first, length, key=KEY)) == data[first : first + length]
    raw = b"".join(store.read(path))
    assert not any(data[at : at + 16] in raw for at in range(0, size - 15, 100_003))


def test_only_the_chunks_of_a_part_are_asked_for(make_store, make_keys, monkeypatch):
    """Of a part in the middle one request of so many bytes, beside that of the header."""
    store, data = make_store(keys=make_keys()), os.urandom(3_000_000)
    with store.recording(KEY) as partial:
        partial.write(data)
        store.publish(partial, PLACE, size=len(data), sha256=hashlib.sha256(data).digest())
    asked = []
    fetch = s3fs.core.S3File._fetch_range
    monkeypatch.setattr(
        s3fs.core.S3File, "_fetch_range", lambda file, start, end: asked.append(end - start) or fetch(file, start, end)
    )
    assert b"".join(store.read(PATH, 1_000_000, 10, key=KEY)) == data[1_000_000:1_000_010]
    assert asked == [67, 65_552]


def test_of_those_that_make_a_key_one_is_first(make_keys, monkeypatch):
    """The server itself refuses the second; both encrypt with the same."""
    folders, made = [make_keys(), make_keys()], []
    barrier = threading.Barrier(2)

    def make(keys):
        exists = keys._files.exists

        def exists_slowly(path):
            found = exists(path)
            if not found:
                barrier.wait(10)
            return found

        monkeypatch.setattr(keys._files, "exists", exists_slowly)
        made.append(keys.to_write(KEY))

    threads = [threading.Thread(target=make, args=[keys]) for keys in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(made) == 2
    assert made[0] == made[1] == make_keys().to_read(KEY)


def test_a_key_in_a_bucket_is_destroyed(make_keys):
    """And nobody makes another."""
    keys = make_keys()
    keys.to_write(KEY)
    assert keys.look() == (None, ())
    assert keys.of("enigma")[0].created_at is not None
    keys.destroy(KEY)
    assert not keys.is_there(KEY)
    for ask in (keys.to_read, keys.to_write):
        with pytest.raises(KeyDestroyedError):
            ask(KEY)
    assert keys.of("enigma")[0].destroyed_at is not None


def test_credentials_of_the_keys_are_never_told(options):
    changes = {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}
    with pytest.raises(StoreError, match="RECORDINGS_KEYS_URL") as caught:
        RecordingKeys("s3://calls/keys", options | changes).to_read(KEY)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("where", ["calls", "no-such-bucket"])
def test_credentials_are_never_told(options, tmp_path, where):
    """A server that is away, or a bucket that does not exist, is a sentence without key and secret."""
    changes = {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}
    changed = options | (changes if where == "calls" else {})
    store = RecordingStore(f"s3://{where}/x", storage_options=changed, spool=tmp_path)
    with pytest.raises(StoreError) as caught:
        keep(store, b"abc")
    for secret in (SECRET, "AKIAEXAMPLE"):
        assert secret not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_recording_goes_from_the_dialler_to_s3(engine, make_store):
    """The whole way of one: fetched, verified, in the bucket, and in its row."""
    with RecordingsApi() as dialler, DiallerApi(dialler.url, source="enigma") as api:
        dialler.add([simulated(845)])
        (call_id,) = scheduled(engine, 845)
        store = make_store()
        assert steps.download(engine, call_id, api=api, store=store, policy=RetryPolicy()).state == "stored"
    found = row(engine, call_id)
    assert found.path == "enigma/2026/03/02/845.wav"
    assert store.checksum(found.path) == Checksum(len(body(845)), bytes(found.sha256))


def test_what_is_missing_is_not_deleted(make_store):
    """S3 itself says yes to the deletion of what is not there, and in the wrong bucket nothing is."""
    store = make_store()
    assert not store.delete(PATH)
    keep(store, b"abc")
    assert store.size(PATH) == 3
    assert store.delete(PATH)
    assert store.size(PATH) is None
    assert not store.delete(PATH)


def test_a_bucket_is_marked_once(make_store, options):
    """The marker is put there in one step, like a recording; a bucket that is not there has none."""
    store = make_store()
    assert store.marker() is None
    assert store.mark("one") == "one"
    assert store.mark("another") == "one"
    assert store.marker() == "one"
    assert RecordingStore("s3://no-such-bucket/x", storage_options=options).marker() is None
