"""One failure as a person reads it, and the sentences that say why nothing was done about some."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from pipeline.cli.output import as_lines, as_text, console, print_heading
from pipeline.cli.tables import Table, counted
from pipeline.failures.rules.differing import differing_fields
from pipeline.failures.rules.readable import readable, readable_request
from pipeline.feed.refusals import PAST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.failures.listing import Action, FailureDetail
    from pipeline.failures.preview import Preview
    from pipeline.failures.stakes import Total
    from pipeline.feed.refusals import Delivery
    from pipeline.instants import Clock

CHARACTERS_SHOWN: Final = 20_000
_APART: Final = ("raw", "edited", "stored", "delivery", "traceback", "actions")
"""Of a failure, what is more than a line."""


def show_failure(failure: FailureDetail, times: Clock) -> None:
    """Everything known of a failure; a record that is JSON can be copied from it as it stands."""
    for name, value in failure.as_json().items():
        if value is not None and name not in _APART:
            _show_fact(name, times.show(value) if isinstance(value, datetime) else value)
    if failure.delivery is not None:
        _show_delivery(failure.delivery)
    discards = [action for action in failure.actions if action.action == "discard"]
    if failure.state == "discarded" and discards:
        _show_fact("discarded", _by(discards[-1]))
    for action in failure.actions:
        console.print(as_text(f"{times.show(action.at)}  {action.action} {_by(action)}"))
    if failure.delivery is not None and failure.delivery.request is not None:
        print_heading("Request")
        console.print(as_lines(readable_request(failure.delivery.request)), soft_wrap=True)
    if failure.traceback:
        print_heading("Traceback")
        console.print(as_lines(failure.traceback), soft_wrap=True)
    _show_record("Raw record as received", failure.raw)
    _show_record("Raw record as edited", failure.edited)
    _show_record("Raw record of the stored call", failure.stored)


def _show_delivery(delivery: Delivery) -> None:
    _show_fact("event", f"{delivery.kind} {delivery.event_id}")
    _show_fact("place", f"position {delivery.position}, place {delivery.place} of the feed")
    _show_fact("order", delivery.ordering)
    if delivery.answer:
        _show_fact("answer", delivery.answer)
    if not delivery.is_kept:
        _show_fact("kept", f"no: it is {PAST}")


def _show_fact(name: str, value: object) -> None:
    console.print(as_text(f"{name:16} {value}"))


def _by(action: Action) -> str:
    because = (action.detail or {}).get("reason")
    return f"by {action.who}: {because}" if because else f"by {action.who}"


def _show_record(title: str, record: bytes | None) -> None:
    if record is None:
        return
    print_heading(title)
    shown = readable(record)
    # Lines are left whole: broken at the terminal's edge they would be no JSON any more.
    console.print(as_lines(shown[:CHARACTERS_SHOWN]), soft_wrap=True)
    if len(shown) > CHARACTERS_SHOWN:
        console.print(f"… cut after {CHARACTERS_SHOWN:,} of {len(shown):,} characters; --json has all of it.")


_STATES: Final = {
    "open": "is open already",
    "retrying": "is being tried again already",
    "resolved": "is resolved already",
    "discarded": "is discarded",
}


def passed_over(failure_ids: Sequence[int], states: Mapping[int, str], wanted: str = "open") -> Iterator[str]:
    """Why nothing was done about failures.

    Args:
        failure_ids: those.
        states: of each that there is, its state.
        wanted: the state of those that something is done about.
    """
    for failure_id in failure_ids:
        state = states.get(failure_id)
        if state is None:
            yield f"there is no failure {failure_id}"
        elif state == wanted:
            yield f"failure {failure_id} is {state}, and left out by a filter"
        else:
            yield f"failure {failure_id} {_STATES[state]}"


def none_left(counts: Mapping[str, int], wanted: str = "open") -> str:
    """Why filters left nothing to do.

    >>> none_left({"resolved": 9, "retrying": 3}), none_left({})
    ('none that matches is open: 9 resolved, 3 retrying', 'no failure matches')

    Args:
        counts: how many match in each state.
        wanted: the state of those that something is done about.
    """
    if not counts:
        return "no failure matches"
    return f"none that matches is {wanted}: {', '.join(f'{count:,} {state}' for state, count in counts.items())}"


def show_preview(preview: Preview, total: int, change: str) -> None:
    """What a change would make of the records it was tried on."""
    first = "the first " if total > preview.looked_at else ""
    console.print(
        f"{counted(total, 'failure')} match. To {change} would make good records of {preview.mended:,} of "
        f"{first}{preview.looked_at:,}; the others stay as they are.",
        highlight=False,
    )
    for why, count in preview.why_not:
        console.print(as_text(f"  {count:,}: {why}"))
    table = Table("failure", "field", "now", "then")
    for tried in preview.shown:
        for field, now, then in differing_fields(tried.before, tried.after):
            table.add_row(str(tried.failure_id), field, now, then)
    if table.rows:
        console.print(table)


def show_total(total: Total, failures: int, *, most: int) -> None:
    """What accepting many conflicts comes to in money."""
    first = f" Of the first {most:,}:" if failures > most else ""
    console.print(f"{counted(failures, 'conflict')} of {counted(total.calls, 'call')}.{first}", highlight=False)
    table = Table("currency", "charged now", "charged then", "difference")
    for currency in sorted({*total.before, *total.after}):
        before, after = total.before.get(currency, Decimal(0)), total.after.get(currency, Decimal(0))
        table.add_row(currency, before, after, after - before)
    if table.rows:
        console.print(table)
    if total.unknown:
        of = counted(total.unknown, "call")
        console.print(f"Of {of} the new charge is not known: there is no rate, or no worker has read it.")
