"""The margin on rows of both sides: it is what the two statements leave, by whatever it is broken down."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from pipeline.billing.assign import assign_provider, assigned_to
from pipeline.billing.billed_calls import Selection
from pipeline.billing.load import load_tariff
from pipeline.billing.margin import MarginBy, margin_by
from pipeline.billing.rerate import rerate
from pipeline.billing.rules.margin import totals
from pipeline.billing.rules.months import month_in
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.statements import GroupBy, charges_by
from pipeline.billing.statements import totals as totals_of
from pipeline.billing.tariff_cache import TariffCache
from pipeline.calls.rules.disposition import Disposition
from pipeline.cli import app
from tests.factories import make_record
from tests.integration.flow import receive, walk

ZONE = "Africa/Johannesburg"
SEPTEMBER = month_in("2026-09", ZONE)
ALL = Selection(SEPTEMBER.since, SEPTEMBER.until)
MIDNIGHT = int(SEPTEMBER.since.timestamp())
NORTH, SOUTH = "27110000001", "27110000002"
VOICEMAIL = {"end_reason": "voicemail", "end_code": "16", "extension": None, "call_time": 0, "hold_time": 60}


def load(engine, rates, *, side=Side.CLIENT, tariff="default", columns="prefix,rate_per_minute", **more):
    load_tariff(
        engine,
        f"{columns}\n{rates}\n".encode(),
        file_name="t.csv",
        tariff=tariff,
        loaded_by="me",
        default_currency="ZAR",
        timezone=ZONE,
        side=side,
        provider=tariff if side is Side.PROVIDER else None,
        **more,
    )


def again(engine, side):
    rerate(engine, ALL, TariffCache(ZONE), who="me", progress=lambda *_: None, side=side)


def lines(engine, by=MarginBy.CAMPAIGN, **narrowed):
    with engine.connect() as connection:
        return margin_by(connection, SEPTEMBER, by, **narrowed)


def told(found):
    return {
        (line.group, line.currency): (
            *(line.calls, str(line.client), str(line.provider), str(line.margin)),
            *(line.no_provider, line.no_client, line.other_currency),
        )
        for line in found.lines
    }


@pytest.fixture
def month(engine):
    """Calls of two own numbers, one of which has a provider that charges in dollars; a call is on one side only."""
    load(engine, "27,0.60\n44,1.00")
    load(engine, "2782,0.30", side=Side.PROVIDER, tariff="acme")
    load(engine, "44,0.10,USD", side=Side.PROVIDER, tariff="bell", columns="prefix,rate_per_minute,currency")
    for tariff, dial_number in (("acme", NORTH), ("bell", SOUTH)):
        assign_provider(engine, assigned_to(region="ZA", dial_number=f"+{dial_number}"), tariff, assigned_by="me")
    north, south = {"dial_number": NORTH, "hold_time": 0}, {"dial_number": SOUTH, "hold_time": 0}
    records = [
        make_record(ref="spring", dialed_at=MIDNIGHT, call_time=60, **north),
        make_record(ref="spring", dialed_at=MIDNIGHT + 86_400, call_time=120, **north),
        make_record(ref="spring", dialed_at=MIDNIGHT, **{**north, **VOICEMAIL}),  # costs, and brings nothing
        make_record(ref="spring", dialed_at=MIDNIGHT, number="+442079460000", call_time=60, **south),
        make_record(ref="spring", dialed_at=MIDNIGHT, number="0110001234", call_time=60, **north),  # acme has no rate
        make_record(ref="autumn", dialed_at=MIDNIGHT, call_time=60, dial_number="27119999999"),  # no provider's
        make_record(ref="spring", dialed_at=MIDNIGHT - 1, call_time=600, **north),  # of the month before
    ]
    walk(engine, receive(engine, *records))
    return engine


SPRING = {
    ("spring", "USD"): (1, "0", "0.10", "-0.10", 0, 0, 1),
    ("spring", "ZAR"): (5, "3.40", "1.20", "2.20", 1, 1, 1),
}
AUTUMN = {("autumn", "ZAR"): (1, "0.60", "0", "0.60", 1, 0, 0)}


def test_each_currency_has_its_line_and_what_lacks_is_counted(month):
    found = lines(month)
    assert told(found) == AUTUMN | SPRING
    assert found.not_of_a_provider == 1
    assert [(each.reason, each.calls) for each in found.not_charged] == [("no rate for … in tariff acme", 1)]


@pytest.mark.parametrize("by", MarginBy)
def test_it_is_what_both_statements_leave(month, by):
    """To the last digit, with reversals in between, and a call whose currency was changed."""
    load(month, "27,0.66\n44,1.00")
    load(month, "2782,0.31,EUR", side=Side.PROVIDER, tariff="acme", columns="prefix,rate_per_minute,currency")
    for side in Side:
        again(month, side)
    found = lines(month, by)
    with month.connect() as connection:
        sides = {
            side: {
                each.currency: each.amount
                for each in totals_of(charges_by(connection, SEPTEMBER, GroupBy.DAY, side=side))
            }
            for side in Side
        }
    assert set(sides[Side.PROVIDER]) == {"EUR", "USD"}
    for line in totals(found.lines):
        assert line.client == sides[Side.CLIENT].get(line.currency, 0)
        assert line.provider == sides[Side.PROVIDER].get(line.currency, 0)
    assert {line.currency for line in found.lines} == {"EUR", "USD", "ZAR"}


def test_by_the_others(month):
    """A day is of the zone; a prefix is the provider's where it charges; a dial number is our own."""
    assert {key: line[0] for key, line in told(lines(month, MarginBy.DAY)).items()} == {
        ("2026-09-01", "USD"): 1,
        ("2026-09-01", "ZAR"): 5,
        ("2026-09-02", "ZAR"): 1,
    }
    prefixes = told(lines(month, MarginBy.PREFIX))
    assert prefixes[("2782", "ZAR")] == (3, "1.80", "1.20", "0.60", 0, 1, 0)
    assert prefixes[("27", "ZAR")][4] == 2
    assert {key[0] for key in told(lines(month, MarginBy.DIAL_NUMBER))} == {f"+{NORTH}", f"+{SOUTH}", "+27119999999"}


