"""The rows of contacts: locked in the order of their keys, then made anew from all calls that name them.

SQL: a few statements a batch, whatever it holds. What they count is `contacts/rules/outcome.py`, in the words of the
database. Rows are never deleted but where a number is erased: where there is none, no call of that contact has come to
this step before, or none is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.batches.progress import OWING
from pipeline.contacts.rules.outcome import MOST_CALLS, RANKING, Outcome
from pipeline.database.engine import execute
from pipeline.database.feed_log import contacts_told
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span


class Change(NamedTuple):
    """A contact that came to something else."""

    cause: int | None
    """The id of the call that did it; None: it has none any more."""
    replaced_by: int | None
    """Of the record that was accepted in the place of a version of the call that named this contact; None: it does."""


class Difference(NamedTuple):
    """A contact whose row does not say what its calls come to."""

    source: str
    campaign_ref: str
    contact_ref: str
    had_attempts: int
    attempts: int
    had_outcome: str | None
    outcome: str | None
    waits: bool
    """Whether that is in order: a call of it is in a batch that this step has still to come to."""


class Looked(NamedTuple):
    """What a span holds, and which of its contacts were new."""

    named: int
    """Calls that name a contact and are of it."""
    without: int
    """Outbound calls that name none."""
    too_long: int
    """Outbound calls whose reference is too long for one."""
    inbound: int
    thorough: bool
    """Whether nothing was made, because rows have to be looked at one by one."""
    contacts: int
    """How many contacts these calls name; 0 where nothing was made."""
    made: list[int]
    """The calls by which new contacts were made."""


_RANKED: Final[LiteralString] = ", ".join(f"'{each.value}'" for each in RANKING)
_BEST_FIRST: Final[LiteralString] = (
    f"array_position(ARRAY[{_RANKED}], c.disposition), c.dialed_at DESC, c.call_ref DESC"
)


def _numbered(calls: LiteralString, partition: LiteralString = "") -> LiteralString:
    """Some calls with their places among those of a contact: an ordered aggregate would sort them for each column."""
    return f"SELECT c.*, row_number() OVER ({partition} ORDER BY {_BEST_FIRST}) AS nth FROM ({calls}) AS c"


def _best(column: LiteralString) -> LiteralString:
    return f"max(c.{column}) FILTER (WHERE c.nth = 1)"


_SAYS: Final[dict[str, LiteralString]] = {
    "outcome": _best("disposition"),
    "final": "bool_or(c.contact_done)",
    "first_at": "min(c.dialed_at)",
    "last_at": "max(c.dialed_at)",
    "reached_at": "min(c.dialed_at) FILTER (WHERE c.person_reached)",
    "agent": _best("extension"),
    "talk_seconds": "sum(c.talk_seconds)",
    "best_call_id": _best("id"),
}
_COMES_TO: Final[LiteralString] = ", ".join(
    (
        f"least(count(*), {MOST_CALLS + 1})::integer AS attempts",
        *(f"CASE WHEN count(*) <= {MOST_CALLS} THEN {what} END AS {name}" for name, what in _SAYS.items()),
    )
)
COLUMNS: Final[LiteralString] = ", ".join(Outcome._fields)
_KEY: Final[LiteralString] = "contact_ref, campaign_ref, source"

_OF_A_CALL: Final[LiteralString] = (
    "c.id, c.call_ref, c.dialed_at, c.extension, c.talk_seconds, d.disposition, d.contact_done, d.person_reached"
)
_IN_BYTES: Final[LiteralString] = (
    'c.contact_ref COLLATE "C" AS contact_ref, c.campaign_ref COLLATE "C" AS campaign_ref, c.source'
)
_IN_SPAN: Final[LiteralString] = "BETWEEN %(first)s AND %(last)s"
_OWN: Final[LiteralString] = "c.direction = 'outbound' AND c.contact_ref IS NOT NULL"
# Worked out first, by the key: where the planner believes that hardly any call names a contact, it would ask for all
# that do, ever more of them.
_CALLS_IN_SPAN: Final[LiteralString] = (
    "SELECT id, call_ref, source, campaign_ref, contact_ref, extra ->> 'contact_ref' AS long_ref, direction, "
    f"  dialed_at, extension, talk_seconds FROM calls WHERE id {_IN_SPAN}"
)


def _classified(calls: LiteralString) -> LiteralString:
    # One after the other by its key: where the planner believes in a single call it may compare each with each.
    return (
        f"{calls} AS c CROSS JOIN LATERAL "
        f"(SELECT * FROM dispositions WHERE call_id = c.id AND call_id {_IN_SPAN} OFFSET 0) AS d WHERE {_OWN}"
    )


_CLASSIFIED_IN_SPAN: Final[LiteralString] = _classified(f"({_CALLS_IN_SPAN} OFFSET 0)")

_LOCKING: Final[LiteralString] = (
    # The row is locked and not written.
    f"ON CONFLICT ({_KEY}) DO UPDATE SET source = excluded.source WHERE false"
)

_NEWLY_NAMED: Final[LiteralString] = _numbered(
    f"SELECT {_IN_BYTES}, {_OF_A_CALL} FROM {_classified('span')} AND NOT (SELECT thorough FROM looked)",
    f"PARTITION BY {_KEY}",
)

# Where there is nothing left to count.
_ALL_MADE: Final[LiteralString] = (
    "CASE WHEN (SELECT count(*) FROM made) = (SELECT count(*) FROM named) "
    "THEN ARRAY(SELECT caused_by FROM made ORDER BY caused_by) ELSE '{}' END"
)

# A contact without a row is new: no call of it was here before, and calls of it that come at the same time find the row
# and count this one. That does not hold where a version before left batches without this step, nor for a contact that a
# call named until it was replaced; then nothing is made here. An index is asked, and never the planner's guess.
_LOOK_AND_MAKE: Final[LiteralString] = f"""
WITH span AS MATERIALIZED ({_CALLS_IN_SPAN}), looked AS MATERIALIZED (
  SELECT count(*) FILTER (WHERE {_OWN}) AS named,
         count(*) FILTER (WHERE contact_ref IS NULL AND direction = 'outbound' AND long_ref IS NULL) AS without,
         count(*) FILTER (WHERE contact_ref IS NULL AND direction = 'outbound' AND long_ref IS NOT NULL) AS too_long,
         count(*) FILTER (WHERE direction = 'inbound') AS inbound,
         (SELECT due_at FROM batches WHERE {OWING} ORDER BY due_at LIMIT 1) IS NOT NULL
         OR EXISTS (SELECT FROM revisions WHERE call_id {_IN_SPAN}) AS thorough
  FROM span AS c
), named AS MATERIALIZED (
  SELECT contact_ref, campaign_ref, source, {_COMES_TO}, max(c.id) AS caused_by
  FROM ({_NEWLY_NAMED}) AS c
  GROUP BY {_KEY}
), made AS (
  INSERT INTO contacts ({_KEY}, {COLUMNS}, caused_by) SELECT {_KEY}, {COLUMNS}, caused_by FROM named ORDER BY {_KEY}
  {_LOCKING} RETURNING caused_by
), told AS (
  {contacts_told(_ALL_MADE)}
)
SELECT looked.*, (SELECT count(*) FROM named), ARRAY(SELECT caused_by FROM made) FROM looked
"""

# In a batch that was opened again it is what was classified anew that makes a difference.
_NAMED_IN_SPAN: Final[LiteralString] = (
    f"SELECT {_IN_BYTES}, (array_agg(c.id ORDER BY d.classified_at DESC, c.id DESC))[1] AS cause, "
    f"  NULL::bigint AS replaced_by FROM {_CLASSIFIED_IN_SPAN} GROUP BY 1, 2, 3"
)
_LEFT_IN_SPAN: Final[LiteralString] = (
    "SELECT replaced ->> 'contact_ref', replaced ->> 'campaign_ref', replaced ->> 'source', call_id, record_id "
    f"FROM revisions WHERE call_id {_IN_SPAN} AND replaced ->> 'contact_ref' IS NOT NULL "
    "AND replaced ->> 'direction' = 'outbound'"
)
_TOUCHED: Final[LiteralString] = (
    f"SELECT {_KEY}, max(cause) AS cause, "
    "  CASE WHEN bool_and(replaced_by IS NOT NULL) THEN max(replaced_by) END AS replaced_by "
    f"FROM ({_NAMED_IN_SPAN} UNION ALL {_LEFT_IN_SPAN}) AS touched GROUP BY {_KEY}"
)

# By their bytes, as the index has them; the last call that names a contact stands for what changed it.
_IN_REFERENCES: Final[LiteralString] = (
    f"SELECT {_KEY}, max(cause) AS cause, NULL::bigint AS replaced_by FROM ("
    f"  SELECT {_IN_BYTES}, c.id AS cause FROM calls AS c JOIN dispositions AS d ON d.call_id = c.id "
    f"  WHERE {_OWN} AND c.contact_ref ~>~ %(after)s AND c.contact_ref ~<=~ %(upto)s "
    f"  UNION ALL SELECT {_KEY}, NULL FROM contacts "
    "  WHERE contact_ref > %(after)s AND contact_ref <= %(upto)s"
    f") AS named GROUP BY {_KEY}"
)


def _lock(keys: LiteralString) -> LiteralString:
    return f"INSERT INTO contacts ({_KEY}, attempts) SELECT {_KEY}, 0 FROM ({keys}) AS keys ORDER BY {_KEY} {_LOCKING}"


# Calls of a contact are where its first one was received, or later: received no earlier than two days before it was
# dialled, for a clock may be wrong. `OFFSET 0` has it worked out first, so that ranges of earlier months are not asked.
_EARLIEST: Final[LiteralString] = """
CROSS JOIN LATERAL (
  SELECT coalesce(max(r.first_record), 0) AS id FROM ranges AS r WHERE r.first_record <= key.cause AND r.began_at <= (
    SELECT first_at - interval '2 days' FROM contacts AS was
    WHERE was.contact_ref = key.contact_ref AND was.campaign_ref = key.campaign_ref AND was.source = key.source)
  OFFSET 0
) AS earliest
"""


def _counted(keys: LiteralString, *, from_first: bool = False) -> LiteralString:
    """Two parts of WITH, of which ``counted`` is what the contacts of some keys come to, by all calls there are.

    Args:
        keys: the statement that gives them.
        from_first: whether to ask only where their calls can be, by what their rows say; else everywhere.
    """
    # The planner knows no parameters and takes the keys for very many; of a list it expects few, and asks indexes.
    lists: LiteralString = ", ".join(
        f"(SELECT array_agg({name}) FROM keys)"
        for name in ("contact_ref", "campaign_ref", "source", "cause", "replaced_by")
    )
    calls: LiteralString = (
        f"SELECT {_OF_A_CALL} FROM calls AS c JOIN dispositions AS d ON d.call_id = c.id "
        'WHERE c.contact_ref = key.contact_ref COLLATE "default" '
        'AND c.campaign_ref = key.campaign_ref COLLATE "default" '
        f"AND c.source = key.source AND {_OWN}{' AND c.id >= earliest.id' if from_first else ''} "
        f"LIMIT {MOST_CALLS + 1}"
    )
    return (
        f"keys AS MATERIALIZED ({keys}), counted AS (SELECT key.*, come.* "
        f"FROM unnest({lists}) AS key ({_KEY}, cause, replaced_by) {_EARLIEST if from_first else ''}"
        f"CROSS JOIN LATERAL (SELECT {_COMES_TO} FROM ({_numbered(calls)}) AS c) AS come)"
    )


_OF_KEY: Final[LiteralString] = (
    "own.contact_ref = counted.contact_ref AND own.campaign_ref = counted.campaign_ref AND own.source = counted.source"
)


def _qualified(name: LiteralString) -> LiteralString:
    return ", ".join(f"{name}.{column}" for column in Outcome._fields)


_DIFFERS: Final[LiteralString] = f"({_qualified('own')}) IS DISTINCT FROM ({_qualified('counted')})"


def _recount(keys: LiteralString) -> LiteralString:
    return f"WITH {_counted(keys)} {_CORRECT}"


_CORRECT: Final[LiteralString] = (
    f"UPDATE contacts AS own SET {', '.join(f'{column} = counted.{column}' for column in Outcome._fields)}, "
    "  caused_by = coalesce(counted.cause, own.caused_by), changed_at = now() "
    f"FROM counted WHERE {_OF_KEY} AND {_DIFFERS} RETURNING counted.cause, counted.replaced_by"
)


_OWES: Final[LiteralString] = (
    "(batches.contacts_updated_at IS NULL OR batches.contacts_updated_at < batches.classified_at)"
)
# Of a contact whose call is in a batch that owes the step, or was until it was replaced, nothing is wrong: it waits.
_WAITS: Final[LiteralString] = f"""
EXISTS (SELECT FROM calls AS c JOIN batches ON batches.id = c.id >> 16
        WHERE c.contact_ref = counted.contact_ref COLLATE "default"
          AND c.campaign_ref = counted.campaign_ref COLLATE "default" AND c.source = counted.source
          AND {_OWES})
