"""The rates of a tariff's versions: written whole with their version, read a piece at a time."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from pipeline.billing.rules.rating import Rate
from pipeline.database.engine import copy_rows, driver_connection
from pipeline.database.tables import rates as rates_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import time

    from sqlalchemy import Connection

_FETCHED_AT_ONCE = 10_000

_COLUMNS = (
    "tariff_version_id",
    "line",
    "prefix",
    "description",
    "rate_per_minute",
    "connect_fee",
    "first_increment",
    "next_increment",
    "minimum_charge",
    "maximum_charge",
    "minimum_seconds",
    "free_below_seconds",
    "attempt_fee",
    "valid_from",
    "valid_to",
    "time_from",
    "time_to",
    "weekdays",
    "network",
)


def _row(version_id: int, rate: Rate) -> tuple[object, ...]:
    time_from, time_to = rate.time_of_day or (None, None)
    return (
        version_id,
        rate.id,
        rate.prefix,
        rate.description,
        rate.rate_per_minute,
        rate.connect_fee,
        rate.first_increment,
        rate.next_increment,
        rate.minimum_charge,
        rate.maximum_charge,
        rate.minimum_seconds,
        rate.free_below_seconds,
        rate.attempt_fee,
        rate.valid_from,
        rate.valid_to,
        time_from,
        time_to,
        None if rate.weekdays is None else sorted(rate.weekdays),
        rate.network or None,
    )


def insert_rates(connection: Connection, version_id: int, rates: Iterable[Rate]) -> None:
    """Write the rates of a version that the transaction has just made; the `id` of each is its line."""
    copy_rows(connection, rates_table, _COLUMNS, (_row(version_id, rate) for rate in rates))


def rates_of(connection: Connection, version_id: int, *, prefixes: Sequence[str] | None = None) -> Iterator[Rate]:
    """The rates of a version in the order of its file, fetched a piece at a time.

    Args:
        connection: the caller's transaction.
        version_id: the version.
        prefixes: only the rates of these prefixes.
    """
    wanted = "" if prefixes is None else "AND prefix = ANY(%(prefixes)s) "
    # SQL: a cursor of the server, so that a tariff of a million rates is never all in memory. Amounts as text, exact to
    # the last zero. A few distinct ones make up a tariff, and its rates share them, as they do places and dates: that
    # is half of the memory.
    query = (
        "SELECT line, prefix, description, rate_per_minute::text, connect_fee::text, first_increment, "
        "  next_increment, minimum_charge::text, maximum_charge::text, minimum_seconds, free_below_seconds, "
        "  attempt_fee::text, valid_from, valid_to, time_from, time_to, weekdays, network "
        f"FROM rates WHERE tariff_version_id = %(version)s {wanted}ORDER BY line"
    )
    with driver_connection(connection).cursor("rates_of_version") as cursor:
        cursor.itersize = _FETCHED_AT_ONCE
        cursor.execute(cast("Any", query), {"version": version_id, "prefixes": list(prefixes or ())})
        amounts = _Amounts()
        shared: dict[object, Any] = {}
        for row in cursor:
            yield _rate(row, amounts, shared)


class _Amounts(dict[str, Decimal]):
    """One `Decimal` for each amount as text."""

    def __missing__(self, digits: str) -> Decimal:
        amount = self[digits] = Decimal(digits)
        return amount


def _rate(row: tuple[Any, ...], amounts: _Amounts, shared: dict[object, Any]) -> Rate:
    (line, prefix, description, per_minute, fee, first, next_, least, most, least_seconds, free_below,
     attempt, valid_from, valid_to, time_from, time_to, weekdays, network) = row  # fmt: skip
    return Rate(
        prefix=prefix,
        rate_per_minute=amounts[per_minute],
        connect_fee=amounts[fee],
        first_increment=first,
        next_increment=next_,
        description=shared.setdefault(description, description),
        minimum_charge=None if least is None else amounts[least],
        maximum_charge=None if most is None else amounts[most],
        minimum_seconds=least_seconds,
        free_below_seconds=free_below,
        attempt_fee=amounts[attempt],
        valid_from=shared.setdefault(valid_from, valid_from),
        valid_to=shared.setdefault(valid_to, valid_to),
        time_of_day=None if time_from is None else _window(time_from, time_to),
        weekdays=None if weekdays is None else _days(tuple(weekdays)),
        id=line,
        network="" if network is None else shared.setdefault(network, network),
    )


@lru_cache(maxsize=1_024)
def _window(time_from: time, time_to: time) -> tuple[time, time]:
    return time_from, time_to


@lru_cache(maxsize=128)
def _days(days: tuple[int, ...]) -> frozenset[int]:
    return frozenset(days)
