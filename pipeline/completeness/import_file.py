"""A file of the vendor's backup becomes ordinary batches: however often it is imported, once.

Each chunk is settled under a claim made of the file's SHA-256 and the chunk's number, so a chunk that is there is seen
by the same constraint that keeps a claim of the dialler's list from being settled twice. A run that is killed leaves
whole chunks; the next one goes on behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.batches.progress import put_behind
from pipeline.completeness import import_rows
from pipeline.ingest.inbox import settle

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.completeness.backup_file import BackupFile, Survey
    from pipeline.completeness.import_rows import Import

    Progress = Callable[[int], None]


class Imported(NamedTuple):
    """What a run came to."""

    of: Import
    settled: int
    """Records that this run put into the inbox."""
    known: int
    """Records whose chunks had been there before."""


def import_file(
    engine: Engine,
    file: BackupFile,
    survey: Survey,
    *,
    source: str,
    who: str,
    progress: Progress = lambda _: None,
) -> Imported:
    """Put all of a file into the inbox, behind what comes in from the dialler.

    Args:
        engine: the database.
        file: the file.
        survey: of that file.
        source: the dialler whose calls they are.
        who: does it.
        progress: is told how many records are done.

    Raises:
        ChangedError: the file is another by now; what is settled by then is what the survey saw.
    """
    settled = known = 0
    with engine.begin() as connection:
        begun = import_rows.begin_import(connection, survey, source, who)
    for number, chunk in enumerate(file.chunks(survey)):
        if _settle(engine, begun.id, number, chunk, claim=survey.claim(source, number), source=source):
            settled += len(chunk)
        else:
            known += len(chunk)
        progress(settled + known)
    with engine.begin() as connection:
        import_rows.end_import(connection, begun.id)
    return Imported(begun, settled, known)


def _settle(engine: Engine, import_id: int, number: int, chunk: list[bytes], *, claim: uuid.UUID, source: str) -> bool:
    """Settle one chunk; False when it was before, by whomever."""
    with engine.begin() as connection:
        if import_rows.is_settled(connection, import_id, number):
            return False
        batch = settle(connection, claim, source, chunk, resend_after_seconds=0)
        if batch is None:  # another run of the same file was faster
            return False
        put_behind(connection, batch.batch_id)
        import_rows.note_chunk(connection, import_id, number, batch.batch_id)
    return True
