"""Every column that can hold a number that somebody has, and how it is found there."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SWEPT: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "failures": ("reason", "traceback"),
        "actions": ("detail",),
        "bulk_actions": ("wanted", "reason"),
        "access_log": ("reason", "detail"),
        "feed_refusals": ("reason", "answer", "request"),
        "replay_refusals": ("reason", "answer"),
        "subscribers": ("state_reason", "last_error"),
        "replays": ("state_reason", "last_error"),
        "missing_calls": ("contact_ref", "reason", "evidence"),
        "missing_lines": ("number", "reason"),
        "provider_lines": ("number", "caller", "reference", "raw"),
        "provider_bad_lines": ("raw", "reason"),
        "provider_skipped_lines": ("raw", "reason"),
        "reconcile_items": ("cause",),
        "findings": ("evidence",),
        "witnesses": ("says",),
        "campaign_looks": ("says",),
        "contact_looks": ("says",),
        "api_halts": ("reason",),
        "stops": ("reason",),
        "recording_pauses": ("reason",),
        "keeping": ("because",),
        "holds": ("number", "because", "released_because"),
        "erasures": ("because",),
    }
)
"""Tables that are looked through as a whole, and their columns in which the number is replaced where it stands."""

DROPPED: Final[Mapping[str, str]] = MappingProxyType({"ported_numbers": "number"})
"""Tables whose row says nothing without the number, and goes with it; and the column that is it."""

KEYED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "calls": (
            *("call_ref", "contact_ref", "client_number", "client_number_original"),
            *("dial_number", "dial_number_original", "recording_url", "extra", "content_hash"),
        ),
        "inbox": ("raw",),
        "edits": ("raw",),
        "revisions": ("replaced", "replaced_hash"),
        "conflicts": ("content",),
        "uncharged": ("reason",),
        "recordings": ("call_ref", "reason", "sha256", "verify_problem", "deleted_reason", "delete_problem"),
        "contacts": ("contact_ref",),
        "contact_looks": ("contact_ref",),
        "failures": ("call_ref",),
        "feed_refusals": ("call_ref",),
        "replay_refusals": ("call_ref",),
        "access_log": ("call_ref",),
    }
)
"""Those that are found by the number's calls and records: these tables may be as large as the calls."""
