"""What a contact comes to: a function of the set of its calls, whatever order they came in.

Its calls are the outbound ones that name it and are classified. The best of them is its outcome: by rank, then the one
dialled last, then the one of the highest call_ref.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.calls.rules.disposition import CONSEQUENCES, Disposition
from pipeline.calls.rules.fast_path import REFERENCE_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

RANKING: Final = (
    Disposition.ANSWERED,
    Disposition.ABANDONED,
    Disposition.VOICEMAIL,
    Disposition.REJECTED,
    Disposition.BUSY,
    Disposition.NO_ANSWER,
    Disposition.ERROR,
    Disposition.FAILED,
    Disposition.UNKNOWN,
)
"""The best first: how near a call came to the person, then what says something about their line, then what says
nothing about either."""

LONGEST_REFERENCE: Final = REFERENCE_CHARACTERS
"""In characters. A longer one names no contact."""

MOST_CALLS: Final = 10_000
"""A reference that more calls name is nobody's: it stands in for a missing one. Their number is no longer counted."""


class CallOfContact(NamedTuple):
    """What of a call counts for its contact."""

    call_id: int
    call_ref: str
    dialed_at: datetime
    """Aware."""
    disposition: str
    number: str | None
    """The number called; empty: it was withheld."""
    agent: str | None
    talk_seconds: int


class Outcome(NamedTuple):
    """What a contact comes to."""

    attempts: int
    """How many calls it has; of a crowd one more than ``MOST_CALLS``, and nothing else is said then."""
    outcome: str | None = None
    """How the best call ended."""
    final: bool | None = None
    """Whether it need not be called again: an agent spoke to the person."""
    first_at: datetime | None = None
    last_at: datetime | None = None
    reached_at: datetime | None = None
    """When somebody picked up for the first time."""
    agent: str | None = None
    """Of the best call."""
    talk_seconds: int | None = None
    best_call_id: int | None = None


class NumberTried(NamedTuple):
    """One number of a contact."""

    number: str | None
    attempts: int
    outcome: str
    """Of its best call."""
    last_at: datetime


def outcome_of(calls: Iterable[CallOfContact]) -> Outcome:
    """What a set of calls comes to; a call that is in it twice counts once.

    >>> outcome_of([])
    Outcome(attempts=0, outcome=None, final=None, first_at=None, last_at=None, reached_at=None, agent=None, \
talk_seconds=None, best_call_id=None)
    """
    own = {call.call_id: call for call in calls}.values()
    if not own:
        return Outcome(0)
    if len(own) > MOST_CALLS:
        return Outcome(MOST_CALLS + 1)
    best = best_of(own)
    reached = [call.dialed_at for call in own if _means(call, "person_reached")]
    return Outcome(
        attempts=len(own),
        outcome=best.disposition,
        final=any(_means(call, "contact_done") for call in own),
        first_at=min(call.dialed_at for call in own),
        last_at=max(call.dialed_at for call in own),
        reached_at=min(reached, default=None),
        agent=best.agent,
        talk_seconds=sum(call.talk_seconds for call in own),
        best_call_id=best.call_id,
    )


def best_of(calls: Iterable[CallOfContact]) -> CallOfContact:
    """The call that decides; of one or more."""
    return max(calls, key=lambda call: (-rank(call.disposition), call.dialed_at, call.call_ref))


def why(calls: Iterable[CallOfContact]) -> str:
    """Which call decides, in a sentence; of one or more.

    >>> from datetime import UTC, datetime
    >>> call = CallOfContact(1, "7", datetime(2026, 3, 1, tzinfo=UTC), "busy", "", None, 0)
    >>> why([call, call._replace(call_id=2, call_ref="8", disposition="no_answer")])
    'call 7: busy ranks above no_answer'
    >>> why([call, call._replace(call_id=2, call_ref="8")])
    'call 8: the last of 2 that ended as busy'
    """
    own = {call.call_id: call for call in calls}.values()
    best = best_of(own)
    others = sorted({call.disposition for call in own} - {best.disposition}, key=rank)
    alike = sum(call.disposition == best.disposition for call in own)
    said = [f"the last of {alike} that ended as {best.disposition}"] if alike > 1 else []
    said += [f"{best.disposition} ranks above {', '.join(others)}"] if others else []
    return f"call {best.call_ref}: {'; '.join(said)}"


def rank(disposition: str) -> int:
    """The place of a disposition, the best being 0; one that another version knows comes last.

    >>> rank("answered") < rank("busy") < rank("no_answer") < rank("who knows")
    True
    """
    return _RANK.get(disposition, len(RANKING))


def numbers_tried(calls: Iterable[CallOfContact]) -> list[NumberTried]:
    """Each number called with the best it came to, the best first, then the one tried last."""
    by_number: dict[str | None, dict[int, CallOfContact]] = {}
    for call in calls:
        by_number.setdefault(call.number, {})[call.call_id] = call
    found = [
        NumberTried(number, len(own), best_of(own.values()).disposition, max(call.dialed_at for call in own.values()))
        for number, own in by_number.items()
    ]
    by_last = sorted(found, key=lambda each: (each.last_at, each.number is not None, each.number or ""), reverse=True)
    return sorted(by_last, key=lambda each: rank(each.outcome))


_RANK: Final[dict[str, int]] = {disposition: place for place, disposition in enumerate(RANKING)}


def _means(call: CallOfContact, what: str) -> bool:
    return call.disposition in _RANK and bool(getattr(CONSEQUENCES[Disposition(call.disposition)], what))
