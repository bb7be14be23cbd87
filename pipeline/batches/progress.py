"""How far each batch has come: the step locks, the marks of steps done, and what is overdue."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from pipeline.batches.rules.batch import Batch
from pipeline.batches.rules.steps import ADDED, DOWNSTREAM, FIRST_STEPS, MARK, Progress, Step
from pipeline.database.engine import execute
from pipeline.record_ids import first_record, last_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import LiteralString

    from sqlalchemy import Connection, TextClause


_MARKS: Final = tuple(MARK)
_COLUMNS: Final[LiteralString] = ", ".join(("id", "source", "records", "resends", *MARK.values()))


def _progress(row: Sequence[Any]) -> Progress:
    """From the columns above; what may follow them says whether failures are being retried."""
    batch_id, source, records, resends, *marks = row
    undone = frozenset(step for step, at in zip(_MARKS, marks, strict=False) if at is None)
    return Progress(Batch(batch_id, source, records), undone, resends, marks[len(_MARKS) :] == [True])


def lock_step(connection: Connection, batch_id: int, step: Step) -> Progress | None:
    """Take a step of a batch for this transaction, waiting for whoever has it; None when there is no such batch.

    The same message delivered twice at once therefore works twice in a row, and the second finds nothing to do.
    """
    return _lock(connection, batch_id, (step,), _LOCK)


def lock_all_steps(connection: Connection, batch_id: int, *, few: bool = False) -> Progress | None:
    """Take a batch with all its steps for this transaction, as ``lock_step`` does with one.

    Args:
        connection: the transaction.
        batch_id: the batch.
        few: whether it holds so few records that planning a statement for them costs more than running it. The rest of
            the transaction then runs by plans that are made once.
    """
    return _lock(connection, batch_id, tuple(Step), _LOCK_OF_FEW if few else _LOCK)


def _lock(connection: Connection, batch_id: int, steps: Sequence[Step], lock: LiteralString) -> Progress | None:
    _lock_in_order(connection, [(batch_id, step) for step in steps], lock)
    # A statement of its own after the lock, so that it sees what whoever held it before has done.
    values = {"id": batch_id, "first": first_record(batch_id), "last": last_record(batch_id), "steps": list(steps)}
    row = execute(
        connection,
        f"SELECT {_COLUMNS}, EXISTS (SELECT FROM failures WHERE record_id BETWEEN %(first)s AND %(last)s "
        "                            AND step = ANY(%(steps)s::text[]) AND state = 'retrying') "
        "FROM batches WHERE id = %(id)s",
        values,
    ).fetchone()
    return None if row is None else _progress(row)


def read_progress(connection: Connection, batch_id: int) -> Progress | None:
    """How far a batch has come; None when there is no such batch."""
    row = execute(connection, f"SELECT {_COLUMNS} FROM batches WHERE id = %(id)s", {"id": batch_id}).fetchone()
    return None if row is None else _progress(row)


def lock_steps(connection: Connection, steps: Iterable[tuple[int, Step]]) -> None:
    """Take steps of batches for this transaction, by the number of their lock, which is everybody's order."""
    _lock_in_order(connection, steps, _LOCK)


def _lock_in_order(connection: Connection, steps: Iterable[tuple[int, Step]], lock: LiteralString) -> None:
    keys = sorted(_lock_key(batch_id, step) for batch_id, step in steps)
    execute(connection, lock, {"keys": keys})


_LOCK: Final[LiteralString] = "SELECT pg_advisory_xact_lock(key)::text FROM unnest(%(keys)s::bigint[]) AS key"

# What the server plans for any bounds of a batch looks dearer to it than what it plans for these, so it plans anew each
# time, and for longer the more months there are. A plan that is kept has to find rows by their keys, however few there
# were when it was made.
_LOCK_OF_FEW: Final[LiteralString] = (
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true) "
    f"UNION ALL SELECT set_config('enable_seqscan', 'off', true) UNION ALL {_LOCK}"
)


def try_lock_steps(connection: Connection, steps: Collection[tuple[int, Step]]) -> frozenset[int]:
    """Take steps of batches for this transaction without waiting; returns the batches of which somebody has one."""
    held = execute(
        connection,
        "SELECT batch_id FROM unnest(%(batches)s::bigint[], %(keys)s::bigint[]) AS wanted (batch_id, key) "
        "WHERE NOT pg_try_advisory_xact_lock(key)",
        {
            "batches": [batch_id for batch_id, _ in steps],
            "keys": [_lock_key(batch_id, step) for batch_id, step in steps],
        },
    )
    return frozenset(batch_id for (batch_id,) in held)


