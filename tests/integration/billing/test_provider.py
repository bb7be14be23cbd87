"""The provider's side on real PostgreSQL: billed beside the client's and never in its way, corrected by itself."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.batches.rules.steps import Step
from pipeline.billing import provider_side
from pipeline.billing.assign import NotAssignedError, assign_provider, assign_tariff, assigned_to, unassign_provider
from pipeline.billing.billed_calls import Selection
from pipeline.billing.load import load_tariff
from pipeline.billing.ported_rows import load_ports
from pipeline.billing.rerate import compare, rerate
from pipeline.billing.rules.assigned import AssignedTo
from pipeline.billing.rules.ported_numbers import PortedFileError
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.tariff_file import TariffFileError
from pipeline.billing.tariff_cache import TariffCache
from pipeline.cli import app
from pipeline.errors import DataError
from pipeline.failures.operator import accept
from pipeline.lookup.history import history_of
from pipeline.lookup.told import as_dict
from tests.factories import DIALED_AT, make_record
from tests.integration import flow
from tests.integration.flow import receive, rows, sheet, walk, walk_overdue

ZONE = "Africa/Johannesburg"
AT = datetime.fromtimestamp(DIALED_AT, UTC)
ALL = Selection(AT - timedelta(days=365), AT + timedelta(days=365))
VOICEMAIL = {"end_reason": "voicemail", "end_code": "16", "extension": None, "call_time": 0}
BUSY = {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0}

CLIENT = "SELECT kind, revision, amount, reason FROM ledger WHERE side = 'client' ORDER BY call_id, revision, kind"
PROVIDER = "SELECT kind, revision, amount, reason FROM ledger WHERE side = 'provider' ORDER BY call_id, revision, kind"
WHY_NOT = "SELECT reason FROM uncharged WHERE side = 'provider' ORDER BY call_id"
ALSO_EXCUSED = (
    "INSERT INTO uncharged (call_id, reason, side) SELECT call_id, 'x', 'provider' FROM ledger WHERE side = 'provider'"
)


def load(engine, rates="27,0.30", *, tariff="acme", columns="prefix,rate_per_minute", side=Side.PROVIDER, **more):
    return load_tariff(
        engine,
        f"{columns}\n{rates}\n".encode(),
        file_name="acme.csv",
        tariff=tariff,
        loaded_by="me",
        default_currency="ZAR",
        timezone=ZONE,
        side=side,
        provider="acme" if side is Side.PROVIDER else None,
        **more,
    )


def assign(engine, tariff="acme", **to):
    return assign_provider(engine, assigned_to(region="ZA", **to), tariff, assigned_by="me")


def again(engine, side=Side.PROVIDER):
    """What `pipeline rerate` does; returns how many calls it rerated."""
    tariffs = TariffCache(ZONE)
    compared = compare(engine, ALL, tariffs, progress=lambda *_: None, side=side)
    done = rerate(engine, ALL, tariffs, who="accountant", progress=lambda *_: None, side=side)
    assert done == compared.changed
    return done


def know_seconds(engine, seconds, *, which="true"):
    """What the dialler's API tells of calls."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO answered_seconds (call_id, seconds, read_at) SELECT id, :seconds, now() FROM calls "
                f"WHERE {which} ON CONFLICT (call_id) DO UPDATE SET seconds = excluded.seconds"
            ),
            {"seconds": seconds},
        )


@pytest.fixture
def both(engine):
    """A tariff of each side, the provider's for everything."""
    flow.load(engine, b"prefix,rate_per_minute\n27,0.60\n")
    load(engine)
    assign(engine)
    return engine


