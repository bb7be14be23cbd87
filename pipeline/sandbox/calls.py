"""Made-up calls of a made-up dialler, and the list elements that it would push for them.

Pure: a seed and a start instant decide every byte. Field forms come from the contract's section 1.1, one
variant a column; outcomes from section 4; forms of numbers from section 6.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Variant: TypeAlias = Literal["eng", "early", "wiki", "current", "iso"]
"""How the fields are written, by column of the contract's section 1.1.

* `eng`, column E: the producer's source; `end_code` a string, everything else that counts an integer.
* `early`, columns A and B: no numbers at all, and the spelling `hangup`.
* `wiki`, column C: `hold_time`, no `dial_number`, and digits as strings.
* `current`, column D: column C with `dial_number`, digits as integers.
* `iso`: as `eng` with `dialed_at` in ISO 8601, as the HTTP API prints it, and `end_code` an integer.
"""

_STORAGE = "/var/teleforge/recordings/dialer"
_SERVER_TIME = timezone(timedelta(hours=2))  # recording paths use the server's local time, assumed to be SAST


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """One attempt at one number, ended.

    Attributes:
        call_ref: the dialler's key.
        contact_ref: the integrator's name for the callee; None when inbound.
        campaign: the campaign's reference.
        direction: `inbound` or `outbound`.
        number: the client's number; empty when withheld.
        dial_number: the campaign's number.
        extension: the agent's; None when no agent was joined.
        dialed_at: Unix seconds.
        ring_seconds, hold_seconds, talk_seconds: whole seconds, one after the other.
        end_reason: as in the contract's section 4.
        end_code: ISDN cause as a string; None when there is none.
        recording_url: a path on the dialler; None when no agent was joined.
        sends_call_ref: False for an inbound call that arrives with a null `call_ref` (section 1.2).
    """

    call_ref: int
    contact_ref: str | None
    campaign: str
    direction: Literal["inbound", "outbound"]
    number: str
    dial_number: str
    extension: str | None
    dialed_at: int
    ring_seconds: int
    hold_seconds: int
    talk_seconds: int
    end_reason: str
    end_code: str | None
    recording_url: str | None
    sends_call_ref: bool = True

    @property
    def ended_at(self) -> int:
        """Unix seconds."""
        return self.dialed_at + self.ring_seconds + self.hold_seconds + self.talk_seconds

    @property
    def has_recording(self) -> bool:
        """Whether its audio can be fetched some time: only when an agent was joined (section 2)."""
        return self.extension is not None

    def element(self, variant: Variant = "eng") -> bytes:
        """The list element, the same bytes each time."""
        return encode(self._payload(variant))

    def _payload(self, variant: Variant) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "extension": self.extension,
            "number": self.number,
            "dial_number": self.dial_number,
            "recording_url": self.recording_url,
            "call_ref": self.call_ref if self.sends_call_ref else None,
            "contact_ref": self.contact_ref,
            "dialed_at": self.dialed_at,
            "call_time": self.talk_seconds,
            "end_reason": self.end_reason,
            "end_code": self.end_code,
            "call_dir": self.direction,
            "ref": self.campaign,
        }
        match variant:
            case "eng":
                pass
            case "early":
                del payload["number"], payload["dial_number"]
                payload["end_reason"] = self.end_reason.replace("hungup", "hangup")
            case "wiki":
                del payload["dial_number"]
                payload["hold_time"] = self.hold_seconds
                payload = {name: str(value) if isinstance(value, int) else value for name, value in payload.items()}
            case "current":
                payload["hold_time"] = self.hold_seconds
                payload["end_code"] = None if self.end_code is None else int(self.end_code)
            case "iso":
                moment = datetime.fromtimestamp(self.dialed_at, _SERVER_TIME).astimezone(UTC)
                payload["dialed_at"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
                payload["end_code"] = None if self.end_code is None else int(self.end_code)
        return payload


def encode(payload: Any) -> bytes:
    """A payload in its envelope, as the dialler writes it: no blanks, UTF-8.

    >>> encode({"call_ref": 845})
    b'{"type":"cdr","payload":{"call_ref":845}}'
    """
    envelope = {"type": "cdr", "payload": payload}
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()


class _Campaign(NamedTuple):
    ref: str
    dial_number: str
    extensions: list[str]


class _Outcome(NamedTuple):
    end_reason: str
    end_codes: tuple[str | None, ...]
    joined: bool = False  # an agent spoke
    reached: bool = False  # the callee's other numbers are not dialled
    ring: tuple[int, int] = (4, 25)  # seconds
    hold: tuple[int, int] = (0, 0)


_CLEARED = ("16", "16", "16", "16", "0")
_OUTCOMES: dict[_Outcome, float] = {
    _Outcome("callee_hungup", _CLEARED, joined=True, reached=True, hold=(0, 12)): 0.21,
    _Outcome("agent_hungup", _CLEARED, joined=True, reached=True, hold=(0, 12)): 0.17,
    _Outcome("callee_hungup", _CLEARED, reached=True, hold=(2, 40)): 0.045,  # gave up in the queue
    _Outcome("agent_hungup", ("16",), reached=True, hold=(1, 20)): 0.005,  # the campaign stopped around it
    _Outcome("voicemail", _CLEARED, ring=(12, 30)): 0.14,
    _Outcome("busy", ("17",), ring=(1, 4)): 0.09,
    _Outcome("reject", ("21", "21", "19", "22"), ring=(2, 20)): 0.05,
    _Outcome("timeout", ("18", "18", "102"), ring=(28, 32)): 0.21,
    _Outcome("error", ("34", "34", "42", "28", "1", "27", "38", "127"), ring=(0, 3)): 0.06,
    _Outcome("failed", (None,), ring=(0, 0)): 0.02,
}
_INBOUND_OUTCOMES: dict[_Outcome, float] = {
    _Outcome("callee_hungup", _CLEARED, joined=True, ring=(1, 3), hold=(1, 60)): 0.6,
    _Outcome("agent_hungup", _CLEARED, joined=True, ring=(1, 3), hold=(1, 60)): 0.2,
    _Outcome("callee_hungup", _CLEARED, ring=(1, 3), hold=(5, 120)): 0.2,
}
_MOBILE = ("71", "72", "73", "74", "76", "78", "79", "82", "83", "84")
_LANDLINE = ("11", "12", "21", "31", "41", "51")
# A country's code with the start of numbers in it, and how many digits follow: 13 to 16 in all with the 00.
_ABROAD = (("447700900", 3), ("1202555", 4), ("4930231251", 2), ("26481", 7), ("26377", 7), ("3312345", 4))


class CallGenerator:
    """An endless, reproducible stream of calls in the order of their `call_ref`.

    Outbound, a callee's numbers are tried in their order of priority until one is reached, one call each; the
    next number is tried some seconds after the last ended. Inbound calls come in between.
    """

    def __init__(
        self,
        seed: int,
        start: datetime,
        *,
        pace: float = 200.0,
        campaigns: int = 3,
        first_call_ref: int = 1,
        inbound_share: float = 0.04,
        null_call_ref_share: float = 0.0,
    ) -> None:
        """Args are all that decides what comes out.

        Args:
            seed: of chance.
            start: aware instant at which the first callee is dialled.
            pace: callees dialled a second, on average; how fast `dialed_at` moves on.
            campaigns: how many run side by side.
            first_call_ref: the first call's; it goes up by one.
            inbound_share: of all callees; 0 to 1.
            null_call_ref_share: of the inbound calls, those sent without `call_ref`; 0 to 1.

        Raises:
            ValueError: `start` is naive, or there is no campaign.
        """
        if start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        if campaigns < 1:
            raise ValueError("at least one campaign")
        self._rng = Random(seed)
        self._clock = start.timestamp()
        self._pace = pace
        self._next_ref = first_call_ref
        self._callees = self._rng.randrange(10**5) * 1000
        self._inbound_share = inbound_share
        self._null_call_ref_share = null_call_ref_share
        self._campaigns = [self._campaign(number) for number in range(1, campaigns + 1)]
        self._calls = self._stream()

    def __iter__(self) -> Iterator[SimulatedCall]:
        return self

    def __next__(self) -> SimulatedCall:
        return next(self._calls)

    def take(self, count: int) -> list[SimulatedCall]:
        """The next `count` calls."""
        return [next(self) for _ in range(count)]

    def _stream(self) -> Iterator[SimulatedCall]:
        while True:
            self._clock += self._rng.expovariate(self._pace)
            campaign = self._rng.choice(self._campaigns)
            if self._rng.random() < self._inbound_share:
                yield self._inbound(campaign)
            else:
                yield from self._callee(campaign)

    def _callee(self, campaign: _Campaign) -> Iterator[SimulatedCall]:
        self._callees += 1
        moment = int(self._clock)
        for _ in range(self._rng.choices((1, 2, 3), (6, 3, 1))[0]):
            outcome = self._outcome(_OUTCOMES)
            call = self._call(campaign, outcome, f"account_{self._callees}", self._number(), moment)
            yield call
            if outcome.reached:
                return
            moment = call.ended_at + self._rng.randint(2, 15)

    def _inbound(self, campaign: _Campaign) -> SimulatedCall:
        number = "" if self._rng.random() < 0.15 else self._number()
        return self._call(campaign, self._outcome(_INBOUND_OUTCOMES), None, number, int(self._clock))

    def _call(
        self, campaign: _Campaign, outcome: _Outcome, contact_ref: str | None, number: str, moment: int
    ) -> SimulatedCall:
        rng = self._rng
        call_ref, self._next_ref = self._next_ref, self._next_ref + 1
        extension = rng.choice(campaign.extensions) if outcome.joined else None
        silent = contact_ref is None and rng.random() < self._null_call_ref_share
        return SimulatedCall(
            call_ref=call_ref,
            contact_ref=contact_ref,
            campaign=campaign.ref,
            direction="inbound" if contact_ref is None else "outbound",
            number=number,
            dial_number=campaign.dial_number,
            extension=extension,
            dialed_at=moment,
            ring_seconds=rng.randint(*outcome.ring),
            hold_seconds=rng.randint(*outcome.hold),
            # median 75 s, one in twenty above 7 minutes
            talk_seconds=round(min(max(rng.lognormvariate(4.32, 1.05), 5), 1800)) if extension else 0,
            end_reason=outcome.end_reason,
            end_code=rng.choice(outcome.end_codes),
            recording_url=self._recording_url(number, extension, moment) if extension else None,
            sends_call_ref=not silent,
        )

    def _outcome(self, shares: dict[_Outcome, float]) -> _Outcome:
        return self._rng.choices(list(shares), list(shares.values()))[0]

    def _campaign(self, number: int) -> _Campaign:
        first = 2000 + 100 * (number - 1)
        agents = [str(first + agent) for agent in range(1, 21)]
        return _Campaign(f"campaign{number:03}", f"2787{self._digits(7)}", agents)

    def _number(self) -> str:
        """Half 0…, a third 27…, the rest 00…: South Africa written as from abroad, or another country."""
        national = self._rng.choice(_MOBILE if self._rng.random() < 0.8 else _LANDLINE) + self._digits(7)
        form = self._rng.choices(("0", "27", "0027", "00"), (50, 35, 5, 10))[0]
        if form != "00":
            return form + national
        start, rest = self._rng.choice(_ABROAD)
        return form + start + self._digits(rest)

    def _recording_url(self, number: str, extension: str, moment: int) -> str:
        """Section 1.2: the file's ending can be missing when the CDR was faster than the recorder."""
        day = datetime.fromtimestamp(moment, _SERVER_TIME)
        name = uuid.UUID(int=self._rng.getrandbits(128), version=4)
        ending = "" if self._rng.random() < 0.01 else ".WAV"
        return f"{_STORAGE}/{day:%Y/%m/%d}/dialer-{number}-{extension}-{day:%Y%m%d}-{name}{ending}"

    def _digits(self, count: int) -> str:
        return f"{self._rng.randrange(10**count):0{count}}"
