"""A batch's calls that can have a recording get a row each that says when to ask for it.

All times are the database's, as those of every row of ``recordings``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.calls.rules.cdr import NAMELESS
from pipeline.calls.rules.erased import ERASED
from pipeline.database.engine import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.calls.columns import NewCall
    from pipeline.calls.in_hand import Classified, InHand

NO_CALL_REF = "The dialler sent no call_ref with this call, so there is nothing to ask for its recording by."
OF_ERASED = "The number was erased: nothing of it is fetched or kept."


def schedule(connection: Connection, span: Span, *, delay_seconds: float, in_hand: InHand | None = None) -> int:
    """Enter a row for each call that can have a recording; returns how many are new.

    A call that came without a call_ref ends here: nothing can be asked. So does one of a number that was erased.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records whose calls are classified.
        delay_seconds: before the first try.
        in_hand: the calls, where this transaction stored and classified them.
    """
    heard = None if in_hand is None or in_hand.classified is None else list(_heard(in_hand.classified))
    if heard is not None and not any(map(_ends_here, heard)):
        return _schedule_heard(connection, span.source, heard, delay_seconds)
    words = {"no_call_ref": NO_CALL_REF, "nameless": NAMELESS, "erased": ERASED, "of_erased": OF_ERASED}
    values = {**span.bounds, "delay": delay_seconds, **words}
    return execute(connection, _SCHEDULE, values).rowcount


def _heard(classified: Iterable[Classified]) -> Iterator[NewCall]:
    return (each.call for each in classified if each.result.can_have_audio)


def _ends_here(call: NewCall) -> bool:
    number = call.cdr.client_number
    return call.cdr.call_ref.startswith(NAMELESS) or (number is not None and number.value.startswith(ERASED))


def _schedule_heard(connection: Connection, source: str, calls: Sequence[NewCall], delay_seconds: float) -> int:
    """Of calls that the transaction in hand has stored, so that none has a row."""
    if not calls:
        return 0
    values = {
        "ids": [call.record_id for call in calls],
        "refs": [call.cdr.call_ref for call in calls],
        "dialed": [call.cdr.dialed_at for call in calls],
        "source": source,
        "delay": delay_seconds,
    }
    return execute(connection, _SCHEDULE_HEARD, values).rowcount


_SCHEDULE_HEARD: Final = """
INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, due_at, counts_from)
SELECT id, %(source)s, call_ref, dialed_at, 'scheduled', due.at, due.at
FROM unnest(%(ids)b::bigint[], %(refs)b::text[], %(dialed)b::timestamptz[]) AS heard (id, call_ref, dialed_at),
     (SELECT now() + make_interval(secs => %(delay)s::float8)) AS due (at)
"""


_SCHEDULE: Final = """
INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, reason, due_at, counts_from, ended_at, deleted_at,
                        deleted_reason)
SELECT calls.id, calls.source, calls.call_ref, calls.dialed_at,
       CASE WHEN nameless OR erased THEN 'absent' ELSE 'scheduled' END,
       CASE WHEN erased THEN %(of_erased)s::text WHEN nameless THEN %(no_call_ref)s::text END,
       CASE WHEN NOT (nameless OR erased) THEN now() + make_interval(secs => %(delay)s::float8) END,
       CASE WHEN NOT (nameless OR erased) THEN now() + make_interval(secs => %(delay)s::float8) END,
       CASE WHEN nameless OR erased THEN now() END,
       CASE WHEN erased THEN now() END,
       CASE WHEN erased THEN %(of_erased)s::text END
FROM calls JOIN dispositions ON dispositions.call_id = calls.id,
     LATERAL (SELECT starts_with(calls.call_ref, %(nameless)s::text) AS nameless,
                     coalesce(starts_with(calls.client_number, %(erased)s::text), false) AS erased) AS named
WHERE calls.id BETWEEN %(first)s AND %(last)s AND dispositions.call_id BETWEEN %(first)s AND %(last)s
  AND dispositions.can_have_audio
  AND NOT EXISTS (SELECT FROM recordings AS known WHERE known.call_id = calls.id
                  AND known.call_id BETWEEN %(first)s AND %(last)s)
ON CONFLICT (call_id) DO NOTHING
"""
"""A batch's rows in one statement, by the range of their key in each table; of a step, hence past SQLAlchemy."""
