"""Hearing recordings that are encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.database.access_log import Visitor
from pipeline.recordings.decoding import Decoder
from pipeline.recordings.fetching import find_recordings
from pipeline.recordings.listening import Wanted, listen
from pipeline.recordings.rules.encrypted import KeyName

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.listening import Answer
    from pipeline.recordings.retention_rows import KeptFile

KEY = KeyName("enigma", "2026-03")
"""That of the calls in `recording_rows`."""
ANN = Visitor("ann", "api", "192.0.2.7", None)


def kept(engine: Engine, call_ref: int) -> KeptFile:
    with engine.connect() as connection:
        [found] = find_recordings(connection, str(call_ref))
    assert found.file is not None
    return found.file


def hear(engine: Engine, store: RecordingStore, call_ref: int, **wanted: Any) -> tuple[Answer, bytes]:
    answer = listen(engine, store, Decoder(), kept(engine, call_ref), Wanted(**wanted), visitor=ANN)
    return answer, b"".join(answer.parts)
