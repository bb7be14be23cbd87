"""Records and tariffs for tests: a good one by default, changed where the test says so."""

from __future__ import annotations

import itertools
import json
from typing import Any

_refs = itertools.count(1_000)

DIALED_AT = 1_790_000_000
"""2026-09-21T14:13:20Z."""


def make_payload(**changes: Any) -> dict[str, Any]:
    """The payload of an answered outbound call of 61 seconds to a South African mobile number."""
    return {
        "extension": "2001",
        "number": "0820001234",
        "dial_number": "27123456789",
        "recording_url": "/var/recordings/2026/09/21/a.WAV",
        "call_ref": next(_refs),
        "contact_ref": "account_1234",
        "dialed_at": DIALED_AT,
        "call_time": 61,
        "end_reason": "agent_hungup",
        "end_code": "16",
        "call_dir": "outbound",
        "ref": "campaign001",
    } | changes


def make_record(**changes: Any) -> bytes:
    """An element of the dialler's list."""
    return json.dumps({"type": "cdr", "payload": make_payload(**changes)}).encode()
