"""Encrypted recordings on real PostgreSQL, over real HTTP, into a real folder: fetched, heard, verified, deleted."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from sqlalchemy import text

from pipeline.recordings import download as steps
from pipeline.recordings import retention
from pipeline.recordings.erasing import Erased, erase_recordings, stores_in_reach
from pipeline.recordings.fetching import DiffersError
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import CannotDecryptError, stored_bytes
from pipeline.recordings.rules.outcome import RetryPolicy
from pipeline.sandbox.audio import recording_body
from tests.integration.encrypted import KEY, hear, kept
from tests.integration.recording_rows import body, change, files, kept_for, row, scheduled, simulated


def all_bytes(folder):
    return b"".join((folder / path).read_bytes() for path in sorted(files(folder)))


def pieces(data):
    return [data[at : at + 24] for at in range(100, len(data) - 24, 24)]


def flip(path, at=-30):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def test_no_plain_byte_is_in_the_store(engine, fetch, folder, store):
    """The row says by which key; size and SHA-256 are those of the recording."""
    [call_id] = fetch(1)
    found = row(engine, call_id)
    assert (found.state, found.key_month, found.size_bytes) == ("stored", "2026-03", len(body(1)))
    assert store.size(found.path) == stored_bytes(len(body(1)), KEY)
    raw = all_bytes(folder)
    assert raw.startswith(b"CDRENC01")
    assert not [piece for piece in pieces(body(1)) if piece in raw]
    assert hear(engine, store, 1)[1] == body(1)


LONG = 4_000
"""Seconds of talk: a quarter of a megabyte, which comes in many parts."""

KILLED = """
import os, sys
from pipeline.database.engine import make_engine
from pipeline.dialler.http_api import DiallerApi
from pipeline.recordings.download import download
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.outcome import RetryPolicy
url, dialler, folder, keys, call_id = sys.argv[1:]
parts = []
def moved():
    parts.append(1)
    if len(parts) == 3:
        os._exit(9)
with DiallerApi(dialler, source="enigma") as api:
    store = RecordingStore(folder, keys=RecordingKeys(keys))
    engine = make_engine(url, application="test")
    print(download(engine, int(call_id), api=api, store=store, policy=RetryPolicy(), moved=moved))