class TestBilling:
    def test_a_call_is_charged_on_both_sides(self, both):
        """Each by its own tariff and its own seconds, and the books close with both."""
        walk(both, receive(both, make_record(call_time=60, hold_time=30)))
        assert rows(both, CLIENT) == [("charge", 1, Decimal("0.60"), "rated")]
        assert rows(both, PROVIDER) == [("charge", 1, Decimal("0.45"), "rated")]
        closed = sheet(both)
        assert (closed.closes, closed.charged) == (True, {"ZAR": Decimal("0.60")})
        assert closed.provider.as_dict() == {
            "charged": 1, "uncharged": 0, "not_on_it": 0, "amounts": {"ZAR": "0.45"}}  # fmt: skip

    def test_nothing_is_on_a_side_without_a_tariff(self, engine):
        """A provider's tariff that is assigned to nothing charges nothing, and nobody waits for it."""
        flow.load(engine)
        load(engine)
        walk(engine, receive(engine, make_record()))
        assert (rows(engine, PROVIDER), rows(engine, WHY_NOT)) == ([], [])
        assert sheet(engine).provider.not_on_it == 1

    def test_a_missing_rate_is_no_failure_and_the_client_is_charged(self, both):
        """What the provider charges is not known, and says so; never zero, and never in the way."""
        load(both, "44,0.30")
        assert walk(both, receive(both, make_record(call_time=60)))[2] == "done"
        assert rows(both, CLIENT) == [("charge", 1, Decimal("0.60"), "rated")]
        assert rows(both, PROVIDER) == []
        assert rows(both, WHY_NOT) == [("no rate for +27820001234 in tariff acme",)]
        assert rows(both, "SELECT count(*) FROM failures") == [(0,)]
        assert sheet(both).closes

    def test_a_client_without_a_rate_holds_up_nothing_of_the_provider(self, engine):
        """The call waits as a failure for its client's rate; the provider's charge is there."""
        load(engine)
        assign(engine)
        walk(engine, receive(engine, make_record(call_time=60)))
        assert (rows(engine, CLIENT), len(rows(engine, PROVIDER))) == ([], 1)
        flow.load(engine)
        walk_overdue(engine)
        assert (len(rows(engine, CLIENT)), len(rows(engine, PROVIDER))) == (1, 1)

    def test_seconds_nobody_knows_are_a_reason(self, both):
        """A voicemail has no seconds in its record; once the API has told them, rerating charges them."""
        walk(both, receive(both, make_record(**VOICEMAIL), make_record(**BUSY)))
        assert rows(both, WHY_NOT) == [
            ("no answered seconds are known",),
            ("a call that ended as busy is not billed",),
        ]
        know_seconds(both, 20, which="end_reason = 'voicemail'")
        assert again(both) == 1
        assert rows(both, PROVIDER) == [("charge", 1, Decimal("0.10"), "rated")]
        assert rows(both, WHY_NOT) == [("a call that ended as busy is not billed",)]
        assert rows(both, "SELECT reason FROM uncharged WHERE side = 'client'") == [
            ("a call that ended as voicemail is not billed",),
            ("a call that ended as busy is not billed",),
        ]
        assert again(both) == 0
        assert sheet(both).closes

    @pytest.mark.parametrize("where", ["decide", "insert_lines"])
    def test_a_bug_of_this_side_holds_nothing_up(self, both, monkeypatch, where):
        """In a rule, or in what the database refuses: the client's charge is committed, and a reason in place."""

        def broken(*_):
            with both.connect() as connection:  # a refusal as the database makes it
                connection.execute(text("SELECT 1 / 0"))

        monkeypatch.setattr(provider_side, where, broken)
        assert walk(both, receive(both, make_record(call_time=60)))[2] == "done"
        assert rows(both, CLIENT) == [("charge", 1, Decimal("0.60"), "rated")]
        [(reason,)] = rows(both, WHY_NOT)
        assert reason.startswith("cannot be rated: DataError")
        monkeypatch.undo()
        assert again(both) == 1
        assert rows(both, PROVIDER) == [("charge", 1, Decimal("0.30"), "rated")]

    def test_done_twice_it_charges_once(self, both):
        """A step that is delivered again finds the line of this side, too."""
        batch = receive(both, make_record(call_time=60))
        walk(both, batch)
        with both.begin() as connection:
            connection.execute(text("UPDATE batches SET billed_at = NULL, finished_at = NULL"))
        walk(both, batch, (Step.BILL,))
        assert (len(rows(both, CLIENT)), len(rows(both, PROVIDER))) == (1, 1)

    def test_the_most_specific_assignment_is_taken(self, engine):
        """Dial number before campaign before dialler before everything."""
        flow.load(engine)
        places = (
            {},
            {"source": "enigma"},
            {"campaign": "a"},
            {"campaign": "a", "source": "enigma"},
            {"dial_number": "0112223333"},
        )
        for place, to in enumerate(places, 1):
            load(engine, f"27,{place}", tariff=f"t{place}")
            assign(engine, f"t{place}", **to)
            changed = {"call_time": 60, "ref": "a", "dial_number": "27112223333"}
            walk(engine, receive(engine, make_record(**changed)))
        found = rows(engine, "SELECT amount FROM ledger WHERE side = 'provider' ORDER BY call_id")
        assert [int(row.amount) for row in found] == [1, 2, 3, 4, 5]
        unassign_provider(engine, assigned_to(region="ZA", dial_number="+27112223333"), unassigned_by="me")
        with pytest.raises(NotAssignedError, match="dial number"):
            unassign_provider(engine, AssignedTo(dial_number="+27112223333"), unassigned_by="me")


