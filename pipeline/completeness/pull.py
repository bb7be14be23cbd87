"""Missing calls become records of the kind ``pulled``, until their real records come."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.progress import put_behind
from pipeline.completeness import import_rows
from pipeline.completeness.missing_rows import who_is_here
from pipeline.completeness.rules.pulled import record_of
from pipeline.database.audit import record_action
from pipeline.errors import AwayError
from pipeline.ingest.inbox import settle

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

    from pipeline.completeness.readings import NotSettled

AT_ONCE: Final = 500


class Pulled(NamedTuple):
    """What pulling came to."""

    pulled: int = 0
    here: int = 0
    """Calls that have come meanwhile; the next look notes it."""
    unclear: int = 0
    """Calls of whose evidence no record can be made."""


class TooMuchOnItsWayError(AwayError):
    """It cannot be told which calls have come meanwhile."""


def pull(engine: Engine, cdr_list: NotSettled, *, source: str, who: str, campaign: str | None = None) -> Pulled:
    """Make a record of each call that is missing; what has come meanwhile is left alone.

    Each part is one transaction: the call is no longer found and its record is in the inbox, or neither. So it may be
    stopped and run again, or twice at once.

    Args:
        engine: the database.
        cdr_list: the dialler's list.
        source: the dialler.
        who: does it.
        campaign: only calls of one; None: of all.

    Raises:
        TooMuchOnItsWayError: too much is on its way to tell what is missing.
        redis.RedisError: the dialler's Redis is away.
    """
    done, after = Pulled(), ""
    while True:
        with engine.connect() as connection:
            found = _found(connection, source, campaign, after)
        if not found:
            return done
        after = found[-1].call_ref
        refs = [each.call_ref for each in found]
        here = who_is_here(engine, cdr_list, source, refs)
        if here is None:
            raise TooMuchOnItsWayError("too much is on its way to tell what is missing")
        records = {
            each.call_ref: record
            for each in found
            if each.call_ref not in here
            and (record := record_of(each.evidence, campaign=each.campaign_ref, contact=each.contact_ref)) is not None
        }
        came = sum(ref in here for ref in refs)
        pulled = _settle(engine, source, records, who) if records else 0
        done = Pulled(done.pulled + pulled, done.here + came, done.unclear + len(refs) - came - len(records))


def _found(connection: Connection, source: str, campaign: str | None, after: str) -> list[Row[tuple[object, ...]]]:
    return list(
        connection.execute(
            text(
                "SELECT call_ref, campaign_ref, contact_ref, evidence FROM missing_calls "
                "WHERE source = :source AND state = 'found' AND call_ref > :after "
                "AND (cast(:campaign AS text) IS NULL OR campaign_ref = :campaign) ORDER BY call_ref LIMIT :limit"
            ),
            {"source": source, "campaign": campaign, "after": after, "limit": AT_ONCE},
        )
    )


def _settle(engine: Engine, source: str, records: dict[str, bytes], who: str) -> int:
    with engine.begin() as connection:
        taken = connection.scalars(
            text(
                "UPDATE missing_calls SET state = 'imported', ended_at = now(), pulled_at = now() "
                "WHERE source = :source AND call_ref = ANY(cast(:refs AS text[])) AND state = 'found' "
                "RETURNING call_ref"
            ),
            {"source": source, "refs": list(records)},
        ).all()
        if not taken:
            return 0
        chosen = [records[ref] for ref in sorted(taken)]
        digest = hashlib.sha256(b"\n".join(chosen)).digest()
        batch = settle(connection, uuid.uuid4(), source, chosen, resend_after_seconds=0)
        assert batch is not None
        put_behind(connection, batch.batch_id)
        import_rows.note_pulled(connection, source, digest, batch, who)
        record_action(connection, who, "calls pulled", {"source": source, "calls": len(chosen)})
    return len(chosen)
