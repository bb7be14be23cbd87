"""A number taken out of a record's bytes. All else stays as it is, byte by byte."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from pipeline.calls.rules.rewriting_values import CONTACT, KEPT, plain_figure

if TYPE_CHECKING:
    from pipeline.calls.rules.spellings import Spelled

_SCALAR: Final = re.compile(
    r'(?P<text>"(?:[^"\\]++|\\.)*+")(?P<colon>\s*:)?|(?P<figure>-?[0-9][0-9.eE+-]*)|(?P<open>[{\[])', re.DOTALL
)


def rewrite_record(raw: bytes, spelled: Spelled, name: str) -> bytes:
    """A record without a number, and without the reference of its owner.

    What was JSON is the same JSON but for the values that held it, whatever they were written with; what was none is
    taken for text.

    Args:
        raw: any bytes at all.
        spelled: the number.
        name: what takes its place.
    """
    text = raw.decode("utf-8", "surrogateescape")
    parts = _Parts(text, spelled, name)
    rewritten = parts.joined() if parts.changed else text
    if not _is_json(text):
        rewritten = spelled.replaced(rewritten, name)
    return rewritten.encode("utf-8", "surrogateescape")


class _Parts:
    """A JSON text, scalar by scalar."""

    def __init__(self, text: str, spelled: Spelled, name: str) -> None:
        self._spelled, self._name = spelled, name
        self._parts: list[str] = []
        self._contacts: list[int] = []
        self.changed = False
        key: str | None = None
        end = 0
        for match in _SCALAR.finditer(text):
            self._parts.append(text[end : match.start()])
            end = match.end()
            self._parts.append(self._rewritten(match, key))
            key = _loaded(match["text"]) if match["colon"] else None
        self._parts.append(text[end:])

    def joined(self) -> str:
        """All of it, without the reference of the number's owner."""
        for place in self._contacts:
            self._parts[place] = "null"
        return "".join(self._parts)

    def _rewritten(self, match: re.Match[str], key: str | None) -> str:
        as_it_is = match[0]
        if match["open"] or key in KEPT:
            return as_it_is
        value = plain_figure(match["figure"]) if match["figure"] else _loaded(match["text"])
        new = self._spelled.replaced(value, self._name)
        if key == CONTACT:
            self._contacts.append(len(self._parts))
        if new == value:
            return as_it_is
        self.changed = True
        return json.dumps(new) + (match["colon"] or "")


def _loaded(text: str) -> str:
    """What a JSON string says; as it is written, where it is not right."""
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text[1:-1]


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