class TestPorted:
    FILE = "number,network,from,to\n+27820001234,Blue,2026-01-01,{end}\n"

    def load(self, engine, content, **more):
        lines = content.splitlines(keepends=True)
        return load_ports(engine, lines, file_name="ports.csv", timezone=ZONE, loaded_by="me", **more)

    def test_the_network_at_the_calls_time_beats_the_prefix(self, both):
        """A call before its number was ported, or after it went back, is rated by its prefix."""
        load(both, "27,0.30,\n,0.90,Blue", columns="prefix,rate_per_minute,network")
        self.load(both, self.FILE.format(end="2026-09-22"))
        day = 24 * 3600
        times = (DIALED_AT - 365 * day, DIALED_AT, DIALED_AT + day)
        walk(both, receive(both, *(make_record(call_time=60, dialed_at=at) for at in times)))
        assert [row.amount for row in rows(both, PROVIDER)] == [Decimal("0.30"), Decimal("0.90"), Decimal("0.30")]
        assert [row.amount for row in rows(both, CLIENT)] == [Decimal("0.60")] * 3
        assert sheet(both).closes

    def test_loaded_twice_nothing_is_added_and_an_end_may_follow(self, engine):
        """The same line again is there already; with an end it ends the span."""
        assert self.load(engine, self.FILE.format(end=""), dry_run=True)[:4] == (1, 1, 0, 0)
        assert rows(engine, "SELECT count(*) FROM ported_numbers") == [(0,)]
        assert self.load(engine, self.FILE.format(end=""))[:4] == (1, 1, 0, 0)
        assert self.load(engine, self.FILE.format(end=""))[:4] == (1, 0, 0, 1)
        both = self.FILE.format(end="2026-06-01") + "27820001234,Red,2026-06-01,\n"
        assert self.load(engine, both)[:4] == (2, 1, 1, 0)

    @pytest.mark.parametrize("at_once", [True, False])
    def test_a_number_is_never_in_two_networks(self, engine, at_once):
        """Neither within a file nor with what is loaded."""
        first, second = self.FILE.format(end=""), "27820001234,Red,2026-06-01,\n"
        if not at_once:
            self.load(engine, first)
            first = first.splitlines(keepends=True)[0]
        with pytest.raises(PortedFileError, match="overlaps") as caught:
            self.load(engine, first + second)
        assert caught.value.bad_lines[0].line == (3 if at_once else 2)
        assert len(rows(engine, "SELECT FROM ported_numbers")) == (0 if at_once else 1)


