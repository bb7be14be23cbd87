"""An event's body in the shape its subscriber chose: the bytes as received, the whole call, or ids alone."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.feed.rules.event import Event
from pipeline.lookup.rules.plain import plain

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Mapping
    from datetime import datetime

RAW: Final = "raw"
CALL: Final = "call"
THIN: Final = "thin"
SHAPES: Final = (RAW, CALL, THIN)

RAW_TYPE: Final = "application/octet-stream"
CLOUDEVENTS_TYPE: Final = "application/cloudevents+json"


class Subject(NamedTuple):
    """What an event is about, before it has a shape. The fields are those of `Event`."""

    position: int
    place: int
    event_id: uuid.UUID
    kind: str
    source: str
    call_ref: str
    campaign: str | None
    at: datetime


def shaped(
    subject: Subject,
    shape: str,
    *,
    raw: bytes,
    call: Mapping[str, Any] | None,
    fields: Collection[str] | None = None,
    contact: Mapping[str, Any] | None = None,
) -> Event:
    """The event as its subscriber gets it.

    Args:
        subject: what it is about.
        shape: one of ``SHAPES``.
        raw: the record as received; for the shape ``raw``, and for what no call has come of yet.
        call: the call as ``explain --json`` has it; None: it is not asked for, or there is none yet.
        fields: the parts and fields of the call that are kept; None: all of them.
        contact: what to say of the contact that changed; None: it is not about one.
    """
    if shape == RAW:
        return Event(*subject, RAW_TYPE, raw)
    envelope = _envelope(subject)
    if contact is not None:
        envelope["data"] = contact
    elif shape == THIN:
        envelope["data"] = {"source": subject.source, "call_ref": subject.call_ref}
    elif call is not None:
        envelope["data"] = chosen(call, fields)
    else:
        envelope |= _record(raw)
    return Event(*subject, CLOUDEVENTS_TYPE, json.dumps(envelope, default=plain).encode())


def in_envelope(event: Event) -> bytes:
    """An event whose body is no envelope, in one: its bytes in base64, whatever they are."""
    envelope = _envelope(Subject(*event[:8]))
    envelope["datacontenttype"] = event.content_type
    envelope["data_base64"] = base64.b64encode(event.body).decode()
    return json.dumps(envelope).encode()


def _envelope(subject: Subject) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(subject.event_id),
        "source": f"/enigma-cdr/{subject.source}",
        "type": subject.kind,
        "subject": subject.call_ref,
        "time": subject.at.isoformat(),
        "position": subject.position,
        "place": subject.place,
        "datacontenttype": "application/json",
    }


def chosen(call: Mapping[str, Any], fields: Collection[str] | None) -> dict[str, Any]:
    """Of a call only what was asked for: whole parts, or fields of the part ``call``.

    >>> chosen({"call": {"call_ref": "7", "extension": "2001"}, "net": {}, "failures": []}, ["net", "call.call_ref"])
    {'call': {'call_ref': '7'}, 'net': {}}
    """
    if fields is None:
        return dict(call)
    kept: dict[str, Any] = {}
    for part, value in call.items():
        if part in fields:
            kept[part] = value
        elif part == "call":
            some = {name: each for name, each in value.items() if f"call.{name}" in fields}
            if some:
                kept[part] = some
    return kept


def _record(raw: bytes) -> dict[str, Any]:
    """What was received, as JSON where it is some."""
    try:
        return {"data": json.loads(raw, parse_constant=_refused)}
    except (ValueError, RecursionError):
        return {"datacontenttype": RAW_TYPE, "data_base64": base64.b64encode(raw).decode()}


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
