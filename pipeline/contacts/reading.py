"""Contacts for whoever asks: their rows, with what is read from their calls: numbers, charges, and who called in."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select, text

from pipeline.contacts.rules.outcome import MOST_CALLS, CallOfContact, Outcome, numbers_tried
from pipeline.database.narrowing import among, narrow, word
from pipeline.database.tables import calls, contacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.contacts.rules.outcome import NumberTried
    from pipeline.database.narrowing import Conditions

MOST_INBOUND: Final = 100
"""The most inbound calls that are listed with a contact, the newest."""


class Key(NamedTuple):
    """What a contact is known by."""

    contact_ref: str
    campaign_ref: str
    source: str


class Attempt(NamedTuple):
    """One call of a contact."""

    call: CallOfContact
    uncertain: bool
    why: str
    charges: dict[str, Decimal]
    """What it is charged now, by currency."""


class InboundCall(NamedTuple):
    """A call that came in, from a number of the contact or naming it; it counts for nothing."""

    call_ref: str
    linked: str
    """``named``, where it says whom it is of; else ``inferred``, from its number."""
    dialed_at: datetime
    disposition: str | None
    agent: str | None
    talk_seconds: int


class Contact(NamedTuple):
    """A contact and all that is known of it."""

    key: Key
    outcome: Outcome
    best_call: str | None
    """The call_ref of the call that decides."""
    numbers: list[NumberTried]
    charges: dict[str, Decimal]
    """What its calls are charged now, by currency."""
    also_in: list[str]
    """Other campaigns of this dialler that use the same reference, which ought to be of one."""
    changed_at: datetime
    attempts: list[Attempt]
    """In the order in which they were dialled; of a crowd none."""

    @property
    def is_crowd(self) -> bool:
        """Whether so many calls name it that it is nobody."""
        return self.outcome.attempts > MOST_CALLS


def contacts_named(
    connection: Connection, contact_ref: str, *, source: str | None = None, campaign: str | None = None
) -> list[Contact]:
    """The contacts of a reference: one, unless diallers or campaigns share it.

    Args:
        connection: the database.
        contact_ref: the integrator's reference.
        source: one dialler; None: all.
        campaign: one campaign; None: all.
    """
    of = contacts.c
    conditions: Conditions = {
        "contact_ref": lambda value: of.contact_ref == value,
        "source": lambda value: of.source == value,
        "campaign": lambda value: of.campaign_ref == value,
    }
    wanted = narrow({"contact_ref": contact_ref, "source": source, "campaign": campaign}, conditions)
    found = connection.execute(select(*(of[name] for name in Key._fields)).where(*wanted).order_by(of.source))
    told = contacts_of(connection, [Key(*row) for row in found])
    return [told[key] for key in sorted(told, key=lambda key: (key.source, key.campaign_ref))]


def contacts_of(connection: Connection, keys: Sequence[Key]) -> dict[Key, Contact]:
    """Some contacts by their keys; a query a table, however many they are. Who has no calls is left out."""
    values = {name: [getattr(key, name) for key in keys] for name in Key._fields}
    rows = connection.execute(_ROWS, values).all() if keys else []
    attempts = _attempts(connection, [Key(*row[:3]) for row in rows if row.attempts <= MOST_CALLS])
    found = {}
    for row in rows:
        key = Key(*row[:3])
        own = attempts[key]
        found[key] = Contact(
            key,
            Outcome(*(getattr(row, name) for name in Outcome._fields)),
            row.best_call,
            numbers_tried(each.call for each in own),
            sums(each.charges for each in own),
            row.also_in,
            row.changed_at,
            own,
        )
    return found


def sums(charges: Iterable[dict[str, Decimal]]) -> dict[str, Decimal]:
    """What some charges come to, by currency."""
    added: defaultdict[str, Decimal] = defaultdict(Decimal)
    for each in charges:
        for currency, amount in each.items():
            added[currency] += amount
    return dict(added)


def inbound_of(connection: Connection, contact: Contact) -> list[InboundCall]:
    """The calls that came in from a contact's numbers or name it, the newest first, and no more than a page of them."""
    of, key = calls.c, contact.key
    columns = (of.id, of.call_ref, of.dialed_at, of.extension, of.talk_seconds)
    inbound = select(*columns).where(of.source == key.source, of.direction == word("inbound"))
    named = inbound.where(of.contact_ref == key.contact_ref, of.campaign_ref == key.campaign_ref)
    numbers = [each.number for each in contact.numbers if each.number]
    found: dict[int, tuple[str, Any]] = {}
    for linked, query in (("inferred", inbound.where(among(of.client_number, numbers))), ("named", named)):
        for row in connection.execute(query.order_by(of.dialed_at.desc(), of.id.desc()).limit(MOST_INBOUND)):
            found[row.id] = (linked, row)
    ended = {row.call_id: row.disposition for row in connection.execute(_DISPOSITIONS, {"ids": list(found)})}
    newest = sorted(found.values(), key=lambda each: (each[1].dialed_at, each[1].id), reverse=True)[:MOST_INBOUND]
    return [
        InboundCall(row.call_ref, linked, row.dialed_at, ended.get(row.id), row.extension, row.talk_seconds)
        for linked, row in newest
    ]


