"""What a line of the ledger is said to be."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline.cli.explained import _line
from pipeline.lookup.rules.history import LineRow

AT = datetime(2026, 3, 1, tzinfo=UTC)


def line(*, talk, rated, billable):
    rates = {"prefix": "27", "rate_per_minute": Decimal("0.60"), "connect_fee": Decimal(0)}
    money = {"unrounded": Decimal("0.60"), "amount": Decimal("0.60"), "currency": "ZAR"}
    seconds = {"talk_seconds": talk, "rated_seconds": rated, "billable_seconds": billable}
    about = {"kind": "charge", "revision": 1, "reason": "rated", "rerate_id": None, "entered_at": AT}
    of = {"tariff_version_id": 1, "rate_line": 2, "tariff": "acme", "tariff_version": 1}
    return LineRow(**rates, **money, **seconds, **about, **of)


@pytest.mark.parametrize(
    ("talk", "rated", "billable", "said"),
    [
        (60, 60, 60, "at 0.60 a minute; prefix"),
        (55, 55, 60, "at 0.60 a minute, of 55 s talk; prefix"),
        (55, 60, 60, "at 0.60 a minute, of 60 s rated and 55 s talk; prefix"),
        (60, 90, 60, "at 0.60 a minute, of 90 s rated and 60 s talk; prefix"),
        (55, None, 60, "at 0.60 a minute, of 55 s talk; prefix"),
    ],
)
def test_seconds_are_those_that_were_rated(talk, rated, billable, said):
    assert said in _line(line(talk=talk, rated=rated, billable=billable))