def test_one_dialler(month):
    walk(month, receive(month, make_record(ref="spring", dialed_at=MIDNIGHT, call_time=60), source="south"))
    assert told(lines(month, source="enigma")) == AUTUMN | SPRING
    south = lines(month, source="south")
    assert told(south) == {("spring", "ZAR"): (1, "0.60", "0", "0.60", 1, 0, 0)}
    assert south.not_of_a_provider == 1


def test_what_was_taken_back_leaves_no_line(month):
    """A charge that was reversed for good is no charge of nothing."""
    nothing = TariffSettings(billable_dispositions=frozenset({Disposition.BUSY}))
    load(month, "2782,0.30", side=Side.PROVIDER, tariff="acme", settings=nothing)
    again(month, Side.PROVIDER)
    found = lines(month)
    assert told(found)[("spring", "ZAR")] == (4, "3.40", "0", "3.40", 3, 0, 1)
    assert sum(each.calls for each in found.not_charged) == 4


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline report margin ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    return lambda *words: CliRunner().invoke(app, ["report", "margin", *words])


class TestCommand:
    def test_table(self, run, month):
        """People get a table with totals, and what is not known below it."""
        done = run("--month", "2026-09")
        assert done.exit_code == 0, done.output
        table = [line.split("\t") for line in done.stdout.splitlines()]
        assert table[0] == [
            *("campaign", "calls", "client", "provider", "margin", "currency"),
            *("no provider", "no client", "other currency"),
        ]
        assert table[-1] == ["all", "6", "4.00", "1.20", "2.80", "ZAR", "2", "1", "1"]
        assert "Not charged by the provider, 1 call: no rate for … in tariff acme." in done.stderr
        assert "Not on the provider's side, 1 call: no provider's tariff was assigned" in done.stderr
        assert "No call of that month is charged on either side." in run("--month", "2020-01").stderr

    def test_json(self, run, month):
        answer = json.loads(run("--month", "2026-09", "--by", "dial_number", "--json").stdout)
        assert set(answer) == {
            *("month", "source", "margin", "totals", "not_charged", "not_of_a_provider", "complete_through"),
        }
        assert answer["margin"][2] == {
            "dial_number": f"+{SOUTH}",
            "calls": 1,
            "client": "1.00",
            "provider": "0",
            "margin": "1.00",
            "currency": "ZAR",
            "no_provider": 0,
            "no_client": 0,
            "other_currency": 1,
        }
        assert answer["not_charged"] == [{"reason": "no rate for … in tariff acme", "calls": 1}]
        assert answer["not_of_a_provider"] == 1

    def test_csv(self, run, month):
        """Nothing a spreadsheet would run; no total."""
        walk(month, receive(month, make_record(ref="=1+1", dialed_at=MIDNIGHT, call_time=60)))
        found = list(csv.DictReader(io.StringIO(run("--month", "2026-09", "--format", "csv").stdout)))
        assert [line["campaign"] for line in found] == ["'=1+1", "autumn", "spring", "spring"]
        assert sum(Decimal(line["margin"]) for line in found if line["currency"] == "ZAR") == Decimal("3.40")

    @pytest.mark.parametrize("words", [("--month", "2026-13"), ("--month", "2026-09", "--by", "agent"), ()])
    def test_mistakes(self, run, words):
        assert run(*words).exit_code == 2
