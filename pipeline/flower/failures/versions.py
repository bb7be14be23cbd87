"""Two versions of a record, side by side."""

from __future__ import annotations

import difflib


def differing_lines(before: str, after: str) -> list[tuple[str, str]]:
    r"""What differs between two versions as a person reads them: ("-", line) went, ("+", line) came.

    >>> differing_lines('{\n  "a": 1\n}', '{\n  "a": 2\n}')
    [('-', '  "a": 1'), ('+', '  "a": 2')]
    """
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [(line[0], line[1:]) for line in lines if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}]
