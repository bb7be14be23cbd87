"""Hearing a recording: which bytes, in which form, and that it is written down before the first of them."""

from __future__ import annotations

import hashlib
import io
import threading
import wave

import pytest
from sqlalchemy import text

from pipeline.database import access_log
from pipeline.database.access_log import NotLoggedError, Visitor
from pipeline.recordings import listening
from pipeline.recordings.decoding import BrokenAudioError, Decoder
from pipeline.recordings.fetching import DiffersError, find_recordings
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.listening import Wanted, listen
from pipeline.recordings.store_trouble import NoSuchFileError
from tests.integration.recording_rows import body, scheduled

ANN = Visitor("ann", "api", "192.0.2.7", "a complaint")
SAMPLES = 35 * 320
"""Of `body`: 65 bytes of GSM are 320 samples."""


def store_recording(engine, folder, call_ref, content):
    """A call whose recording is stored, with these bytes."""
    [call_id] = scheduled(engine, call_ref)
    path = f"enigma/{call_ref}.wav"
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE recordings SET state = 'stored', due_at = NULL, ended_at = now(), path = :path, "
                "size_bytes = :size, sha256 = :sha256 WHERE call_id = :id"
            ),
            {"path": path, "size": len(content), "sha256": hashlib.sha256(content).digest(), "id": call_id},
        )
    return file


@pytest.fixture
def store(tmp_path):
    return RecordingStore(tmp_path.as_uri())


@pytest.fixture
def recording(engine, tmp_path):
    """The stored file of call 7."""
    return store_recording(engine, tmp_path, 7, body(7))


def kept(engine, call_ref=7):
    with engine.connect() as connection:
        [found] = find_recordings(connection, str(call_ref))
    assert found.file is not None
    return found.file


def hear(engine, store, *, decoder=None, visitor=ANN, call_ref=7, **wanted):
    answer = listen(engine, store, decoder or Decoder(), kept(engine, call_ref), Wanted(**wanted), visitor=visitor)
    return answer, b"".join(answer.parts)


def log_rows(engine):
    with engine.connect() as connection:
        return connection.execute(text("SELECT * FROM access_log ORDER BY id")).all()


def test_all_of_it_as_it_was_stored(engine, store, recording):
    """With who heard it, when, which, from where, and why."""
    answer, heard = hear(engine, store)
    assert (answer.status, heard) == (200, body(7))
    assert answer.headers["ETag"] == f'"{hashlib.sha256(body(7)).hexdigest()}"'
    assert answer.headers["Content-Type"] == "audio/wav"
    assert answer.headers["Content-Length"] == str(len(heard))
    [row] = log_rows(engine)
    assert (row.who, row.via, row.action, row.address, row.reason) == (
        "ann",
        "api",
        "listen",
        "192.0.2.7",
        "a complaint",
    )
    assert (row.call_id, row.source, row.call_ref) == (kept(engine).call_id, "enigma", "7")
    assert row.detail == {"form": "stored", "first": 0, "bytes": len(heard), "of": len(heard)}


@pytest.mark.parametrize(
    ("range_", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 0),
        ("bytes=100-199", 206, 100, 199),
        ("bytes=-10", 206, -10, None),
        ("bytes=x", 200, 0, None),
    ],
)
def test_a_part_of_it(engine, store, recording, range_, status, first, last):
    answer, heard = hear(engine, store, range_=range_)
    assert answer.status == status
    assert heard == (body(7)[first:] if last is None else body(7)[first : last + 1])
    if status == 206:
        at = len(body(7)) + first if first < 0 else first
        assert answer.headers["Content-Range"] == f"bytes {at}-{at + len(heard) - 1}/{len(body(7))}"


def test_a_part_that_is_not_there_is_no_hearing(engine, store, recording):
    answer, heard = hear(engine, store, range_="bytes=999999-")
    assert (answer.status, heard) == (416, b"")
    assert answer.headers["Content-Range"] == f"bytes */{len(body(7))}"
    assert log_rows(engine) == []


def test_decoded_for_a_browser(engine, store, recording):
    """GSM, which no browser plays, comes as PCM; parts of it are parts of the whole."""
    decoder = Decoder()
    answer, heard = hear(engine, store, decoder=decoder, as_wav=True)
    assert (answer.status, len(heard)) == (200, int(answer.headers["Content-Length"]))
    with wave.open(io.BytesIO(heard)) as pcm:
        assert (pcm.getframerate(), pcm.getnchannels(), pcm.getsampwidth()) == (8000, 1, 2)
        assert SAMPLES <= pcm.getnframes() <= SAMPLES + 320  # the last may be filled up
        assert len(set(pcm.readframes(8000))) > 10, "it is not silent"
    part, of_it = hear(engine, store, decoder=decoder, as_wav=True, range_="bytes=5000-5999")
    assert (part.status, of_it) == (206, heard[5000:6000])
    again, _ = hear(engine, store, decoder=Decoder(), as_wav=True, range_="bytes=0-1", if_range=answer.headers["ETag"])
    assert again.status == 206
    assert answer.headers["ETag"] != hear(engine, store)[0].headers["ETag"]
    assert [row.detail["form"] for row in log_rows(engine)] == ["wav", "wav", "wav", "stored"]


