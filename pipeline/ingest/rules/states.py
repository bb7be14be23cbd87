"""What an ingestor is in the middle of, and what comes next; the whole way of the loop in one table."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple


class State(Enum):
    """Where an ingestor stands: it does one thing and goes on at once, or it waits and then goes on."""

    # It does something.
    ASKING = auto()
    """Whether the lease on the list is ours."""
    LOOKING = auto()
    """Newly in the lead: is this the integrators' list at all?"""
    RECOVERING = auto()
    """Settling what anybody left behind."""
    TELLING = auto()
    """Leaving a sign of life, and the list's figures."""
    POLLING = auto()
    """Whether there is something to claim, or something else is due. Asks the dialler's Redis only."""
    CLAIMING = auto()
    """May anything be claimed? Then claim and settle it, in one transaction. It also renews the lease."""

    # It waits.
    STANDING_BY = auto()
    """Another ingestor has the lease."""
    RESTING = auto()
    """The list is empty."""
    DRAINING = auto()
    """A batch was settled: the next one gathers, unless more than a batch waits already."""
    FULL = auto()
    """As much is on its way as may be."""
    STOPPED = auto()
    """A stop stands, until a person releases it."""
    OUTAGE = auto()
    """The database or the dialler's Redis is away."""


class Event(Enum):
    """How what a state does ended."""

    DONE = auto()
    HELD = auto()
    """Another has the lease."""
    TAKEN = auto()
    """The lease is ours, newly."""
    KEPT = auto()
    """The lease is ours still."""
    EMPTY = auto()
    """Nothing is there to be claimed."""
    DUE = auto()
    """It is time to recover and to tell."""
    SOMETHING = auto()
    """There is something to claim, or it is time to look whether one may."""
    SETTLED = auto()
    NO_ROOM = auto()
    FORBIDDEN = auto()
    AWAY = auto()
    """What it needed is away."""


class Ended(NamedTuple):
    """How what a state does ended, and how many seconds the next one waits where that is not its own to say."""

    event: Event
    wait: float = 0.0


AFTER_WAITING: Final = {
    State.STANDING_BY: State.ASKING,
    State.OUTAGE: State.ASKING,
    State.RESTING: State.POLLING,
    State.DRAINING: State.POLLING,
    State.FULL: State.POLLING,
    State.STOPPED: State.POLLING,
}
"""The states that wait, and what each goes on with."""

AFTER_DOING: Final = {
    (State.ASKING, Event.HELD): State.STANDING_BY,
    (State.ASKING, Event.TAKEN): State.LOOKING,
    (State.ASKING, Event.KEPT): State.RECOVERING,
    (State.LOOKING, Event.DONE): State.RECOVERING,
    (State.RECOVERING, Event.DONE): State.TELLING,
    # Not POLLING: an outage is over when everything that a claim needs has answered.
    (State.TELLING, Event.DONE): State.CLAIMING,
    (State.POLLING, Event.EMPTY): State.RESTING,
    (State.POLLING, Event.DUE): State.RECOVERING,
    (State.POLLING, Event.SOMETHING): State.CLAIMING,
    (State.CLAIMING, Event.EMPTY): State.RESTING,
    (State.CLAIMING, Event.SETTLED): State.DRAINING,
    (State.CLAIMING, Event.NO_ROOM): State.FULL,
    (State.CLAIMING, Event.FORBIDDEN): State.STOPPED,
    (State.CLAIMING, Event.HELD): State.ASKING,
}
"""The states that do something, and what follows from how that ended; but for an outage, which follows from any."""


def after(state: State, event: Event) -> State:
    """What follows a state that did something.

    Raises:
        KeyError: it cannot end so.

    >>> after(State.POLLING, Event.EMPTY), after(State.CLAIMING, Event.AWAY)
    (<State.RESTING: 8>, <State.OUTAGE: 12>)
    """
    return State.OUTAGE if event is Event.AWAY else AFTER_DOING[state, event]
