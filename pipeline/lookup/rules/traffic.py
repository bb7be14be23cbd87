"""What calls come to as traffic: rates and bounds of what is not known, from how the calls ended; pure sums."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.calls.rules.disposition import Disposition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Kind(StrEnum):
    """What a call was, as far as it is known; each call is of one kind."""

    ANSWERED = "answered"
    ABANDONED = "abandoned"
    PERHAPS_ABANDONED = "perhaps_abandoned"
    """Somebody picked up and no agent took the call, or nobody picked up."""
    UNDECIDED = "undecided"
    """It may be any other: nothing known says how it ended, or it is not classified yet."""
    VOICEMAIL = "voicemail"
    NOT_PICKED_UP = "not_picked_up"


def kind_of(disposition: str | None, *, uncertain: bool, hold_seconds: int | None) -> Kind:
    """The kind of a call.

    A line that broke while the callee waited in the queue is an error or a timeout to the dialler; the wait tells that
    somebody had picked up.

    >>> kind_of("abandoned", uncertain=False, hold_seconds=4), kind_of("abandoned", uncertain=True, hold_seconds=None)
    (<Kind.ABANDONED: 'abandoned'>, <Kind.PERHAPS_ABANDONED: 'perhaps_abandoned'>)

    Args:
        disposition: of the call; None when it is not classified yet.
        uncertain: whether the dialler's words left room for another.
        hold_seconds: its wait in the queue; None when the dialler did not say.
    """
    match disposition:
        case Disposition.ANSWERED:
            return Kind.ANSWERED
        case Disposition.ABANDONED:
            return Kind.PERHAPS_ABANDONED if uncertain else Kind.ABANDONED
        case Disposition.VOICEMAIL:
            return Kind.VOICEMAIL
        case None | Disposition.UNKNOWN:
            return Kind.UNDECIDED
        case Disposition.ERROR | Disposition.NO_ANSWER if hold_seconds:
            return Kind.PERHAPS_ABANDONED
        case _:
            return Kind.NOT_PICKED_UP


class Cell(NamedTuple):
    """Calls that ended alike."""

    disposition: str | None
    uncertain: bool
    hold_seconds: int | None
    calls: int
    talk_seconds: int
    """Of all of them."""


class Traffic(NamedTuple):
    """What some calls come to."""

    calls: Mapping[Kind, int]
    talk_seconds: int
    """Of the answered ones."""
    holds: Mapping[int, int]
    """How many answered and abandoned calls waited so many seconds, of those whose wait is known."""

    @property
    def attempts(self) -> int:
        """All calls, however they ended."""
        return sum(self.calls.values())

    @property
    def answer_rate(self) -> Decimal | None:
        """Which part of the attempts an agent talked in, from 0 to 1; None of none."""
        return share(self.calls.get(Kind.ANSWERED, 0), self.attempts)

    @property
    def acd_seconds(self) -> Decimal | None:
        """Seconds talked in an answered call on average; None of none."""
        answered = self.calls.get(Kind.ANSWERED, 0)
        return round(Decimal(self.talk_seconds) / answered, 1) if answered else None

    @property
    def abandon_low(self) -> Decimal | None:
        """The least part of the calls picked up that can have been abandoned: what may be answered was."""
        abandoned = self.calls.get(Kind.ABANDONED, 0)
        undecided = self.calls.get(Kind.UNDECIDED, 0)
        return share(abandoned, self.calls.get(Kind.ANSWERED, 0) + undecided + abandoned)

    @property
    def abandon_high(self) -> Decimal | None:
        """The largest part of them that can have been: all that may be abandoned was."""
        may_be = (Kind.ABANDONED, Kind.PERHAPS_ABANDONED, Kind.UNDECIDED)
        abandoned = sum(self.calls.get(kind, 0) for kind in may_be)
        return share(abandoned, self.calls.get(Kind.ANSWERED, 0) + abandoned)

    @property
    def voicemail_share(self) -> Decimal | None:
        """Which part of the attempts a machine answered; None of none."""
        return share(self.calls.get(Kind.VOICEMAIL, 0), self.attempts)


def traffic_of(cells: Iterable[Cell]) -> Traffic:
    """What calls come to, given by how they ended, in any order."""
    calls: Counter[Kind] = Counter()
    holds: Counter[int] = Counter()
    talked = 0
    for cell in cells:
        kind = kind_of(cell.disposition, uncertain=cell.uncertain, hold_seconds=cell.hold_seconds)
        calls[kind] += cell.calls
        talked += cell.talk_seconds if kind is Kind.ANSWERED else 0
        if cell.hold_seconds is not None and cell.disposition in {Disposition.ANSWERED, Disposition.ABANDONED}:
            holds[cell.hold_seconds] += cell.calls
    return Traffic(calls, talked, holds)


NO_TRAFFIC: Final = traffic_of(())


def total(traffics: Iterable[Traffic]) -> Traffic:
    """What several come to together."""
    calls: Counter[Kind] = Counter()
    holds: Counter[int] = Counter()
    talked = 0
    for each in traffics:
        calls.update(each.calls)
        holds.update(each.holds)
        talked += each.talk_seconds
    return Traffic(calls, talked, holds)


def percentile(counted: Mapping[int, int], percent: int) -> int | None:
    """The least value that at least so many per cent of all are not above; None of none.

    >>> percentile({0: 10, 4: 9, 60: 1}, 50), percentile({0: 10, 4: 9, 60: 1}, 95), percentile({}, 50)
    (0, 4, None)

    Args:
        counted: how often each value is there.
        percent: from 1 to 100.
    """
    still = -(-sum(counted.values()) * percent // 100)
    for value in sorted(counted):
        still -= counted[value]
        if still <= 0:
            return value
    return None


def share(part: int, whole: int) -> Decimal | None:
    """A part of a whole, from 0 to 1, to four places; None of nothing.

    >>> share(1, 3), share(0, 0)
    (Decimal('0.3333'), None)
    """
    return round(Decimal(part) / whole, 4) if whole else None
