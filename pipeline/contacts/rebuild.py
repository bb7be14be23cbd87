"""Making all contacts anew from all calls, or looking whether that would change any."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.progress import settle_owing
from pipeline.contacts.rows import Difference, differences, recount_references, reference_after
from pipeline.contacts.rules.outcome import LONGEST_REFERENCE
from pipeline.contacts.update import told
from pipeline.database.feed_log import tell_of_contacts
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

CALLS_AT_ONCE: Final = 5_000
BATCHES_AT_ONCE: Final = 1_000
EXAMPLES: Final = 20
_BEHIND_ALL: Final = "\U0010ffff" * (LONGEST_REFERENCE + 1)


class Rebuilt(NamedTuple):
    """What came of looking at all contacts."""

    different: int
    """Contacts whose rows said something else than their calls."""
    waiting: int
    """Contacts that said something else because the step has still to come to a call of theirs."""
    changed: int
    """Contacts written; 0 where nothing was to be."""
    examples: list[Difference]
    """Some of those that were different."""


def rebuild(engine: Engine, *, check: bool, progress: Callable[[int], None] = lambda _: None) -> Rebuilt:
    """Have every contact say what its calls come to, a part of them a transaction; the steps go on meanwhile.

    Batches that a version before left without the step need it no longer then.

    Args:
        engine: the database.
        check: only look; nothing is written or locked.
        progress: told after each part how many contacts were written so far.
    """
    different = waiting = changed = 0
    examples: list[Difference] = []
    with engine.connect() as connection:
        began = connection.scalar(text("SELECT clock_timestamp()"))
        for after, upto in _parts(connection):
            with connection.begin():
                found = differences(connection, after, upto)
                changed += 0 if check else _renew(connection, after, upto)
            wrong = [each for each in found if not each.waits]
            different, waiting = different + len(wrong), waiting + len(found) - len(wrong)
            examples += wrong[: EXAMPLES - len(examples)]
            progress(changed)
        assert began is not None
        settled = 0 if check else 1
        while settled:
            with connection.begin():
                settled = settle_owing(connection, finished_before=began, limit=BATCHES_AT_ONCE)
    return Rebuilt(different, waiting, changed, examples)


def _parts(connection: Connection) -> Iterator[tuple[str, str]]:
    """References, behind one and up to another, in the order of their bytes."""
    after = ""
    while True:
        upto = reference_after(connection, after, calls=CALLS_AT_ONCE)
        connection.rollback()
        yield after, _BEHIND_ALL if upto is None else upto
        if upto is None:
            return
        after = upto


def _renew(connection: Connection, after: str, upto: str) -> int:
    changes = recount_references(connection, after, upto)
    revision = connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))
    for batch_id, some in groupby(sorted(told(changes)), key=lambda change: batch_of(change[0])):
        tell_of_contacts(connection, batch_id, some, revision=revision)
    return len(changes)
