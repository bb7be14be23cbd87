"""What there is to say of a recording, named once for whoever lists many and whoever explains one call.

Each is put together of parts, whose fields come in the order in which JSON has them: the last part first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class Fetching:
    """How far it has come on its way from the dialler; instants are aware."""

    state: str
    reason: str | None
    attempts: int
    due_at: datetime | None
    scheduled_at: datetime
    tried_at: datetime | None
    ended_at: datetime | None
    path: str | None
    size_bytes: int | None
    sha256: bytes | None


@dataclass(frozen=True)
class Keeping:
    """What became of its file since it was stored; instants are aware."""

    verified_at: datetime | None
    verify_problem: str | None
    held_at: datetime | None
    held_by: str | None
    deleted_at: datetime | None
    deleted_reason: str | None
    delete_tried_at: datetime | None
    delete_problem: str | None
    key_month: str | None


@dataclass(frozen=True)
class _OfItsCall:
    call_id: int
    source: str
    call_ref: str
    campaign_ref: str
    dialed_at: datetime


@dataclass(frozen=True)
class Recording(Keeping, Fetching, _OfItsCall):
    """A recording in a list, with what tells its call."""


@dataclass(frozen=True)
class _Named:
    source: str
    call_ref: str


@dataclass(frozen=True)
class _Queued:
    dialed_at: datetime | None
    counts_from: datetime | None
    released_at: datetime | None
    releases: int
    suspect: bool
    losses: int


@dataclass(frozen=True)
class RecordingOfCall(Keeping, _Queued, Fetching, _Named):
    """The recording of a call that is known, with its place in the queue."""
