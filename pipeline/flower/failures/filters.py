"""A filter as it stands in an address, and back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlencode

from pipeline.batches.rules.failure import FailureClass
from pipeline.batches.rules.steps import Step
from pipeline.errors import PipelineError
from pipeline.failures.both import DELIVER, DELIVERY
from pipeline.failures.listing import FailureFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pipeline.instants import Clock

States = Literal["waiting", "open", "retrying", "resolved", "discarded", "any"]

CHOICES: dict[str, tuple[str, ...]] = {
    "class": (*get_args(FailureClass), DELIVERY),
    "step": (*(step.value for step in Step), DELIVER),
    "state": get_args(States),
}
"""What a choice may be; ``state`` is ``waiting`` (open or on its way again) where none is named."""

TEXTS = {
    "source": "source",
    "campaign": "campaign_ref",
    "call_ref": "call_ref",
    "text": "contains",
    "about": "about",
    "problem": "problem",
    "subscriber": "subscriber",
}
"""Names in an address, and what they are called in ``FailureFilter``."""

INSTANTS = ("since", "until")
NAMES = (*CHOICES, *TEXTS, *INSTANTS)

LABELS = {"call_ref": "call", "text": "text in the reason", "about": "field or error", "problem": "what is wrong"}
"""What is called otherwise on a page than in an address."""

_WAITING = ("open", "retrying")


class FilterError(PipelineError):
    """A filter cannot be what it is.

    Attributes:
        problems: why, by the name of the field.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))
        self.problems = problems


def read_filter(given: Mapping[str, str], clock: Clock) -> FailureFilter:
    """What an address asks for; what is empty or absent does not narrow.

    Args:
        given: by the names in an address.
        clock: the zone of instants that name none.

    Raises:
        FilterError: choices are none of those there are, or instants are none.

    >>> from pipeline.instants import Clock
    >>> read_filter({"class": "data", "text": "call_time"}, Clock("UTC")).contains
    'call_time'
    """
    if problems := dict(_problems(given, clock)):
        raise FilterError(problems)
    state = given.get("state") or "waiting"
    texts: dict[str, Any] = {field: given[name] for name, field in TEXTS.items() if given.get(name)}
    return FailureFilter(
        failure_class=given.get("class") or None,
        step=given.get("step") or None,
        states={"waiting": _WAITING, "any": None}.get(state, (state,)),
        since=_instant(given.get("since"), clock),
        until=_instant(given.get("until"), clock),
        **texts,
    )


def as_given(wanted: FailureFilter) -> dict[str, str]:
    """An address for a filter, as far as a person can ask for it.

    >>> as_given(FailureFilter(failure_class="data", states=("discarded",)))
    {'class': 'data', 'state': 'discarded'}
    """
    states = wanted.states
    state = "any" if states is None else "" if states == _WAITING else states[0]
    given = {"class": wanted.failure_class, "step": wanted.step, "state": state}
    given |= {name: getattr(wanted, field) for name, field in TEXTS.items()}
    given |= {name: at and at.isoformat() for name in INSTANTS if (at := getattr(wanted, name)) is not None}
    return {name: value for name, value in given.items() if value}


def as_fields(given: Mapping[str, str], clock: Clock) -> dict[str, str]:
    """What the fields of the form hold: instants as a browser writes them, in the zone of the clock.

    >>> from pipeline.instants import Clock
    >>> as_fields({"since": "2026-03-31T14:30Z", "until": "soon"}, Clock("Africa/Johannesburg"))
    {'since': '2026-03-31T16:30:00', 'until': 'soon'}
    """
    return {**given, **{name: clock.typed(at) for name, at in _instants(given, clock)}}


def as_query(given: Mapping[str, str], **others: object) -> str:
    """The filter's part of an address, with what else belongs into it.

    >>> as_query({"class": "data", "step": ""}, before=7)
    'class=data&before=7'
    """
    named = {name: given[name] for name in NAMES if given.get(name)}
    return urlencode({**named, **{name: value for name, value in others.items() if value is not None}})


def in_words(given: Mapping[str, str], clock: Clock) -> str:
    """What a filter narrows to, on one line, instants in the zone of the clock; empty where it narrows nothing.

    >>> from pipeline.instants import Clock
    >>> in_words({"class": "data", "about": "payload.call_time"}, Clock("UTC"))
    'class data, field or error payload.call_time'
    """
    shown = {**given, **{name: clock.show(at) for name, at in _instants(given, clock)}}
    return ", ".join(f"{LABELS.get(name, name)} {shown[name]}" for name in NAMES if shown.get(name))


def _instants(given: Mapping[str, str], clock: Clock) -> Iterator[tuple[str, datetime]]:
    """The instants of a filter by their names, but for those that are none."""
    for name in INSTANTS:
        with contextlib.suppress(ValueError):
            if (at := _instant(given.get(name), clock)) is not None:
                yield name, at


def _problems(given: Mapping[str, str], clock: Clock) -> Iterator[tuple[str, str]]:
    for name, choices in CHOICES.items():
        if given.get(name) and given[name] not in choices:
            yield name, f"is one of {', '.join(choices)}"
    for name in TEXTS:
        if "\0" in given.get(name, ""):
            yield name, "cannot hold the character NUL"
    for name in INSTANTS:
        try:
            _instant(given.get(name), clock)
        except ValueError:
            yield name, f"is a date and time in {clock.zone}, such as 2026-03-31T14:30"


def _instant(text: str | None, clock: Clock) -> datetime | None:
    return clock.read(text) if text else None
