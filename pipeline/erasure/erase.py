"""A number taken out of all there is, in committed parts and a fixed order: a run that was killed is gone on with.

First the mark, so that nothing brings the number back meanwhile; then the calls, each with its files; then records that
never became calls; then the tables that are looked through as a whole; at last the archive, which says what the
database says by then. What is done is not found again, so going on is beginning anew.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.erasure import runs
from pipeline.erasure.archived import check_archive, erase_archived
from pipeline.erasure.elsewhere import RECORDS_AT_ONCE, erase_elsewhere, ids_elsewhere
from pipeline.erasure.of_calls import CALLS_AT_ONCE, erase_calls, ids_of
from pipeline.erasure.sweep import ROWS_AT_ONCE, TABLES, key_of, rows_with, sweep
from pipeline.errors import AwayError, PipelineError
from pipeline.keeping import holds
from pipeline.keeping.minimum import against_erasing
from pipeline.recordings.erasing import files_of, held_among, in_hand, stores_in_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from pipeline.archive.store import ArchiveStore
    from pipeline.calls.rules.erasure_key import ErasureKey
    from pipeline.calls.rules.spellings import Spelled
    from pipeline.erasure.runs import Proof, Run
    from pipeline.recordings.file_store import RecordingStore

DOWNLOAD_SECONDS: Final = 60.0
"""How long recordings are waited for that are just being downloaded."""

_LOOK_AGAIN_SECONDS: Final = 0.5
_NAMED: Final = 5


class HeldError(PipelineError):
    """Something stands against an erasure, and wins."""


class ElsewhereError(PipelineError):
    """Files of the number are in a store that is not set here."""


class DownloadingError(AwayError):
    """Recordings of the number are being downloaded, and do not end."""


class Store(NamedTuple):
    """The recordings, and whose they are."""

    files: RecordingStore
    markers: dict[str, str]
    """Of the diallers whose files are in it."""


def erase(
    engine: Engine,
    store: RecordingStore,
    spelled: Spelled,
    key: ErasureKey,
    *,
    who: str,
    because: str,
    archive: ArchiveStore | None = None,
    reached: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Take a number out of everything, or go on with that.

    Args:
        engine: the database, as the owner of its tables.
        store: where the recordings are.
        spelled: the number.
        key: for its mark.
        who: does it.
        because: why, for the record.
        archive: where calls are archived; None: they are not.
        reached: told after each part what was done.

    Returns:
        The proof that is kept.

    Raises:
        HeldError: it is held, or a call or a recording of it is, or what it is in must be kept for a while yet; nothing
            was changed, or nothing more.
        ElsewhereError: files are in another store; all that is not of these calls was not begun.
        DownloadingError: run it again.
        StoreError: a file cannot be deleted; run it again.
        ArchivedError: calls are archived elsewhere, or are nowhere but in the archive; the text says what to do.
        NamesTheNumberError: what is said for the record holds the number.
    """
    with engine.connect() as connection:
        check_holds(connection, spelled)
    check_archive(engine, archive)
    with engine.begin() as connection:
        run = runs.begin(connection, spelled, key, who=who, because=because)
    reached("begun")
    _erase_calls(engine, run, Store(store, stores_in_reach(engine, store)), reached)
    with engine.connect() as connection:
        record_ids = ids_elsewhere(connection, spelled)
    for some in _parts(record_ids, RECORDS_AT_ONCE):
        with engine.begin() as connection:
            runs.allow_rewriting(connection, run)
            runs.count(connection, run, erase_elsewhere(connection, run, some))
        reached("records")
    for name in TABLES:
        _sweep(engine, run, name)
        reached(name)
    if archive is not None:
        counts = erase_archived(engine, archive, spelled)
        reached("archive")
        with engine.begin() as connection:
            runs.count(connection, run, counts)
    with engine.begin() as connection:
        return runs.end(connection, run)


def check_holds(connection: Connection, spelled: Spelled, *, of_calls: bool = False) -> None:
    """Whether anything stands against erasing a number: a hold, or a minimum for which something must be kept.

    Args:
        connection: the database.
        spelled: the number.
        of_calls: look at its calls alone, which is soon done, and not for other records that hold it.

    Raises:
        HeldError: naming all that does, and until when where that is known.
    """
    call_ids = ids_of(connection, spelled.number)
    elsewhere = [] if of_calls else ids_elsewhere(connection, spelled)
    hold = holds.standing(connection, spelled.number)
    against = [f"the number is held {hold}"] if hold else []
    against += _at_most([str(each) for each in holds.held_calls(connection, [*call_ids, *elsewhere])])
    if refs := held_among(connection, call_ids):
        against.append(f"the recordings of these calls are held: {', '.join(_at_most(refs))}")
    against += against_erasing(connection, call_ids, elsewhere)
    if against:
        raise HeldError(f"nothing is erased while this stands against it: {'; '.join(against)}")


def _at_most(named: list[str]) -> list[str]:
    return [*named[:_NAMED], f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else named


def _erase_calls(engine: Engine, run: Run, store: Store, reached: Callable[[str], None]) -> None:
    until = time.monotonic() + DOWNLOAD_SECONDS
    while True:
        with engine.connect() as connection:
            call_ids = ids_of(connection, run.spelled.number)
            _check_stores(connection, call_ids, store)
            busy = in_hand(connection, call_ids)
        for some in _parts([each for each in call_ids if each not in busy], CALLS_AT_ONCE):
            with engine.begin() as connection:
                check_holds(connection, run.spelled, of_calls=True)
                runs.allow_rewriting(connection, run)
                counts = erase_calls(connection, run, store.files, some, markers=store.markers, reached=reached)
                runs.count(connection, run, counts)
                reached("written")
            reached("calls")
        if not busy:
            return
        if time.monotonic() > until:
            raise DownloadingError(f"{len(busy)} recordings of it are just being downloaded: run it again")
        time.sleep(_LOOK_AGAIN_SECONDS)


def _parts(ids: list[int], size: int) -> Iterator[list[int]]:
    return (ids[first : first + size] for first in range(0, len(ids), size))


def _check_stores(connection: Connection, call_ids: list[int], store: Store) -> None:
    elsewhere = set(files_of(connection, call_ids).values()) - store.markers.keys()
    if elsewhere:
        raise ElsewhereError(
            f"recordings of it by {', '.join(sorted(elsewhere))} are not in the store that is set here: run it with "
            "ENIGMA_SOURCE and RECORDINGS_URL of that dialler, whose store `pipeline recordings verify` knows"
        )


def _sweep(engine: Engine, run: Run, name: str) -> None:
    after = None
    while True:
        with engine.begin() as connection:
            runs.allow_rewriting(connection, run)
            rows = rows_with(connection, run.spelled, name, after=after, limit=ROWS_AT_ONCE)
            runs.count(connection, run, Counter({name: sweep(connection, run.spelled, name, rows)}))
        if len(rows) < ROWS_AT_ONCE:
            return
        after = key_of(rows[-1], name)
