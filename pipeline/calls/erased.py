"""Records with a number that was erased, as they come in again: it is taken out of them before they become calls.

A record is changed where it lies, in the inbox and among the edits, by a function of the database that changes none
that is a call already. By what it is known (its content's hash, and its reference where the dialler gave none) stands
for the number what only the key can make, so that a replay is a duplicate though its name is another.
"""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pipeline.calls.call_rows import RawRecord
from pipeline.calls.columns import NewCall
from pipeline.calls.rules.erased import NAME_LETTERS, name_for
from pipeline.calls.rules.erasure_key import ErasureKey
from pipeline.calls.rules.rewriting import rewrite_record
from pipeline.calls.rules.spellings import numbers_in, spell
from pipeline.database.engine import execute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from pipeline.calls.rules.cdr import Cdr


class Redacted(NamedTuple):
    """A record without the numbers that were erased."""

    record: RawRecord
    hashed: bytes
    """The same bytes with what only the key can make in the place of the numbers."""


def keyed(secret: str, key_id: str) -> ErasureKey:
    """The key of the marks there are.

    Raises:
        ErasureKeyError: it is missing, weak, or not theirs.
    """
    key = ErasureKey(secret)
    key.check(key_id)
    return key


def new_name(number: str) -> str:
    """A name for an E.164 number, of which nothing else is ever known."""
    return name_for(number, "".join(secrets.choice(string.ascii_lowercase) for _ in range(NAME_LETTERS)))


def known_by(call: NewCall, hashed: Cdr) -> NewCall:
    """A call with the reference and the hash of another reading of it."""
    cdr = msgspec.structs.replace(call.cdr, call_ref=hashed.call_ref, content_hash=hashed.content_hash)
    return NewCall(call.record_id, cdr)


def redact(
    connection: Connection, records: Sequence[RawRecord], calls: Sequence[NewCall], key: ErasureKey, *, region: str
) -> dict[int, Redacted]:
    """Take the numbers that were erased out of records, and write these down; one statement where there are none.

    Args:
        connection: the step's transaction.
        records: all that are read.
        calls: those of them that can become calls.
        key: of the marks.
        region: where national numbers belong.

    Returns:
        What was changed, by record id.
    """
    erased = _erased(connection, records, calls, key, region)
    if not erased:
        return {}
    names = {record_id: {each: new_name(each) for each in numbers} for record_id, numbers in erased.items()}
    versions = execute(connection, _VERSIONS, {"ids": list(erased)}).fetchall()
    rewritten = [(record_id, nth, _rewritten(raw, names[record_id], region)) for record_id, nth, raw in versions]
    execute(
        connection,
        "SELECT redact_records(%(ids)s::bigint[], %(revisions)s::integer[], %(raws)s::bytea[])",
        dict(zip(("ids", "revisions", "raws"), map(list, zip(*rewritten, strict=True)), strict=True)),
    )
    return {
        record.record_id: Redacted(
            RawRecord(record.record_id, _rewritten(record.raw, names[record.record_id], region)),
            _rewritten(record.raw, {each: key.stand_in(each) for each in erased[record.record_id]}, region),
        )
        for record in records
        if record.record_id in erased
    }


_VERSIONS = """
SELECT record_id, 0, raw FROM inbox WHERE record_id = ANY(%(ids)s::bigint[])
UNION ALL SELECT record_id, revision, raw FROM edits WHERE record_id = ANY(%(ids)s::bigint[])
"""


def _rewritten(raw: bytes, names: dict[str, str], region: str) -> bytes:
    for number, name in names.items():
        raw = rewrite_record(raw, spell(number, region), name)
    return raw


def _erased(
    connection: Connection, records: Sequence[RawRecord], calls: Sequence[NewCall], key: ErasureKey, region: str
) -> dict[int, list[str]]:
    """The numbers in each record that were erased, by their marks."""
    held = dict(_held(records, calls, region))
    marks = {number: key.mark(number) for number in set().union(*held.values())}
    found = execute(
        connection,
        "SELECT mark FROM erased_numbers WHERE mark = ANY(%(marks)s::bytea[])",
        {"marks": list(marks.values())},
    )
    known = {bytes(mark) for (mark,) in found}
    if not known:
        return {}
    erased = {record_id: [each for each in numbers if marks[each] in known] for record_id, numbers in held.items()}
    return {record_id: numbers for record_id, numbers in erased.items() if numbers}


def _held(records: Sequence[RawRecord], calls: Sequence[NewCall], region: str) -> Iterator[tuple[int, set[str]]]:
    """The numbers of each record: those of a usual call are read already, all others may hide anywhere."""
    own = {call.record_id: call.cdr.client_number for call in calls}
    usual = {call.record_id for call in calls if not call.cdr.extra}
    for record_id, raw in records:
        number = own.get(record_id)
        read = {number.value} if number is not None and number.is_e164 else set()
        if record_id not in usual or (number is not None and not read):
            read |= set(numbers_in(raw.decode("utf-8", "replace"), region))
        yield record_id, read
