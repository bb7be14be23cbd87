"""The mapping: which column of a provider's file holds what, and how its cells are written."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from pipeline.accounts.rules.numbers import INTERNATIONAL
from pipeline.errors import PipelineError

Column = int | str
"""A column's heading, or its position from 1."""


class MappingError(PipelineError):
    """A mapping, or what was said beside it, is wrong; each mistake names its key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "; ".join(self.mistakes)


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the mapping."""


class File(_Part, frozen=True):
    """How the file is written."""

    numbers: str
    """The form of its figures, an example: `figures.FORMS`."""
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    """Of a file that has no byte order mark."""
    heading: bool = True
    """Whether a line names the columns."""
    lines_before: int = 0
    """Lines before that one, or before the first call."""
    zone: str | None = None
    """Of its times; None: as the command says."""
    region: str | None = None
    """Of numbers written as dialled; None: as the settings say."""


class Columns(_Part, frozen=True):
    """Which column holds what."""

    number: Column
    started_at: Column | list[Column]
    """One, or the day's and the time's."""
    seconds: Column
    amount: Column
    billed_seconds: Column | None = None
    currency: Column | None = None
    rate: Column | None = None
    caller: Column | None = None
    reference: Column | None = None


class Formats(_Part, frozen=True):
    """How cells are written."""

    started_at: str
    seconds: str = "seconds"
    billed_seconds: str | None = None
    """None: as `seconds`."""
    number: str = INTERNATIONAL
    repeated_hour: str = "first"


class Constants(_Part, frozen=True):
    """What is the same in every line."""

    currency: str | None = None


class Skip(_Part, frozen=True, rename={"is_": "is"}):
    """Lines that are no calls, by what one of their columns says; capitals do not matter."""

    column: Column
    is_: list[str] | None = None
    is_not: list[str] | None = None


class Totals(_Part, frozen=True):
    """The line with the file's own totals."""

    column: Column
    """Which column shows that it is the one."""
    begins: str
    """And how that begins there; capitals do not matter."""
    lines: Column | None = None
    seconds: Column | None = None
    billed_seconds: Column | None = None
    amount: Column | None = None


class Mapping(_Part, frozen=True):
    """All of it."""

    file: File
    columns: Columns
    formats: Formats
    constants: Constants = Constants()
    skip: list[Skip] = []
    totals: Totals | None = None

    @property
    def content(self) -> dict[str, Any]:
        """It as JSON, with what was left out: what differs in comments or order alone is the same."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @property
    def sha256(self) -> str:
        """Of that content, in hexadecimal digits."""
        return hashlib.sha256(msgspec.json.encode(self.content, order="sorted")).hexdigest()


def named_columns(mapping: Mapping) -> list[tuple[str, Column]]:
    """Every column that a mapping names, with the key that does."""
    found: list[tuple[str, Column]] = []
    for part, keys in (("columns", Columns.__struct_fields__), ("totals", Totals.__struct_fields__)):
        table = getattr(mapping, part)
        for key in keys:
            value = getattr(table, key, None)
            if key != "begins" and value is not None:
                found += [(f"{part}.{key}", each) for each in (value if isinstance(value, list) else [value])]
    return found + [("skip.column", each.column) for each in mapping.skip]
