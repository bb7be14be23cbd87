"""The calls of a number and all that hangs on them, some at a time: a part is one transaction, from files to feed."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.batches.progress import lock_steps
from pipeline.batches.rules.steps import Step
from pipeline.calls.erased import new_name
from pipeline.database.audit import telling
from pipeline.database.feed_log import tell
from pipeline.database.narrowing import among
from pipeline.database.tables import actions, calls, duplicates, revisions, uncharged
from pipeline.erasure.of_contacts import forget_contacts
from pipeline.erasure.records import call_without, rewrite_records
from pipeline.erasure.references import rename
from pipeline.record_ids import batch_of
from pipeline.recordings.erasing import erase_recordings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from pipeline.erasure.records import Rewritten
    from pipeline.erasure.runs import Run
    from pipeline.recordings.file_store import RecordingStore

CALLS_AT_ONCE: Final = 50
"""PostgreSQL has room for some thousand locks in all, and five a batch are held."""

_HASH_BYTES: Final = 32


class Found(NamedTuple):
    """What belongs to some calls."""

    calls: Sequence[Any]
    """Their rows."""
    replaced: Sequence[Any]
    """The rows of versions that were replaced."""
    record_ids: dict[int, int]
    """All records that say something of them, each with its call."""


def ids_of(connection: Connection, number: str) -> list[int]:
    """The calls of an E.164 number, by id."""
    of = calls.c
    end = func.left(func.reverse(of.client_number), 7) == func.left(func.reverse(number), 7)
    return sorted(connection.scalars(select(of.id).where(end, of.client_number == number)))


def erase_calls(
    connection: Connection,
    run: Run,
    store: RecordingStore,
    call_ids: Sequence[int],
    *,
    markers: Mapping[str, str],
    reached: Callable[[str], None],
) -> Counter[str]:
    """Take a number out of some of its calls; returns how much that was, by place.

    Args:
        connection: a transaction of its own.
        run: the erasure.
        store: where the recordings are.
        call_ids: the calls; none is being downloaded.
        markers: of the diallers whose files the store holds.
        reached: told when the files are gone.

    Raises:
        StoreError: a file cannot be deleted.
    """
    # Whatever is at work on these calls is waited for, and finds them as they are then.
    lock_steps(connection, [(batch, step) for batch in {batch_of(each) for each in call_ids} for step in Step])
    found = _found(connection, call_ids)
    names = {row.id: new_name(run.spelled.number) for row in found.calls}
    files = erase_recordings(connection, store, list(names), markers=markers)
    reached("files")
    rewritten = rewrite_records(connection, run, {each: names[of] for each, of in found.record_ids.items()})
    _rewrite_calls(connection, run, found, names, rewritten)
    rename(connection, rewritten.references)
    connection.execute(_FORGET_EVENT_IDS, {"ids": list(found.record_ids)})
    counts = Counter(
        calls=len(found.calls),
        inbox=rewritten.records,
        edits=rewritten.edits,
        revisions=len(found.replaced),
        uncharged=_rewrite_reasons(connection, run, names),
        recordings=files.files + files.unfetched,
    )
    counts["recording files"] = files.files
    counts["recording bytes"] = files.size_bytes
    counts += forget_contacts(connection, run, [*found.calls, *(row.replaced for row in found.replaced)])
    _tell(connection, run, list(names))
    return counts


def _found(connection: Connection, call_ids: Sequence[int]) -> Found:
    rows = connection.execute(select(calls).where(among(calls.c.id, call_ids)).order_by(calls.c.id).with_for_update())
    replaced = connection.execute(select(revisions).where(among(revisions.c.call_id, call_ids))).all()
    repeats = connection.execute(
        select(duplicates.c.record_id, duplicates.c.call_id).where(among(duplicates.c.call_id, call_ids))
    )
    return Found(
        rows.all(),
        replaced,
        {each: each for each in call_ids}
        | {row.record_id: row.call_id for row in replaced}
        | {row.record_id: row.call_id for row in repeats},
    )


def _rewrite_calls(
    connection: Connection, run: Run, found: Found, names: Mapping[int, str], rewritten: Rewritten
) -> None:
    for row in found.calls:
        old = row._asdict()
        new = call_without(old, run, names[row.id], rewritten, otherwise=os.urandom(_HASH_BYTES))
        connection.execute(
            update(calls)
            .where(calls.c.id == row.id)
            .values({name: value for name, value in new.items() if value != old[name]})
        )
    for row in found.replaced:
        connection.execute(
            update(revisions)
            .where(revisions.c.record_id == row.record_id)
            .values(
                replaced=call_without(row.replaced, run, names[row.call_id], rewritten, otherwise=b""),
                replaced_hash=rewritten.hashes.get(bytes(row.replaced_hash), row.replaced_hash),
            )
        )


def _rewrite_reasons(connection: Connection, run: Run, names: Mapping[int, str]) -> int:
    """Why calls were not charged may quote the number."""
    changed = 0
    for row in connection.execute(select(uncharged).where(among(uncharged.c.call_id, list(names)))).all():
        reason = run.spelled.replaced(row.reason, names[row.call_id])
        if reason != row.reason:
            of_row = (uncharged.c.call_id == row.call_id, uncharged.c.side == row.side)
            changed += connection.execute(update(uncharged).where(*of_row).values(reason=reason)).rowcount
    return changed


# SQL: the id of what was received is a hash of it, which whoever tries all numbers could undo.
_FORGET_EVENT_IDS: Final = text(
    "UPDATE feed_refusals SET event_id = gen_random_uuid() "
    "WHERE kind = 'call.received' AND record_id = ANY(cast(:ids AS bigint[]))"
)


def _tell(connection: Connection, run: Run, call_ids: Sequence[int]) -> None:
    """Say in each call's history that its number was erased, and tell subscribers."""
    chosen = func.unnest(literal(list(call_ids), ARRAY(BigInteger))).column_valued("record_id")
    detail = literal({"reason": "erased", "erasure": run.id}, JSONB)
    told = telling(run.who, "number erased", chosen, detail).returning(actions.c.record_id, actions.c.id)
    tell(connection, "call.corrected", [(row.record_id, row.id) for row in connection.execute(told)])
