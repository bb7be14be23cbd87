"""Handing a stored recording out: its bytes as they were stored, and who has them is written down."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from pipeline.database.audit import record_action
from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls, dispositions, recordings
from pipeline.errors import PipelineError
from pipeline.recordings.file_store import Checksum
from pipeline.recordings.retention import problem_of
from pipeline.recordings.retention_rows import KeptFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.database.narrowing import Conditions
    from pipeline.recordings.file_store import RecordingStore


class DiffersError(PipelineError):
    """What the store gave is not what was stored; its text says how."""


class CallsRecording(NamedTuple):
    """A call, and where its recording is; instants are aware, and what has no row yet is None."""

    call_id: int
    source: str
    call_ref: str
    disposition: str | None
    can_have_audio: bool | None
    state: str | None
    reason: str | None
    attempts: int | None
    due_at: datetime | None
    path: str | None
    size_bytes: int | None
    sha256: bytes | None
    key_month: str | None
    deleted_at: datetime | None
    deleted_reason: str | None

    @property
    def file(self) -> KeptFile | None:
        """Its file in the store; None when there is none."""
        if self.state != "stored" or self.deleted_at is not None:
            return None
        assert self.path is not None
        assert self.size_bytes is not None
        assert self.sha256 is not None
        found = (self.path, self.size_bytes, bytes(self.sha256), self.key_month)
        return KeptFile(self.call_id, self.source, self.call_ref, *found)


_CALL = {"call_id": calls.c.id, "source": calls.c.source, "call_ref": calls.c.call_ref}
_DISPOSITION = {name: dispositions.c[name] for name in ("disposition", "can_have_audio")}
_CONDITIONS: Conditions = {
    "call_ref": lambda value: calls.c.call_ref == value,
    "source": lambda value: calls.c.source == value,
}


def find_recordings(connection: Connection, call_ref: str, source: str | None = None) -> list[CallsRecording]:
    """Each dialler's call of a reference with its recording; empty where no call has it.

    Args:
        connection: the database.
        call_ref: the dialler's internal call reference.
        source: one dialler; None: all.
    """
    known = _CALL | _DISPOSITION
    rows = connection.execute(
        select(*(known[name] if name in known else recordings.c[name] for name in CallsRecording._fields))
        .select_from(calls)
        .outerjoin(dispositions, dispositions.c.call_id == calls.c.id)
        .outerjoin(recordings, recordings.c.call_id == calls.c.id)
        .where(*narrow({"call_ref": call_ref, "source": source}, _CONDITIONS))
        .order_by(calls.c.source)
    )
    return [CallsRecording._make(row) for row in rows]


def fetch(engine: Engine, store: RecordingStore, file: KeptFile, *, who: str, because: str | None) -> Iterator[bytes]:
    """The bytes of a stored recording, a part at a time, compared with what was stored while they pass.

    Who has them is written down before the first is given away; a file that cannot be read is nobody's.

    Args:
        engine: the database.
        store: that of the recording's dialler.
        file: the recording.
        who: gets it.
        because: why, for the record.

    Raises:
        NoSuchFileError: the store has no such file.
        CannotDecryptError: its key is not there, or its bytes were changed.
        StoreError: it cannot be read.
        DiffersError: it is not what was stored; all of it was given away by then.
    """
    digest, size = hashlib.sha256(), 0
    for part in store.read(file.path, key=file.key):
        if not size:
            with engine.begin() as connection:
                detail = None if because is None else {"reason": because}
                record_action(connection, who, "recording fetched", detail, record_id=file.call_id)
        digest.update(part)
        size += len(part)
        yield part
    if problem := problem_of(file, Checksum(size, digest.digest())):
        raise DiffersError(problem)
