"""Statements: they add up to the ledger, by whatever they are broken down."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.billing.billed_calls import Selection
from pipeline.billing.load import load_tariff
from pipeline.billing.rerate import rerate
from pipeline.billing.rules.months import month_in
from pipeline.billing.statements import GroupBy, charges_by, totals
from pipeline.billing.tariff_cache import TariffCache
from pipeline.cli import app
from pipeline.settings import current_settings
from tests.factories import make_record
from tests.integration.flow import receive, rows, walk

ZONE = "Africa/Johannesburg"
ALWAYS = Selection(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
SEPTEMBER = "2026-09"


def load(engine, rates, columns="prefix,rate_per_minute"):
    load_tariff(
        engine,
        f"{columns}\n{rates}\n".encode(),
        file_name="t.csv",
        loaded_by="somebody",
        default_currency="ZAR",
        timezone=ZONE,
    )


def at(local, zone=ZONE):
    return int(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).timestamp())


def statement(engine, by, month=SEPTEMBER, zone=ZONE, source=None):
    with engine.connect() as connection:
        return charges_by(connection, month_in(month, zone), by, source=source)


def ledger_sums(engine, since, until):
    return {
        row.currency: row.amount
        for row in rows(
            engine,
            "SELECT currency, sum(amount) AS amount FROM ledger JOIN calls ON id = call_id "
            f"WHERE dialed_at >= to_timestamp({since}) AND dialed_at < to_timestamp({until}) "
            "GROUP BY currency HAVING sum(amount) <> 0 OR count(*) FILTER (WHERE kind = 'charge') > "
            "  count(*) FILTER (WHERE kind = 'reversal')",
        )
    }


@pytest.mark.parametrize("by", GroupBy)
def test_it_adds_up_to_the_ledger(engine, by):
    """Whatever a statement is broken down by, its sums are the ledger's to the last cent, rerated calls included."""
    load(engine, "27,0.333\n2711,0.777\n44,1.111")
    numbers = ("0820001234", "0110001234", "+442079460000")
    records = [
        make_record(
            number=numbers[place % 3],
            ref=f"c{place % 4}",
            extension=None if place % 5 == 0 else f"{2_000 + place % 6}",
            hold_time=3,
            call_time=place * 7,
            dialed_at=at("2026-08-31T22:00:00") + place * 40_000,
        )
        for place in range(90)
    ]
    walk(engine, receive(engine, *records))
    load(engine, "27,0.334\n2711,0.777\n44,1.111")
    rerate(engine, ALWAYS, TariffCache(ZONE), who="me", progress=lambda *_: None)
    load(engine, "27,0.334,EUR\n2711,0.777,EUR\n44,1.111,EUR", columns="prefix,rate_per_minute,currency")
    half = Selection(ALWAYS.since, datetime.fromtimestamp(at("2026-09-10T00:00:00"), UTC))
    rerate(engine, half, TariffCache(ZONE), who="me", progress=lambda *_: None)
    entries = statement(engine, by)
    expected = ledger_sums(engine, at("2026-09-01T00:00:00"), at("2026-10-01T00:00:00"))
    assert set(expected) == {"ZAR", "EUR"}
    assert {total.currency: total.amount for total in totals(entries)} == expected
    assert (
        sum(entry.calls for entry in entries)
        == rows(
            engine,
            "SELECT count(*) FROM calls WHERE dialed_at >= '2026-08-31T22:00Z' AND dialed_at < '2026-09-30T22:00Z' "
            "AND NOT EXISTS (SELECT FROM uncharged WHERE call_id = id)",
        )[0][0]
    )
    assert len({(entry.group, entry.currency) for entry in entries}) == len(entries)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_months_add_up_too(engine, data):
    """Every charge is in the statement of exactly one month, and of one day of it, in any zone."""
    zone = data.draw(st.sampled_from([ZONE, "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]))
    load(engine, f"27,0.{data.draw(st.integers(1, 999)):03}")
    start = at("2026-09-01T00:00:00", "UTC")
    moments = data.draw(st.lists(st.integers(-86_400, 62 * 86_400), min_size=1, max_size=20))
    walk(engine, receive(engine, *(make_record(call_time=61, dialed_at=start + moment) for moment in moments)))
    months = ["2026-08", "2026-09", "2026-10", "2026-11"]
    by_day = [entry for month in months for entry in statement(engine, GroupBy.DAY, month, zone)]
    ledger = rows(engine, "SELECT sum(amount) FROM ledger JOIN calls ON id = call_id WHERE dialed_at >= '2026-08-02'")
    assert sum(entry.amount for entry in by_day) == ledger[0][0]
    local = rows(engine, f"SELECT DISTINCT (dialed_at AT TIME ZONE '{zone}')::date::text FROM calls ORDER BY 1")
    assert [entry.group for entry in by_day] == [row[0] for row in local]


def test_a_day_is_as_long_as_the_clocks_make_it(engine):
    """25 October 2026 has 25 hours in London, and all of them are of that day."""
    load(engine, "27,0.60")
    begin = at("2026-10-25T00:00:00", "Europe/London")
    moments = [begin - 1, begin, begin + 25 * 3600 - 1, begin + 25 * 3600]
    walk(engine, receive(engine, *(make_record(call_time=60, dialed_at=moment) for moment in moments)))
    entries = statement(engine, GroupBy.DAY, "2026-10", "Europe/London")
    assert [(entry.group, entry.calls) for entry in entries] == [
        ("2026-10-24", 1),
        ("2026-10-25", 2),
        ("2026-10-26", 1),
    ]


def test_one_dialler(engine):
    """`--source` leaves the others out."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, make_record(call_time=60), source="north"))
    walk(engine, receive(engine, make_record(call_time=120), source="south"))
    assert [entry.amount for entry in statement(engine, GroupBy.CAMPAIGN, source="south")] == [Decimal("1.20")]
    assert [entry.amount for entry in statement(engine, GroupBy.CAMPAIGN)] == [Decimal("1.80")]


def test_a_month_that_was_taken_back_is_empty(engine):
    """Charge and reversal net out, and leave no line of zeros behind."""
    load(engine, "27,0.60\n44,9")
    walk(engine, receive(engine, make_record(call_time=60)))
    load(engine, "27,0.60\n278,0.90")
    rerate(engine, ALWAYS, TariffCache(ZONE), who="me", progress=lambda *_: None)
    assert [(entry.group, entry.amount) for entry in statement(engine, GroupBy.PREFIX)] == [("278", Decimal("0.90"))]


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


class TestCommand:
    @pytest.fixture
    def charged(self, engine):
        load(engine, "27,0.60")
        names = ('=HYPERLINK("http://x")', "+1", "-5", "@a", "plain, with comma", "=1", "-2+3")
        walk(engine, receive(engine, *(make_record(ref=name, call_time=60) for name in names)))
        return names

    def test_csv_runs_nothing(self, run, charged):
        """What a campaign is called cannot become a formula; plain numbers stay numbers, and the file reads back."""
        output = run("report", "charges", "--month", SEPTEMBER, "--format", "csv").stdout
        header, *lines = list(csv.reader(io.StringIO(output)))
        assert header == ["campaign", "charges", "billable_seconds", "amount", "currency"]
        assert {line[0] for line in lines} == {
            "'=HYPERLINK(\"http://x\")", "'+1", "-5", "'@a", "plain, with comma", "'=1", "'-2+3",
        }  # fmt: skip
        assert {tuple(line[1:]) for line in lines} == {("1", "60", "0.60", "ZAR")}
        assert sum(Decimal(line[3]) for line in lines) == 7 * Decimal("0.60")

    def test_json(self, run, charged):
        """Scripts get the same with totals."""
        answer = json.loads(run("report", "charges", "--month", SEPTEMBER, "--by", "agent", "--format", "json").stdout)
        entry = {"charges": 7, "calls": 7, "billable_seconds": 420, "amount": "4.20", "currency": "ZAR"}
        assert datetime.fromisoformat(answer.pop("complete_through")).tzinfo is not None
        assert answer == {
            "month": SEPTEMBER,
            "source": None,
            "side": "client",
            "charges": [{"agent": "2001"} | entry],
            "totals": [entry],
        }

    def test_table(self, run, charged):
        """People get a table, which shows names as they are, with a total."""
        output = run("report", "charges", "--month", SEPTEMBER).output
        assert '=HYPERLINK("http://x")' in output
        assert "4.20" in output.splitlines()[-2]
        assert output.splitlines()[-1].startswith("Complete through 20")
        assert "No call of that month" in run("report", "charges", "--month", "2020-01").output
        assert run("report", "charges", "--month", "2020-01", "--format", "csv").stdout.count("\n") == 1

    @pytest.mark.parametrize("month", ["2026", "2026-13", "November", "2026-1", "0000-01"])
    def test_no_month(self, run, month):
        """What is no month is refused."""
        assert run("report", "charges", "--month", month).exit_code == 2

    def test_the_zone_of_the_environment(self, run, charged, monkeypatch):
        """The month is that of PIPELINE_TIMEZONE."""
        monkeypatch.setenv("PIPELINE_TIMEZONE", "Pacific/Kiritimati")
        current_settings.cache_clear()
        answer = run("report", "charges", "--month", SEPTEMBER, "--by", "day", "--format", "json").stdout
        assert [entry["day"] for entry in json.loads(answer)["charges"]] == ["2026-09-22"]
