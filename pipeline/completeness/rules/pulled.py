"""The record that stands in for a call which the dialler's API lists and which never came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.calls.rules.cdr import PULLED
from pipeline.dialler.rules.listed import Unclear, calls_in

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_of(evidence: Mapping[str, Any], *, campaign: str, contact: str) -> bytes | None:
    """A record of what the dialler listed; None when that is no ended call.

    What the API does not say is left out: the cause, the direction and the dialler's own number. Its time from picking
    up to the end includes the hold, and is talk only where an agent talked.

    >>> record_of({"call_id": 7, "disposition": None, "dialed_at": None}, campaign="spring", contact="c")
    """
    found = calls_in(json.dumps({"calls": [evidence]}).encode(), contact)
    if isinstance(found, Unclear) or not found[0].ended:
        return None
    call = found[0]
    assert call.dialed_at is not None
    talk = max(0, (call.answered_seconds or 0) - (call.hold_seconds or 0)) if call.agent else 0
    payload = {
        "call_ref": call.call_ref,
        "ref": campaign,
        "contact_ref": contact,
        "extension": call.agent,
        "dialed_at": call.dialed_at.isoformat(),
        "call_time": talk,
        "hold_time": call.hold_seconds,
        "end_reason": call.disposition,
        "number": call.number,
    }
    location = evidence.get("recording_location")
    if location is None or isinstance(location, str):
        payload["recording_url"] = location
    return json.dumps({"type": PULLED, "payload": payload, "listed": dict(evidence)}).encode()
