"""How many failures there are of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select, text

from pipeline.failures.both import FAILED
from pipeline.failures.listing import ABOUT, PROBLEM, for_scripts

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.failures.listing import FailureFilter


class Kind(NamedTuple):
    """How many failures of one kind there are; instants are aware."""

    failure_class: str
    step: str
    state: str
    about: str
    problem: str
    failures: int
    oldest: datetime
    newest: datetime
    example: str

    def as_json(self) -> dict[str, Any]:
        """As scripts know it."""
        return for_scripts(self._asdict())


class Stats(NamedTuple):
    """What failures there are, by kind.

    Attributes:
        rows: the kinds with the most failures.
        kinds: how many kinds there are in all.
    """

    rows: list[Kind]
    kinds: int


def failure_stats(connection: Connection, wanted: FailureFilter, *, limit: int) -> Stats:
    """How many failures match, by class, step, state and what is wrong, the most first, and at most so many kinds.

    A record chooses the name of the field that is wrong with it, so there may be as many kinds as failures.
    """
    kind = (
        FAILED.c.failure_class,
        FAILED.c.step,
        FAILED.c.state,
        ABOUT.label("about"),
        PROBLEM.label("problem"),
    )
    count = func.count().label("failures")
    rows = connection.execute(
        select(
            *kind,
            count,
            func.min(FAILED.c.first_failed_at),
            func.max(FAILED.c.last_failed_at),
            func.min(FAILED.c.reason),
            func.count().over().label("kinds"),
        )
        .where(*wanted.conditions())
        # By their places: the server does not see that an expression with a parameter is the one it selects.
        .group_by(text("1, 2, 3, 4, 5"))
        .order_by(count.desc(), text("1, 2, 3, 4, 5"))
        .limit(limit)
    ).all()
    return Stats([Kind(*row[:-1]) for row in rows], rows[0].kinds if rows else 0)
