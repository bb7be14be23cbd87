"""A filter of calls as it stands in an address, and back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from pipeline.lookup.rules.call_filter import (
    CHOICES,
    NARROW,
    CallFilter,
    FilterRefusedError,
    Wall,
    check_filter,
    number_forms,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pipeline.instants import Clock

TEXTS: Final = ("call_ref", "contact_ref", "campaign", "agent", "why_not", "source")
NUMBERS: Final = ("number", "dial_number")
INSTANTS: Final = ("since", "until")
NAMES: Final = (*TEXTS, *NUMBERS, *CHOICES, *INSTANTS)

LABELS: Final[Mapping[str, str]] = {
    "call_ref": "call",
    "contact_ref": "contact",
    "number": "number, or *1234 for its end",
    "dial_number": "own number",
    "since": "dialled since",
    "why_not": "why not charged",
}
"""What is called otherwise on a page than in an address."""

_AS_IN_THE_ADDRESS: Final = {"numbers": "number", "number_ends": "number", "dial_numbers": "dial_number"}


def read_filter(given: Mapping[str, str], clock: Clock, wall: Wall, *, region: str) -> CallFilter:
    """What an address asks for; what is empty or absent does not narrow.

    Args:
        given: by the names in an address.
        clock: the zone of instants that name none.
        wall: what the reader may see.
        region: that of national numbers.

    Raises:
        FilterRefusedError: it cannot be, or not for this reader; the problems are by the names in an address.
    """
    fields: dict[str, Any] = {name: given[name] for name in (*TEXTS, *CHOICES) if given.get(name)}
    fields |= dict(_numbers(given, region))
    problems = {}
    for name in INSTANTS:
        try:
            fields[name] = _instant(given.get(name), clock)
        except ValueError:
            problems[name] = f"must be a date and time in {clock.zone}, such as 2026-03-31T14:30"
    wanted = CallFilter(**fields)
    try:
        check_filter(wanted, wall)
    except FilterRefusedError as error:
        problems = {_AS_IN_THE_ADDRESS.get(name, name): why for name, why in error.problems.items()} | problems
    if problems:
        raise FilterRefusedError(problems)
    return wanted


def _numbers(given: Mapping[str, str], region: str) -> Iterator[tuple[str, Any]]:
    number, own = given.get("number"), given.get("dial_number")
    if number and number[0] in "*…":
        yield "number_ends", number[1:].strip()
    elif number:
        yield "numbers", number_forms(number, region)
    if own:
        yield "dial_numbers", number_forms(own, region)


def is_narrow(given: Mapping[str, str]) -> bool:
    """Whether no time need be named.

    >>> is_narrow({"number": "*1234"}), is_narrow({"campaign": "spring"})
    (True, False)
    """
    return any(given.get(name) for name in ("number", *NARROW))


def as_fields(given: Mapping[str, str], clock: Clock) -> dict[str, str]:
    """What the fields of the form hold: instants as a browser writes them, in the zone of the clock."""
    shown = dict(given)
    for name in INSTANTS:
        with contextlib.suppress(ValueError):
            if (at := _instant(given.get(name), clock)) is not None:
                shown[name] = clock.typed(at)
    return shown


def as_query(given: Mapping[str, str], **others: object) -> str:
    """The filter's part of an address, with what else belongs into it.

    >>> as_query({"campaign": "spring", "agent": ""}, after="MQ")
    'campaign=spring&after=MQ'
    """
    named = {name: given[name] for name in NAMES if given.get(name)}
    return urlencode({**named, **{name: value for name, value in others.items() if value is not None}})


def _instant(text: str | None, clock: Clock) -> datetime | None:
    return clock.read(text) if text else None
