"""``pipeline report itemised``: every line of a month's ledger, as CSV."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from pipeline.billing.billed_calls import Selection
from pipeline.billing.itemised import Item, itemised
from pipeline.billing.rules.months import month_in
from pipeline.billing.rules.sides import Side
from pipeline.cli.calls_archived import say_missing
from pipeline.cli.common import Campaign, SideOption, Source, database
from pipeline.cli.output import errors, print_csv
from pipeline.errors import DataError
from pipeline.logs.rules.visible import visible
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.lookup.rules.plain import plain
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def itemised_charges(
    month: Annotated[str, typer.Option(help="The month the calls were dialled in, such as 2026-11.")],
    source: Source = None,
    campaign: Campaign = None,
    side: SideOption = Side.CLIENT,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts: an object a line.")] = False,
) -> None:
    """Write every charge and reversal of a side of a month's calls as CSV; they add up to `report charges`.

    Month and times are those of PIPELINE_TIMEZONE. How many lines there were and what they come to is said on standard
    error at the end: without that the file is not whole.
    """
    timezone = current_settings().pipeline_timezone
    try:
        days = month_in(month, timezone)
    except DataError as error:
        raise typer.BadParameter(error.reason, param_hint="'--month'") from None
    passed = _Passed()
    with database() as engine, engine.connect() as connection:
        say_missing(connection, days.since, days.until, source)
        items = _summed(itemised(connection, Selection(days.since, days.until, campaign, source), side), passed)
        if as_json:
            for item in items:
                print(visible(json.dumps(item._asdict(), default=plain, ensure_ascii=False)))  # noqa: T201 - for scripts
        else:
            print_csv(_csv(items, ZoneInfo(timezone)))
    amounts = "".join(f", {amount:,f} {currency}" for currency, amount in sorted(passed.amounts.items()))
    errors.print(f"{passed.lines:,} line{'' if passed.lines == 1 else 's'}{amounts}", highlight=False)


@dataclass(slots=True)
class _Passed:
    """What was written so far."""

    lines: int = 0
    amounts: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


def _summed(items: Iterable[Item], passed: _Passed) -> Iterator[Item]:
    for item in items:
        passed.lines += 1
        passed.amounts[item.currency] += item.amount
        yield item


def _csv(items: Iterable[Item], zone: ZoneInfo) -> Iterator[str]:
    rows = ([_cell(value, zone) for value in item] for item in items)
    yield from csv_lines([Item._fields])
    yield from csv_lines(rows)


def _cell(value: str | int | Decimal | datetime | None, zone: ZoneInfo) -> str | int | Decimal | None:
    return value.astimezone(zone).isoformat(timespec="seconds") if isinstance(value, datetime) else value
