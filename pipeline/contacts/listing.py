"""Contacts a page at a time, in the order of their keys, and never more work than a reader would wait for.

No index has what a contact came to. So contacts are looked at between one key and another, in slices that grow, until
the page is full or the time is up; then the page says where to go on, full or not.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select, tuple_

from pipeline.contacts.reading import Contact, Key, contacts_of
from pipeline.contacts.rules.outcome import MOST_CALLS
from pipeline.database.narrowing import among, narrow
from pipeline.database.slices import LOOK_SECONDS, look_in_slices
from pipeline.database.tables import contacts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection

    from pipeline.database.narrowing import Conditions

MOST_READ: Final = 50_000
"""Calls of the contacts on a page, unless its first has more: each contact is told with its numbers and charges."""

_FIRST_SLICE: Final = 2_000
_LARGEST_SLICE: Final = 50_000


class ContactFilter(NamedTuple):
    """Which contacts; a field that is None leaves nothing out."""

    contact_ref: str | None = None
    campaign: str | None = None
    source: str | None = None
    outcome: str | None = None
    final: bool | None = None
    sources: Collection[str] | None = None
    """The diallers that who asks may see."""
    campaigns: Collection[str] | None = None
    """The campaigns likewise."""


class ContactPage(NamedTuple):
    """Some contacts."""

    contacts: list[Contact]
    next: Key | None
    """Where to go on; None: there are no more. The page need not be full for there to be some: where few of many match
    it ends when its time is up, and where they have very many calls when so many are read."""


class _Slice(NamedTuple):
    """Contacts between one key and another."""

    found: Sequence[tuple[Key, int]]
    """Those that match, and their attempts."""
    last: Key | None
    """The last that was looked at; None: there are no more."""


_OF = contacts.c
_KEY = [_OF[name] for name in Key._fields]
_CONDITIONS: Conditions = {
    "contact_ref": lambda value: _OF.contact_ref == value,
    "campaign": lambda value: _OF.campaign_ref == value,
    "source": lambda value: _OF.source == value,
    "outcome": lambda value: _OF.outcome == value,
    "final": lambda value: _OF.final == value,
    "sources": lambda values: among(_OF.source, sorted(values)),
    "campaigns": lambda values: among(_OF.campaign_ref, sorted(values)),
}


def list_contacts(
    connection: Connection, wanted: ContactFilter, *, limit: int, after: Key | None, seconds: float = LOOK_SECONDS
) -> ContactPage:
    """The contacts that match, in the order of their keys.

    Args:
        connection: the database.
        wanted: which.
        limit: the most on a page.
        after: the last of the page before.
        seconds: how long to go on looking where few of many match.
    """
    found, stopped = look_in_slices(
        functools.partial(_slice_of, connection, wanted),
        after,
        limit + 1,
        size=max(limit + 1, _FIRST_SLICE),
        next_size=lambda size, _looked_at, _found: min(size * 4, _LARGEST_SLICE),
        seconds=seconds,
    )
    shown = _as_many_as_are_read(found[:limit])
    told = contacts_of(connection, shown)
    return ContactPage(list(_in_order(told.values())), shown[-1] if len(found) > len(shown) else stopped)


def _slice_of(connection: Connection, wanted: ContactFilter, place: Key | None, size: int, limit: int) -> _Slice:
    behind = [] if place is None else [_key() > tuple_(*place)]
    last = _last_of_slice(connection, wanted, behind, size)
    within = behind if last is None else [*behind, _key() <= tuple_(*last)]
    query = select(*_KEY, _OF.attempts).where(_OF.attempts > 0, *within, *narrow(wanted._asdict(), _CONDITIONS))
    rows = connection.execute(query.order_by(*_KEY).limit(limit))
    return _Slice([(Key(*row[:3]), row.attempts) for row in rows], last)


def _last_of_slice(
    connection: Connection, wanted: ContactFilter, behind: Sequence[ColumnElement[bool]], size: int
) -> Key | None:
    """The key up to which so many contacts are, by the index of keys alone; None: there are not so many."""
    asked = {"contact_ref": wanted.contact_ref}
    query = select(*_KEY).where(*behind, *narrow(asked, _CONDITIONS)).order_by(*_KEY).offset(size - 1).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else Key(*row)


def _as_many_as_are_read(found: Sequence[tuple[Key, int]]) -> list[Key]:
    """The first of these, of whose calls there are not too many; of a crowd none are read."""
    shown: list[Key] = []
    left = MOST_READ
    for key, attempts in found:
        left -= attempts if attempts <= MOST_CALLS else 0
        if shown and left < 0:
            break
        shown.append(key)
    return shown


def _key() -> Any:
    return tuple_(*_KEY)


def _in_order(found: Iterable[Contact]) -> list[Contact]:
    return sorted(found, key=lambda contact: contact.key)


def place_text(key: Key) -> str:
    """A place among contacts as it stands in an address.

    >>> read_place(place_text(Key("account_1", "spring", "enigma")))
    Key(contact_ref='account_1', campaign_ref='spring', source='enigma')
    """
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def read_place(text: str) -> Key:
    """A place out of an address.

    Raises:
        ValueError: it is none; the text is a sentence that begins with "must be".
    """
    try:
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != len(Key._fields) or not all(map(_is_text, found)):
        raise ValueError("must be a place that an answer before gave")
    return Key(*found)


def _is_text(value: object) -> bool:
    """Whether the database can compare with it."""
    return isinstance(value, str) and "\0" not in value and value.isprintable()
