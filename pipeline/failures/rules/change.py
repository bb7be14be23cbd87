"""One change to many records: a field renamed, or set."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from pipeline.errors import PipelineError

ENVELOPE = "type"  # the one field beside ``payload``; every other is one of the payload


class CannotChangeError(PipelineError):
    """A record that a change does not fit; its text says why."""


class Change(NamedTuple):
    """What is to be done to each record.

    Attributes:
        kind: ``rename`` a field, or ``set`` it.
        field: the field, e.g. ``call_time`` or ``payload.call_time``.
        to: its new name, or its new value: JSON, or a text that is taken as it stands.
    """

    kind: Literal["rename", "set"]
    field: str
    to: str

    @property
    def sentence(self) -> str:
        """What it does, in words.

        >>> Change("rename", "duration", "call_time").sentence, Change("set", "end_code", "16").sentence
        ('rename duration to call_time', 'set end_code to 16')
        """
        return f"{self.kind} {self.field} to {self.to}"


def problem_of(change: Change) -> tuple[str, str] | None:
    """Which input is wrong with a change before any record is seen, and why; None when it can be done.

    >>> problem_of(Change("rename", "", "call_time"))
    ('field', 'name the field')
    """
    if not _name(change.field):
        return "field", "name the field"
    if "\0" in change.field + change.to:
        return "to", "cannot hold the character NUL"
    if change.kind == "rename" and not _name(change.to):
        return "to", "give the new name"
    if change.kind == "rename" and _name(change.to) == _name(change.field):
        return "to", "is the name it has"
    if change.kind == "rename" and ENVELOPE in {_name(change.field), _name(change.to)}:
        return "field", "type is not of the payload, and cannot be renamed"
    return None


def changed(raw: bytes, change: Change) -> bytes:
    """A record with a change made to it; everything else in it stays as it is.

    Raises:
        CannotChangeError: the record is no JSON object with a payload, has no such field, or has both.

    >>> changed(b'{"payload": {"duration": 5}}', Change("rename", "duration", "call_time"))
    b'{"payload": {"call_time": 5}}'
    >>> changed(b'{"payload": {"end_code": "x"}}', Change("set", "payload.end_code", "16"))
    b'{"payload": {"end_code": 16}}'
    """
    record = _record(raw)
    field = _name(change.field)
    payload = record if field == ENVELOPE else record.get("payload")
    if not isinstance(payload, dict):
        raise CannotChangeError("the record has no payload with fields in it")
    if change.kind == "set":
        payload[field] = _value(change.to)
    else:
        _rename(record, payload, field, _name(change.to))
    return json.dumps(record, ensure_ascii=False).encode()


def _rename(record: dict[str, Any], payload: dict[str, Any], field: str, name: str) -> None:
    if field not in payload:
        raise CannotChangeError(f"the record has no {field}")
    if payload.get(name) is not None:
        raise CannotChangeError(f"the record has both {field} and {name}")
    # In its place: a person compares the record with the one that came.
    others = {each: value for each, value in payload.items() if each != name}
    record["payload"] = {name if each == field else each: value for each, value in others.items()}


def _record(raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        raise CannotChangeError("the record is not JSON") from None
    if not isinstance(record, dict):
        raise CannotChangeError("the record is no JSON object")
    return record


def _name(field: str) -> str:
    return field.strip().removeprefix("payload.")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
