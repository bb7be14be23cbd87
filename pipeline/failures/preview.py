"""What an edit of many records would make of them, for the person who decides."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.failures.bulk_acts import Tried, try_change
from pipeline.failures.listing import list_failures
from pipeline.failures.stakes import MOST

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.failures.listing import FailureFilter
    from pipeline.failures.rules.change import Change

SHOWN: Final = 4
"""Records of a preview."""


class Preview(NamedTuple):
    """What an edit would make of the records that match, as far as was looked."""

    looked_at: int
    mended: int
    shown: list[Tried]
    why_not: list[tuple[str, int]]
    """Why others would not be mended, and how many, the most first."""


def preview_of(connection: Connection, wanted: FailureFilter, change: Change, *, region: str, now: datetime) -> Preview:
    """Try a change on the first of those that match; writes nothing.

    Args:
        connection: the database.
        wanted: which failures.
        change: what would be done to each record.
        region: where national numbers belong.
        now: the present instant, aware.
    """
    page = list_failures(connection, wanted, limit=MOST)
    tried = list(try_change(connection, page, change, region=region, now=now))
    mended = [each for each in tried if each.problem is None]
    why_not = Counter(each.problem for each in tried if each.problem is not None)
    return Preview(len(tried), len(mended), (mended or tried)[:SHOWN], why_not.most_common(SHOWN))
