"""The ingestor's way through its states, walked without servers."""

from __future__ import annotations

import pytest

from pipeline.ingest.rules.pace import Pace
from pipeline.ingest.rules.states import AFTER_DOING, AFTER_WAITING, Event, State, after

WAITING = set(AFTER_WAITING)
DOING = {state for state, _ in AFTER_DOING}


def next_to(state: State) -> set[State]:
    """Every state that may follow."""
    if state in AFTER_WAITING:
        return {AFTER_WAITING[state]}
    return {State.OUTAGE, *(after(at, event) for at, event in AFTER_DOING if at is state)}


def reached(begin: State, *, without: State) -> set[State]:
    """Every state on a way from ``begin`` that does not lead through ``without``."""
    found: set[State] = set()
    new = {begin}
    while new:
        found |= new
        new = {state for at in new for state in next_to(at)} - found - {without}
    return found


def walk(begin: State, *events: Event) -> list[State]:
    """The states on the way, when what they do ends so, from one that waits to the next."""
    states = [AFTER_WAITING[begin]]
    for event in events:
        states.append(after(states[-1], event))
    assert states[-1] in WAITING
    return states


def test_each_state_either_does_something_or_waits() -> None:
    """And each is reached by whoever begins as a stand-by."""
    assert set(State) == WAITING | DOING
    assert not WAITING & DOING
    assert reached(State.STANDING_BY, without=State.STANDING_BY) == set(State)


@pytest.mark.parametrize("begin", [State.OUTAGE, State.STANDING_BY])
@pytest.mark.parametrize("without", [State.ASKING, State.RECOVERING])
def test_nothing_is_claimed_after_an_outage_or_a_standby_before_what_was_left(begin: State, without: State) -> None:
    """The lease is asked for and what is in the register is settled, and then only something new is claimed."""
    assert State.CLAIMING not in reached(begin, without=without)


@pytest.mark.parametrize("state", [State.RESTING, State.DRAINING, State.FULL])
def test_an_outage_is_over_only_once_everything_answered(state: State) -> None:
    """Or an ingestor would show itself ready twice a second, whose database is away and whose list is empty."""
    assert state not in reached(State.OUTAGE, without=State.CLAIMING)


def test_there_is_no_way_round_without_a_wait_but_for_the_lease() -> None:
    """A loop that does not wait would be one that cannot be stopped, and that eats a processor."""
    edges = {state: next_to(state) & DOING for state in DOING}
    edges[State.CLAIMING].remove(State.ASKING)
    done: set[State] = set()
    while edges:
        ends = {state for state, following in edges.items() if following <= done}
        assert ends, f"they lead to each other: {edges}"
        done |= ends
        for state in ends:
            del edges[state]


@pytest.mark.parametrize("state", [state for state in State if state in DOING])
def test_whatever_is_away_is_waited_for(state: State) -> None:
    """In each state alike."""
    assert after(state, Event.AWAY) is State.OUTAGE


def test_an_event_that_a_state_cannot_end_with_is_refused() -> None:
    """A mistake in the loop is not taken for something else."""
    with pytest.raises(KeyError):
        after(State.POLLING, Event.SETTLED)


def test_the_first_walk_of_an_ingestor() -> None:
    """It leads, looks, takes up what was left, tells, and claims."""
    assert walk(State.STANDING_BY, Event.TAKEN, Event.DONE, Event.DONE, Event.DONE, Event.SETTLED) == [
        *(State.ASKING, State.LOOKING, State.RECOVERING, State.TELLING, State.CLAIMING, State.DRAINING)
    ]


def test_an_empty_list_is_polled_and_nothing_else() -> None:
    """From rest to rest in one question."""
    assert walk(State.RESTING, Event.EMPTY) == [State.POLLING, State.RESTING]


def test_a_lease_lost_at_a_claim_is_noticed_at_once() -> None:
    """And said by the state that asks for it."""
    assert walk(State.DRAINING, Event.SOMETHING, Event.HELD, Event.HELD)[-2:] == [State.ASKING, State.STANDING_BY]


def test_a_stopped_ingestor_looks_again_each_time_it_wakes() -> None:
    """It is woken no more often than a look is due, so a release is seen though the list is empty."""
    pace = Pace()
    assert pace.wait(State.STOPPED) >= pace.look_every


def test_a_lease_does_not_run_out_between_two_looks() -> None:
    """At rest only the look renews it, which lasts five seconds."""
    pace = Pace()
    waits = [pace.wait(state) for state in WAITING] + [pace.longest_rest, pace.longest_linger, pace.longest_wait]
    assert pace.look_every + max(waits) < 5.0 / 2
