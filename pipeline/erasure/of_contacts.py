"""The contacts that calls of a number named: counted without these calls, and gone when no other is left."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, select, tuple_, update

from pipeline.calls.erased import new_name
from pipeline.calls.rules.rewriting_values import CONTACT, rewrite_json
from pipeline.contacts.rows import recount_keys
from pipeline.database.tables import calls, contact_looks, missing_calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from pipeline.erasure.runs import Run


def forget_contacts(connection: Connection, run: Run, named: Iterable[Any]) -> Counter[str]:
    """Have contacts no longer be those of calls that were erased; returns how much that was, by place.

    Args:
        connection: the transaction that took the reference out of the calls.
        run: the erasure.
        named: the calls as they were: rows, or copies of them.
    """
    as_they_were = [each if isinstance(each, dict) else each._asdict() for each in named]
    keys = sorted({_key(each) for each in as_they_were if each[CONTACT] is not None})
    if not keys:
        return Counter()
    dropped = recount_keys(connection, keys)
    refs = {(source, ref) for ref, _, source in keys}
    gone = sorted(refs - _still_called(connection, refs))
    return Counter(contacts=dropped) + _forget_looked_for(connection, run, gone)


def _key(call: Mapping[str, Any]) -> tuple[str, str, str]:
    return call[CONTACT], call["campaign_ref"], call["source"]


def _still_called(connection: Connection, refs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those references that calls of another number have."""
    found = set()
    for source, ref in refs:
        if connection.scalar(select(exists().where(calls.c.contact_ref == ref, calls.c.source == source))):
            found.add((source, ref))
    return found


def _forget_looked_for(connection: Connection, run: Run, refs: list[tuple[str, str]]) -> Counter[str]:
    """What is kept of calls that never came, by the contacts that nothing else is known of any more."""
    if not refs:
        return Counter()
    of, about = missing_calls.c, contact_looks.c
    looks = delete(contact_looks).where(tuple_(about.source, about.contact_ref).in_(refs))
    counts = Counter(contact_looks=connection.execute(looks).rowcount, missing_calls=0)
    missing = select(missing_calls).where(tuple_(of.source, of.contact_ref).in_(refs))
    for row in connection.execute(missing).all():
        name = new_name(run.spelled.number)
        evidence = _without(rewrite_json(row.evidence, run.spelled, name), row.contact_ref, name)
        this = (of.source == row.source, of.call_ref == row.call_ref)
        connection.execute(update(missing_calls).where(*this).values(contact_ref=name, evidence=evidence))
        counts["missing_calls"] += 1
    return counts


def _without(value: Any, reference: str, name: str) -> Any:
    """A contact's reference out of what the dialler listed."""
    match value:
        case dict():
            return {key: _without(each, reference, name) for key, each in value.items()}
        case list():
            return [_without(each, reference, name) for each in value]
        case _:
            return name if str(value) == reference else value
