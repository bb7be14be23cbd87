"""The verdict on one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.logs.rules.secrets import mask

if TYPE_CHECKING:
    from collections.abc import Iterable


class Level(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something may go wrong one day."""
    PROBLEM = "problem"
    """Something does not work."""
    UNKNOWN = "unknown"
    """It could not be looked at, for a reason that another verdict gives."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at, how it stands, what was seen and what to do about it."""

    check: str
    level: Level
    says: str
    remedy: str = ""

    def without(self, secrets: Iterable[str]) -> Verdict:
        """The same with secrets masked."""
        secrets = list(secrets)
        return replace(self, says=mask(self.says, secrets), remedy=mask(self.remedy, secrets))

    def as_dict(self) -> dict[str, str]:
        """As ``--json`` shows it."""
        return {"check": self.check, "level": self.level.value, "says": self.says, "remedy": self.remedy}


def ok(check: str, says: str) -> Verdict:
    """All is well."""
    return Verdict(check, Level.OK, says)


def warning(check: str, says: str, remedy: str) -> Verdict:
    """It works for now."""
    return Verdict(check, Level.WARNING, says, remedy)


def problem(check: str, says: str, remedy: str) -> Verdict:
    """It does not work."""
    return Verdict(check, Level.PROBLEM, says, remedy)


def unknown(check: str, says: str) -> Verdict:
    """It could not be looked at."""
    return Verdict(check, Level.UNKNOWN, says)


def first_line(error: BaseException) -> str:
    r"""What an error says, on one line, without the full stop that whoever quotes it sets.

    >>> first_line(OSError("Connection refused.\nIs it up?"))
    'Connection refused'
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


def size(count: float) -> str:
    """A number of bytes for people.

    >>> size(1_500_000), size(3 * 1024**3)
    ('1.4 MiB', '3.0 GiB')
    """
    units = iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while count >= 1024 and unit != "TiB":
        count, unit = count / 1024, next(units)
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
