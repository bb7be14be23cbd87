"""Calls that searches are tried on, and what each filter should find of them."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from pipeline.lookup.rules.call_filter import NO_WALL, CallFilter
from pipeline.lookup.search import search_calls
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import NOW, load, receive, walk

BEGINS = NOW.fromtimestamp(DIALED_AT, tz=NOW.tzinfo)
EVERYTHING = CallFilter(since=BEGINS)
ENDS = [("agent_hungup", 61), ("busy", 0), ("noanswer", 0), ("hungup", 0), ("abandon", 0)]


def record(chance, ref):
    """A call like others, and not quite."""
    reason, seconds = chance.choice(ENDS)
    return make_record(
        call_ref=ref,
        ref=chance.choice(["spring", "autumn", "winter"]),
        contact_ref=chance.choice([None, "a", "b", "c"]),
        extension=chance.choice(["2001", "2002", None]) if seconds else None,
        number=chance.choice(["0820001234", "0820011234", "+442079460000", "10111"]),
        dial_number=chance.choice(["27123456789", "27123456780"]),
        call_dir=chance.choice(["outbound", "outbound", "outbound", "inbound"]),
        dialed_at=DIALED_AT + chance.randrange(40),
        end_reason=reason,
        call_time=seconds,
    )


@pytest.fixture
def called(engine):
    """Calls of two diallers, dialled at few different seconds, received in no order; some on their way."""
    chance = random.Random(7)
    load(engine)
    refs = itertools.count(1)
    for source in ("enigma", "south", "enigma"):
        walk(engine, receive(engine, *(record(chance, next(refs)) for _ in range(40)), source=source))
    walk(engine, receive(engine, *(record(chance, next(refs)) for _ in range(10))), steps=(Step.NORMALIZE,))
    with engine.begin() as connection:
        for state in ("stored", "failed", "absent"):
            connection.execute(
                text(
                    "UPDATE recordings SET state = :state WHERE call_id IN "
                    "(SELECT call_id FROM recordings WHERE state = 'scheduled' ORDER BY call_id LIMIT 4)"
                ),
                {"state": state},
            )
        connection.execute(
            text(
                "UPDATE recordings SET deleted_at = now() "
                "WHERE call_id = (SELECT max(call_id) FROM recordings WHERE state = 'stored')"
            )
        )
        # As code of the version before classified them.
        for column in ("dispositions SET call_dialed_at", "recordings SET dialed_at"):
            connection.execute(text(f"UPDATE {column} = NULL WHERE call_id % 2 = 0"))
    return engine


def found(engine, wanted, wall=NO_WALL, **options):
    """One page."""
    with engine.connect() as connection:
        return search_calls(connection, wanted, wall, limit=options.pop("limit", 1_000), **options)


@pytest.fixture
def everything(called):
    """All calls, as a list shows them."""
    calls = found(called, EVERYTHING).calls
    assert len(calls) == 130
    return calls


def is_charged(call):
    return "yes" if call.charge is not None else "no" if call.not_charged is not None else "not_yet"


FIELDS = {
    "call_ref": lambda call: call.call_ref,
    "contact_ref": lambda call: call.contact_ref,
    "numbers": lambda call: (call.number,),
    "number_ends": lambda call: call.number[-4:],
    "campaign": lambda call: call.campaign_ref,
    "agent": lambda call: call.agent,
    "dial_numbers": lambda call: (call.dial_number,),
    "disposition": lambda call: call.disposition,
    "direction": lambda call: call.direction,
    "since": lambda call: call.dialed_at,
    "recording": lambda call: call.recording or "none",
    "charged": is_charged,
    "why_not": lambda call: call.not_charged,
    "source": lambda call: call.source,
}
"""What a call has that each filter asks for."""


def matches(call, wanted):
    """Whether a call should be found."""
    return all(
        call.dialed_at < value
        if name == "until"
        else call.dialed_at >= value
        if name == "since"
        else FIELDS[name](call) == value
        for name, value in wanted._asdict().items()
        if value is not None
    )
