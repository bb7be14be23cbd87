"""What the rules say of a range of records as a whole: for whoever drops ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.keeping.rule_rows import rules_of
from pipeline.keeping.rules.ages import Group, gone_at, kept_until
from pipeline.keeping.rules.policy import EVERY, Kind, Scope
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.keeping.rules.ages import Gone, Kept

OF_RANGES: Final = (Kind.RAW_RECORDS, Kind.CALLS, Kind.CHARGES)
"""What is dropped range by range."""


class SpanPolicy(NamedTuple):
    """What the rules say of one kind of a range; ages count from when a call was dialled. Instants are UTC."""

    kept: Kept | None
    """Something of it must be kept until then, the longest of all; None: nothing of it must."""
    gone: Gone | None
    """From when on the whole of it is older than it is kept at most, or that it never is; None: there is nothing."""


def span_policies(
    connection: Connection, first_record: int, last_record: int, *, kinds: Sequence[Kind] = OF_RANGES
) -> dict[Kind, SpanPolicy]:
    """Until when something in a range of records must be kept, and from when on nothing of it may be, by kind.

    One scan of the range's calls. Records that became no call of their own (refused ones, duplicates) are raw records
    of no known campaign, as old as their receipt.

    Args:
        connection: the database.
        first_record: the lowest id of the range.
        last_record: the highest.
        kinds: for which.
    """
    rows = connection.execute(_GROUPS, {"first": first_record, "last": last_record, "places": PLACES}).all()
    calls = [Group(Scope(row.source, row.campaign_ref), row.newest) for row in rows if row.campaign_ref is not None]
    others = [Group(Scope(row.source, EVERY), row.newest) for row in rows if row.campaign_ref is None]
    found = {}
    for kind in kinds:
        rules, groups = rules_of(connection, kind), [*calls, *others] if kind is Kind.RAW_RECORDS else calls
        found[kind] = SpanPolicy(next(iter(kept_until(rules, groups)), None), gone_at(rules, groups))
    return found


# SQL: the calls of a range are read once, and what of its batches they leave is known without a look at the records.
_GROUPS: Final = text(
    """
    WITH found AS MATERIALIZED (
        SELECT id / :places AS batch_id, source, campaign_ref, max(dialed_at) AS newest, count(*) AS many
        FROM calls WHERE id BETWEEN :first AND :last GROUP BY 1, 2, 3
    )
    SELECT source, campaign_ref, max(newest) AS newest FROM found GROUP BY 1, 2
    UNION ALL
    SELECT source, NULL, max(received_at)
    FROM batches LEFT JOIN (SELECT batch_id, sum(many) AS many FROM found GROUP BY 1) AS became ON batch_id = id
    WHERE id BETWEEN :first / :places AND :last / :places AND records > coalesce(many, 0) GROUP BY 1
    """
)