"""


def test_a_worker_that_is_killed_leaves_nothing_plain(engine, dialler, api, store, folder, tmp_path):
    """In the middle of a download; whoever comes next stores it, and the rest is cleaned away."""
    dialler.add([dataclasses.replace(simulated(1), talk_seconds=LONG)])
    [call_id] = scheduled(engine, 1)
    url = engine.url.render_as_string(hide_password=False)
    arguments = [url, dialler.url, folder.as_uri(), (tmp_path / "keys").as_uri(), str(call_id)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 9, (done.stdout, done.stderr)
    [left] = files(folder)
    assert left.startswith(".partial/")
    said = recording_body(1, LONG + 1)
    assert not [piece for piece in pieces(said)[:2_000] if piece in all_bytes(folder)]
    change(engine, "due_at = now() - interval '1 s'")
    assert steps.download(engine, call_id, api=api, store=store, policy=RetryPolicy()).state == "stored"
    assert hear(engine, store, 1)[1] == said
    assert store.clean_partials(older_than_seconds=-1) == 1
    assert len(files(folder)) == 1


def test_published_and_killed_before_it_was_written_down(engine, fetch, store, api):
    """The second time finds its own work, encrypted with a key that it has."""
    [call_id] = fetch(1)
    change(
        engine, "state = 'scheduled', due_at = now(), path = NULL, size_bytes = NULL, sha256 = NULL, key_month = NULL"
    )
    assert steps.download(engine, call_id, api=api, store=store, policy=RetryPolicy()).state == "stored"
    assert row(engine, call_id).key_month == "2026-03"
    assert hear(engine, store, 1)[1] == body(1)


@pytest.mark.parametrize("range_", ["bytes=0-0", "bytes=100-199", "bytes=-10", "bytes=50-"])
def test_a_part_of_it_is_heard(engine, fetch, store, range_):
    """With the ETag and the sizes of the recording, as of one that is not encrypted."""
    fetch(1)
    whole = body(1)
    first, last = range_.removeprefix("bytes=").split("-")
    wanted = whole[-int(last) :] if not first else whole[int(first) : int(last) + 1 if last else None]
    answer, heard = hear(engine, store, 1, range_=range_)
    assert (answer.status, heard) == (206, wanted)
    assert answer.headers["Content-Range"].endswith(f"/{len(whole)}")
    assert answer.headers["ETag"] == f'"{kept(engine, 1).sha256.hex()}"'


def test_a_browser_plays_it(engine, fetch, store):
    fetch(1)
    answer, heard = hear(engine, store, 1, as_wav=True)
    assert (answer.status, heard[:4]) == (200, b"RIFF")


def test_a_store_may_hold_both(engine, fetch, store, folder, run):
    """What was stored before there were keys is read as it is; each row says which."""
    plain = RecordingStore(folder.as_uri())
    [one], [two] = fetch(1, into=plain), fetch(2, batch=8)
    assert [row(engine, each).key_month for each in (one, two)] == [None, "2026-03"]
    assert hear(engine, store, 1)[1] == body(1)
    assert hear(engine, store, 2)[1] == body(2)
    with pytest.raises(CannotDecryptError, match="RECORDINGS_KEYS_URL is not set here"):
        hear(engine, plain, 2)
    assert "2 files of enigma read; 0 differ." in run("verify").stdout
    for ref in (1, 2):
        assert run("get", ref, "--output", "-").stdout_bytes == body(ref)


def test_a_changed_file_is_not_given_out(engine, fetch, store, folder, run, tmp_path):
    """`verify` says which chunk it is, and whoever asks for it gets a sentence and no file."""
    [call_id] = fetch(1)
    file = folder / row(engine, call_id).path
    flip(file)
    for wanted in ({}, {"as_wav": True}, {"range_": "bytes=0-9"}):
        with pytest.raises(CannotDecryptError, match="chunk 1 of 1 is not what was encrypted"):
            hear(engine, store, 1, **wanted)
    verified = run("verify")
    assert verified.exit_code == 1
    assert "cannot be decrypted: its chunk 1 of 1 is not what was encrypted" in row(engine, call_id).verify_problem
    got = run("get", 1, "--output", tmp_path / "got.wav")
    assert got.exit_code == 1
    assert "the recording of call 1 cannot be decrypted: its chunk 1 of 1" in got.stderr
    assert "pipeline recordings keys list" in got.stderr
    assert not (tmp_path / "got.wav").exists()
    flip(file)
    assert run("verify", "--restart").exit_code == 0
    assert row(engine, call_id).verify_problem is None
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DiffersError, match=r"were stored, encrypted"):
        hear(engine, store, 1, range_="bytes=0-9")


def test_a_key_that_is_missing_is_told_in_words(engine, fetch, store, run, tmp_path):
    """By whoever is asked; nothing is written down as heard, and with the key back all is well."""
    [call_id] = fetch(1)
    key = tmp_path / "keys/enigma/2026-03.key"
    content = key.read_bytes()
    key.unlink()
    for wanted in ({}, {"as_wav": True}, {"range_": "bytes=0-9"}):
        with pytest.raises(CannotDecryptError, match=r"^the key of 2026-03 of enigma is not there$"):
            hear(engine, store, 1, **wanted)
    got = run("get", 1, "--output", "-")
    assert (got.exit_code, got.stdout_bytes) == (1, b"")
    assert "the recording of call 1 cannot be decrypted: the key of 2026-03 of enigma is not there" in got.stderr
    assert run("verify").exit_code == 1
    assert "the key of 2026-03 of enigma is not there" in row(engine, call_id).verify_problem
    listed = run("keys", "list", "--json")
    assert (listed.exit_code, json.loads(listed.stdout)[0]["state"]) == (1, "missing")
    assert "Bring it back from its backup" in listed.stderr
    key.write_bytes(content)
    assert run("keys", "list").exit_code == 0
    assert hear(engine, store, 1)[1] == body(1)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM access_log")) == 1


def test_where_the_needed_key_is_missing_none_is_made(engine, fetch, dialler, api, folder, tmp_path):
    """An empty folder is another one, or nothing is mounted: the queue is paused, and no recording is lost."""
    fetch(1)
    (tmp_path / "empty").mkdir()
    other = RecordingStore(folder.as_uri(), keys=RecordingKeys((tmp_path / "empty").as_uri()))
    dialler.add([simulated(2)])
    [call_id] = scheduled(engine, 2, batch=8)
    done = steps.download(engine, call_id, api=api, store=other, policy=RetryPolicy())
    assert done.state == "scheduled"
    assert "has not the key of 2026-03 of enigma" in done.reason
    assert done.pause_began.kind == "store_away"
    assert dialler.requests["2"] == 0
    assert files(tmp_path / "empty") == set()


def test_retention_and_erasing_go_on(engine, fetch, store, folder):
    """A file that is encrypted is deleted like any other, and its row says no key any more."""
    [one], [two] = fetch(1), fetch(2, batch=8)
    markers = stores_in_reach(engine, store)
    with engine.begin() as connection:
        assert erase_recordings(connection, store, [one], markers=markers) == Erased(1, len(body(1)), 0)
    assert retention.expire(engine, store, kept_for(1)).deleted == 1
    assert [row(engine, each).key_month for each in (one, two)] == [None, None]
    assert {path for path in files(folder) if not path.startswith(".")} == set()


def test_a_store_is_known_by_encrypted_files_too(engine, fetch, store):
    """Their size there is not that of the recording, and follows from it."""
    fetch(1, 2)
    assert stores_in_reach(engine, store) == {"enigma": store.marker()}
