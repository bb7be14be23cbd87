"""``…/recording``: bytes by HTTP, and none of them without its row."""

from __future__ import annotations

import hashlib
import wave
from io import BytesIO

import pytest
from sqlalchemy import text

from pipeline.api.app import make_app
from pipeline.database import access_log
from pipeline.recordings.decoding import Decoder
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import KeyName
from tests.integration.api.conftest import RECORDED, keep_recording

PATH = "/v1/calls/enigma/1/recording"
ETAG = f'"{hashlib.sha256(RECORDED).hexdigest()}"'


@pytest.fixture
def broken(world):
    """Call 2, whose recording is no audio."""
    keep_recording(world.owner, world.folder, "2", b"RIFF nothing of the kind")
    return "/v1/calls/enigma/2/recording"


def kind(answered):
    assert answered.headers["Content-Type"] == "application/problem+json"
    return answered.status_code, answered.json()["type"].rpartition(":")[2]


def test_the_stored_bytes(world):
    before = len(world.log())
    answered = world.get(PATH, headers={"X-Forwarded-For": "203.0.113.9"}, params={"because": "a complaint"})
    assert (answered.status_code, answered.content) == (200, RECORDED)
    assert (answered.headers["ETag"], answered.headers["Accept-Ranges"]) == (ETAG, "bytes")
    assert answered.headers["Cache-Control"] == "private, no-store"
    [row] = world.log()[before:]
    assert (row.who, row.action, row.source, row.call_ref, row.reason) == (
        "all",
        "listen",
        "enigma",
        "1",
        "a complaint",
    )
    assert row.address == "203.0.113.9", "as the proxy on this machine says"


def test_ranges(world):
    part = world.get(PATH, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, RECORDED[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(RECORDED)}"
    same = world.get(PATH, headers={"Range": "bytes=10-19", "If-Range": ETAG})
    other = world.get(PATH, headers={"Range": "bytes=10-19", "If-Range": '"other"'})
    assert (same.status_code, other.status_code, other.content) == (206, 200, RECORDED)
    beyond = world.get(PATH, headers={"Range": f"bytes={len(RECORDED)}-"})
    assert kind(beyond) == (416, "range")
    assert beyond.headers["Content-Range"] == f"bytes */{len(RECORDED)}"


def test_what_a_browser_plays(world):
    answered = world.get(PATH, params={"as": "wav"})
    assert (answered.status_code, answered.headers["Content-Type"]) == (200, "audio/wav")
    with wave.open(BytesIO(answered.content)) as pcm:
        assert pcm.getsampwidth() == 2
    part = world.get(PATH, params={"as": "wav"}, headers={"Range": "bytes=-100"})
    assert (part.status_code, part.content) == (206, answered.content[-100:])


def test_broken_audio_is_a_problem_and_no_crash(world, broken):
    assert kind(world.get(broken, params={"as": "wav"})) == (502, "broken-recording")
    assert world.get(broken).status_code == 200
    (world.folder / "enigma/2.wav").write_bytes(b"RIFF something else here")
    assert kind(world.get(broken)) == (502, "broken-recording")
    (world.folder / "enigma/2.wav").unlink()
    assert kind(world.get(broken)) == (502, "broken-recording")
    assert world.get("/healthz").status_code == 200


def test_not_a_byte_without_its_row(world, monkeypatch):
    """Somebody holds the table: nobody hears anything, in either form and of whichever part."""
    monkeypatch.setattr(access_log, "WAIT_SECONDS", 0.2)
    before = len(world.log())
    with world.owner.connect() as other:
        other.execute(text("LOCK TABLE access_log IN ACCESS EXCLUSIVE MODE"))
        for asked in ({}, {"params": {"as": "wav"}}, {"headers": {"Range": "bytes=0-0"}}):
            assert kind(world.get(PATH, **asked)) == (503, "not-logged")
        assert kind(world.get("/v1/calls?number=0830005678")) == (503, "not-logged")
    assert len(world.log()) == before
    assert world.get(PATH).content == RECORDED
    assert len(world.log()) == before + 1


def test_why_where_a_setting_asks(world, monkeypatch):
    monkeypatch.setattr(world.means, "reason_needed", True)
    before = len(world.log())
    for because in ({}, {"because": " "}):
        answered = world.get(PATH, params=because)
        assert kind(answered) == (400, "bad-parameter")
        assert answered.json()["errors"][0]["parameter"] == "because"
    assert len(world.log()) == before
    assert world.get(PATH, params={"because": "a complaint"}).status_code == 200


def test_a_call_without_a_recording_says_why(world):
    answered = world.get("/v1/calls/enigma/4/recording")
    assert kind(answered) == (404, "no-recording")
    assert answered.json()["detail"] == "The dialler records no such call."


def test_the_scope_is_needed(world):
    assert kind(world.get(PATH, token="calls-only")) == (403, "missing-scope")
    assert world.get(PATH, token="listener").status_code == 200


def test_the_application_can_be_made_again(world):
    """It holds nothing of its own but what it is given."""
    assert make_app(world.means).openapi() == make_app(world.means).openapi()


@pytest.fixture
def encrypted(world, monkeypatch, tmp_path):
    """Call 3, whose recording is encrypted, and the file of its key."""
    (tmp_path / "keys").mkdir()
    store = RecordingStore(world.folder.as_uri(), keys=RecordingKeys((tmp_path / "keys").as_uri()))
    monkeypatch.setattr(world.means, "store", store)
    monkeypatch.setattr(world.means, "decoder", Decoder())  # that has not decoded the same bytes just before
    keep_recording(world.owner, world.folder, "3")
    key = KeyName("enigma", "2026-03")
    with store.recording(key) as partial:
        partial.write(RECORDED)
        partial.seal()
        partial.path.replace(world.folder / "enigma/3.wav")
    with world.owner.begin() as connection:
        month = "UPDATE recordings SET key_month = '2026-03' WHERE source = 'enigma' AND call_ref = '3'"
        connection.execute(text(month))
    yield tmp_path / "keys/enigma/2026-03.key"
    with world.owner.begin() as connection:
        connection.execute(text("UPDATE recordings SET key_month = NULL"))


def test_an_encrypted_recording_is_heard_like_another(world, encrypted):
    """Whole, in parts, and decoded; its ETag is that of the recording."""
    path = "/v1/calls/enigma/3/recording"
    assert RECORDED[100:124] not in (world.folder / "enigma/3.wav").read_bytes()
    answered = world.get(path)
    assert (answered.status_code, answered.content, answered.headers["ETag"]) == (200, RECORDED, ETAG)
    part = world.get(path, headers={"Range": "bytes=10-19", "If-Range": ETAG})
    assert (part.status_code, part.content) == (206, RECORDED[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(RECORDED)}"
    assert world.get(path, params={"as": "wav"}).status_code == 200


def test_a_key_that_is_missing_is_a_problem_and_no_crash(world, encrypted):
    """It is told which; nothing is written down as heard. What is not encrypted is heard as before."""
    before = len(world.log())
    encrypted.unlink()
    for asked in ({}, {"params": {"as": "wav"}}, {"headers": {"Range": "bytes=0-0"}}):
        answered = world.get("/v1/calls/enigma/3/recording", **asked)
        assert kind(answered) == (502, "broken-recording")
        assert "the key of 2026-03 of enigma is not there" in answered.json()["detail"]
    assert len(world.log()) == before
    assert world.get(PATH).content == RECORDED
    encrypted.parent.parent.rename(encrypted.parent.parent.with_name("elsewhere"))
    assert kind(world.get("/v1/calls/enigma/3/recording")) == (503, "away")
