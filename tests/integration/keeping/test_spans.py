"""What rules and holds say of a range of records, for whoever drops it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.keeping.held_where import HeldIn, held_in
from pipeline.keeping.holds import hold_call, hold_number
from pipeline.keeping.rules.policy import Bound, Kind, Scope
from pipeline.keeping.spans import span_policies
from pipeline.record_ids import first_record, last_record
from tests.integration.keeping.conftest import add

NORTH = (first_record(1), last_record(1))
BOTH = (first_record(1), last_record(2))


def policies(world, span=BOTH):
    with world.engine.connect() as connection:
        return span_policies(connection, *span)


def held(world, span=BOTH):
    with world.engine.connect() as connection:
        return held_in(connection, *span)


@pytest.fixture
def whole(world):
    """No record of the batches but became a call, and all of them are old."""
    world.run("UPDATE batches SET records = 4")
    for source in ("north", "south"):
        world.age(f"{source}-new", 10)
    return world


def dialed(world, call_ref):
    return world.rows("SELECT dialed_at FROM calls WHERE call_ref = :ref", ref=call_ref)[0][0]


def test_without_a_rule_nothing_must_and_nothing_may_go(whole):
    """Kept for ever by default, and no longer than anybody likes."""
    for kind, found in policies(whole).items():
        assert found.kept is None, kind
        assert (found.gone.at, found.gone.by) == (None, Bound(None)), kind


def test_the_longest_minimum_and_the_last_maximum_of_a_range(whole):
    """Each kind by its own rules, each call by its campaign and dialler."""
    whole.set("charges", "--at-least", "50")
    whole.set("charges", "--campaign", "autumn", "--at-least", "1825")
    whole.set("calls", "--at-most", "400")
    found = policies(whole)
    charges = found[Kind.CHARGES]
    newest = max(dialed(whole, f"{source}-autumn") for source in ("north", "south"))
    assert charges.kept.until == newest + timedelta(days=1825)
    assert (charges.kept.bound, charges.kept.group.scope.campaign_ref) == (
        Bound(1825, Scope("", "autumn")),
        "autumn",
    )
    assert charges.gone.at is None
    calls = found[Kind.CALLS]
    newest = max(dialed(whole, f"{source}-new") for source in ("north", "south"))
    assert (calls.kept, calls.gone.at) == (None, newest + timedelta(days=400))
    assert found[Kind.RAW_RECORDS].gone.at is None


def test_only_what_is_in_the_range_counts(whole):
    """Another dialler's rule says nothing of it."""
    whole.set("raw_records", "--source", "south", "--at-least", "50", "--at-most", "60")
    assert policies(whole, NORTH)[Kind.RAW_RECORDS].kept is None
    assert policies(whole)[Kind.RAW_RECORDS].kept.bound.days == 50


def test_records_that_are_no_calls_are_as_old_as_their_receipt(whole):
    """They are kept for a dialler; of their campaign nothing is known."""
    whole.set("raw_records", "--source", "north", "--at-least", "9", "--at-most", "100")
    whole.set("raw_records", "--campaign", "spring", "--at-most", "20")
    whole.run("UPDATE batches SET records = 5, received_at = now() + interval '1 day' WHERE id = 1")
    [(received,)] = whole.rows("SELECT received_at FROM batches WHERE id = 1")
    found = policies(whole, NORTH)
    assert found[Kind.RAW_RECORDS].kept.until == received + timedelta(days=9)
    assert found[Kind.RAW_RECORDS].gone.at == received + timedelta(days=100)
    assert found[Kind.RAW_RECORDS].gone.group.scope == Scope("north")


def test_an_empty_range_keeps_nothing(whole):
    """And there is nothing that could go."""
    empty = (first_record(900), last_record(901))
    assert set(policies(whole, empty).values()) == {(None, None)}
    assert held(whole, empty) == HeldIn(0, None)


def test_a_held_call_is_found_by_any_record_of_it(whole):
    """Itself, a duplicate, a version that was accepted, its number, its recording."""
    south = (first_record(2), last_record(2))
    assert held(whole) == HeldIn(0, None)
    [(north,)] = whole.rows("SELECT id FROM calls WHERE call_ref = 'north-spring'")
    with whole.engine.begin() as connection:
        hold_call(connection, north, who="counsel", because="case 9")
    assert held(whole, NORTH) == HeldIn(1, "call north-spring of north")
    assert held(whole, south) == HeldIn(0, None)
    whole.run("INSERT INTO duplicates (record_id, call_id) VALUES (:record, :call)", record=south[0] + 99, call=north)
    assert held(whole, south) == HeldIn(1, "call north-spring of north")
    whole.run("DELETE FROM duplicates")
    whole.run(
        "INSERT INTO revisions (record_id, call_id, replaced, replaced_hash, accepted_by) "
        "VALUES (:record, :call, '{}', '', 'ann')",
        record=south[0] + 99, call=north,
    )  # fmt: skip
    assert held(whole, south).calls == 1
    whole.run("UPDATE recordings SET held_at = now() WHERE call_ref = 'south-spring'")
    assert held(whole, south).calls == 2
    add(whole, south[0] + 50, "x", source="south", campaign="winter", days=3, number="+27831234567", recorded=False)
    with whole.engine.begin() as connection:
        hold_number(connection, "+27831234567", who="counsel", because="case 9")
    assert (held(whole, south).calls, held(whole).calls) == (3, 3)
    whole.run("UPDATE holds SET released_at = now()")
    assert held(whole).calls == 1
