"""A contact as JSON, and in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pipeline.contacts.reading import Contact, InboundCall

NEEDS: Final = {
    "outcome": "disposition",
    "final": "disposition",
    "reached_at": "disposition",
    "attempts": "call.dialed_at",
    "first_at": "call.dialed_at",
    "last_at": "call.dialed_at",
    "agent": "call.extension",
    "talk_seconds": "call.talk_seconds",
    "best_call": "call.call_ref",
    "numbers": "call.client_number",
    "charges": "net",
    "also_in": "call.campaign_ref",
    "contact_ref": "call.contact_ref",
    "campaign_ref": "call.campaign_ref",
    "source": "call.source",
}
"""Which part or field of a call each word of a contact tells of: who may not have the one gets not the other."""


def as_dict(contact: Contact) -> dict[str, Any]:
    """What ``contact --json`` says of one, as docs/reference.md describes it."""
    outcome = contact.outcome
    return {
        "source": contact.key.source,
        "campaign_ref": contact.key.campaign_ref,
        "contact_ref": contact.key.contact_ref,
        "outcome": outcome.outcome,
        "final": outcome.final,
        "attempts": outcome.attempts,
        "crowd": contact.is_crowd,
        "numbers": [each._asdict() for each in contact.numbers],
        "first_at": outcome.first_at,
        "last_at": outcome.last_at,
        "reached_at": outcome.reached_at,
        "agent": outcome.agent,
        "talk_seconds": outcome.talk_seconds,
        "charges": contact.charges,
        "best_call": contact.best_call,
        "also_in": contact.also_in,
        "changed_at": contact.changed_at,
    }


def with_calls(contact: Contact, inbound: Iterable[InboundCall]) -> dict[str, Any]:
    """What ``explain --contact --json`` says: that, each call of it, and who called in."""
    return as_dict(contact) | {
        "calls": [
            {
                "call_ref": each.call.call_ref,
                "dialed_at": each.call.dialed_at,
                "number": each.call.number,
                "disposition": each.call.disposition,
                "uncertain": each.uncertain,
                "why": each.why,
                "agent": each.call.agent,
                "talk_seconds": each.call.talk_seconds,
                "charges": each.charges,
            }
            for each in contact.attempts
        ],
        "inbound": [each._asdict() for each in inbound],
    }


def chosen(told: dict[str, Any], fields: Collection[str] | None) -> dict[str, Any]:
    """Of a contact only what somebody may have who gets but these parts and fields of calls; None: all of it.

    >>> chosen({"outcome": "busy", "numbers": [], "charges": {}}, ["disposition", "net"])
    {'outcome': 'busy', 'charges': {}}
    """
    if fields is None:
        return told
    parts = {field.partition(".")[0] for field in fields if "." not in field}
    return {
        name: value
        for name, value in told.items()
        if (need := NEEDS.get(name)) is not None and (need in fields or need.partition(".")[0] in parts)
    }
