"""Records that hold the number and are no call of it: refused ones, conflicts, versions that were replaced, edits."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, text, update

from pipeline.batches.progress import lock_steps
from pipeline.batches.rules.steps import Step
from pipeline.calls.erased import new_name
from pipeline.database.narrowing import among
from pipeline.database.tables import conflicts, revisions
from pipeline.erasure.of_contacts import forget_contacts
from pipeline.erasure.records import call_without, rewrite_records
from pipeline.erasure.references import rename
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.calls.rules.spellings import Spelled
    from pipeline.erasure.records import Rewritten
    from pipeline.erasure.runs import Run

RECORDS_AT_ONCE: Final = 100

# SQL: four tables that are small beside the inbox, of which only what they name is read. A digit that JSON escapes may
# hide a number, and is looked at.
_FIND: Final = text(
    "SELECT record_id FROM failures JOIN inbox USING (record_id) "
    "WHERE step = 'normalize' AND encode(raw, 'escape') ~ :found_or_hidden "
    "UNION SELECT record_id FROM edits WHERE encode(raw, 'escape') ~ :found_or_hidden "
    "UNION SELECT record_id FROM conflicts WHERE content::text ~ :found "
    "UNION SELECT unnest(ARRAY[record_id, call_id]) FROM revisions WHERE replaced::text ~ :found"
)


def ids_elsewhere(connection: Connection, spelled: Spelled) -> list[int]:
    """Records that may hold the number, but for those of its calls, in order."""
    hidden = r"|\\u00[0-9a-fA-F]{2}"
    values = {"found": spelled.sql, "found_or_hidden": spelled.sql + hidden}
    return sorted(connection.scalars(_FIND, values))


def erase_elsewhere(connection: Connection, run: Run, record_ids: Sequence[int]) -> Counter[str]:
    """Take the number out of some records; returns how much that was, by place.

    Args:
        connection: a transaction of its own.
        run: the erasure.
        record_ids: the records.
    """
    lock_steps(connection, [(batch, Step.NORMALIZE) for batch in {batch_of(each) for each in record_ids}])
    names = {each: new_name(run.spelled.number) for each in record_ids}
    rewritten = rewrite_records(connection, run, names)
    rename(connection, rewritten.references)
    replaced = _revisions(connection, run, names, rewritten)
    return Counter(
        inbox=rewritten.records,
        edits=rewritten.edits,
        conflicts=_conflicts(connection, run, names, rewritten),
        revisions=len(replaced),
    ) + forget_contacts(connection, run, replaced)


def _conflicts(connection: Connection, run: Run, names: dict[int, str], rewritten: Rewritten) -> int:
    changed = 0
    for row in connection.execute(select(conflicts).where(among(conflicts.c.record_id, list(names)))).all():
        content = call_without(row.content, run, names[row.record_id], rewritten, otherwise=os.urandom(32))
        if content != row.content:
            this = update(conflicts).where(conflicts.c.record_id == row.record_id)
            changed += connection.execute(this.values(content=content)).rowcount
    return changed


def _revisions(connection: Connection, run: Run, names: dict[int, str], rewritten: Rewritten) -> list[dict[str, Any]]:
    """Versions of calls that are another's by now; returns them as they were."""
    changed = []
    for row in connection.execute(select(revisions).where(among(revisions.c.record_id, list(names)))).all():
        replaced = call_without(row.replaced, run, names[row.record_id], rewritten, otherwise=b"")
        if replaced != row.replaced:
            hashed = rewritten.hashes.get(bytes(row.replaced_hash), os.urandom(32))
            this = update(revisions).where(revisions.c.record_id == row.record_id)
            connection.execute(this.values(replaced=replaced, replaced_hash=hashed))
            changed.append(row.replaced)
    return changed
