"""How often an address may guess a password."""

from __future__ import annotations

import ipaddress
from typing import Final

AT_ONCE: Final = 30
"""Wrong logins of an address that nothing follows from: people mistype, and browsers ask for several things at once."""

SECONDS_EACH: Final = 6.0
"""How long each wrong login is remembered: beyond those at once, ten a minute."""

ADDRESSES: Final = 10_000
"""The most that are remembered."""


class WrongLogins:
    """What is remembered of wrong logins.

    While an address has too many, nothing it says is judged: were the right password let through, guessing would go on
    at full speed.
    """

    def __init__(self) -> None:
        self._forgiven_at: dict[str, float] = {}

    def add(self, address: str, now: float) -> None:
        """Remember one.

        Args:
            address: of who tried.
            now: seconds of a clock that never goes back.
        """
        whose = _whose(address)
        forgiven_at = max(self._forgiven_at.pop(whose, now), now) + SECONDS_EACH
        if len(self._forgiven_at) >= ADDRESSES:
            self._forget(now)
        self._forgiven_at[whose] = forgiven_at

    def wait_seconds(self, address: str, now: float) -> float:
        """How long until this address may try again; 0 when it may now."""
        return max(0.0, self._forgiven_at.get(_whose(address), now) - now - (AT_ONCE - 1) * SECONDS_EACH)

    def _forget(self, now: float) -> None:
        """Those that are forgiven, or else who tried longest ago."""
        self._forgiven_at = {whose: at for whose, at in self._forgiven_at.items() if at > now}
        while len(self._forgiven_at) >= ADDRESSES:
            del self._forgiven_at[next(iter(self._forgiven_at))]


def _whose(address: str) -> str:
    """One household: an address, or the 64 bits of an IPv6 one that its owner cannot choose.

    >>> _whose("10.0.0.7"), _whose("2001:db8::1") == _whose("2001:db8::2"), _whose("")
    ('10.0.0.7', True, '')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