def _attempts(connection: Connection, keys: Sequence[Key]) -> defaultdict[Key, list[Attempt]]:
    found: defaultdict[Key, list[Attempt]] = defaultdict(list)
    if not keys:
        return found
    values = {name: [getattr(key, name) for key in keys] for name in Key._fields}
    rows = connection.execute(_CALLS, values).all()
    charges: defaultdict[int, dict[str, Decimal]] = defaultdict(dict)
    for call_id, currency, amount in connection.execute(_CHARGES, {"ids": [row.id for row in rows]}):
        charges[call_id][currency] = amount
    for row in rows:
        call = CallOfContact(*row[4:11])
        found[keys[row.nth - 1]].append(Attempt(call, row.uncertain, row.why, charges[call.call_id]))
    return found


# SQL: each asks for many keys or calls at once, in one parameter each.
_KEYS: Final = (
    "unnest(cast(:contact_ref AS text[]), cast(:campaign_ref AS text[]), cast(:source AS text[])) "
    "WITH ORDINALITY AS key (contact_ref, campaign_ref, source, nth)"
)
_ROWS: Final = text(
    f"SELECT own.contact_ref, own.campaign_ref, own.source, {', '.join(f'own.{name}' for name in Outcome._fields)}, "
    "  (SELECT call_ref FROM calls WHERE calls.id = own.best_call_id) AS best_call, own.changed_at, "
    "  ARRAY(SELECT other.campaign_ref FROM contacts AS other WHERE other.contact_ref = own.contact_ref "
    "        AND other.source = own.source AND other.campaign_ref <> own.campaign_ref AND other.attempts > 0 "
    "        ORDER BY 1 LIMIT 20) AS also_in "
    f"FROM {_KEYS} JOIN contacts AS own ON own.contact_ref = key.contact_ref "
    "  AND own.campaign_ref = key.campaign_ref AND own.source = key.source "
    "WHERE own.attempts > 0"
)
_CALLS: Final = text(
    "SELECT key.nth, key.contact_ref, key.campaign_ref, key.source, "
    "  c.id, c.call_ref, c.dialed_at, d.disposition, c.client_number, c.extension, c.talk_seconds, d.uncertain, d.why "
    f"FROM {_KEYS} JOIN calls AS c ON c.contact_ref = key.contact_ref AND c.campaign_ref = key.campaign_ref "
    "  AND c.source = key.source AND c.direction = 'outbound' JOIN dispositions AS d ON d.call_id = c.id "
    "ORDER BY key.nth, c.dialed_at, c.call_ref"
)
_CHARGES: Final = text(
    "SELECT call_id, currency, sum(amount) FROM ledger "
    "WHERE call_id = ANY(cast(:ids AS bigint[])) AND side = 'client' "
    "GROUP BY call_id, currency "
    "HAVING count(*) FILTER (WHERE kind = 'charge') > count(*) FILTER (WHERE kind <> 'charge')"
)
_DISPOSITIONS: Final = text("SELECT call_id, disposition FROM dispositions WHERE call_id = ANY(cast(:ids AS bigint[]))")
