"""What is asked of calls, as conditions: of the call itself, and of what stands beside it in other tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, and_, func, not_, select, true, union

from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.sides import Side
from pipeline.database.narrowing import among, narrow, word
from pipeline.database.tables import batches, calls, dispositions, failures, ledger, recordings, uncharged
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select

    from pipeline.database.narrowing import Conditions
    from pipeline.lookup.rules.call_filter import CallFilter

_BACKWARDS: Final = func.reverse(calls.c.client_number, type_=Text)
_END_OF_NUMBER: Final = func.left(_BACKWARDS, 7, type_=Text).collate("C")
"""As the index has it: its last seven digits, backwards."""
_KEPT: Final = 7


def _by_bytes(column: ColumnElement[str | None]) -> ColumnElement[Any]:
    """A text as its index has it: equal is equal by any collation."""
    return column.collate("C")


def _is_number(forms: Sequence[str]) -> ColumnElement[bool]:
    ends = sorted({form[::-1][:_KEPT] for form in forms})
    return and_(among(_END_OF_NUMBER, ends), among(calls.c.client_number, forms))


def _ends_with(digits: str) -> ColumnElement[bool]:
    begins = digits[::-1]
    end = begins[:_KEPT]
    behind = end[:-1] + chr(ord(end[-1]) + 1)
    return and_(end <= _END_OF_NUMBER, behind > _END_OF_NUMBER, _BACKWARDS.startswith(begins))


OF_THE_CALL: Conditions = {
    "call_ref": lambda value: calls.c.call_ref == value,
    "contact_ref": lambda value: calls.c.contact_ref == value,
    "numbers": _is_number,
    "number_ends": _ends_with,
    "agent": lambda value: _by_bytes(calls.c.extension) == value,
    "campaign": lambda value: _by_bytes(calls.c.campaign_ref) == value,
    "direction": lambda value: calls.c.direction == (word(value) if value == "inbound" else value),
    "source": lambda value: calls.c.source == value,
}
"""The fields of a filter that an index of calls has."""
SPAN: Final = ("since", "until")
NAMED: Final = frozenset({*OF_THE_CALL, *SPAN, "dial_numbers"})
"""The fields of a filter that are about the call itself."""
LOOKED_AT: Final = ("id", "dialed_at", "source", "campaign_ref", "extension", "dial_number", "direction")
"""What of a call is looked at where an index was walked for something else."""


def besides_of(asked: Mapping[str, Any], of: Any) -> Iterator[ColumnElement[bool]]:
    """What else is asked for of the call itself.

    Args:
        asked: the fields by name.
        of: the columns of what was walked, those of ``LOOKED_AT``.
    """
    conditions: Conditions = {
        "campaign": lambda value: of.campaign_ref == value,
        "campaigns": lambda values: among(of.campaign_ref, values),
        "source": lambda value: of.source == value,
        "sources": lambda values: among(of.source, values),
        "agent": lambda value: of.extension == value,
        "dial_numbers": lambda values: among(of.dial_number, values),
        "direction": lambda value: of.direction == value,
    }
    return narrow(asked, conditions)


def beside(wanted: CallFilter, call_id: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
    """What is asked for that stands in other tables, by the call's key there."""
    conditions: Conditions = {
        "disposition": lambda value: _is_disposition(call_id, value),
        "recording": lambda value: _recording_is(call_id, value),
        "charged": lambda value: {
            "yes": _is_charged,
            "no": _is_uncharged,
            "not_yet": _is_not_yet_charged,
        }[value](call_id),
        "why_not": lambda value: _is_uncharged(call_id, uncharged.c.reason == value),
    }
    return narrow({name: getattr(wanted, name) for name in conditions}, conditions)


def _is_there(row: Select[Any]) -> ColumnElement[bool]:
    """Whether there is a row, looked up by its key for each call.

    Not as EXISTS, of which the planner makes a join: with many ranges it would rather read them all than look up some
    thousand keys in each, for it does not know that a key is in one of them alone.
    """
    return row.with_only_columns(true()).limit(1).scalar_subquery().is_(true())


def _is_not_yet_charged(call_id: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(not_(_is_charged(call_id)), not_(_is_uncharged(call_id)))


def _is_charged(call_id: ColumnElement[int]) -> ColumnElement[bool]:
    taken_back = ledger.alias("taken_back")
    reversal = select(taken_back.c.call_id).where(
        taken_back.c.call_id == ledger.c.call_id,
        taken_back.c.side == ledger.c.side,
        taken_back.c.kind == LineKind.REVERSAL.value,
        taken_back.c.revision == ledger.c.revision,
    )
    charge = select(ledger.c.call_id).where(
        ledger.c.call_id == call_id,
        ledger.c.side == Side.CLIENT.value,
        ledger.c.kind == LineKind.CHARGE.value,
        not_(reversal.exists()),
    )
    return _is_there(charge)


def _is_uncharged(call_id: ColumnElement[int], *more: ColumnElement[bool]) -> ColumnElement[bool]:
    of = uncharged.c
    return _is_there(select(of.call_id).where(of.call_id == call_id, of.side == Side.CLIENT.value, *more))


def _is_disposition(call_id: ColumnElement[int], value: str) -> ColumnElement[bool]:
    of = dispositions.c
    return _is_there(select(of.call_id).where(of.call_id == call_id, of.disposition == value))


def _recording_is(call_id: ColumnElement[int], state: str) -> ColumnElement[bool]:
    of = recordings.c
    there = select(of.call_id).where(of.call_id == call_id)
    if state == "none":
        return not_(_is_there(there))
    if state == "deleted":
        return _is_there(there.where(of.deleted_at.is_not(None)))
    return _is_there(there.where(of.state == state, of.deleted_at.is_(None)))


# Of calls that are neither charged nor found to cost nothing: their batch is on its way, or a record of it waits.
ON_ITS_WAY: Final = union(
    select(calls.c.id)
    .join_from(batches, calls, calls.c.id.between(batches.c.id * PLACES, batches.c.id * PLACES + PLACES - 1))
    .where(batches.c.finished_at.is_(None)),
    select(failures.c.record_id).where(failures.c.state != "resolved"),
)
