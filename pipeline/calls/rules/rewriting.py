"""A number taken out of whatever holds it: a record's bytes, JSON, a call. All else stays as it is, byte by byte."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.calls.rules.spellings import Spelled

KEPT: Final = frozenset(
    {
        *("id", "source", "call_ref", "campaign_ref", "ref", "record_id", "content_hash"),
        *("dialed_at", "call_time", "hold_time", "talk_seconds", "hold_seconds", "end_code", "end_reason"),
    }
)
"""What is no number however it looks: by these a call is known, charged and classified."""

CONTACT: Final = "contact_ref"
"""The reference of whose number it is: where the number goes, it goes."""

_SCALAR: Final = re.compile(
    r'(?P<text>"(?:[^"\\]++|\\.)*+")(?P<colon>\s*:)?|(?P<figure>-?[0-9][0-9.eE+-]*)|(?P<open>[{\[])', re.DOTALL
)
_LARGEST_WHOLE: Final = 2**53


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
        value = _figure(match["figure"]) if match["figure"] else _loaded(match["text"])
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


def _figure(text: str) -> str:
    """A JSON number in plain digits, where it is whole."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if abs(value) < _LARGEST_WHOLE and value.is_integer() else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def rewrite_json(value: Any, spelled: Spelled, name: str) -> Any:
    """The same of what JSON says; anything but texts, numbers, lists and objects stays.

    Args:
        value: as it is read.
        spelled: the number.
        name: what takes its place.
    """
    new = _walked(value, spelled, name)
    return new if new == value else _without_contact(new)


def _walked(value: Any, spelled: Spelled, name: str) -> Any:
    match value:
        case str():
            return spelled.replaced(value, name)
        case bool() | None:
            return value
        case int() | float():
            text = _figure(str(value))
            new = spelled.replaced(text, name)
            return value if new == text else new
        case list():
            return [_walked(each, spelled, name) for each in value]
        case dict():
            return {
                spelled.replaced(key, name): each if _stays(key, each) else _walked(each, spelled, name)
                for key, each in value.items()
            }
        case _:
            return value


def _stays(key: str, value: Any) -> bool:
    return key in KEPT and not isinstance(value, dict | list)


def _without_contact(value: Any) -> Any:
    match value:
        case list():
            return [_without_contact(each) for each in value]
        case dict():
            return {key: None if key == CONTACT else _without_contact(each) for key, each in value.items()}
        case _:
            return value


def rewrite_call(call: Mapping[str, Any], spelled: Spelled, name: str) -> dict[str, Any]:
    """The columns of a call, or a copy of them in JSON, without a number and the reference of its owner.

    Args:
        call: by the names of the columns.
        spelled: the number.
        name: what takes its place.
    """
    new: dict[str, Any] = rewrite_json(dict(call), spelled, name)
    for side in ("client", "dial"):
        if new[f"{side}_number"] != call[f"{side}_number"]:
            new[f"{side}_number_is_e164"] = False
    return new
