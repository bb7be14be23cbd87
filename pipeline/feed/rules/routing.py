"""The routing key of an event on an exchange."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.feed.rules.event import Event

# A dot parts the words of a key, and in a binding * and # stand for any: none of them may come from a name.
_UNSAFE: Final = re.compile(r"[^\w-]")
LONGEST_WORD_BYTES: Final = 100
"""AMQP 0-9-1 gives a key 255 bytes in all."""


def routing_key(event: Event) -> str:
    """``<source>.<campaign>.<kind>``, of which the kind is two words; what cannot be in a word is ``_``.

    A campaign that is not known, or not there, is ``_`` too.
    """
    return f"{_word(event.source)}.{_word(event.campaign or '')}.{event.kind}"


def _word(name: str) -> str:
    r"""A name as one word.

    >>> _word("sales.za #1"), _word(""), _word("Verkäufe")
    ('sales_za__1', '_', 'Verkäufe')
    """
    safe = _UNSAFE.sub("_", name).encode(errors="replace")[:LONGEST_WORD_BYTES].decode(errors="ignore")
    return safe or "_"
