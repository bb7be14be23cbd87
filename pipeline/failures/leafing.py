"""Leafing through failures: a page of them, and those beside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from pipeline.failures.both import FAILED
from pipeline.failures.listing import LISTED, Failure

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.failures.listing import FailureFilter


class Page(NamedTuple):
    """Some failures, the newest first, and whether there are others on either side of them."""

    failures: list[Failure]
    newer: bool
    older: bool


def page_failures(
    connection: Connection, wanted: FailureFilter, *, limit: int, before: int | None = None, after: int | None = None
) -> Page:
    """A page for somebody who leafs through failures, found by key: as quick at the hundred thousandth as at the first.

    Args:
        connection: the database.
        wanted: which failures.
        limit: the most on a page.
        before: only failures of smaller ids, the page that follows one ending with this id.
        after: only failures of greater ids, the page that comes before one beginning with this id.
    """
    page = LISTED.where(*wanted.conditions()).limit(limit + 1)
    if after is not None:
        page = page.where(FAILED.c.id > after).order_by(FAILED.c.id)
    else:
        page = page.order_by(FAILED.c.id.desc())
        if before is not None:
            page = page.where(FAILED.c.id < before)
    found = [Failure(*row) for row in connection.execute(page)]
    more = len(found) > limit
    found = found[:limit]
    if after is not None:
        return Page(found[::-1], newer=more, older=True)
    return Page(found, newer=before is not None, older=more)


class Beside(NamedTuple):
    """The failures next to one in the list that a filter leaves; None at its end."""

    newer: int | None
    older: int | None


def beside(connection: Connection, wanted: FailureFilter, failure_id: int) -> Beside:
    """The ids of the failures before and after one, by the same order as the pages'; it need not match itself."""
    ids = select(func.min(FAILED.c.id)).where(*wanted.conditions(), FAILED.c.id > failure_id)
    older = select(func.max(FAILED.c.id)).where(*wanted.conditions(), FAILED.c.id < failure_id)
    return Beside(connection.scalar(ids), connection.scalar(older))