def _lock_key(batch_id: int, step: Step) -> int:
    # The first steps as every version and the database's `accept_conflict` number them; those added lie below zero.
    place = _MARKS.index(step)
    if place < FIRST_STEPS:
        return batch_id * FIRST_STEPS + place
    return -(batch_id * FIRST_STEPS + place - FIRST_STEPS) - 1


@contextlib.contextmanager
def step_held(connection: Connection, batch_id: int, step: Step) -> Iterator[None]:
    """Hold a step of a batch over several transactions; a connection that dies lets go of it."""
    key = {"key": _lock_key(batch_id, step)}
    connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
    connection.commit()
    try:
        yield
    except BaseException:
        connection.invalidate()  # the server lets go of it with the connection, whatever state that is in
        raise
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    connection.commit()


def mark_done(connection: Connection, batch_id: int, step: Step, *, resend_after_seconds: float) -> Progress:
    """Mark a step done for the whole batch, finish the batch when it was the last, and say what is left."""
    return _mark(connection, _MARK_DONE[step], batch_id, resend_after_seconds)


def mark_all_done(connection: Connection, batch_id: int, *, resend_after_seconds: float) -> Progress:
    """Mark every step done for the whole batch, which finishes it."""
    return _mark(connection, _MARK_ALL_DONE, batch_id, resend_after_seconds)


def _mark(connection: Connection, statement: LiteralString, batch_id: int, resend_after_seconds: float) -> Progress:
    values = {"id": batch_id, "first": first_record(batch_id), "last": last_record(batch_id)}
    row = execute(connection, statement, {**values, "resend_after": resend_after_seconds}).fetchone()
    assert row is not None
    *marked, finished_again = row
    if finished_again:
        execute(connection, _TELL_AGAIN, values)
    return _progress(marked)


_OF_ITS_RECORDS: Final[LiteralString] = "record_id BETWEEN %(first)s AND %(last)s"


def _marking(assignments: LiteralString, *, may_be_finished: bool = False) -> LiteralString:
    # A batch that is finished for the first time is a row of the feed, in the same statement: it costs no round trip.
    # Its records that wait for something are left out of it. What a version before finished was told by it.
    before: LiteralString = "SELECT id AS found, finished_at AS told_at FROM batches WHERE id = %(id)s FOR UPDATE"
    found: LiteralString = f"FROM ({before}) AS before WHERE id = found " if may_be_finished else "WHERE id = %(id)s "
    now_finished: LiteralString = f"finished_at IS NOT NULL{' AND told_at IS NULL' if may_be_finished else ''}"
    return (
        f"marked AS (UPDATE batches SET {assignments}, "
        f"  due_at = now() + make_interval(secs => %(resend_after)s), resends = 0 {found}"
        f"  RETURNING {_COLUMNS}, {now_finished} AS finished, reopened_at IS NOT NULL AS again), "
        "fed AS (INSERT INTO feed (kind, source, batch_id, left_out) SELECT 'call.finished', source, id, nullif("
        f"  ARRAY(SELECT record_id FROM failures WHERE {_OF_ITS_RECORDS} AND state <> 'resolved'), '{{}}') "
        "  FROM marked WHERE finished AND NOT again) "
        f"SELECT {_COLUMNS}, finished AND again FROM marked"
    )


def _mark_done(step: Step) -> LiteralString:
    # However the step came to its end, nothing of being careful with it is left for the next time it is done.
    forgotten: LiteralString = f"DELETE FROM probes WHERE batch_id = %(id)s AND step = '{step.value}'"
    others: LiteralString = " AND ".join(f"{column} IS NOT NULL" for other, column in MARK.items() if other is not step)
    added = step in ADDED
    at: LiteralString = "coalesce(finished_at, clock_timestamp())" if added else "clock_timestamp()"
    finished: LiteralString = f"finished_at = CASE WHEN {others} THEN {at} END"
    marking = _marking(f"{MARK[step]} = clock_timestamp(), {finished}", may_be_finished=added)
    return f"WITH forgotten AS ({forgotten}), {marking}"


