"""How the dialler may answer when it is asked for a recording."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """The whole recording came, and it is audio."""

    size: int
    sha256: bytes
    extension: str


@dataclass(frozen=True, slots=True)
class NotReady:
    """The dialler knows the call and has no recording of it (yet)."""


@dataclass(frozen=True, slots=True)
class NoSuchCall:
    """The dialler does not know the call (yet)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The dialler, or a proxy before it, does not accept our credentials or address."""

    status: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """The dialler asks for fewer requests; ``retry_after`` is the seconds it named, if it did."""

    status: int
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Broken:
    """This try went wrong, and the next may not; ``reason`` is a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """What came cannot be kept, and another try will bring the same; ``reason`` is a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Away:
    """The dialler, or with ``store`` the store, cannot be reached at all; ``reason`` is a sentence."""

    reason: str
    store: bool = False


FetchResult = Fetched | NotReady | NoSuchCall | Refused | Throttled | Broken | Unacceptable | Away