class TestCorrecting:
    def test_rerating_a_side_touches_no_line_of_the_other(self, both):
        """Each side's lines, to the last of them, are as they were when the other was corrected."""
        walk(both, receive(both, *(make_record(call_time=60 + n) for n in range(5)), make_record(**BUSY)))
        every = "SELECT * FROM {} WHERE side = '{}' ORDER BY 1, 2, 3"

        def of(side):
            return [rows(both, every.format(table, side)) for table in ("ledger", "uncharged")]

        client = of("client")
        load(both, "27,0.35")
        assert again(both) == 5
        assert of("client") == client
        assert rows(both, "SELECT count(*) FROM feed WHERE kind = 'call.corrected'") == [(0,)]
        provider = of("provider")
        flow.load(both, b"prefix,rate_per_minute\n27,0.70\n")
        assert again(both, Side.CLIENT) == 5
        assert of("provider") == provider
        assert sheet(both).closes

    def test_a_month_is_charged_after_the_fact(self, engine):
        """Calls billed before a provider's tariff was assigned are charged by rerating that side; then no more."""
        flow.load(engine)
        walk(engine, receive(engine, make_record(call_time=60), make_record(call_time=60, ref="other")))
        load(engine)
        assert again(engine) == 0
        assign(engine, campaign="campaign001")
        assert again(engine) == 1
        assert [row.amount for row in rows(engine, PROVIDER)] == [Decimal("0.30")]
        assert again(engine) == 0
        assert sheet(engine).provider.not_on_it == 1

    def test_what_was_charged_is_not_taken_back_for_want_of_a_rate(self, both):
        """It keeps its charge, and is reported."""
        walk(both, receive(both, make_record(call_time=60)))
        load(both, "44,0.30")
        compared = compare(both, ALL, TariffCache(ZONE), progress=lambda *_: None, side=Side.PROVIDER)
        assert (compared.changed, compared.unratable) == (0, 1)
        assert "no rate for +27820001234 in tariff acme" in compared.reasons[0]
        assert again(both) == 0

    def test_an_accepted_conflict_takes_both_charges_back(self, both):
        """The call is another one on either side, and is charged anew on both."""
        walk(both, receive(both, make_record(call_ref=1, call_time=60)))
        walk(both, receive(both, make_record(call_ref=1, call_time=120)))
        [(failure,)] = rows(both, "SELECT id FROM failures WHERE class = 'conflict'")
        assert accept(both, failure, who="me").reversed_charges == 2
        walk_overdue(both)
        lines = [("charge", 1), ("reversal", 1), ("charge", 2)]
        assert [tuple(row)[:2] for row in rows(both, CLIENT)] == lines
        assert [tuple(row)[:2] for row in rows(both, PROVIDER)] == lines
        assert [str(row.amount) for row in rows(both, PROVIDER)] == ["0.30", "-0.30", "0.60"]
        assert sheet(both).closes

    def test_the_real_record_of_a_pulled_call_takes_both_charges_back(self, both):
        """It replaces the stand-in without a person, on both sides."""
        walk(both, receive(both, make_record(call_ref=1, call_time=60)))
        with both.begin() as connection:
            connection.execute(text("UPDATE calls SET record_kind = 'pulled'"))
        walk(both, receive(both, make_record(call_ref=1, call_time=120)))
        walk_overdue(both)
        for side in (CLIENT, PROVIDER):
            assert [tuple(row)[:2] for row in rows(both, side)] == [("charge", 1), ("reversal", 1), ("charge", 2)]
        assert sheet(both).closes

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            ("UPDATE ledger SET amount = 9, unrounded = 9 WHERE side = 'provider'", "rounding give"),
            ("UPDATE ledger SET talk_seconds = 7 WHERE side = 'provider'", "another call than its own"),
            ("UPDATE ledger SET tariff_version_id = 1 WHERE side = 'provider'", "names no provider's tariff"),
            (ALSO_EXCUSED, "both charged by the provider"),
            ("UPDATE dispositions SET disposition = 'busy'", "does not bill what became of it"),
        ],
        ids=["amount", "call", "tariff", "reason", "disposition"],
    )  # fmt: skip
    def test_the_balance_sees_what_is_false_on_this_side(self, both, change, rule):
        """Each by the name of its rule."""
        walk(both, receive(both, make_record(call_time=60)))
        with both.begin() as connection:
            connection.execute(text("ALTER TABLE ledger DISABLE TRIGGER USER"))
            connection.execute(text(change))
        found = sheet(both)
        assert any(rule in violation.rule for violation in found.violations), found.violations


class TestApart:
    def test_integrators_are_told_nothing_of_it(self, both):
        """The call as the feed and the API have it says nothing of what the provider charges."""
        walk(both, receive(both, make_record(call_ref=5, call_time=60)))
        load(both, "27,0.3511")
        again(both)
        with both.connect() as connection:
            told = json.dumps(as_dict(history_of(connection, "5", "enigma")), default=str)
        told = re.sub(r"\d\d:\d\d:\d\d\.\d+", "", told)  # a second may have these digits
        assert "acme" not in told
        assert "0.35" not in told

    def test_a_tariff_is_of_one_side(self, both):
        """Its name stands for one account, whatever is done with it."""
        with pytest.raises(DataError, match="acme is a provider's tariff"):
            load(both, side=Side.CLIENT)
        with pytest.raises(DataError, match="say --side provider"):
            assign_tariff(both, "a", "acme", assigned_by="me")
        load(both, tariff="clients", side=Side.CLIENT)
        with pytest.raises(DataError, match="clients is a client's tariff"):
            load(both, tariff="clients")
        with pytest.raises(DataError, match="clients is a client's tariff"):
            assign(both, "clients")
        with pytest.raises(DataError, match="is the client's"):
            load(both, tariff="default")
        with pytest.raises(TariffFileError, match="goes by the network"):
            load(both, "27,1,Blue", columns="prefix,rate_per_minute,network", tariff="clients", side=Side.CLIENT)


