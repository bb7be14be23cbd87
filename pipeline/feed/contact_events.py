"""What is told of contacts that changed: which they are, by the calls that did it, and what they come to now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from pipeline.contacts.reading import Key, contacts_of
from pipeline.contacts.told import as_dict, chosen
from pipeline.feed.rules.shape import CALL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection


class Named(NamedTuple):
    """A contact, with the call that changed it."""

    key: Key
    call_id: int
    call_ref: str


def contacts_changed(
    connection: Connection, spans: Mapping[str, Any], *, with_raw: bool
) -> Iterator[tuple[int, Named, str | None, bytes]]:
    """The contacts that calls name, or named until they were replaced.

    Args:
        connection: the database.
        spans: lists of the numbers (``nth``) of some spans of records, of their first and last ones, and of the record
            that replaced the version which named the contact (``replaced_by``; None: the call names it); the lowest
            and the highest of all these records.
        with_raw: whether the calls' records are wanted as they came.

    Yields:
        The span's number, the contact, what it came to, and the bytes, empty where they are not wanted.
    """
    for row in connection.execute(_CHANGED[with_raw], spans):
        yield (
            row.nth,
            Named(Key(row.contact_ref, row.campaign_ref, row.source), row.id, row.call_ref),
            row.outcome,
            row.raw,
        )


def contact_data(
    connection: Connection, named: Sequence[Named], shape: str, fields: Collection[str] | None
) -> dict[Named, dict[str, Any]]:
    """What an event says of each of these contacts: all that is known now, or in the shape ``thin`` what it is called.

    Args:
        connection: the database.
        named: the contacts.
        shape: the subscriber's.
        fields: the parts and fields of calls that it gets; None: all of them.
    """
    if shape != CALL:
        return {each: {"source": each.key.source, "call_ref": each.call_ref, **_called(each.key)} for each in named}
    found = contacts_of(connection, sorted({each.key for each in named}))
    return {
        each: {
            "contact": chosen(_nothing(each.key) if (own := found.get(each.key)) is None else as_dict(own), fields),
            "caused_by": {"source": each.key.source, "call_ref": each.call_ref},
        }
        for each in named
    }


def _called(key: Key) -> dict[str, Any]:
    return {"campaign_ref": key.campaign_ref, "contact_ref": key.contact_ref}


def _nothing(key: Key) -> dict[str, Any]:
    """Of one that has no calls any more."""
    return {"source": key.source, **_called(key), "outcome": None, "attempts": 0}


# SQL: many spans in one statement, each part by its key, as in pipeline/feed/reading.py.
_WITH_RAW: Final = (
    "LEFT JOIN LATERAL (SELECT raw FROM inbox "
    "  WHERE record_id = named.id AND record_id BETWEEN :lowest AND :highest OFFSET 0) AS inbox ON true"
)
_CHANGED: Final = {
    with_raw: text(
        "SELECT span.nth, named.*, contacts.outcome, "
        f"       {'coalesce(inbox.raw, cast(:none AS bytea))' if with_raw else 'cast(:none AS bytea)'} AS raw "
        "FROM unnest(cast(:nth AS int[]), cast(:first AS bigint[]), cast(:last AS bigint[]), "
        "            cast(:replaced_by AS bigint[])) AS span (nth, f, l, replaced_by) "
        "CROSS JOIN LATERAL ("
        "  SELECT id, call_ref, contact_ref, campaign_ref, source FROM ("
        "    SELECT id, call_ref, contact_ref, campaign_ref, source, direction FROM calls "
        "    WHERE id BETWEEN span.f AND span.l AND id BETWEEN :lowest AND :highest OFFSET 0) AS calls "
        "  WHERE contact_ref IS NOT NULL AND direction = 'outbound' AND span.replaced_by IS NULL "
        "  UNION ALL "
        "  SELECT calls.id, call_ref, replaced ->> 'contact_ref', replaced ->> 'campaign_ref', source "
        "  FROM revisions JOIN calls ON calls.id = revisions.call_id AND calls.id BETWEEN :lowest AND :highest "
        "  WHERE revisions.record_id = span.replaced_by"
        ") AS named "
        "LEFT JOIN LATERAL (SELECT outcome FROM contacts AS own WHERE own.contact_ref = named.contact_ref "
        "  AND own.campaign_ref = named.campaign_ref AND own.source = named.source OFFSET 0) AS contacts ON true "
        f"{_WITH_RAW if with_raw else ''}"
    ).bindparams(none=b"")
    for with_raw in (False, True)
}
