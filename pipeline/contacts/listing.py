"""Contacts a page at a time, in the order of their keys."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, tuple_

from pipeline.contacts.reading import Contact, Key, contacts_of
from pipeline.database.narrowing import among, narrow
from pipeline.database.tables import contacts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection

    from pipeline.database.narrowing import Conditions


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
    """Where to go on; None: there are no more."""


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


def list_contacts(connection: Connection, wanted: ContactFilter, *, limit: int, after: Key | None) -> ContactPage:
    """The contacts that match, in the order of their keys.

    Args:
        connection: the database.
        wanted: which.
        limit: the most on a page.
        after: the last of the page before.
    """
    query = select(*_KEY).where(_OF.attempts > 0, *narrow(wanted._asdict(), _CONDITIONS))
    if after is not None:
        query = query.where(tuple_(*_KEY) > tuple_(*after))
    keys = [Key(*row) for row in connection.execute(query.order_by(*_KEY).limit(limit + 1))]
    told = contacts_of(connection, keys[:limit])
    return ContactPage(list(_in_order(told.values())), keys[limit - 1] if len(keys) > limit else None)


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
