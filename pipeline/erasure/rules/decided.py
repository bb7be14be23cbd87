"""The columns that hold no number, and why; with `places`, every column of text, JSON or bytes is decided.

A test holds that none is missing, so a new column has to be decided here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pipeline.erasure.rules.places import DROPPED, KEYED, SWEPT

if TYPE_CHECKING:
    from collections.abc import Mapping

HELD_BY_NONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "source": "a dialler's name",
        "sources": "diallers' names",
        "campaign_ref": "a campaign's name",
        "campaigns": "campaigns' names",
        "provider": "a provider's name",
        "subscriber": "a subscriber's name",
        "who": "a user of this pipeline",
        "role": "a user of the database",
        "currency": "three letters",
        "zone": "a time zone",
        "timezone": "a time zone",
        "side": "one of a few words",
        "kind": "one of a few words",
        "state": "one of a few words",
        "step": "one of a few words",
        "action": "one of a few words",
        "direction": "one of a few words",
        "disposition": "one of a few words",
        "dispositions": "of a few words",
        "network": "a network's name",
    }
)
"""Names of columns that hold no number in any table, and what they hold."""

_SENTENCE = "a sentence of this program, which quotes no number"
_STAFF = "a user of this pipeline"
_FILE = "a file's name, as whoever loaded it gave it"
_HASH = "a hash of a whole file, which nobody can guess"
_OURS = "what this pipeline was set to, by whoever looks after it"

NONE_IN: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "edits": {"edited_by": _STAFF},
        "calls": {
            "extension": "an agent's",
            "end_reason": "one of the dialler's words",
            "record_kind": "one of a few words",
        },
        "dispositions": {"why": _SENTENCE, "end_code_meaning": _SENTENCE},
        "contacts": {"outcome": "one of a few words", "agent": "an agent's extension"},
        "recordings": {
            "path": "made of the dialler's name, its reference and a day",
            "held_by": _STAFF,
            "key_month": "a month",
        },
        "recording_stores": {"marker": "random"},
        "tariffs": {"name": _OURS},
        "tariff_versions": {
            "rounding": "one of a few words",
            "billable_dispositions": "of a few words",
            "duration_basis": "one of a few words",
            "file_name": _FILE,
            "file_sha256": _HASH,
            "loaded_by": _STAFF,
        },
        "tariff_assignments": {"assigned_by": _STAFF},
        "provider_assignments": {"dial_number": "a number of whoever runs the dialler", "assigned_by": _STAFF},
        "rates": {"prefix": "the first digits of a destination", "description": "a destination"},
        "ledger": {"prefix": "the first digits of a destination", "reason": _SENTENCE},
        "failures": {
            "class": "one of a few words",
            "field": "a field's name",
            "error_type": "a class of this program",
        },
        "revisions": {"accepted_by": _STAFF},
        "stops": {"released_by": _STAFF},
        "imports": {"sha256": _HASH, "file_name": _FILE, "began_by": _STAFF},
        "campaign_looks": {"status": "one of the dialler's words"},
        "missing_calls": {"call_ref": "the dialler's own key"},
        "provider_mappings": {"content": _OURS, "sha256": _HASH, "loaded_by": _STAFF},
        "provider_files": {
            "sha256": _HASH,
            "name": _FILE,
            "money": "sums by currency",
            "stated": "what the file says it comes to",
            "loaded_by": _STAFF,
        },
        "reconcile_runs": {
            "rules": "thresholds",
            "inputs": "files and a hash of all calls of a month",
            "offsets": "seconds by file",
            "totals": "sums by class",
            "problems": _SENTENCE,
            "created_by": _STAFF,
            "locked_by": _STAFF,
            "locked_because": "about a month of a provider",
        },
        "reconcile_items": {
            "item_class": "one of a few words",
            "currency_here": "three letters",
            "currency_there": "three letters",
        },
        "ranges": {
            "name": "a month",
            "dropped_by": _STAFF,
            "because": "about a month of records",
            "trouble": _SENTENCE,
            "sums": "sums by place and currency",
        },
        "call_keys": {"call_ref": "the dialler's own key, or made of the record and then made anew"},
        "archive_parts": {"month": "a month", "name": "made of a number of its own", "sha256": _HASH},
        "erased_numbers": {"mark": "made with a key that is not here", "key_id": "made of that key"},
        "erasures": {"mark": "made with a key that is not here, until it is done", "counts": "counts by place"},
        "keeping": {"set_by": _STAFF},
        "holds": {"held_by": _STAFF, "released_by": _STAFF},
        "heartbeats": {"name": "a process's kind"},
        "subscribers": {
            "name": _OURS,
            "sink": "one of a few words",
            "settings": _OURS,
            "kinds": "of a few words",
            "fields": "fields' names",
            "shape": "one of a few words",
            "ordering": "one of a few words",
            "created_by": _STAFF,
        },
        "subscriber_secrets": {"name": _OURS, "settings": _OURS},
        "api_tokens": {
            "name": _OURS,
            "token_hash": "of a random token",
            "scopes": "of a few words",
            "created_by": _STAFF,
            "revoked_by": _STAFF,
        },
        "access_log": {"via": "one of a few words", "address": "of whoever asked"},
        "replays": {"created_by": _STAFF},
    }
)
"""Columns of one table that hold no number, and what they hold."""


def decided(table: str, column: str) -> str | None:
    """What becomes of a column when a number is erased; None: nobody has decided it.

    >>> decided("inbox", "raw"), decided("ledger", "currency"), decided("ledger", "phone")
    ('rewritten', 'three letters', None)
    """
    if column in (*SWEPT.get(table, ()), *KEYED.get(table, ())) or DROPPED.get(table) == column:
        return "rewritten"
    return NONE_IN.get(table, {}).get(column) or HELD_BY_NONE.get(column)