OR EXISTS (SELECT FROM revisions AS v JOIN batches ON batches.id = v.call_id >> 16
           WHERE v.replaced ->> 'contact_ref' = counted.contact_ref
             AND v.replaced ->> 'campaign_ref' = counted.campaign_ref AND v.replaced ->> 'source' = counted.source
             AND {_OWES})
"""
_COMPARE: Final[LiteralString] = f"""
WITH {_counted(_IN_REFERENCES)}
SELECT counted.source, counted.campaign_ref, counted.contact_ref,
       coalesce(own.attempts, 0), counted.attempts, own.outcome, counted.outcome,
       {_WAITS} AS waits
FROM counted LEFT JOIN contacts AS own ON {_OF_KEY}
WHERE {_DIFFERS} AND (own.attempts IS NOT NULL OR counted.attempts > 0)
"""
_LOCK_TOUCHED: Final = _lock(_TOUCHED)
_RECOUNT_TOUCHED: Final = _recount(_TOUCHED)
_OTHERS: Final[LiteralString] = f"SELECT * FROM ({_NAMED_IN_SPAN}) AS named WHERE cause <> ALL(%(made)s::bigint[])"
_MADE_OR_CHANGED: Final[LiteralString] = (
    "ARRAY(SELECT unnest(%(made)s::bigint[]) AS id UNION ALL SELECT cause FROM changed ORDER BY id)"
)
_RECOUNT_OTHERS: Final[LiteralString] = (
    f"WITH {_counted(_OTHERS, from_first=True)}, changed AS ({_CORRECT}) {contacts_told(_MADE_OR_CHANGED)}"
)
_LOCK_REFERENCES: Final = _lock(_IN_REFERENCES)
_RECOUNT_REFERENCES: Final = _recount(_IN_REFERENCES)


_GIVEN: Final[LiteralString] = (
    'SELECT contact_ref COLLATE "C" AS contact_ref, campaign_ref COLLATE "C" AS campaign_ref, '
    'source COLLATE "C" AS source, NULL::bigint AS cause, NULL::bigint AS replaced_by '
    f"FROM unnest(%(refs)s::text[], %(campaigns)s::text[], %(sources)s::text[]) AS given ({_KEY})"
)
_LOCK_KEYS: Final = _lock(_GIVEN)
_RECOUNT_KEYS: Final = _recount(_GIVEN)
_DROP_KEYS: Final[LiteralString] = (
    f"DELETE FROM contacts WHERE attempts = 0 AND ({_KEY}) IN (SELECT {_KEY} FROM ({_GIVEN}) AS given)"
)


def look_and_make(connection: Connection, span: Span) -> Looked:
    """Lock the contacts that a span's calls name, and make those that are new; of these it tells if they are all."""
    row = execute(connection, _LOOK_AND_MAKE, span.bounds | {"batch_id": batch_of(span.first)}).fetchone()
    assert row is not None
    return Looked(*row)


