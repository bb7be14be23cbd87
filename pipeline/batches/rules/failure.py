"""What a record that a step could not do is set aside as."""

from __future__ import annotations

from typing import Literal, NamedTuple

FailureClass = Literal["data", "conflict", "reference", "bug"]


class Failure(NamedTuple):
    """One record that a step could not finish."""

    record_id: int
    failure_class: FailureClass
    reason: str
    field: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    again: bool = True
    """Whether a bug may be tried again by itself."""
    call_ref: str | None = None
    """Only for a record that is no call yet; of a call it is known."""
    campaign_ref: str | None = None
