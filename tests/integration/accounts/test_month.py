"""A whole month with every class of difference seeded: what a run makes of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from pipeline.accounts.reconcile import reconcile
from pipeline.accounts.reconcile_rows import Wanted
from pipeline.accounts.rules.classes import ItemClass
from tests import provider_month

CALLS = 20_000
MONTH = Wanted(provider_month.PROVIDER, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), "UTC")


@pytest.fixture
def month(engine):
    provider_month.fill(engine, CALLS)
    return engine


def test_no_pair_is_wrong_and_everything_adds_up(month):
    """Two hours and three seconds ahead, calls 40 seconds apart, and each class there is."""
    run = reconcile(month, MONTH, who="accountant").run
    assert run.problems == []
    assert run.state == "done"
    assert run.offsets["parts"] == [{"since": None, "seconds": 7203}]
    assert provider_month.wrong(month) == 0
    assert {name for name, sums in run.totals.items() if sums["lines"] or sums["calls"]} == set(ItemClass)
    with month.connect() as connection:
        lines = connection.scalar(text("SELECT count(*) FROM provider_lines"))
        bad = connection.scalar(text("SELECT count(*) FROM provider_bad_lines"))
    assert sum(sums["lines"] for sums in run.totals.values()) == lines + bad
    assert sum(sums["calls"] for sums in run.totals.values()) == CALLS
