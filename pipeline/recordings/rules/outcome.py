"""What becomes of a recording: its states, the legal moves between them, and the decision after each try.

Whatever is not this recording's fault (the dialler or the store away, credentials refused, throttling) costs
it no attempt and does not end it: it waits, and says why. Only an answer about the recording itself ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pipeline.dialler.rules.answers import (
    Away,
    Broken,
    Fetched,
    FetchResult,
    NoSuchCall,
    NotReady,
    Refused,
    Throttled,
    Unacceptable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FEWEST_TRIES: Final = 3
"""However old a recording is, it is asked for this often before it ends: its time may have passed in an outage."""

LOST_AT_MOST: Final = 5
"""So many workers lost in a row while they had one and the same recording, and it is taken for the cause."""

LOST_WAIT_SECONDS: Final = 10.0
"""How long a recording waits when a second worker was lost with it; twice as long for each one more."""

SHORTEST_SECONDS: Final = 1.0
"""No two tries follow each other sooner than this."""


class RecordingState(StrEnum):
    """Where a recording is on its way to our store."""

    SCHEDULED = "scheduled"
    DOWNLOADING = "downloading"
    STORED = "stored"
    ABSENT = "absent"
    EXPIRED = "expired"
    FAILED = "failed"


_State = RecordingState

MOVES: Final[Mapping[RecordingState, frozenset[RecordingState]]] = MappingProxyType(
    {
        _State.SCHEDULED: frozenset({_State.DOWNLOADING}),
        # To itself: the lease ran out and another worker takes over.
        _State.DOWNLOADING: frozenset(_State),
        _State.STORED: frozenset(),
        # An operator's retry.
        _State.ABSENT: frozenset({_State.SCHEDULED}),
        _State.EXPIRED: frozenset({_State.SCHEDULED}),
        _State.FAILED: frozenset({_State.SCHEDULED}),
    }
)
"""Every legal move."""


def may_move(old: RecordingState, new: RecordingState) -> bool:
    """Whether a recording may go from one state to the other.

    >>> may_move(RecordingState.SCHEDULED, RecordingState.DOWNLOADING)
    True
    >>> may_move(RecordingState.STORED, RecordingState.SCHEDULED)
    False
    """
    return new in MOVES[old]


class PauseKind(StrEnum):
    """Why a dialler's whole queue waits."""

    REFUSED = "refused"
    THROTTLED = "throttled"
    DIALLER_AWAY = "dialler_away"
    STORE_AWAY = "store_away"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait between tries, and when to stop.

    Attributes:
        first_seconds: the wait after the first try; it doubles with each one.
        longest_seconds: the longest wait between tries.
        spread: how far a wait may stray from its length to either side, as a share of it.
        give_up_after_seconds: the age, counted from when it was scheduled, after which no more is tried.
        absent_after_seconds: the age after which "no such call" is believed.
        outage_seconds: the first pause while the dialler or the store is away; it doubles with each probe that fails.
        longest_outage_seconds: the longest such pause.
        refused_seconds: the first pause after our credentials were refused; it doubles up to ``longest_seconds``.
        throttle_seconds: the first pause when fewer requests were asked for without saying for how long; likewise.
        longest_throttle_seconds: the longest pause that a ``Retry-After`` may ask for.
    """

    first_seconds: float = 30.0
    longest_seconds: float = 3_600.0
    spread: float = 0.25
    give_up_after_seconds: float = 48 * 3_600.0
    absent_after_seconds: float = 600.0
    outage_seconds: float = 5.0
    longest_outage_seconds: float = 300.0
    refused_seconds: float = 60.0
    throttle_seconds: float = 60.0
    longest_throttle_seconds: float = 3_600.0

    def __post_init__(self) -> None:
        """A policy that would try without pause, or wait backwards, is refused.

        Raises:
            ValueError: naming the value.
        """
        for name in ("first_seconds", "outage_seconds", "refused_seconds", "throttle_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if not self.longest_seconds >= self.first_seconds:
            raise ValueError(f"longest_seconds must be at least first_seconds, got {self.longest_seconds}")
        if not self.longest_throttle_seconds >= SHORTEST_SECONDS:
            raise ValueError(f"longest_throttle_seconds must be at least 1, got {self.longest_throttle_seconds}")
        if not (self.give_up_after_seconds >= 0 and self.absent_after_seconds >= 0):
            raise ValueError("give_up_after_seconds and absent_after_seconds must not be negative")
        if not 0 <= self.spread < 1:
            raise ValueError(f"spread must be at least 0 and below 1, got {self.spread}")


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a recording goes after a try.

    Attributes:
        state: the next state.
        reason: a sentence for the operator.
        attempts: how often it has been tried, this try included if it counts.
        wait_seconds: how long until the next try; None when this was the last.
        pause_seconds: how long no recording at all should be tried; None when the others may go on.
        pause_kind: why; None when the others may go on.
    """

    state: RecordingState
    reason: str
    attempts: int
    wait_seconds: float | None = None
    pause_seconds: float | None = None
    pause_kind: PauseKind | None = None


