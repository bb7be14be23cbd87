"""A filter as it stands in an address, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlencode

from pipeline.batches.rules.failure import FailureClass
from pipeline.batches.rules.steps import Step
from pipeline.errors import PipelineError
from pipeline.failures.listing import FailureFilter

if TYPE_CHECKING:
    from collections.abc import Mapping

States = Literal["waiting", "open", "retrying", "resolved", "discarded", "any"]

CHOICES: dict[str, tuple[str, ...]] = {
    "class": get_args(FailureClass),
    "step": tuple(step.value for step in Step),
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
}
"""Names in an address, and what they are called in ``FailureFilter``."""

INSTANTS = ("since", "until")
NAMES = (*CHOICES, *TEXTS, *INSTANTS)


class FilterError(PipelineError):
    """A filter cannot be what it is; its text names the field."""


def read_filter(given: Mapping[str, str]) -> FailureFilter:
    """What an address asks for; what is empty or absent does not narrow.

    Raises:
        FilterError: a choice is none of those there are, or an instant is none.

    >>> read_filter({"class": "data", "text": "call_time"}).contains
    'call_time'
    """
    for name, choices in CHOICES.items():
        if given.get(name) and given[name] not in choices:
            raise FilterError(f"{name} is one of {', '.join(choices)}")
    state = given.get("state") or "waiting"
    states = {"waiting": ("open", "retrying"), "any": None}.get(state, (state,))
    texts: dict[str, Any] = {field: given[name] for name, field in TEXTS.items() if given.get(name)}
    if any("\0" in value for value in texts.values()):
        raise FilterError("a filter cannot hold the character NUL")
    return FailureFilter(
        failure_class=given.get("class") or None,
        step=given.get("step") or None,
        states=states,
        since=_instant("since", given),
        until=_instant("until", given),
        **texts,
    )


def as_query(given: Mapping[str, str], **others: object) -> str:
    """The filter's part of an address, with what else belongs into it.

    >>> as_query({"class": "data", "step": ""}, before=7)
    'class=data&before=7'
    """
    named = {name: given[name] for name in NAMES if given.get(name)}
    return urlencode({**named, **{name: value for name, value in others.items() if value is not None}})


def _instant(name: str, given: Mapping[str, str]) -> datetime | None:
    if not given.get(name):
        return None
    try:
        instant = datetime.fromisoformat(given[name])
    except ValueError as error:
        raise FilterError(f"{name} is a date and time in UTC, such as 2026-03-31T14:30") from error
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
