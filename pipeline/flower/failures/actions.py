"""What can be done to failures, whether to one, to some, or to all that match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from pipeline.errors import PipelineError
from pipeline.failures import operator
from pipeline.failures.bulk_rows import DONE
from pipeline.flower.handlers import RefusalError, TabHandler, engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.failures.bulk_rows import Action
    from pipeline.failures.listing import FailureFilter

LONGEST_REASON = 500

ToSome = Literal["retry", "discard", "restore"]
"""What can be done to failures that somebody picks one by one."""


class NoReasonError(PipelineError):
    """Something is to be discarded, and nobody says why."""

    def __init__(self) -> None:
        super().__init__("Give a reason: it is kept with what is discarded.")


def asked_action(handler: TabHandler) -> Action:
    """The action that a form names.

    Raises:
        RefusalError: it names none that there is.
    """
    for action in DONE:
        if action == handler.get_argument_as_typed("action"):
            return action
    raise RefusalError(400, f"Choose one of {', '.join(DONE)}.")


def asked_of_some(handler: TabHandler) -> ToSome:
    """The action that a form names for failures that were picked.

    Raises:
        RefusalError: it names none that there is.
    """
    for action in get_args(ToSome):
        if action == handler.get_argument_as_typed("action"):
            return action  # type: ignore[no-any-return]  # one of them
    raise RefusalError(400, f"Choose one of {', '.join(get_args(ToSome))}.")


def asked_reason(handler: TabHandler, action: str) -> str:
    """The reason that a form gives; empty where none is needed.

    Raises:
        NoReasonError: one is needed.
    """
    reason = handler.get_argument_as_typed("reason")[:LONGEST_REASON]
    if action == "discard" and not reason:
        raise NoReasonError
    return reason


def act_on(action: str, wanted: FailureFilter, *, who: str, reason: str) -> Iterator[int]:
    """Do it to every failure that matches and that it can be done to; yields how many each part held."""
    if action == "retry":
        return operator.retry(engine(), wanted, who=who, reason=reason or None)
    if action == "restore":
        return operator.restore(engine(), wanted, who=who, reason=reason or None)
    return operator.discard(engine(), wanted, who=who, reason=reason)
