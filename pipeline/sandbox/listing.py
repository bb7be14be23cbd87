"""What the simulated dialler's API lists of campaigns and contacts (contract section 9.1), with faults to order."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.sandbox.calls import SimulatedCall

Fault: TypeAlias = Literal["failed", "html", "server error", "truncated", "wrong types", "throttled"]

VOICEMAIL_SECONDS: Final = 7
"""How long an answering machine is listened to."""


class Answer(NamedTuple):
    """What is sent."""

    status: HTTPStatus
    kind: str
    body: bytes


class Listing:
    """Campaigns, contacts and their calls.

    Attributes:
        fault: what every answer is from now on; None: as it should be.
        requests: by their kind, how often something was asked.
        lags: so many of the newest calls are not shown as ended yet.
        stopped: campaigns that have stopped.
    """

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.requests: Counter[str] = Counter()
        self.lags = 0
        self.stopped: set[str] = set()
        self._calls: dict[str, list[SimulatedCall]] = defaultdict(list)
        self._campaigns: dict[str, dict[str, None]] = defaultdict(dict)
        self._queued: Counter[str] = Counter()
        self._order: list[int] = []
        self._lock = threading.Lock()

    def add(self, calls: Iterable[SimulatedCall]) -> None:
        """Make ended calls known; inbound ones are nobody's."""
        with self._lock:
            for call in calls:
                self._order.append(call.call_ref)
                self._campaigns.setdefault(call.campaign, {})
                if call.contact_ref is not None:
                    self._calls[call.contact_ref].append(call)
                    self._campaigns[call.campaign][call.contact_ref] = None

    def queue(self, contact_ref: str, campaign: str) -> None:
        """Enter a call that is queued and never dialled."""
        with self._lock:
            self._queued[contact_ref] += 1
            self._campaigns[campaign][contact_ref] = None

    def delete(self, campaign: str) -> None:
        """Delete a campaign with its contacts and their calls."""
        with self._lock:
            for contact_ref in self._campaigns.pop(campaign, ()):
                self._calls.pop(contact_ref, None)

    def answer(self, path: str) -> Answer | None:
        """What a path is answered with; None where this is not asked."""
        kind, _, reference = path.strip("/").partition("/")
        if kind not in {"campaigns", "callees"}:
            return None
        with self._lock:
            self.requests[kind if reference else f"all {kind}"] += 1
            return self._faulty(self._found(kind, unquote(reference)))

    def _found(self, kind: str, reference: str) -> Answer:
        if not reference:
            listed = [
                {"name": ref.title(), "campaign_ref": ref, "status": self._status(ref)} for ref in self._campaigns
            ]
            return _json(HTTPStatus.OK, listed)
        if kind == "campaigns" and reference in self._campaigns:
            return _json(HTTPStatus.OK, self._campaign(reference))
        if kind == "callees" and (reference in self._calls or reference in self._queued):
            return _json(HTTPStatus.OK, self._contact(reference))
        what = "Campaign" if kind == "campaigns" else "Callee"
        return _json(HTTPStatus.NOT_FOUND, {"errors": [f"{what} Error: {what} Ref[{reference}] does not exist"]})

    def _status(self, campaign: str) -> str:
        return "stopped" if campaign in self.stopped else "started"

    def _campaign(self, ref: str) -> dict[str, Any]:
        callees = []
        for contact_ref in self._campaigns[ref]:
            calls = self._calls.get(contact_ref, [])
            last = max((call.dialed_at for call in calls), default=None)
            callees.append(
                {
                    "contact_ref": contact_ref,
                    "primary_number": calls[0].number if calls else None,
                    "last_dialed_at": None if last is None else _iso(last),
                    "status": "pending",
                    "dial_attempts": len(calls) + self._queued[contact_ref],
                }
            )
        return {"campaign_ref": ref, "status": self._status(ref), "callees": callees, "agents": []}

    def _contact(self, contact_ref: str) -> dict[str, Any]:
        hidden = set(self._order[-self.lags :]) if self.lags else set()
        calls = self._calls.get(contact_ref, [])
        listed = [_call(call, ended=call.call_ref not in hidden) for call in calls]
        listed += [{"call_id": 10**9, "number_dialed": None, "disposition": None, "dialed_at": None}] * self._queued[
            contact_ref
        ]
        campaign = calls[0].campaign if calls else next(iter(self._campaigns))
        return {
            "contact_ref": contact_ref,
            "campaign_ref": campaign,
            "status": "pending",
            "dial_attempts": len(listed),
            "calls": listed,
        }

    def _faulty(self, answer: Answer) -> Answer:
        match self.fault:
            case None:
                return answer
            case "failed":
                return _json(HTTPStatus.NOT_FOUND, {"error": "failed", "message": "the database has gone away"})
            case "html":
                return Answer(HTTPStatus.OK, "text/html", b"<!DOCTYPE html><html><body><h1>Log in</h1></body></html>")
            case "server error":
                return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"message": "undefined method for nil"})
            case "truncated":
                return answer._replace(body=answer.body[: len(answer.body) // 2])
            case "throttled":
                return _json(HTTPStatus.TOO_MANY_REQUESTS, {"errors": ["Too Many Requests"]})
            case "wrong types":
                strange = json.loads(answer.body, parse_int=lambda digits: [digits])
                return _json(answer.status, {"calls": {}, "callees": {}} if strange == [] else strange)


def _call(call: SimulatedCall, *, ended: bool) -> dict[str, Any]:
    answered = call.hold_seconds + call.talk_seconds
    if call.end_reason == "voicemail":
        answered = VOICEMAIL_SECONDS
    return {
        "call_id": call.call_ref,
        "number_dialed": call.number,
        "recording_location": call.recording_url,
        "disposition": call.end_reason if ended else None,
        "dialed_at": _iso(call.dialed_at),
        "hold_time": call.hold_seconds,
        "call_time": answered if ended else None,
        "agent": call.extension,
    }


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(status: HTTPStatus, value: Any) -> Answer:
    return Answer(status, "application/json", json.dumps(value, separators=(",", ":")).encode())