class TestCommands:
    def run(self, *words, code=0):
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == code, done.output
        return done.stdout

    def test_the_whole_of_it(self, engine, settings_env, tmp_path):
        """Load, assign, rerate, report, quote and explain, each with its side."""
        flow.load(engine, b"prefix,rate_per_minute\n27,0.60\n")
        deck = tmp_path / "acme.csv"
        deck.write_text("prefix,rate_per_minute,network\n27,0.30,\n,0.90,Blue\n")
        walk(engine, receive(engine, make_record(call_ref=5, call_time=60)))
        self.run("tariff", "load", str(deck), "--side", "provider", code=2)
        self.run("tariff", "load", str(deck), "--side", "provider", "--provider", "acme")
        self.run("tariff", "assign", "acme", "--everything", code=1)
        self.run("tariff", "assign", "--side", "provider", "acme", code=2)
        said = self.run("tariff", "assign", "--side", "provider", "acme", "--campaign", "campaign001")
        assert said.startswith("Campaign campaign001 has the provider's tariff acme from now on")
        [listed] = json.loads(self.run("tariff", "list", "--side", "provider", "--json"))
        assert (listed["tariff"], listed["duration_basis"]) == ("acme", "answered")
        assert listed["assigned_to_calls"] == [{"dial_number": "", "campaign_ref": "campaign001", "source": ""}]
        assert [each["tariff"] for each in json.loads(self.run("tariff", "list", "--json"))] == ["default"]
        exported = self.run("tariff", "export", "acme", "--side", "provider")
        assert exported.splitlines()[0].endswith(",network")
        self.run("tariff", "export", "acme", code=1)
        window = ("--since", "2026-01-01", "--until", "2027-01-01")
        rerated = json.loads(self.run("rerate", *window, "--side", "provider", "--json"))
        assert (rerated["side"], rerated["rerated"]) == ("provider", 1)
        report = json.loads(self.run("report", "charges", "--month", "2026-09", "--side", "provider", "--json"))
        assert [each["amount"] for each in report["totals"]] == ["0.30"]
        assert report["not_charged"] == []
        report = json.loads(self.run("report", "charges", "--month", "2026-09", "--json"))
        assert [each["amount"] for each in report["totals"]] == ["0.60"]
        assert "acme" in self.run("report", "itemised", "--month", "2026-09", "--side", "provider")
        assert "acme" not in self.run("report", "itemised", "--month", "2026-09")
        assert "The provider's side" in self.run("explain", "5")
        told = json.loads(self.run("explain", "5", "--json"))
        assert (told["net"], told["provider"]["net"]) == ({"ZAR": "0.60"}, {"ZAR": "0.30"})
        quoted = self.run("quote", "0820001234", "0", "--side", "provider", "--answered", "60", "--campaign",
                          "campaign001", "--json")  # fmt: skip
        assert json.loads(quoted)["amount"] == "0.30"
        self.run("quote", "0820001234", "60", "--answered", "60", code=2)
        self.run("rerate", *window, "--side", "nobody", code=2)
        self.run("balance")

    def test_a_statement_says_why_calls_are_not_on_it(self, both, settings_env):
        """By reason, whatever numbers those are of."""
        load(both, "44,1")
        numbers = ("0820001234", "0820001235")
        walk(both, receive(both, *(make_record(number=each) for each in numbers), make_record(**VOICEMAIL)))
        of_september = ("report", "charges", "--month", "2026-09", "--side", "provider")
        assert json.loads(self.run(*of_september, "--json"))["not_charged"] == [
            {"reason": "no rate for … in tariff acme", "calls": 2},
            {"reason": "no answered seconds are known", "calls": 1},
        ]
        assert "no answered seconds are known" in CliRunner().invoke(app, list(of_september)).output

    def test_ports_are_loaded(self, engine, settings_env, tmp_path):
        """All of a file or nothing, each bad line with its number and reason."""
        file = tmp_path / "ports.csv"
        file.write_text("number,network,from,to\n0820001234,Blue,2026-01-01,\n27820001234,Blue,x,\n")
        bad = json.loads(self.run("provider", "ports", "load", str(file), "--json", code=1))
        assert [line["line"] for line in bad["bad_lines"]] == [2, 3]
        file.write_text("number,network,from,to\n27820001234,Blue,2026-01-01,\n")
        assert "1 would be added" in self.run("provider", "ports", "load", str(file), "--dry-run")
        assert json.loads(self.run("provider", "ports", "load", str(file), "--json"))["added"] == 1
        self.run("provider", "ports", "load", str(tmp_path / "none.csv"), code=2)
