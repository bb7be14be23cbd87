"""What the tab finds in the database."""

from __future__ import annotations

import functools
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.accounts.reconcile_export import items_after
from pipeline.accounts.reconcile_files import NotReconcilableError, files_of, known_providers
from pipeline.accounts.reconcile_rows import runs
from pipeline.billing.margin import MarginBy, margin_lines
from pipeline.billing.rules.margin import totals
from pipeline.billing.rules.months import month_in
from pipeline.flower.accounts.asked import month_of
from pipeline.flower.figures import SharedAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from pipeline.accounts.reconcile_rows import Run
    from pipeline.flower.accounts.asked import Asked

PAGE: Final = 50
SUMS_ARE_GOOD_SECONDS: Final = 10.0


class Next(NamedTuple):
    """What is to be done before there is anything to compare."""

    sentence: str
    commands: tuple[str, ...]


class Looked(NamedTuple):
    """What the page shows."""

    asked: Asked
    """With a provider and a month, where none were said."""
    providers: list[str]
    run: Run | None
    """The newest of that provider and month."""
    next: Next | None
    items: list[Mapping[str, Any]]
    after: int | None
    """The place of the next page; None: there is none."""


def look(connection: Connection, asked: Asked, after: int, *, zone: str, numbers: bool) -> Looked:
    """The newest run of what is asked for, and a page of its disputes; where there is none, what to do next.

    Args:
        connection: the database.
        asked: which; left out, the provider and month of the newest run of all.
        after: the item that the page before ended with.
        zone: of the months.
        numbers: whether phone numbers are shown.
    """
    providers = known_providers(connection)
    run = find_run(connection, asked)
    if run is None:
        asked = _filled(asked, providers, zone)
        return Looked(asked, providers, None, _next(connection, asked, providers, zone), [], None)
    asked = asked._replace(provider=run.provider, month=month_of(run))
    found = items_after(connection, run.id, asked.classes, after, PAGE + 1, numbers=numbers)
    more = len(found) > PAGE
    return Looked(asked, providers, run, None, found[:PAGE], found[PAGE - 1]["item"] if more else None)


def find_run(connection: Connection, asked: Asked) -> Run | None:
    """The newest run of a provider and a month, each in the zone it was made in."""
    found = runs(connection, provider=asked.provider or None)
    return next((run for run in found if not asked.month or month_of(run) == asked.month), None)


def _filled(asked: Asked, providers: list[str], zone: str) -> Asked:
    last_month = datetime.now(tz=UTC).astimezone(ZoneInfo(zone)).replace(day=1) - timedelta(days=1)
    return asked._replace(
        provider=asked.provider or next(iter(providers), ""), month=asked.month or f"{last_month:%Y-%m}"
    )


def _next(connection: Connection, asked: Asked, providers: list[str], zone: str) -> Next:
    who, month = shlex.quote(asked.provider or "NAME"), asked.month
    if asked.provider not in providers:
        said = f"There is no provider {asked.provider}." if asked.provider else "No provider's tariff is loaded."
        load = f"pipeline tariff load FILE --side provider --provider {who} --tariff {who}"
        return Next(f"{said} What it charges is its tariff:", (load, f"pipeline tariff assign --side provider {who}"))
    days = month_in(month, zone)
    try:
        files_of(connection, asked.provider, days.since, days.until)
    except NotReconcilableError as error:
        files = f"pipeline provider files --provider {who}"
        load = f"pipeline provider load FILE --provider {who} --mapping MAPPING.toml --period {month}"
        return Next(f"Not compared yet: {str(error).partition('; load it with')[0]}.", (files, load))
    return Next(
        "Its files are loaded, and not compared yet:", (f"pipeline reconcile run --provider {who} --month {month}",)
    )


@functools.lru_cache(maxsize=24)
def sums_of(month: str) -> SharedAnswer:
    """The answer that all who look at a month share: it reads the ledger of it."""
    assert month
    return SharedAnswer(SUMS_ARE_GOOD_SECONDS)


def sums(connection: Connection, month: str, zone: str) -> dict[str, Any]:
    """What the month comes to on both sides, by currency."""
    return {"margin": totals(margin_lines(connection, month_in(month, zone), MarginBy.DAY))}
