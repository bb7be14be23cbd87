"""Level 3: when a call that the dialler lists and that is not here is missing, and when to ask again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pipeline.dialler.rules.listed import ListedCall

NOT_BEFORE: Final = timedelta(minutes=15)
"""Nothing is missing sooner after its end."""
RINGS_AT_MOST: Final = timedelta(minutes=2)
"""The API does not say how long it rang."""
ASK_AGAIN: Final = timedelta(minutes=10)


def missing_from(call: ListedCall) -> datetime:
    """From when on an ended call is missing, if it is not here."""
    assert call.dialed_at is not None
    return call.dialed_at + RINGS_AT_MOST + timedelta(seconds=call.answered_seconds or 0) + NOT_BEFORE


class Verdict(NamedTuple):
    """What a contact's calls come to."""

    missing: list[ListedCall]
    ask_again: datetime | None
    """None: each call of it is accounted for."""


def judge(calls: Sequence[ListedCall], here: Collection[str], *, watched_from: datetime, now: datetime) -> Verdict:
    """Which of a contact's calls are missing.

    Args:
        calls: as the dialler lists them.
        here: the references of those that came, whatever became of them.
        watched_from: calls dialled before are none of ours.
        now: the present instant.
    """
    missing: list[ListedCall] = []
    again: list[datetime] = []
    for call in calls:
        if not call.ended:
            if call.dialed_at is not None:  # under way; one that is queued is listed as it is for ever
                again.append(now + ASK_AGAIN)
            continue
        assert call.dialed_at is not None
        if call.call_ref in here or call.dialed_at < watched_from:
            continue
        if missing_from(call) <= now:
            missing.append(call)
        else:
            again.append(missing_from(call))
    return Verdict(missing, min(again, default=None))
