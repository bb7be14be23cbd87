"""What the dialler's API says of campaigns, contacts and their calls (contract section 9.1).

An answer that is not in every part as it should be is ``Unclear``: it says nothing, and never that calls are missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from pipeline.errors import PipelineError, shown

HIGHEST = 2**53
LONGEST_SECONDS = 30 * 86_400


class Unclear(NamedTuple):
    """The answer says nothing; ``reason`` is a sentence."""

    reason: str


class Gone(NamedTuple):
    """The dialler says that there is no such campaign or contact any more."""


class Halt(NamedTuple):
    """Nothing more is to be asked for so many seconds: the dialler is away, refuses us or wants fewer requests."""

    reason: str
    seconds: float


class ListedCampaign(NamedTuple):
    """One campaign of the list."""

    campaign_ref: str
    status: str


class ListedContact(NamedTuple):
    """One contact of a campaign."""

    contact_ref: str
    dial_attempts: int
    last_dialed_at: datetime | None


class ListedCall(NamedTuple):
    """One call of a contact."""

    call_ref: str
    number: str | None
    disposition: str | None
    dialed_at: datetime | None
    hold_seconds: int | None
    answered_seconds: int | None
    """From picking up to the end."""
    agent: str | None
    raw: dict[str, Any]
    """As it came."""

    @property
    def ended(self) -> bool:
        """Whether it is over: one without a time or a disposition is queued, under way or inbound."""
        return self.disposition is not None and self.dialed_at is not None


class _StrangeError(PipelineError):
    """Something in the answer is not as it should be."""


def campaigns_in(body: bytes) -> list[ListedCampaign] | Unclear:
    """The campaigns of ``GET /campaigns``.

    >>> campaigns_in(b'[{"name": "Spring", "campaign_ref": "spring", "status": "started"}]')
    [ListedCampaign(campaign_ref='spring', status='started')]
    >>> campaigns_in(b'{"campaigns": "none"}')
    Unclear(reason="the campaigns are no list, but 'none'")
    """
    try:
        answer = _json(body)
        found = answer.get("campaigns") if isinstance(answer, dict) else answer
        return [
            ListedCampaign(_name(each, "campaign_ref"), _name(each, "status")) for each in _objects(found, "campaigns")
        ]
    except _StrangeError as error:
        return Unclear(str(error))


def contacts_in(body: bytes, campaign: str) -> list[ListedContact] | Unclear:
    """The contacts of ``GET /campaigns/<ref>``."""
    try:
        answer = _inside(_json(body), "campaign", campaign)
        return [
            ListedContact(
                _name(each, "contact_ref"),
                _whole(each, "dial_attempts", 1_000_000) or 0,
                _instant(each, "last_dialed_at"),
            )
            for each in _objects(answer.get("callees"), "callees")
        ]
    except _StrangeError as error:
        return Unclear(str(error))


def calls_in(body: bytes, contact: str) -> list[ListedCall] | Unclear:
    """The calls of ``GET /callees/<contact_ref>``."""
    try:
        answer = _inside(_json(body), "callee", contact)
        return [_call(each) for each in _objects(answer.get("calls"), "calls")]
    except _StrangeError as error:
        return Unclear(str(error))


def _call(each: dict[str, Any]) -> ListedCall:
    call_id = each.get("call_id")
    if isinstance(call_id, bool) or not isinstance(call_id, int | str) or not str(call_id).isdecimal():
        raise _StrangeError(f"a call_id is {shown(call_id)}")
    return ListedCall(
        str(call_id),
        _text(each, "number_dialed"),
        _text(each, "disposition"),
        _instant(each, "dialed_at"),
        _whole(each, "hold_time", LONGEST_SECONDS),
        _whole(each, "call_time", LONGEST_SECONDS),
        _text(each, "agent"),
        each,
    )


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _StrangeError("the answer is no JSON, or cut off") from None


def _inside(answer: Any, name: str, about: str) -> dict[str, Any]:
    """The object itself, which may lie in another under its name, if it is about what was asked."""
    if isinstance(answer, dict) and set(answer) == {name}:
        answer = answer[name]
    if not isinstance(answer, dict):
        raise _StrangeError(f"the answer is {shown(answer)}, and no object")
    reference = {"campaign": "campaign_ref", "callee": "contact_ref"}[name]
    if answer.get(reference, about) != about:
        raise _StrangeError(f"it is about another {name}")
    return answer


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _StrangeError(f"the {name} are no list, but {shown(value)}")
    if not all(isinstance(each, dict) for each in value):
        raise _StrangeError(f"the {name} are not all objects")
    return value


def _text(each: dict[str, Any], name: str) -> str | None:
    value = each.get(name)
    if value is None or (isinstance(value, str) and len(value) <= 256 and "\0" not in value):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < HIGHEST:
        return str(value)
    raise _StrangeError(f"{name} is {shown(value)}")


def _name(each: dict[str, Any], name: str) -> str:
    value = _text(each, name)
    if value is None:
        raise _StrangeError(f"{name} is missing")
    return value


def _whole(each: dict[str, Any], name: str, highest: int) -> int | None:
    value = each.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
        raise _StrangeError(f"{name} is {shown(value)}")
    return value


def _instant(each: dict[str, Any], name: str) -> datetime | None:
    """A time as ISO 8601 in UTC, or as seconds of the epoch."""
    value = each.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, str) and len(value) > len("2026-11-30"):
            at = datetime.fromisoformat(value)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise _StrangeError(f"{name} is {shown(value)}")
