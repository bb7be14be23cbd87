"""Erasures as rows: begun or gone on with, counted as they go, done; the proof of them names nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.audit import record_action
from pipeline.database.tables import erased_numbers, erasures
from pipeline.erasure.marks import key_of_marks, lock_marks
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.calls.rules.erasure_key import ErasureKey
    from pipeline.calls.rules.spellings import Spelled


class NamesTheNumberError(PipelineError):
    """What is said for the record holds the number itself, and would be the only place that keeps it."""


class Run(NamedTuple):
    """An erasure under way."""

    id: int
    spelled: Spelled
    key: ErasureKey
    who: str
    resumed: bool


class Proof(NamedTuple):
    """An erasure as it is kept."""

    id: int
    state: str
    who: str
    because: str
    began_at: datetime
    ended_at: datetime | None
    counts: dict[str, int]


def begin(connection: Connection, spelled: Spelled, key: ErasureKey, *, who: str, because: str) -> Run:
    """Mark a number, and begin its erasure or go on with the one that was interrupted.

    When this is committed, no step is under way that has read records without knowing of the mark: each holds a lock on
    the table of marks from its first statement on, and this waits for them.

    Args:
        connection: a transaction of its own.
        spelled: the number.
        key: for its mark.
        who: does it.
        because: why, for the record.

    Raises:
        NamesTheNumberError: what is said for the record holds the number.
        ErasureKeyError: numbers were erased with another key.
    """
    if spelled.is_in(because) or spelled.is_in(who):
        raise NamesTheNumberError("the reason, and who does it, are kept: say them without the number")
    lock_marks(connection)
    other = key_of_marks(connection)
    if other is not None:
        key.check(other)
    mark = key.mark(spelled.number)
    connection.execute(insert(erased_numbers).values(mark=mark, key_id=key.id).on_conflict_do_nothing())
    of = erasures.c
    found = connection.scalar(select(of.id).where(of.mark == mark))
    if found is not None:
        return Run(found, spelled, key, who, resumed=True)
    row = insert(erasures).values(state="underway", mark=mark, who=who, because=because).returning(of.id)
    return Run(connection.scalars(row).one(), spelled, key, who, resumed=False)


def count(connection: Connection, run: Run, counts: Mapping[str, int]) -> None:
    """Add to what an erasure came to, in the transaction that did it."""
    of = erasures.c
    so_far: dict[str, Any] = connection.scalars(select(of.counts).where(of.id == run.id).with_for_update()).one()
    added = {place: so_far.get(place, 0) + many for place, many in counts.items() if many}
    connection.execute(update(erasures).values(counts=so_far | added).where(of.id == run.id))


def allow_rewriting(connection: Connection, run: Run) -> None:
    """Let this transaction take the number out of tables that otherwise only grow."""
    connection.execute(text("SELECT set_config('cdr.erasure', :id, true)"), {"id": str(run.id)})


def end(connection: Connection, run: Run) -> Proof:
    """Write down that an erasure is done; from now on nothing leads from it to the number."""
    of = erasures.c
    values = {"state": "done", "mark": None, "ended_at": func.clock_timestamp()}
    row = connection.execute(
        update(erasures).values(**values).where(of.id == run.id).returning(*(of[name] for name in Proof._fields))
    ).one()
    record_action(connection, run.who, "number erased", {"erasure": run.id, "reason": row.because})
    return Proof(*row)
