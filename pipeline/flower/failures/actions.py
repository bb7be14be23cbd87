"""What can be done to failures, whether to one, to some, or to all that match."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.failures import operator
from pipeline.flower.handlers import RefusalError, TabHandler, engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.failures.bulk_rows import Action
    from pipeline.failures.listing import FailureFilter

LONGEST_REASON = 500

DONE: dict[Action, str] = {"retry": "released to be tried again", "discard": "discarded"}
"""What can be done to many failures at once, and what it then is."""


def asked_action(handler: TabHandler) -> Action:
    """The action that a form names.

    Raises:
        RefusalError: it names none that there is.
    """
    for action in DONE:
        if action == handler.get_argument_as_typed("action"):
            return action
    raise RefusalError(400, "Choose retry or discard.")


def asked_reason(handler: TabHandler, action: Action) -> str:
    """The reason that a form gives; empty where none is needed.

    Raises:
        RefusalError: something is to be discarded, and nobody says why.
    """
    reason = handler.get_argument_as_typed("reason")[:LONGEST_REASON]
    if action == "discard" and not reason:
        raise RefusalError(400, "Give a reason: it is kept with what is discarded.")
    return reason


def act_on(action: str, wanted: FailureFilter, *, who: str, reason: str) -> Iterator[int]:
    """Do it to every open failure that matches; yields how many each part held."""
    if action == "retry":
        return operator.retry(engine(), wanted, who=who, reason=reason or None)
    return operator.discard(engine(), wanted, who=who, reason=reason)
