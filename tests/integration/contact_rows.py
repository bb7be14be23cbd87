"""Contacts as their calls make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.calls.rules.disposition import classify
from pipeline.contacts.rules.outcome import CallOfContact, Outcome, outcome_of
from tests.integration.flow import rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

ENDS = {
    "answered": {"end_reason": "agent_hungup", "end_code": "16", "extension": "2001", "call_time": 61},
    "abandoned": {"end_reason": "callee_hungup", "end_code": "16", "extension": None, "call_time": 0, "hold_time": 4},
    "voicemail": {"end_reason": "voicemail", "end_code": "16", "extension": None, "call_time": 0},
    "busy": {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0},
    "no_answer": {"end_reason": "noanswer", "end_code": "18", "extension": None, "call_time": 0},
    "failed": {"end_reason": "failed", "end_code": "0", "extension": None, "call_time": 0},
}
"""A record that ends so."""

COLUMNS = ", ".join(Outcome._fields)


def contact_rows(engine: Engine) -> dict[tuple[str, str, str], Outcome]:
    """What the rows of contacts say; without those that have lost all calls."""
    found = rows(engine, f"SELECT contact_ref, campaign_ref, source, {COLUMNS} FROM contacts WHERE attempts > 0")
    return {tuple(row[:3]): Outcome(*row[3:]) for row in found}


def by_the_rules(engine: Engine) -> dict[tuple[str, str, str], Outcome]:
    """What they should say: each contact's calls, read plainly, given to the rules."""
    found = rows(
        engine,
        "SELECT contact_ref, campaign_ref, source, id, call_ref, dialed_at, end_reason, end_code, client_number, "
        "  extension, talk_seconds, hold_seconds FROM calls JOIN dispositions ON call_id = id "
        "WHERE direction = 'outbound' AND contact_ref IS NOT NULL",
    )
    calls: dict[tuple[str, str, str], list[CallOfContact]] = {}
    for row in found:
        ended = classify(row.end_reason, row.end_code, row.extension, row.hold_seconds, row.talk_seconds)
        calls.setdefault((row.contact_ref, row.campaign_ref, row.source), []).append(
            CallOfContact(
                row.id,
                row.call_ref,
                row.dialed_at,
                ended.disposition,
                row.client_number,
                row.extension,
                row.talk_seconds,
            )
        )
    return {key: outcome_of(own) for key, own in calls.items()}
