"""List elements that are no CDR, or a hostile one: what a consumer must survive and set aside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.sandbox.calls import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

HUGE_BYTES = 10 * 1024 * 1024


def _payload(rng: Random, **changes: Any) -> dict[str, Any]:
    """A sound payload but for the changes. Its call_ref is far above any that the generator reaches."""
    return {
        "extension": "2001",
        "number": f"082{rng.randrange(10**7):07}",
        "dial_number": "27870001234",
        "recording_url": None,
        "call_ref": rng.randrange(10**12, 10**13),
        "contact_ref": f"broken_{rng.randrange(10**9)}",
        "dialed_at": 1_597_068_621 + rng.randrange(10**6),
        "call_time": rng.randrange(5, 600),
        "end_reason": "callee_hungup",
        "end_code": "16",
        "call_dir": "outbound",
        "ref": "campaign001",
    } | changes


def _changed(**changes: Any) -> Callable[[Random], bytes]:
    return lambda rng: encode(_payload(rng, **changes))


def _without(name: str) -> Callable[[Random], bytes]:
    def element(rng: Random) -> bytes:
        payload = _payload(rng)
        del payload[name]
        return encode(payload)

    return element


def _replaced(old: bytes, new: bytes) -> Callable[[Random], bytes]:
    return lambda rng: encode(_payload(rng)).replace(old, new)


def _queue_calls(rng: Random) -> bytes:
    """What the dialler's *internal* list of the same name carries (contract section 5)."""
    return json.dumps({"type": "queue_calls", "payload": {"rate": rng.randint(1, 9), "ref": "campaign001"}}).encode()


BROKEN: Mapping[str, Callable[[Random], bytes]] = {
    "empty": lambda _: b"",
    "random bytes": lambda rng: rng.randbytes(rng.randint(1, 300)),
    "not utf-8": _replaced(b"campaign001", b"\xff\xfe\xc3\x28"),
    "lone surrogate": _replaced(b"campaign001", b"\\ud800"),
    "byte order mark": lambda rng: b"\xef\xbb\xbf" + encode(_payload(rng)),
    "not json": lambda rng: f"CDR;{rng.randrange(10**6)};callee_hungup;16".encode(),
    "cut short": lambda rng: encode(_payload(rng))[: rng.randint(1, 200)],
    "two in one": lambda rng: encode(_payload(rng)) + encode(_payload(rng)),
    "json null": lambda _: b"null",
    "json list": lambda rng: b"[" + encode(_payload(rng)) + b"]",
    "json number": lambda rng: str(rng.random()).encode(),
    "deep nesting": lambda _: b"[" * 50_000 + b"]" * 50_000,
    "payload list": lambda rng: encode([_payload(rng)]),
    "payload null": lambda _: encode(None),
    "payload string": lambda rng: encode(json.dumps(_payload(rng))),
    "payload missing": lambda _: b'{"type":"cdr"}',
    "type missing": lambda rng: json.dumps({"payload": _payload(rng)}).encode(),
    "other type": _queue_calls,
    "no end_reason": _without("end_reason"),
    "no dialed_at": _without("dialed_at"),
    "null end_reason": _changed(end_reason=None),
    "object as end_reason": _changed(end_reason={"reason": "busy"}),
    "negative call_time": _changed(call_time=-5),
    "nan call_time": _changed(call_time=float("nan")),
    "infinite call_time": _changed(call_time=float("inf")),
    "call_time in words": _changed(call_time="a minute"),
    "call_time beyond 64 bits": _changed(call_time=2**70),
    "call_time of a century": _changed(call_time=100 * 366 * 86_400),
    "year 9999": _changed(dialed_at=253_402_300_799),
    "dialed_at beyond any year": _changed(dialed_at=10**18),
    "negative dialed_at": _changed(dialed_at=-(10**10)),
    "dialed_at in milliseconds": _changed(dialed_at=1_597_068_621_000),
    "dialed_at in words": _changed(dialed_at="yesterday"),
    "dialed_at true": _changed(dialed_at=True),
    "list as call_ref": _changed(call_ref=[845]),
    "call_ref beyond 64 bits": _changed(call_ref=2**64),
    "300 characters of ref": _changed(ref="é" * 300),
    "nul in contact_ref": _changed(contact_ref="account\x00'; DROP TABLE calls; --"),
    "nul in number": _changed(number="082\x000001234"),
    "unknown direction": _changed(call_dir="sideways"),
}
"""A maker of elements by what is wrong with them: nobody could make a call of one."""

ODD: Mapping[str, Callable[[Random], bytes]] = {
    "letters in number": _changed(number="not a number"),
    "recording_url out of its folder": _changed(recording_url="../../../../etc/passwd"),
}
"""A maker of elements that are odd, and hostile perhaps, but no reason to lose a call."""

# Of the dialler's internal messages one is enough to tell that the list is the wrong one: not a broken record.
_STREAM = tuple(make for kind, make in BROKEN.items() if kind != "other type")


def broken(rng: Random) -> bytes:
    """An element with one thing wrong, chosen by `rng`; never one that betrays a wrong list."""
    return rng.choice(_STREAM)(rng)


def huge(rng: Random, size: int = HUGE_BYTES) -> bytes:
    """A well-formed element of some more than `size` bytes."""
    return encode(_payload(rng, note="x" * size))
