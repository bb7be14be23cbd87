"""Which events a subscriber gets: nothing, until sources and campaigns are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

ALL: Final = "*"


class Filter(NamedTuple):
    """What of the feed is let through.

    Attributes:
        sources: the diallers, or ``*`` for all.
        campaigns: the campaigns, or ``*`` for all, records that name none included.
        kinds: of events.
        dispositions: what the calls ended as; None: whatever it is.
    """

    sources: tuple[str, ...]
    campaigns: tuple[str, ...]
    kinds: tuple[str, ...]
    dispositions: tuple[str, ...] | None = None

    def lets_row(self, kind: str, source: str) -> bool:
        """Whether any event of this kind and dialler can be let through.

        >>> Filter((), ("*",), ("call.finished",)).lets_row("call.finished", "enigma")
        False
        >>> Filter(("enigma",), ("*",), ("call.finished",)).lets_row("call.finished", "enigma")
        True
        """
        return kind in self.kinds and _names(self.sources, source)

    def lets_call(self, campaign: str | None, disposition: str | None) -> bool:
        """Whether an event about such a call is let through, its row being so.

        >>> Filter(("*",), ("sales",), ("call.finished",)).lets_call("service", "ANSWERED")
        False
        >>> Filter(("*",), ("sales",), ("call.finished",)).lets_call(None, None)
        False
        >>> Filter(("*",), ("*",), ("call.finished",), ("ANSWERED",)).lets_call("sales", "NO_ANSWER")
        False
        """
        if not _names(self.campaigns, campaign):
            return False
        return self.dispositions is None or disposition in self.dispositions


def _names(named: Collection[str], value: str | None) -> bool:
    return ALL in named or (value is not None and value in named)