_MARK_DONE: Final = {step: _mark_done(step) for step in Step}
_MARK_ALL_DONE: Final[LiteralString] = "WITH " + _marking(
    ", ".join(f"{column} = clock_timestamp()" for column in (*MARK.values(), "finished_at"))
)

# A batch that was reopened: a row names those of the records left out that are done since. Where no row says what was
# left out (it was made by older code, or is past its retention) all that ever waited are named: told twice, by the same
# event id, rather than not at all. One that was reopened before it was ever finished is told as a whole.
_TOLD: Final[LiteralString] = "FROM feed WHERE batch_id = %(id)s AND kind ="
_TELL_AGAIN: Final[LiteralString] = (
    "INSERT INTO feed (kind, source, batch_id, left_out, named) "
    "SELECT 'call.finished', source, id, nullif(waiting, '{}'), named "
    "FROM (SELECT source, id, waiting, CASE "
    f"       WHEN EXISTS (SELECT {_TOLD} 'call.received') AND NOT EXISTS (SELECT {_TOLD} 'call.finished') THEN NULL "
    f"       ELSE ARRAY(SELECT record_id FROM failures WHERE {_OF_ITS_RECORDS} AND state = 'resolved' "
    "                   AND record_id = ANY(coalesce("
    f"                    (SELECT coalesce(left_out, '{{}}') {_TOLD} 'call.finished' ORDER BY feed.id DESC LIMIT 1), "
    "                     ARRAY[record_id])) EXCEPT SELECT unnest(waiting)) END AS named "
    "      FROM batches, LATERAL (SELECT ARRAY("
    f"       SELECT record_id FROM failures WHERE {_OF_ITS_RECORDS} AND state <> 'resolved') AS waiting) AS failed "
    "      WHERE id = %(id)s) AS finished "
    "WHERE named IS NULL OR named <> '{}'"
)


def reopen(connection: Connection, batch_id: int, step: Step) -> None:
    """Give a batch back to the reconciler from ``step`` on, because one of its records is to be tried again.

    Waits for steps of the batch that are running: they may have read the batch before the record was released.
    """
    reopen_all(connection, {(batch_id, step)})


def reopen_all(connection: Connection, chosen: Collection[tuple[int, Step]]) -> None:
    """Give each of these batches back from its step on, as ``reopen`` does; a batch may be there with several steps."""
    lock_steps(connection, opened_by(chosen))
    batch_ids = sorted({batch_id for batch_id, _ in chosen})
    connection.execute(
        text("SELECT FROM batches WHERE id = ANY(cast(:ids AS bigint[])) ORDER BY id FOR UPDATE"), {"ids": batch_ids}
    )
    for step, following in DOWNSTREAM.items():
        batch_ids = [batch_id for batch_id, each in chosen if each is step]
        if batch_ids:
            _reopen(connection, batch_ids, following)


def opened_by(chosen: Iterable[tuple[int, Step]]) -> set[tuple[int, Step]]:
    """All steps that reopening batches from these on opens, and locks."""
    return {(batch_id, following) for batch_id, step in chosen for following in DOWNSTREAM[step]}


def _reopen(connection: Connection, batch_ids: Sequence[int], steps: Sequence[Step]) -> None:
    marks = ", ".join(f"{MARK[each]} = NULL" for each in steps)
    connection.execute(
        text(
            f"UPDATE batches SET {marks}, finished_at = NULL, due_at = now(), resends = 0, reopened_at = now() "
            "WHERE id = ANY(cast(:ids AS bigint[]))"
        ),
        {"ids": batch_ids},
    )
    # The record that is to be tried again may lie before the part that was in hand.
    connection.execute(
        text("DELETE FROM probes WHERE batch_id = ANY(cast(:ids AS bigint[])) AND step = ANY(cast(:steps AS text[]))"),
        {"ids": batch_ids, "steps": [step.value for step in steps]},
    )


def put_behind(connection: Connection, batch_id: int) -> None:
    """Have a new batch wait behind what comes in from a dialler, as one does that was opened again."""
    connection.execute(text("UPDATE batches SET reopened_at = now(), due_at = now() WHERE id = :id"), {"id": batch_id})


def send_at_next_look(connection: Connection, batch_id: int) -> bool:
    """Have an unfinished batch sent again at the reconciler's next look; False when there is none of this id."""
    found = connection.execute(
        text("UPDATE batches SET due_at = now() WHERE id = :id AND finished_at IS NULL"), {"id": batch_id}
    )
    return found.rowcount > 0


