"""The file that keeps the marks of erased numbers outside the database: a JSON object a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MARK_BYTES: Final = 32


class MarksFileError(PipelineError):
    """A file holds no marks."""


class Mark(NamedTuple):
    """What stands for a number that was erased."""

    mark: bytes
    key_id: str
    erased_at: str
    """ISO-8601."""


def written(marks: Iterable[Mark]) -> Iterator[str]:
    """Marks as lines of a file, each a JSON object."""
    for each in marks:
        yield json.dumps({"mark": each.mark.hex(), "key_id": each.key_id, "erased_at": each.erased_at}) + "\n"


def read(content: bytes) -> list[Mark]:
    """The marks of such a file.

    Raises:
        MarksFileError: naming the first line that is none.
    """
    return [_read_line(line, nth) for nth, line in enumerate(content.splitlines(), 1) if line.strip()]


def _read_line(line: bytes, nth: int) -> Mark:
    try:
        found: dict[str, Any] = json.loads(line)
        mark = Mark(bytes.fromhex(found["mark"]), str(found["key_id"]), str(found["erased_at"]))
    except (ValueError, TypeError, KeyError):
        mark = None
    if mark is None or len(mark.mark) != _MARK_BYTES:
        raise MarksFileError(f"line {nth} is no mark: give the file that `pipeline subject marks` wrote, whole")
    return mark
