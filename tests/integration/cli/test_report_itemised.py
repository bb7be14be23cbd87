"""The itemised charges: each line of the ledger once, adding up to the statement."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.billing import itemised as billing_itemised
from pipeline.billing.billed_calls import Selection
from pipeline.billing.itemised import itemised
from pipeline.billing.rerate import rerate
from pipeline.billing.rules.months import month_in
from pipeline.billing.statements import GroupBy, charges_by
from pipeline.billing.tariff_cache import TariffCache
from pipeline.cli import app
from tests.factories import make_record
from tests.integration.flow import load, receive, walk

ZONE = "Africa/Johannesburg"
SEPTEMBER = month_in("2026-09", ZONE)
ALL = Selection(SEPTEMBER.since, SEPTEMBER.until)
MIDNIGHT = int(SEPTEMBER.since.timestamp())


@pytest.fixture
def run(settings_env):
    """Runs `pipeline report itemised ...` in this process."""
    return lambda *arguments: CliRunner().invoke(app, ["report", "itemised", "--month", "2026-09", *arguments])


@pytest.fixture
def rerated(engine):
    """Two charged calls, one of them charged anew, a call of the month before and one of another dialler."""
    load(engine, b"prefix,rate_per_minute\n27,0.60\n44,6")
    records = [
        make_record(call_ref="1", ref="=spring", number="0820001234", dialed_at=MIDNIGHT, call_time=60),
        make_record(call_ref="2", ref="spring", number="+442079460000", dialed_at=MIDNIGHT + 86_400, call_time=120),
        make_record(call_ref="3", dialed_at=MIDNIGHT - 1, call_time=60),
    ]
    walk(engine, receive(engine, *records))
    walk(engine, receive(engine, make_record(call_ref="1", dialed_at=MIDNIGHT, call_time=60), source="south"))
    load(engine, b"prefix,rate_per_minute\n27,0.60\n44,5")
    rerate(engine, ALL, TariffCache(ZONE), who="me", progress=lambda *_: None)


def test_each_line_of_the_ledger_is_a_line(run, rerated):
    """Charge, reversal and new charge, each with its call, in local time, and nothing a spreadsheet would run."""
    done = run("--source", "enigma")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    shown = [
        tuple(line[name] for name in ("call_ref", "kind", "revision", "amount", "prefix", "rate_line", "version"))
        for line in lines
    ]
    assert shown == [
        ("1", "charge", "1", "0.60", "27", "2", "1"),
        ("2", "charge", "1", "12.00", "44", "3", "1"),
        ("2", "reversal", "1", "-12.00", "44", "3", "1"),
        ("2", "charge", "2", "10.00", "44", "3", "2"),
    ]
    assert lines[0]["campaign"] == "'=spring"
    assert lines[0]["dialed_at"] == "2026-09-01T00:00:00+02:00"
    assert lines[0]["number"] == "'+27820001234"
    assert (lines[0]["direction"], lines[0]["disposition"]) == ("outbound", "answered")
    assert (lines[0]["talk_seconds"], lines[0]["billable_seconds"]) == ("60", "60")
    assert lines[2]["reason"] == "rerated"
    assert done.stderr == "4 lines, 10.60 ZAR\n"


def test_they_add_up_to_the_statement(engine, rerated):
    """Every line is in it once, of all diallers and of one campaign alike."""
    with engine.connect() as connection:
        stated = charges_by(connection, SEPTEMBER, GroupBy.CAMPAIGN)
        for campaign in (None, "spring", "=spring"):
            items = list(itemised(connection, ALL._replace(campaign=campaign)))
            wanted = [entry for entry in stated if campaign in (None, entry.group)]
            assert sum(item.amount for item in items) == sum(entry.amount for entry in wanted)
    assert sum(entry.amount for entry in stated) == Decimal("11.20")


def test_json_is_an_object_a_line(run, rerated):
    """For scripts, amounts as strings and instants in UTC."""
    done = run("--campaign", "spring", "--json")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["amount"] for each in objects] == ["12.00", "-12.00", "10.00"]
    assert objects[0]["dialed_at"] == "2026-09-01T22:00:00+00:00"
    assert done.stderr == "3 lines, 10.00 ZAR\n"


def test_a_month_without_charges(run, engine):
    """The names of the columns, and a sum of nothing."""
    done = run()
    assert done.stdout.count("\n") == 1
    assert done.stderr == "0 lines\n"


def test_the_server_keeps_what_was_not_read_yet(engine, rerated, monkeypatch):
    """A cursor of the server's stands open while lines are read: memory does not grow with their number."""
    monkeypatch.setattr(billing_itemised, "LINES_AT_ONCE", 2)
    with engine.connect() as connection:
        items = itemised(connection, ALL)
        next(items)
        cursor = connection.execute(text("SELECT name FROM pg_cursors WHERE statement LIKE '%ledger%'")).scalar_one()
        left = connection.exec_driver_sql(f'FETCH ALL FROM "{cursor}"').all()
        list(items)
    assert len(left) >= 3
