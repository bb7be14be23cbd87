"""Raw records, as received and as edited, without the number; and by what they are known from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.calls.rules.cdr import key_in
from pipeline.calls.rules.rewriting import rewrite_record
from pipeline.calls.rules.rewriting_values import rewrite_call
from pipeline.database.engine import execute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from pipeline.erasure.runs import Run


class Rewritten(NamedTuple):
    """What became of some records.

    Attributes:
        records: how many were changed in the inbox.
        edits: how many of their edits were.
        hashes: of each content, the hash it had and the one it has.
        references: of calls that came without one, the reference that was made of the record, and the new one.
    """

    records: int
    edits: int
    hashes: dict[bytes, bytes]
    references: dict[str, str]


def rewrite_records(connection: Connection, run: Run, names: Mapping[int, str]) -> Rewritten:
    """Take the number out of records.

    Args:
        connection: the caller's transaction.
        run: the erasure.
        names: what takes the number's place, by record id.
    """
    done = Rewritten(0, 0, {}, {})
    changed: list[tuple[int, int, bytes]] = []
    for record_id, revision, raw in execute(connection, _VERSIONS, {"ids": list(names)}).fetchall():
        new = rewrite_record(raw, run.spelled, names[record_id])
        if new != raw:
            changed.append((record_id, revision, new))
            _note_keys(done, raw, rewrite_record(raw, run.spelled, run.key.stand_in(run.spelled.number)))
    for statement in (_INBOX, _EDITS):
        values = {"ids": [each[0] for each in changed], "revisions": [each[1] for each in changed]}
        execute(connection, statement, {**values, "raws": [each[2] for each in changed]})
    edits = sum(revision > 0 for _, revision, _ in changed)
    return done._replace(records=len(changed) - edits, edits=edits)


def _note_keys(done: Rewritten, raw: bytes, stand_in: bytes) -> None:
    old, new = key_in(raw), key_in(stand_in)
    if old is None or new is None:
        return
    done.hashes[old.content_hash] = new.content_hash
    if old.call_ref != new.call_ref:
        done.references[old.call_ref] = new.call_ref


_VERSIONS = """
SELECT record_id, 0, raw FROM inbox WHERE record_id = ANY(%(ids)s::bigint[])
UNION ALL SELECT record_id, revision, raw FROM edits WHERE record_id = ANY(%(ids)s::bigint[])
"""
_INBOX = """
UPDATE inbox SET raw = new.raw
FROM unnest(%(ids)s::bigint[], %(revisions)s::integer[], %(raws)s::bytea[]) AS new (record_id, revision, raw)
WHERE inbox.record_id = new.record_id AND new.revision = 0
"""
_EDITS = """
UPDATE edits SET raw = new.raw
FROM unnest(%(ids)s::bigint[], %(revisions)s::integer[], %(raws)s::bytea[]) AS new (record_id, revision, raw)
WHERE edits.record_id = new.record_id AND edits.revision = new.revision
"""


def call_without(
    call: Mapping[str, Any], run: Run, name: str, rewritten: Rewritten, *, otherwise: bytes
) -> dict[str, Any]:
    """A call's columns, or a copy of them, without the number, under what its record is known by now.

    Args:
        call: by the names of the columns.
        run: the erasure.
        name: what takes the number's place.
        rewritten: the call's records.
        otherwise: the hash of a content whose record is not there; nothing can be known by it.
    """
    new = rewrite_call(call, run.spelled, name)
    if new == dict(call):
        return new
    new["call_ref"] = rewritten.references.get(call["call_ref"], call["call_ref"])
    match call.get("content_hash"):
        case str() as written:  # as JSON has it
            old = bytes.fromhex(written.removeprefix("\\x"))
            new["content_hash"] = "\\x" + rewritten.hashes.get(old, otherwise).hex()
        case bytes() as old:
            new["content_hash"] = rewritten.hashes.get(old, otherwise)
    return new
