"""What somebody asks of calls, what they may ask at all, and where a page of the answer ends."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from pipeline.calls.rules.disposition import Disposition
from pipeline.calls.rules.phone_numbers import normalize_number
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

Direction = Literal["outbound", "inbound"]
RecordingIs = Literal["scheduled", "downloading", "stored", "absent", "expired", "failed", "deleted", "none"]
"""Where a call's recording is: the states of one, `deleted` (it was stored until then), `none` (there is no row)."""
ChargedIs = Literal["yes", "no", "not_yet"]
"""`yes`: a charge is in force; `no`: it was decided that it costs nothing; `not_yet`: neither."""

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "disposition": tuple(each.value for each in Disposition),
    "direction": get_args(Direction),
    "recording": get_args(RecordingIs),
    "charged": get_args(ChargedIs),
}
"""The fields of a filter that are one of a few words."""

FEWEST_DIGITS: Final = 4
"""Of the end of a number: fewer are the end of too many."""
LONGEST: Final = 1_000
"""Characters of any text in a filter."""
NARROW: Final = frozenset({"call_ref", "contact_ref", "numbers", "number_ends"})
"""What few calls have: who asks for one of these need not name a time span."""

_DIGITS: Final = re.compile("[0-9]{4,15}", re.ASCII)


class CallFilter(NamedTuple):
    """Which calls; a field that is None leaves nothing out.

    Attributes:
        call_ref: the dialler's internal call reference.
        contact_ref: the integrator's own reference (``custom_call_ref``).
        numbers: the other side's number in any of these forms, as ``number_forms`` gives them.
        number_ends: the last digits of it, four or more.
        campaign: the campaign's reference.
        agent: the agent's extension.
        dial_numbers: the dialler's own number, in any of these forms.
        disposition: how it ended.
        direction: ``outbound`` or ``inbound``.
        since: dialled at this instant or later.
        until: dialled before this instant.
        recording: where its recording is.
        charged: whether it was charged.
        why_not: why it costs nothing, word for word as the pipeline says it.
        source: the dialler.
    """

    call_ref: str | None = None
    contact_ref: str | None = None
    numbers: tuple[str, ...] | None = None
    number_ends: str | None = None
    campaign: str | None = None
    agent: str | None = None
    dial_numbers: tuple[str, ...] | None = None
    disposition: str | None = None
    direction: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    recording: str | None = None
    charged: str | None = None
    why_not: str | None = None
    source: str | None = None


class Wall(NamedTuple):
    """What a reader may see of calls.

    Attributes:
        sources: of these diallers only; None: of all.
        campaigns: of these campaigns only; None: of all.
        numbers: whether phone numbers are shown and may be searched by.
    """

    sources: Collection[str] | None = None
    campaigns: Collection[str] | None = None
    numbers: bool = True


NO_WALL: Final = Wall()
"""For who may see everything."""


class FilterRefusedError(PipelineError):
    """Calls cannot be asked for so.

    Attributes:
        problems: why, by the name of the field; ``since`` where a time span is missing.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))
        self.problems = problems


def check_filter(wanted: CallFilter, wall: Wall) -> None:
    """See that a filter can be, and that this reader may ask so.

    Raises:
        FilterRefusedError: it cannot be, or they may not; a number's filter is refused to who sees no numbers whatever
            is in it, so that nothing is learned of it.
    """
    if problems := dict(_problems(wanted, wall)):
        raise FilterRefusedError(problems)


def _problems(wanted: CallFilter, wall: Wall) -> Iterator[tuple[str, str]]:
    asked = {name: value for name, value in wanted._asdict().items() if value is not None}
    yield from _of_numbers(asked, wall)
    for name, choices in CHOICES.items():
        if name in asked and asked[name] not in choices:
            yield name, f"must be one of {', '.join(choices)}"
    for name, value in asked.items():
        texts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(each, str) and ("\0" in each or len(each) > LONGEST) for each in texts):
            yield name, f"must be at most {LONGEST:,} characters, none of them NUL"
    if "since" in asked and "until" in asked and asked["until"] <= asked["since"]:
        yield "until", "must be later than since"
    if "since" not in asked and not asked.keys() & NARROW:
        yield "since", "is missing: say since when, or name a call, a contact or a number"


def _of_numbers(asked: Mapping[str, Any], wall: Wall) -> Iterator[tuple[str, str]]:
    for name in ("numbers", "number_ends", "dial_numbers"):
        if name in asked and not wall.numbers:
            yield name, "is not for you to search by: you see no phone numbers"
        elif name in asked and not asked[name]:
            yield name, "is empty"
        elif name == "number_ends" and name in asked and not _DIGITS.fullmatch(asked[name]):
            yield name, f"must be the last {FEWEST_DIGITS} to 15 digits of a number"


def number_forms(typed: str, region: str) -> tuple[str, ...]:
    """The forms in which a number that somebody types may be stored: E.164 where it is one, and as it was typed.

    >>> number_forms("082 000 1234", "ZA"), number_forms("2001", "ZA")
    (('+27820001234', '082 000 1234'), ('2001',))
    """
    return tuple(dict.fromkeys((normalize_number(typed, region).value, typed)))


class Cursor(NamedTuple):
    """A place among calls: the newest dialled come first, of those dialled at once the one received last."""

    dialed_at: datetime
    call_id: int

    @property
    def text(self) -> str:
        """As it stands in an address; nobody need read it.

        >>> Cursor.read(Cursor(datetime(2026, 11, 24, tzinfo=UTC), 7).text).call_id
        7
        """
        since_epoch = (self.dialed_at - _EPOCH) // _MICROSECOND
        return base64.urlsafe_b64encode(f"{since_epoch}.{self.call_id}".encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Cursor:
        """A cursor out of an address.

        Raises:
            ValueError: it is none; the text is a sentence that begins with "must be".
        """
        try:
            found = _CURSOR.fullmatch(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            if found is not None and len(text) <= _LONGEST_CURSOR:
                return cls(_EPOCH + int(found[1]) * _MICROSECOND, min(int(found[2]), _LAST_ID))
        except (ValueError, OverflowError, binascii.Error):
            pass
        raise ValueError("must be a cursor that an answer before gave")


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CURSOR: Final = re.compile(rb"(-?[0-9]{1,18})\.([0-9]{1,19})")
_LONGEST_CURSOR: Final = 64
_LAST_ID: Final = 2**63 - 1
