"""For how long files of recordings are kept, by the rules and the setting that holds where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.keeping.rule_rows import rules_of
from pipeline.keeping.rules.policy import Kind, cells
from pipeline.recordings.rules.ages import Age

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from pipeline.keeping.rules.policy import Applied, Rule, Scope


def recording_ages(connection: Connection, *, default_days: int | None) -> tuple[Age, ...]:
    """For how long files are kept, by dialler and campaign; of several that fit, the first counts.

    Args:
        connection: the database.
        default_days: at the most, where no rule says it; None: for ever. A minimum wins over it.
    """
    return ages_by(rules_of(connection, Kind.RECORDINGS), default_days=default_days)


def ages_by(rules: Mapping[Scope, Rule], *, default_days: int | None) -> tuple[Age, ...]:
    """The same by rules that need not be those that stand."""
    found = cells(rules, default_most=default_days)
    return tuple(Age(*cell.scope, cell.applied.days, _why(cell.applied)) for cell in found)


def _why(found: Applied) -> str:
    """What the row of a file says that went by this."""
    least, most = found
    if most.scope is not None:
        return f"Older than {most.days} days, the most that recordings of {most.scope} are kept."
    if least.days is not None and most.days is not None and least.days > most.days:
        return f"Older than {least.days} days, the least that recordings of {least.scope} are kept."
    return f"Older than RECORDINGS_RETENTION_DAYS={most.days}."