def backoff(attempt: int, *, first_seconds: float, longest_seconds: float) -> float:
    """The wait after the given attempt, counted from 1: doubling, clamped.

    >>> [backoff(attempt, first_seconds=30, longest_seconds=300) for attempt in (1, 2, 3, 4, 5, 10**9)]
    [30.0, 60.0, 120.0, 240.0, 300, 300]
    """
    doublings = min(max(attempt, 1) - 1, 64)
    return min(longest_seconds, first_seconds * 2.0**doublings)


def jitter(seconds: float, *, spread: float, chance: float) -> float:
    """A wait moved by up to ``spread`` of itself to either side; ``chance`` is from 0 up to 1.

    >>> [jitter(100, spread=0.25, chance=chance) for chance in (0, 0.5, 1)]
    [75.0, 100.0, 125.0]
    """
    return seconds * (1 + spread * (2 * chance - 1))


def decide(
    result: FetchResult,
    *,
    attempts: int,
    age_seconds: float,
    policy: RetryPolicy,
    chance: float,
    failed_probes: int = 0,
    suspect: bool = False,
) -> Decision:
    """What follows from one try.

    Args:
        result: what the try came to.
        attempts: how many tries counted before this one.
        age_seconds: time since the recording was scheduled.
        policy: waits and bounds.
        chance: from 0 up to 1, for the jitter.
        failed_probes: how often the queue was tried in vain since it was paused; each makes the next pause longer.
        suspect: this recording paused the queue before, and then others went through: it is refused by itself.
    """
    if suspect and isinstance(result, Refused | Away):
        result = Broken(f"Others are let through, but not this one: {_pause(result, policy, failed_probes)[2]}")
    match result:
        case Refused() | Throttled() | Away():
            kind, pause, reason = _pause(result, policy, failed_probes)
            # Only ever later than asked, each by another while, so that they do not all come back at one instant.
            return Decision(_State.SCHEDULED, reason, attempts, pause * (1 + policy.spread * chance), pause, kind)
        case Fetched():
            return Decision(_State.STORED, "Fetched, checked and stored.", attempts + 1)
        case Unacceptable(reason):
            return Decision(_State.FAILED, reason, attempts + 1)
        case NotReady():
            why, ending = "The dialler has no recording of this call", _State.EXPIRED
            bound = policy.give_up_after_seconds
        case NoSuchCall():
            why, ending = "The dialler does not know this call", _State.ABSENT
            bound = policy.absent_after_seconds
        case Broken(reason):
            why, ending = reason.rstrip("."), _State.FAILED
            bound = policy.give_up_after_seconds
    wait = backoff(attempts + 1, first_seconds=policy.first_seconds, longest_seconds=policy.longest_seconds)
    wait = jitter(wait, spread=policy.spread, chance=chance)
    return _tried(why, ending, attempts=attempts + 1, age_seconds=age_seconds, bound=bound, wait=wait)


def ends_pause(result: FetchResult, kind: PauseKind) -> bool:
    """Whether a try that was made in spite of a pause shows that its cause is gone.

    >>> ends_pause(NotReady(), PauseKind.REFUSED), ends_pause(NotReady(), PauseKind.STORE_AWAY)
    (True, False)
    """
    if kind is PauseKind.STORE_AWAY:
        return isinstance(result, Fetched)
    return not isinstance(result, Refused | Throttled | Away)


def _tried(
    why: str, ending: RecordingState, *, attempts: int, age_seconds: float, bound: float, wait: float
) -> Decision:
    if age_seconds >= bound and attempts >= FEWEST_TRIES:
        tries = "1 try" if attempts == 1 else f"{attempts} tries"
        return Decision(ending, f"{why}, {_span(age_seconds)} after it was due and after {tries}.", attempts)
    if age_seconds < bound:
        # The last try falls on the bound itself, not up to one wait before or after it.
        wait = max(SHORTEST_SECONDS, min(wait, bound - age_seconds))
    return Decision(_State.SCHEDULED, f"{why}; it is tried again.", attempts, wait)


def _pause(result: Refused | Throttled | Away, policy: RetryPolicy, failed_probes: int) -> tuple[PauseKind, float, str]:
    """The recording goes back unharmed, and the others wait with it: they would meet the same."""

    def growing(first: float, longest: float) -> float:
        return backoff(failed_probes + 1, first_seconds=first, longest_seconds=longest)

    match result:
        case Refused(status):
            reason = (
                f"The dialler refuses us with {status}: check the user and password in ENIGMA_API_URL, and "
                "its list of allowed addresses. No recording is fetched until it lets us in."
            )
            return PauseKind.REFUSED, growing(policy.refused_seconds, policy.longest_seconds), reason
        case Throttled(status, retry_after):
            longest = policy.longest_throttle_seconds
            pause = growing(policy.throttle_seconds, longest) if retry_after is None else retry_after
            pause = min(max(pause, SHORTEST_SECONDS), longest)
            reason = f"The dialler asks for fewer requests ({status}); recordings wait {_span(pause)}."
            return PauseKind.THROTTLED, pause, reason
        case Away(reason, store):
            kind = PauseKind.STORE_AWAY if store else PauseKind.DIALLER_AWAY
            return kind, growing(policy.outage_seconds, policy.longest_outage_seconds), reason


def _span(seconds: float) -> str:
    """A length of time as an operator says it.

    >>> _span(172_800.4), _span(600), _span(1.2)
    ('48 h', '10 min', '1 s')
    """
    for unit, size in (("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
