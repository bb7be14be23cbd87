"""Everything stored about one call, as rows; what to say of them is for the shells."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from sqlalchemy import Select, select, text, tuple_

from pipeline.billing.rules.sides import Side
from pipeline.database import tables
from pipeline.database.narrowing import among
from pipeline.lookup.rules.history import (
    ActionRow,
    BatchRow,
    CallRow,
    DispositionRow,
    DuplicateRow,
    FailureRow,
    History,
    LineRow,
    ProvidersSide,
    UnchargedRow,
    Version,
)
from pipeline.record_ids import batch_of
from pipeline.recordings.rules.row import RecordingOfCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Table

    from pipeline.lookup.rules.call_filter import Wall


def sources_of(connection: Connection, call_ref: str) -> list[str]:
    """The diallers that have a call of this reference."""
    calls = tables.calls.c
    return list(connection.scalars(select(calls.source).where(calls.call_ref == call_ref).order_by(calls.source)))


def call_id_of(connection: Connection, call_ref: str, source: str, wall: Wall) -> int | None:
    """A call's id; None: there is no such call, or it is behind the wall, which cannot be told apart.

    Args:
        connection: the database.
        call_ref: the dialler's internal call reference.
        source: the dialler.
        wall: what this reader may see.
    """
    calls = tables.calls.c
    query = select(calls.id).where(calls.call_ref == call_ref, calls.source == source)
    if wall.sources is not None:
        query = query.where(among(calls.source, sorted(wall.sources)))
    if wall.campaigns is not None:
        query = query.where(among(calls.campaign_ref, sorted(wall.campaigns)))
    return connection.scalar(query)


def history_of(connection: Connection, call_ref: str, source: str) -> History:
    """One call with all that followed from it.

    Args:
        connection: the database.
        call_ref: the dialler's internal call reference.
        source: the dialler.

    Raises:
        sqlalchemy.exc.NoResultFound: it has no such call.
    """
    calls = tables.calls.c
    call_id = connection.scalars(select(calls.id).where(calls.call_ref == call_ref, calls.source == source)).one()
    return histories_of(connection, [call_id])[call_id]


def histories_of(connection: Connection, call_ids: Sequence[int]) -> dict[int, History]:
    """Some calls with all that followed from them, by their ids; a query a table, however many they are."""
    found = _calls(connection, call_ids)
    ids = list(found)
    calls = {call_id: each.call for call_id, each in found.items()}
    there = _there(connection, ids, calls)
    replaced = _replaced(connection, ids) if there.revisions else defaultdict(list)
    records = {call_id: [call_id, *(version.record_id for version in replaced[call_id])] for call_id in ids}
    owners = {record_id: call_id for call_id, each in records.items() for record_id in each}
    batches = _batches(connection, owners)
    charges = _lines(connection, ids, Side.CLIENT)
    failures = _failures(connection, owners, calls) if there.failures else defaultdict(list)
    repeated, done = tables.duplicates, tables.actions
    duplicates = _rows(connection, DuplicateRow, repeated, repeated.c.call_id, ids if there.duplicates else [])
    acted_on = list(owners) if there.actions or there.revisions else []
    actions = _rows(connection, ActionRow, done, done.c.record_id, acted_on)
    return {
        call_id: History(
            call_id,
            each.normalized_at,
            each.content_hash,
            each.call,
            batches[call_id],
            each.disposition,
            charges[call_id],
            each.uncharged,
            each.recording,
            failures[call_id],
            duplicates[call_id],
            [action for record_id in records[call_id] for action in actions[record_id]],
            replaced[call_id],
        )
        for call_id, each in found.items()
    }


class _Call(NamedTuple):
    """A call with what there is at most one of."""

    normalized_at: datetime
    content_hash: bytes
    call: CallRow
    disposition: DispositionRow | None
    uncharged: UnchargedRow | None
    recording: RecordingOfCall | None


def _calls(connection: Connection, call_ids: Sequence[int]) -> dict[int, _Call]:
    """One statement, for what it costs to ask is most of what a few calls cost."""
    calls, dispositions, uncharged = tables.calls, tables.dispositions, tables.uncharged
    recordings = tables.recordings
    columns: list[list[ColumnElement[Any]]] = [
        [calls.c.id, calls.c.normalized_at, calls.c.content_hash],
        [calls.c[name] for name in CallRow._fields],
        [dispositions.c.call_id, *(dispositions.c[name] for name in DispositionRow._fields)],
        [uncharged.c.call_id, *(uncharged.c[name] for name in UnchargedRow._fields)],
        [recordings.c.call_id, *(recordings.c[each.name] for each in fields(RecordingOfCall))],
    ]
    joined = calls
    for table in (dispositions, uncharged, recordings):
        # Their ids once more: by these the server sees which ranges they are in, before it plans for all of them.
        of_it = (table.c.call_id == calls.c.id) & among(table.c.call_id, list(call_ids))
        if table is uncharged:
            of_it &= uncharged.c.side == Side.CLIENT.value
        joined = joined.outerjoin(table, of_it)  # type: ignore[assignment]
    query = select(*(column for some in columns for column in some)).select_from(joined)
    found = {}
    for row in connection.execute(query.where(among(calls.c.id, list(call_ids))).order_by(calls.c.id)):
        rest = iter(tuple(row))
        key, call, *parts = [[next(rest) for _ in some] for some in columns]
        disposition, free, recording = (part[1:] if part[0] is not None else None for part in parts)
        found[key[0]] = _Call(
            normalized_at=key[1],
            content_hash=bytes(key[2]),
            call=CallRow(*call),
            disposition=None if disposition is None else DispositionRow(*disposition),
            uncharged=None if free is None else UnchargedRow(*free),
            recording=None if recording is None else RecordingOfCall(*recording),
        )
    return found


class _There(NamedTuple):
    """Whether some calls have any of what few have."""

    revisions: bool
    failures: bool
    duplicates: bool
    actions: bool
    """Of the records they came in; those accepted later may have more."""


def _there(connection: Connection, call_ids: Sequence[int], calls: Mapping[int, CallRow]) -> _There:
    named = [(call.call_ref, call.source) for call in calls.values()]
    values = {"ids": list(call_ids), "refs": [ref for ref, _ in named], "sources": [source for _, source in named]}
    return _There(*connection.execute(_THERE, values).one())


# SQL: asked for each delivery of a few calls, and composing the same each time cost as much as to answer it.
_THERE: Final = text(
    "SELECT EXISTS (SELECT FROM revisions WHERE call_id = ANY(:ids)), "
    "EXISTS (SELECT FROM failures WHERE record_id = ANY(:ids)) OR EXISTS (SELECT FROM failures "
    "  JOIN unnest(cast(:refs AS text[]), cast(:sources AS text[])) AS named (call_ref, source) "
    "  ON failures.call_ref = named.call_ref AND failures.source = named.source), "
    "EXISTS (SELECT FROM duplicates WHERE call_id = ANY(:ids)), "
    "EXISTS (SELECT FROM actions WHERE record_id = ANY(:ids))"
)


def _replaced(connection: Connection, call_ids: Sequence[int]) -> dict[int, list[Version]]:
    of = tables.revisions.c
    rows = connection.execute(
        select(of.call_id, of.replaced, of.record_id, of.accepted_by, of.accepted_at)
        .where(among(of.call_id, call_ids))
        .order_by(of.accepted_at, of.record_id)
    )
    found: dict[int, list[Version]] = defaultdict(list)
    for call_id, *version in rows:
        found[call_id].append(_version(*version))
    return found


def _version(replaced: dict[str, Any], record_id: int, accepted_by: str, accepted_at: datetime) -> Version:
    # The row as JSON, of whatever version of the tables made it: a column it did not have yet is None.
    call = CallRow(**{name: replaced.get(name) for name in CallRow._fields})  # type: ignore[arg-type]
    call = call._replace(dialed_at=_instant(replaced["dialed_at"]))
    return Version(call, _instant(replaced["normalized_at"]), record_id, accepted_by, accepted_at)


def _instant(said: str) -> datetime:
    return datetime.fromisoformat(said).astimezone(UTC)


def _batches(connection: Connection, owners: Mapping[int, int]) -> dict[int, list[BatchRow]]:
    of = tables.batches.c
    wanted = sorted({batch_of(record_id) for record_id in owners})
    found = {each[0]: each[1][0] for each in _rows(connection, BatchRow, tables.batches, of.id, wanted).items()}
    batches: dict[int, dict[int, BatchRow]] = defaultdict(dict)
    for record_id, call_id in sorted(owners.items()):
        if (batch := found.get(batch_of(record_id))) is not None:
            batches[call_id][batch.id] = batch
    return defaultdict(list, {call_id: list(each.values()) for call_id, each in batches.items()})


def _failures(
    connection: Connection, owners: Mapping[int, int], calls: Mapping[int, CallRow]
) -> dict[int, list[FailureRow]]:
    # A record that is in conflict with a call never became one: it is known by what it calls itself.
    of = tables.failures.c
    named = {(call.call_ref, call.source): call_id for call_id, call in calls.items()}
    rows = connection.execute(
        select(of.call_ref, of.source, *(of[name] for name in FailureRow._fields))
        .where(among(of.record_id, list(owners)) | tuple_(of.call_ref, of.source).in_(list(named)))
        .order_by(of.id)
    )
    found: dict[int, list[FailureRow]] = defaultdict(list)
    for call_ref, source, *row in rows:
        failure = FailureRow(*row)
        owner = owners.get(failure.record_id)
        found[named[call_ref, source] if owner is None else owner].append(failure)
    return found


def providers_side_of(connection: Connection, call_id: int) -> ProvidersSide:
    """The provider's side of one call.

    Args:
        connection: the database.
        call_id: the call's id.
    """
    of = tables.uncharged.c
    found = select(of.reason, of.decided_at).where(of.call_id == call_id, of.side == Side.PROVIDER.value)
    reason = connection.execute(found).one_or_none()
    lines = _lines(connection, [call_id], Side.PROVIDER)[call_id]
    return ProvidersSide(lines, None if reason is None else UnchargedRow(*reason))


def _lines(connection: Connection, call_ids: Sequence[int], side: Side) -> dict[int, list[LineRow]]:
    ledger, versions, tariffs = tables.ledger, tables.tariff_versions, tables.tariffs
    of_the_line = [ledger.c[name] for name in LineRow._fields[:-2]]
    query = (
        select(ledger.c.call_id, *of_the_line, tariffs.c.name, versions.c.version)
        .select_from(
            ledger.outerjoin(versions, versions.c.id == ledger.c.tariff_version_id).outerjoin(
                tariffs, tariffs.c.id == versions.c.tariff_id
            )
        )
        .where(among(ledger.c.call_id, call_ids), ledger.c.side == side.value)
        .order_by(ledger.c.call_id, ledger.c.revision, ledger.c.kind)
    )
    found: dict[int, list[LineRow]] = defaultdict(list)
    for call_id, *line in connection.execute(query):
        found[call_id].append(LineRow._make(line))
    return found


Row = TypeVar("Row", bound=tuple[object, ...])


def _rows(
    connection: Connection, row: type[Row], table: Table, key: ColumnElement[int], values: Sequence[int]
) -> dict[int, list[Row]]:
    """The rows whose key is one of these, by it; an empty list where there is none."""
    names: tuple[str, ...] = row._fields  # type: ignore[attr-defined]  # a NamedTuple's
    query: Select[tuple[Any, ...]] = select(key.label("key"), *(table.c[name] for name in names))
    found: dict[int, list[Row]] = defaultdict(list)
    if not values:
        return found
    for value, *rest in connection.execute(query.where(among(key, values)).order_by(*table.primary_key.columns)):
        found[value].append(row(*rest))
    return found
