"""What somebody may ask for: scopes, and the diallers and campaigns they hold for."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

ALL: Final = "*"
"""In a list of diallers or campaigns: every one."""


class Scope(StrEnum):
    """Something that may be asked for."""

    CALLS = "calls:read"
    NUMBERS = "calls:numbers"
    LISTEN = "recordings:listen"
    CONTACTS = "contacts:read"
    FEED = "feed:read"


SAYS: Final = {
    Scope.CALLS: "find calls and read all that is known of one",
    Scope.NUMBERS: "see numbers, and look for them; without it they are masked",
    Scope.LISTEN: "get recordings",
    Scope.CONTACTS: "read contacts and their outcomes",
    Scope.FEED: "read the feed of what happens to calls",
}
"""What each of them allows."""


class Grant(NamedTuple):
    """Who somebody is and what they may ask for."""

    name: str
    scopes: frozenset[Scope]
    sources: tuple[str, ...]
    campaigns: tuple[str, ...]

    def may(self, *needed: Scope) -> bool:
        """Whether it has all of these scopes."""
        return self.scopes.issuperset(needed)

    @property
    def only_sources(self) -> tuple[str, ...] | None:
        """The diallers it is held to; None: none."""
        return None if ALL in self.sources else self.sources

    @property
    def only_campaigns(self) -> tuple[str, ...] | None:
        """The campaigns it is held to; None: none."""
        return None if ALL in self.campaigns else self.campaigns