def recount_others(connection: Connection, span: Span, made: list[int]) -> None:
    """Count those contacts anew that a span's calls name and that were there before, and tell of these and the made.

    Args:
        connection: the transaction in which `look_and_make` locked them.
        span: the records.
        made: the calls by which new contacts were made.
    """
    execute(connection, _RECOUNT_OTHERS, {**span.bounds, "batch_id": batch_of(span.first), "made": made})


def recount_touched(connection: Connection, span: Span) -> list[Change]:
    """Lock and count anew all contacts that a span's calls name, or named until they were replaced."""
    execute(connection, _LOCK_TOUCHED, span.bounds)
    return [Change(*row) for row in execute(connection, _RECOUNT_TOUCHED, span.bounds)]


def recount_references(connection: Connection, after: str, upto: str) -> list[Change]:
    """Lock and count anew all contacts whose reference lies behind one and not behind another, by their bytes."""
    values = {"after": after, "upto": upto}
    execute(connection, _LOCK_REFERENCES, values)
    return [Change(*row) for row in execute(connection, _RECOUNT_REFERENCES, values)]


def recount_keys(connection: Connection, keys: Sequence[tuple[str, str, str]]) -> int:
    """Lock and count anew these contacts, and drop those whose last call is no longer of them; returns how many.

    Args:
        connection: the transaction in which calls were taken from them.
        keys: the reference, the campaign and the dialler of each.
    """
    values = dict(zip(("refs", "campaigns", "sources"), map(list, zip(*keys, strict=True)), strict=True))
    execute(connection, _LOCK_KEYS, values)
    execute(connection, _RECOUNT_KEYS, values)
    return execute(connection, _DROP_KEYS, values).rowcount


def differences(connection: Connection, after: str, upto: str) -> list[Difference]:
    """Contacts of some references whose rows do not say what their calls come to; locks nothing."""
    return [Difference(*row) for row in execute(connection, _COMPARE, {"after": after, "upto": upto})]


def reference_after(connection: Connection, after: str, *, calls: int) -> str | None:
    """The reference so many calls behind one, by the bytes of theirs; None where fewer follow."""
    row = execute(connection, _REFERENCE_AFTER, {"after": after, "calls": calls}).fetchone()
    return None if row is None else str(row[0])


_REFERENCE_AFTER: Final = (
    "SELECT contact_ref FROM calls WHERE contact_ref IS NOT NULL AND contact_ref ~>~ %(after)s "
    "ORDER BY contact_ref USING ~<~ OFFSET %(calls)s LIMIT 1"
)
