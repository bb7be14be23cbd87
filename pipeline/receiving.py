"""How a message becomes a task: one that is no task message is thrown away, and does not take its worker with it.

Celery unpacks what a message says where no error is expected. Such an error ends the worker, the message goes back to
its queue, and the next worker ends as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default

if TYPE_CHECKING:
    from collections.abc import Callable

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What comes of words where numbers, lists or nothing at all were expected."""


def strategy(*about: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own way of receiving a task, but what cannot be understood is an invalid task, which it rejects."""
    receive: Callable[..., Any] = default(*about, **options)

    def receive_or_reject(*message: Any, **parts: Any) -> Any:
        try:
            return receive(*message, **parts)
        except MALFORMED as error:
            raise InvalidTaskError(f"the message cannot be read: {error}") from error

    return receive_or_reject
