"""What a tariff file would do to the calls that wait for a rate, before it is loaded."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from pipeline.billing import waiting as billing_waiting
from pipeline.billing.assign import assign_tariff
from pipeline.billing.load import load_tariff
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.waiting import WaitingCalls
from pipeline.cli import app
from tests.factories import make_record
from tests.integration.flow import receive, rows, walk, walk_overdue

ZONE = "Africa/Johannesburg"
NOTHING = WaitingCalls(0, 0, {}, 0, 0)


def load(engine, content, **options):
    return load_tariff(
        engine, content, file_name="t.csv", loaded_by="ann", default_currency="ZAR", timezone=ZONE, **options
    )


def preview(engine, content, **options):
    """What a dry run says of the calls that wait."""
    return load(engine, content, dry_run=True, **options).waiting


@pytest.fixture
def waiting(engine):
    """Five calls of two campaigns that have no rate, of three countries; one more that was never answered."""
    numbers = {"spring": ("0820001234", "0820001235", "+442079460000"), "autumn": ("0820001236", "+12125550100")}
    calls = [make_record(ref=ref, number=number, call_time=61) for ref in numbers for number in numbers[ref]]
    walk(engine, receive(engine, *calls, make_record(call_time=0, end_reason="busy", end_code="17")))
    assert len(rows(engine, "SELECT FROM failures WHERE class = 'reference' AND state = 'open'")) == 5


def test_the_first_tariff(engine, waiting):
    """Every waiting call is looked at: those with a rate are added up, the others would go on waiting."""
    found = preview(engine, b"prefix,rate_per_minute\n27,0.60\n44,6\n")
    assert found == WaitingCalls(5, 4, {"ZAR": Decimal("7.93")}, 0, 1)


def test_it_is_what_the_load_comes_to(engine, waiting):
    """The sum said before is the sum in the ledger after."""
    content = b"prefix,rate_per_minute,first_increment,next_increment\n27,0.333,60,60\n4420,1.777,1,1\n"
    found = preview(engine, content)
    assert load(engine, content).retried == found.calls
    walk_overdue(engine)
    charged = rows(engine, "SELECT count(*) AS lines, sum(amount) AS amount FROM ledger")[0]
    assert (charged.lines, {"ZAR": charged.amount}) == (found.charged, found.amounts)
    left = rows(engine, "SELECT count(*) FROM failures WHERE class = 'reference' AND state = 'open'")[0][0]
    assert left == found.still_waiting == 1


def test_only_campaigns_that_have_the_tariff(engine, waiting):
    """A file for one campaign's tariff says nothing of the others: those are tried by what they have."""
    load(engine, b"prefix,rate_per_minute\n33,1\n", tariff="springs")
    assign_tariff(engine, "spring", "springs", assigned_by="ann")
    walk_overdue(engine)
    content = b"prefix,rate_per_minute\n27,6\n44,6\n1,6\n"
    assert preview(engine, content, tariff="springs") == WaitingCalls(5, 3, {"ZAR": Decimal("18.30")}, 0, 2)
    assert preview(engine, content, tariff="nobodys") == WaitingCalls(5, 0, {}, 0, 5)
    assert preview(engine, content) == WaitingCalls(5, 2, {"ZAR": Decimal("12.20")}, 0, 3)


def test_its_own_settings_and_currency(engine, waiting):
    """By what the options say, in the file's currency; a rate of nothing is no charge."""
    content = b"prefix,rate_per_minute,currency,free_below_seconds\n27,0.5551,EUR,0\n44,1,EUR,600\n1,1,EUR,0\n"
    found = preview(engine, content, settings=TariffSettings(decimals=3))
    assert found == WaitingCalls(5, 4, {"EUR": Decimal("2.709")}, 1, 0)


def test_a_part_at_a_time(engine, waiting, monkeypatch):
    """However many wait, each is looked at once."""
    content = b"prefix,rate_per_minute\n27,0.60\n44,6\n"
    whole = preview(engine, content)
    monkeypatch.setattr(billing_waiting, "CALLS_AT_ONCE", 2)
    assert preview(engine, content) == whole


def test_nothing_is_written_and_nothing_waits(engine):
    """Without waiting calls there is nothing to say; a load that is none says nothing either."""
    content = b"prefix,rate_per_minute\n27,0.60\n"
    assert preview(engine, content) == NOTHING
    assert load(engine, content).waiting is None
    assert rows(engine, "SELECT count(*) FROM tariff_versions")[0][0] == 1


@pytest.mark.usefixtures("waiting", "settings_env")
def test_the_command_says_it(tmp_path, monkeypatch):
    """`tariff load --dry-run` in a sentence, and with `--json` for scripts; a load has nothing to foresee."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    file = tmp_path / "t.csv"
    file.write_bytes(b"prefix,rate_per_minute,free_below_seconds\n27,0.60,0\n44,6,600\n")

    def run(*options):
        return CliRunner().invoke(app, ["tariff", "load", str(file), *options]).stdout

    said = "5 would be released: 3 charged 1.83 ZAR, 1 not charged, 1 still without a rate"
    assert said in run("--dry-run")
    assert json.loads(run("--dry-run", "--json"))["waiting"] == {
        "calls": 5, "charged": 3, "amounts": {"ZAR": "1.83"}, "not_charged": 1, "still_waiting": 1,
    }  # fmt: skip
    assert "waiting" not in json.loads(run("--json"))
    assert "5 would be released: 5 still" not in run("--dry-run"), "they are being tried by now"