def take_overdue(
    connection: Connection, *, limit: int, resend_after_seconds: float, longest_seconds: float = 300.0
) -> list[Progress]:
    """Batches whose message seems lost, oldest first; each is not due again for a growing, jittered while.

    Reopened batches are taken beside those on their way for the first time, and only as many as keep those that were
    sent and have not ended few: a retry of everything must not stand in the queues before what comes in. So are those
    that a version before finished without a step it did not know: they stay finished, and do that step.

    Args:
        connection: the caller's transaction.
        limit: the most of either kind to take at once, and the most reopened ones on their way.
        resend_after_seconds: the wait after the first resend; it doubles with each one.
        longest_seconds: the longest wait between resends.
    """
    values = {"limit": limit, "first": resend_after_seconds, "longest": longest_seconds, "records": REOPENED_RECORDS}
    rows = [row for chosen in (_DUE_FRESH, _DUE_REOPENED) for row in connection.execute(_take(chosen), values)]
    rows += connection.execute(_TAKE_OWING, values)
    return sorted((_progress(row) for row in rows), key=lambda progress: progress.batch.batch_id)


OWING: Final = "finished_at IS NOT NULL AND ({})".format(
    " OR ".join(f"{MARK[step]} IS NULL OR {MARK[step]} < classified_at" for step in ADDED)
)
"""Batches that a version before finished, or opened again and finished, without a step it did not know."""

OVERDUE: Final = (
    "EXISTS (SELECT FROM batches WHERE finished_at IS NULL AND due_at <= now()) "
    f"OR EXISTS (SELECT FROM batches WHERE {OWING} AND due_at <= now())"
)
"""Whether `take_overdue` may find any batch, as SQL."""

REOPENED_RECORDS: Final = 20_000
"""The most records of reopened batches on their way at once, but for one batch that holds more."""

_DUE_FRESH: Final = (
    "SELECT id FROM batches WHERE finished_at IS NULL AND reopened_at IS NULL AND due_at <= now() "
    "ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED"
)


def _few(batches: str) -> str:
    # What was sent more than once takes up no room: it may be stuck, and is sent ever more rarely.
    return (
        "SELECT id FROM (SELECT id, row_number() OVER due AS place, sum(records) OVER due - records AS before "
        "                FROM (SELECT id, records, due_at FROM batches "
        f"                      WHERE {batches} AND due_at <= now() "
        "                      ORDER BY due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED) AS waiting "
        "                WINDOW due AS (ORDER BY due_at, id)) AS ranked, "
        "     (SELECT count(*) AS batches, coalesce(sum(records), 0) AS records FROM batches "
        f"      WHERE {batches} AND due_at > now() AND resends <= 1) AS sent "
        "WHERE place + sent.batches <= :limit AND before + sent.records < :records"
    )


_DUE_REOPENED: Final = _few("finished_at IS NULL AND reopened_at IS NOT NULL")
_DUE_OWING: Final = _few(OWING)


def _take(chosen: str, more: str = "") -> TextClause:
    return text(
        f"WITH chosen AS MATERIALIZED ({chosen}) "
        f"UPDATE batches SET {more}resends = resends + 1, due_at = now() + make_interval("
        "  secs => least(:longest, :first * 2 ^ least(resends, 16)) * (0.75 + random() / 2)) "
        f"WHERE id IN (SELECT id FROM chosen) RETURNING {_COLUMNS}"
    )


# One that was marked before it was classified again loses that mark, or the step would take it for done.
_TAKE_OWING: Final = _take(_DUE_OWING, "".join(f"{MARK[step]} = NULL, " for step in ADDED))


def settle_owing(connection: Connection, *, finished_before: datetime, limit: int) -> int:
    """Mark batches whose owed step was done for everything at once; returns how many.

    Args:
        connection: the caller's transaction.
        finished_before: what was finished before all of it was begun.
        limit: the most batches.
    """
    found = connection.execute(_SETTLE_OWING, {"before": finished_before, "limit": limit})
    return found.rowcount


_SETTLE_OWING: Final = text(
    f"UPDATE batches SET {', '.join(f'{MARK[step]} = clock_timestamp()' for step in ADDED)} WHERE id IN ("
    f"SELECT id FROM batches WHERE {OWING} AND finished_at < :before ORDER BY due_at LIMIT :limit "
    "FOR UPDATE SKIP LOCKED)"
)
