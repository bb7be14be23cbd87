"""The rows of imported files: which batches came of a file, and what became of their records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.audit import record_action
from pipeline.database.tables import import_chunks, imports
from pipeline.record_ids import PLACES

PULLED_FROM = "the dialler's API"

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Batch
    from pipeline.completeness.backup_file import Survey


class Import(NamedTuple):
    """One file of one dialler, however often it was imported."""

    id: int
    began_at: datetime
    began_by: str
    is_new: bool


class FileBalance(NamedTuple):
    """Where each record of a file is; the places add up to ``records``."""

    records: int
    new: int
    """Calls that no other record had brought."""
    duplicate: int
    replacing: int
    """Took the place of what was stored of their call."""
    conflict: int
    quarantined: int
    discarded: int
    pending: int
    """Not read yet."""

    @property
    def closes(self) -> bool:
        """Whether every record is somewhere."""
        return self.records == sum(self[1:])


def begin_import(connection: Connection, survey: Survey, source: str, who: str) -> Import:
    """The row of a file; who imports it is written down once, by whoever is the first."""
    row = connection.execute(
        insert(imports)
        .values(
            source=source,
            sha256=survey.sha256,
            file_name=survey.name,
            size_bytes=survey.size_bytes,
            records=survey.elements,
            began_by=who,
        )
        .on_conflict_do_nothing(index_elements=["sha256", "source"])
        .returning(imports.c.id, imports.c.began_at, imports.c.began_by)
    ).one_or_none()
    if row is not None:
        detail = {"import": row.id, "file": survey.name, "sha256": survey.sha256.hex(), "source": source}
        record_action(connection, who, "file imported", detail)
        return Import(row.id, row.began_at, row.began_by, is_new=True)
    found = connection.execute(
        text("SELECT id, began_at, began_by FROM imports WHERE sha256 = :sha256 AND source = :source"),
        {"sha256": survey.sha256, "source": source},
    ).one()
    return Import(found.id, found.began_at, found.began_by, is_new=False)


def note_chunk(connection: Connection, import_id: int, chunk: int, batch_id: int) -> None:
    """Write down which batch a chunk became, in the transaction that settles it."""
    connection.execute(insert(import_chunks).values(import_id=import_id, chunk=chunk, batch_id=batch_id))


def note_pulled(connection: Connection, source: str, digest: bytes, batch: Batch, who: str) -> None:
    """Write down a batch of pulled records as an import of its own: it says nothing about the dialler's list either."""
    values = {"source": source, "sha256": digest, "file_name": PULLED_FROM, "size_bytes": 0, "records": batch.records}
    made = insert(imports).values(**values, began_by=who, ended_at=func.now())
    # The same evidence after the same calls were missing twice: its records are others' duplicates.
    again = made.on_conflict_do_update(index_elements=["sha256", "source"], set_={"ended_at": func.now()})
    import_id = connection.scalars(again.returning(imports.c.id)).one()
    note_chunk(connection, import_id, chunks_known(connection, import_id), batch.batch_id)


def chunks_known(connection: Connection, import_id: int) -> int:
    """How many chunks of a file are settled."""
    counted = text("SELECT count(*) FROM import_chunks WHERE import_id = :id")
    return int(connection.execute(counted, {"id": import_id}).scalar_one())


def is_settled(connection: Connection, import_id: int, chunk: int) -> bool:
    """Whether a chunk is."""
    found = text("SELECT EXISTS (SELECT FROM import_chunks WHERE import_id = :id AND chunk = :chunk)")
    return bool(connection.scalar(found, {"id": import_id, "chunk": chunk}))


def end_import(connection: Connection, import_id: int) -> None:
    """All of a file is in the inbox."""
    ended = text("UPDATE imports SET ended_at = now() WHERE id = :id AND ended_at IS NULL")
    connection.execute(ended, {"id": import_id})


def records_unread(connection: Connection, import_id: int) -> int:
    """How many of a file's records are in batches that were not read yet."""
    found = connection.scalar(
        text(
            "SELECT coalesce(sum(records), 0) FROM import_chunks JOIN batches ON batches.id = batch_id "
            "WHERE import_id = :id AND normalized_at IS NULL"
        ),
        {"id": import_id},
    )
    return int(found or 0)


_BATCHES_A_LOOK = 500


def balance_of_file(connection: Connection, import_id: int) -> FileBalance:
    """Where each record of a file is."""
    batch_ids = connection.scalars(
        text("SELECT batch_id FROM import_chunks WHERE import_id = :id ORDER BY batch_id"), {"id": import_id}
    ).all()
    parts = [
        _counts(connection, batch_ids[at : at + _BATCHES_A_LOOK]) for at in range(0, len(batch_ids), _BATCHES_A_LOOK)
    ]
    totals = [sum(each) for each in zip(*parts, strict=True)] or [0] * 7
    records, *places = totals
    return FileBalance(records, *places, records - sum(places))  # type: ignore[call-arg]


def _counts(connection: Connection, batch_ids: Sequence[int]) -> Sequence[int]:
    """Of some batches: records, new, duplicate, replacing, conflict, quarantined, discarded."""

    def of(table: str, key: str, more: str = "") -> str:
        return f"(SELECT count(*) FROM {table} WHERE {key} BETWEEN first AND last{more})"

    def aside(more: str) -> str:
        return of("failures", "record_id", f" AND step = 'normalize' AND {more}")

    open_, discarded = "state IN ('open', 'retrying')", "state = 'discarded'"
    conflict, other = " AND class = 'conflict'", " AND class <> 'conflict'"
    row = connection.execute(
        text(
            "SELECT coalesce(sum(records), 0)::bigint, coalesce(sum(new), 0)::bigint, "
            "  coalesce(sum(duplicate), 0)::bigint, coalesce(sum(replacing), 0)::bigint, "
            "  coalesce(sum(conflict), 0)::bigint, coalesce(sum(quarantined), 0)::bigint, "
            "  coalesce(sum(discarded), 0)::bigint "
            "FROM (SELECT id * :places AS first, id * :places + :places - 1 AS last, records FROM batches "
            "      WHERE id = ANY(cast(:ids AS bigint[]))) AS span, "
            f"LATERAL (SELECT {of('calls', 'id')} AS new, {of('duplicates', 'record_id')} AS duplicate, "
            f"  {of('revisions', 'record_id')} AS replacing, "
            f"  {aside(open_ + conflict)} AS conflict, "
            f"  {aside(open_ + other)} AS quarantined, "
            f"  {aside(discarded)} AS discarded) AS places"
        ),
        {"ids": list(batch_ids), "places": PLACES},
    ).one()
    return tuple(row)