def test_not_a_byte_without_its_row(engine, store, recording, monkeypatch):
    """While the table is locked nobody hears anything; when it is free again, they do."""
    monkeypatch.setattr(access_log, "WAIT_SECONDS", 0.2)
    with engine.connect() as other:
        other.execute(text("LOCK TABLE access_log IN ACCESS EXCLUSIVE MODE"))
        for as_wav in (False, True):
            with pytest.raises(NotLoggedError):
                hear(engine, store, as_wav=as_wav)
    assert log_rows(engine) == []
    assert hear(engine, store)[1] == body(7)
    assert len(log_rows(engine)) == 1


def test_the_row_is_committed_before_the_first_byte(engine, store, recording):
    """Not with it: another connection sees it while the bytes have not begun to be taken."""
    answer = listen(engine, store, Decoder(), kept(engine), Wanted(), visitor=ANN)
    assert len(log_rows(engine)) == 1
    assert next(iter(answer.parts))


@pytest.mark.parametrize(
    "statement", ["UPDATE access_log SET who = 'x'", "DELETE FROM access_log", "TRUNCATE access_log"]
)
def test_what_was_heard_stays_written(engine, store, recording, statement):
    """For the owner of the table too."""
    hear(engine, store)
    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))
    assert len(log_rows(engine)) == 1


@pytest.mark.parametrize(
    "content",
    [b"RIFF", b"RIFF....WAVEfmt ", b"no audio at all" * 100, body(7)[:60] + b"\xff" * 3_000, bytes(5_000)],
    ids=["head", "form", "text", "nonsense", "zeroes"],
)
def test_what_is_no_audio_is_said_to_be_none(engine, store, tmp_path, content):
    """Or decodes to something, which noise may; it never ends this process, and what nobody got is not written down."""
    store_recording(engine, tmp_path, 7, content)
    try:
        _, heard = hear(engine, store, as_wav=True)
    except BrokenAudioError:
        assert log_rows(engine) == []
    else:
        assert heard[:4] == b"RIFF"
    assert hear(engine, store)[1] == content


def test_a_decoder_that_dies_or_hangs_ends_alone(engine, store, recording, tmp_path, monkeypatch):
    """libsndfile may be made to crash: whoever asked is told, and the next is served."""
    program = tmp_path / "program.py"
    monkeypatch.setattr("pipeline.recordings.decode_program.__file__", str(program))
    program.write_text("import os; os.abort()")
    with pytest.raises(BrokenAudioError, match="code -6"):
        hear(engine, store, as_wav=True)
    program.write_text("import time; time.sleep(60)")
    with pytest.raises(BrokenAudioError, match="longer than 1 s"):
        hear(engine, store, as_wav=True, decoder=Decoder(seconds=1))
    assert log_rows(engine) == []


def test_what_comes_to_too_much_is_refused(engine, store, recording):
    with pytest.raises(BrokenAudioError, match="MiB"):
        hear(engine, store, as_wav=True, decoder=Decoder(decoded_bytes=10_000))


def test_a_file_that_was_changed_is_not_given_out(engine, store, recording):
    """Other bytes of the same size, a shorter file, none."""
    content = recording.read_bytes()
    recording.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for wanted in ({}, {"as_wav": True}):
        with pytest.raises(DiffersError, match="other bytes"):
            hear(engine, store, **wanted)
    recording.write_bytes(content[:-1])
    with pytest.raises(DiffersError, match="bytes"):
        hear(engine, store, range_="bytes=0-1")
    recording.unlink()
    with pytest.raises(DiffersError, match="missing"):
        hear(engine, store, range_="bytes=0-1")
    with pytest.raises(NoSuchFileError):
        hear(engine, store)
    assert log_rows(engine) == []


def test_decoding_is_done_once_for_a_player_that_seeks(engine, store, recording, monkeypatch):
    """And not kept for long."""
    now = [0.0]
    decoder = Decoder(clock=lambda: now[0])
    runs = []
    run = decoder._run
    monkeypatch.setattr(decoder, "_run", lambda *files: (runs.append(1), run(*files)))
    for first in (0, 4_000, 20_000):
        hear(engine, store, decoder=decoder, as_wav=True, range_=f"bytes={first}-{first + 99}")
    assert len(runs) == 1
    now[0] = 1_000.0
    decoder.tidy()
    hear(engine, store, decoder=decoder, as_wav=True)
    assert len(runs) == 2


def test_many_at_once_hear_the_same(engine, store, recording):
    decoder = Decoder()
    heard = []
    threads = [
        threading.Thread(target=lambda: heard.append(hear(engine, store, decoder=decoder, as_wav=True)[1]))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 5
    assert len(set(heard)) == 1


def test_a_name_that_a_header_cannot_hold_is_changed():
    assert listening._NO_NAME.sub("_", 'a"b\r\nc') == "a_b__c"
