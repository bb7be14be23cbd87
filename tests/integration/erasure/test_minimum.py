"""A minimum or a hold on a call stands against erasing a number, is named, and is over one day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.erasure.erase import HeldError, check_holds
from pipeline.keeping.change import changed, make
from pipeline.keeping.holds import hold_call, release_call
from pipeline.keeping.rules.policy import Kind, Scope
from tests.integration.erasure.conftest import CALL_REFS, SPELLED, make_person, nowhere, run
from tests.integration.flow import rows


@pytest.fixture
def small(engine, tmp_path):
    """A number with six calls and three recordings."""
    return make_person(engine, tmp_path / "store", calls=6, recordings=3)


EVERYTHING = Scope()


def set_rule(engine, kind, scope=EVERYTHING, **days):
    with engine.begin() as connection:
        make(connection, changed(connection, kind, scope, **days), who="ann", because="contract 5")


def against(engine):
    with engine.connect() as connection:
        try:
            check_holds(connection, SPELLED)
        except HeldError as error:
            return str(error)
    return None


def days_since(engine, table="calls", column="dialed_at"):
    return rows(engine, f"SELECT ceil(extract(epoch FROM now() - max({column})) / 86400)::int FROM {table}")[0][0]


@pytest.mark.parametrize("kind", [Kind.CALLS, Kind.RAW_RECORDS, Kind.RECORDINGS])
def test_a_minimum_that_is_not_over_is_named_with_its_day(small, kind):
    """Nothing is begun; when the calls are older it is erased."""
    [(newest,)] = rows(small.engine, "SELECT max(dialed_at) FROM calls WHERE client_number = '+27831234567'")
    least = days_since(small.engine) + 30
    set_rule(small.engine, kind, at_least=least)
    with pytest.raises(HeldError) as caught:
        small.erase()
    said = str(caught.value)
    assert f"{kind.value.replace('_', ' ')} of every dialler and campaign must be kept at least {least} days" in said
    if kind is Kind.CALLS:
        day = (newest + timedelta(days=least + 1)).date()
        assert f"it may be erased from {day} on" in said
    assert rows(small.engine, "SELECT count(*) FROM erased_numbers") == [(0,)]
    for table in ("calls", "recordings"):
        run(small.engine, f"UPDATE {table} SET dialed_at = dialed_at - interval '{least} days'")
    run(small.engine, f"UPDATE batches SET received_at = received_at - interval '{least} days'")
    small.erase()
    assert nowhere(small) == []


@pytest.mark.parametrize("kind", [Kind.CHARGES, Kind.ACCESS_LOG])
def test_what_stays_anyway_does_not_stand_against_it(small, kind):
    """Charges hold no number, and the access log keeps all but that."""
    set_rule(small.engine, kind, at_least=30_000)
    assert against(small.engine) is None


def test_only_rules_for_its_calls_stand_against_it(small):
    """Another campaign's or dialler's do not."""
    set_rule(small.engine, Kind.CALLS, Scope("", "another"), at_least=30_000)
    set_rule(small.engine, Kind.CALLS, Scope("another"), at_least=30_000)
    assert against(small.engine) is None
    set_rule(small.engine, Kind.CALLS, Scope("enigma", "campaign001"), at_least=30_000)
    assert "calls of campaign campaign001 of dialler enigma must be kept" in against(small.engine)


def test_recordings_without_a_file_have_nothing_to_keep(small):
    """Once retention has deleted them; one that is to come has."""
    set_rule(small.engine, Kind.RECORDINGS, at_least=30_000)
    run(small.engine, "UPDATE recordings SET deleted_at = now() WHERE state = 'stored'")
    assert against(small.engine) is None
    waits = "UPDATE recordings SET deleted_at = NULL, state = 'scheduled', due_at = now() WHERE call_ref = :ref"
    run(small.engine, waits, ref=str(CALL_REFS))
    assert "recordings of every" in against(small.engine)


def test_records_that_are_no_call_have_a_minimum_too(small):
    """They were received, by a dialler, and that is how old they are."""
    run(small.engine, "UPDATE calls SET dialed_at = dialed_at - interval '30000 days'")
    set_rule(small.engine, Kind.RAW_RECORDS, Scope("enigma"), at_least=400)
    assert "raw records of dialler enigma must be kept at least 400 days" in against(small.engine)
    run(small.engine, "UPDATE batches SET received_at = now() - interval '401 days'")
    assert against(small.engine) is None


def test_a_call_that_is_held_stands_against_it(small):
    """With or without a recording, by whom and why; released, nothing does."""
    [(call_id,)] = rows(small.engine, f"SELECT id FROM calls WHERE call_ref = '{CALL_REFS + 5}'")
    assert rows(small.engine, f"SELECT count(*) FROM recordings WHERE call_id = {call_id}") == [(0,)]
    with small.engine.begin() as connection:
        assert hold_call(connection, call_id, who="counsel", because="case 9")
        assert not hold_call(connection, call_id, who="counsel", because="case 9")
    with pytest.raises(HeldError, match=f"call {CALL_REFS + 5} of enigma is held since .* by counsel: case 9"):
        small.erase()
    with small.engine.begin() as connection:
        assert release_call(connection, call_id, who="counsel", because="closed")
    small.erase()
    assert nowhere(small) == []


def test_a_rule_that_is_set_meanwhile_stops_it(small, monkeypatch):
    """What is not yet done is not begun; later it is gone on with."""
    monkeypatch.setattr("pipeline.erasure.erase.CALLS_AT_ONCE", 2)
    set_once = []

    def reached(place):
        if place == "calls" and not set_once:
            set_once.append(place)
            set_rule(small.engine, Kind.CALLS, at_least=30_000)

    with pytest.raises(HeldError, match="30000 days"):
        small.erase(reached=reached)
    assert rows(small.engine, "SELECT count(*) FROM calls WHERE client_number LIKE 'erased:%'")[0][0] == 2
    run(small.engine, "DELETE FROM keeping")
    small.erase()
    assert nowhere(small) == []
