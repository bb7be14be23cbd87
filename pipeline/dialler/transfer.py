"""One recording on its way over as many requests as it takes: what was promised of it, and how to ask for the rest."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.dialler.audio_body import Received

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)


class Interrupted(NamedTuple):
    """The recording broke off, and asking again may help; ``reason`` is a sentence."""

    reason: str


class Transfer:
    """What has come of a recording, and what its last whole answer (200) said about it.

    Args:
        received: takes the bytes.
        until: when it must have come, by the monotonic clock.
    """

    def __init__(self, received: Received, *, until: float) -> None:
        self.received = received
        self.until = until
        self.declared: int | None = None
        """The size of the whole recording."""
        self._has_ranges = False
        self._etag: str | None = None
        self._modified: str | None = None

    def is_late(self) -> bool:
        return time.monotonic() > self.until

    def begin(self, headers: Mapping[str, str]) -> None:
        """A whole answer comes; what came before counts no more."""
        self.received.restart()
        self.declared = whole_number(headers.get("Content-Length"))
        self._has_ranges = "bytes" in headers.get("Accept-Ranges", "").lower().replace(",", " ").split()
        self._etag, self._modified = headers.get("ETag"), headers.get("Last-Modified")

    def may_go_on(self) -> bool:
        """Whether the rest can be asked for, if it breaks off now."""
        return self._has_ranges and self.declared is not None and self.received.size < self.declared

    def headers(self) -> dict[str, str]:
        """What asks for the rest; nothing while there is no part that the rest could be joined to."""
        if not self.received.size:
            return {}
        asked = {"Range": f"bytes={self.received.size}-"}
        # A weak tag may stay when bytes change, and is not allowed there.
        tag = self._etag if self._etag and not self._etag.startswith("W/") else self._modified
        return asked | {"If-Range": tag} if tag else asked

    def goes_on(self, headers: Mapping[str, str]) -> bool:
        """Whether a partial answer (206) is of the same recording, and begins where it broke off."""
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if found is None:
            return False
        first, last, total = map(int, found.groups())
        return (
            (first, total) == (self.received.size, self.declared)
            and first <= last < total
            and headers.get("ETag", self._etag) == self._etag
            and headers.get("Last-Modified", self._modified) == self._modified
        )


def whole_number(text: str | None) -> int | None:
    """A header's number; None when it is none.

    >>> whole_number("17"), whole_number("-1")
    (17, None)
    """
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 19 else None
