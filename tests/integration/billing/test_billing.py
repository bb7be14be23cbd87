"""Billing by campaign and by a tariff's settings: through the steps, through the commands, and as a quote says it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from pipeline.billing.assign import NotAssignedError, assign_tariff, unassign_tariff
from pipeline.billing.bill import bill as bill_step
from pipeline.billing.load import UnknownTariffError, load_tariff
from pipeline.billing.quote import HypotheticalCall, quote
from pipeline.billing.rules.rating import DurationBasis, Rounding
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.tariff_cache import TariffCache
from pipeline.billing.tariff_rows import list_versions
from pipeline.calls.rules.disposition import Disposition
from pipeline.cli import app
from pipeline.database.engine import driver_connection
from pipeline.errors import DataError
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import receive, rows, sheet, tariff_in_force, walk, walk_overdue

ZONE = "Africa/Johannesburg"
AT = datetime.fromtimestamp(DIALED_AT, UTC)
BUSY = {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0}
FAILED = {"end_reason": "failed", "end_code": None, "extension": None, "call_time": 0}
INBOUND = {"call_dir": "inbound", "contact_ref": None}

# rating.md B.2 and B.2b: increments, connect fee, seconds, billable seconds, amount, all at 0.60 a minute
WORKED = [
    *((60, 60, "0", s, b, a) for s, b, a in ((1, 60, "0.60"), (60, 60, "0.60"), (61, 120, "1.20"), (91, 120, "1.20"))),
    *((30, 6, "0", s, b, a) for s, b, a in ((1, 30, "0.30"), (31, 36, "0.36"), (59, 60, "0.60"), (85, 90, "0.90"))),
    *((1, 1, "0", s, s, a) for s, a in ((1, "0.01"), (29, "0.29"), (61, "0.61"), (91, "0.91"))),
    *((60, 1, "0.20", s, b, a) for s, b, a in ((1, 60, "0.80"), (60, 60, "0.80"), (61, 61, "0.81"), (91, 91, "1.11"))),
    *((60, 45, "0", s, 105, "1.05") for s in (61, 91)),
    *((20, 6, "0", s, 32, "0.32") for s in (29, 31)),
]


def load(engine, rates, *, tariff="default", columns="prefix,rate_per_minute", zone=ZONE, **chosen):
    return load_tariff(
        engine,
        f"{columns}\n{rates}\n".encode(),
        file_name="t.csv",
        tariff=tariff,
        loaded_by="somebody",
        default_currency="ZAR",
        timezone=zone,
        settings=TariffSettings(**chosen),
    )


def bill(engine, *changes):
    """Charge calls that differ from the usual one as said; returns what each is charged, or why not."""
    batch = receive(engine, *(make_record(**change) for change in changes))
    walk(engine, batch)
    charged = rows(engine, "SELECT call_id, amount FROM ledger")
    free = rows(engine, "SELECT call_id, reason FROM uncharged")
    outcome = dict(map(tuple, [*charged, *free]))
    return [outcome[batch.batch_id * 65_536 + place] for place in range(len(changes))]


def ask(engine, number="0820001234", seconds=60, **more):
    call = HypotheticalCall(number, seconds, more.pop("at", AT), **more)
    with engine.connect() as connection:
        return quote(connection, call, region="ZA", timezone=ZONE)


@pytest.mark.parametrize("end", [("error", "41"), ("error", "127"), ("completed", None), ("timeout", "102")])
def test_a_talk_that_was_cut_off_is_charged_and_recorded(engine, end):
    """An abnormal cause after minutes with an agent: answered, uncertain, with its charge and its recording."""
    load(engine, "27,0.60")
    reason, code = end
    walk(engine, receive(engine, make_record(end_reason=reason, end_code=code, call_time=600)))
    assert rows(engine, "SELECT disposition, uncertain FROM dispositions") == [("answered", True)]
    assert rows(engine, "SELECT amount, talk_seconds FROM ledger") == [(Decimal("6.00"), 600)]
    assert rows(engine, "SELECT state FROM recordings") == [("scheduled",)]
    assert sheet(engine).closes


class TestWorkedNumbers:
    def test_through_the_steps(self, engine):
        """Every worked number comes out of the ledger as it is written, to the second and the cent."""
        schemes = sorted({case[:3] for case in WORKED})
        columns = "prefix,rate_per_minute,first_increment,next_increment,connect_fee"
        for place, (first, next_, fee) in enumerate(schemes):
            load(engine, f"27,0.60,{first},{next_},{fee}", tariff=f"t{place}", columns=columns)
            assign_tariff(engine, f"c{place}", f"t{place}", assigned_by="me")
        calls = [make_record(ref=f"c{schemes.index(case[:3])}", call_time=case[3]) for case in WORKED]
        walk(engine, receive(engine, *calls))
        found = rows(engine, "SELECT billable_seconds, amount, unrounded FROM ledger ORDER BY call_id")
        assert [(row.billable_seconds, str(row.amount)) for row in found] == [case[4:] for case in WORKED]
        assert all(row.amount == row.unrounded for row in found)

    def test_other_engines(self, engine):
        """What other engines test themselves with: 30/6 at a small rate, and a fee with 4 decimals rounded once."""
        columns = "prefix,rate_per_minute,first_increment,next_increment,connect_fee"
        load(engine, "27,0.006,30,6,0", columns=columns, decimals=4)
        assert bill(engine, *({"call_time": s} for s in (32, 57, 75))) == [
            Decimal("0.0036"), Decimal("0.0060"), Decimal("0.0078")]  # fmt: skip
        load(engine, "27,0.1600,1,1,0.0450", columns=columns, decimals=4)
        assert bill(engine, {"call_time": 59}) == [Decimal("0.2023")]

    def test_zero_seconds_cost_nothing(self, engine):
        """No connect fee without a second of talk, and a reason in place of a line of zero."""
        load(engine, "27,0.60,0.20", columns="prefix,rate_per_minute,connect_fee")
        assert bill(engine, {"call_time": 0}) == ["zero_seconds"]


def counted(execute, asked):
    """The same, and what is asked is written down."""
    return lambda *args, **options: asked.append(args) or execute(*args, **options)


class TestAssigning:
    def test_own_then_everything_then_default(self, engine):
        """A campaign has its own tariff, else the one for everything, else `default`; three in one batch."""
        load(engine, "27,0.60")
        load(engine, "27,0.10", tariff="own")
        load(engine, "27,0.20", tariff="all")
        assert assign_tariff(engine, "a", "own", assigned_by="me").changed
        calls = ({"ref": "a", "call_time": 60}, {"ref": "b", "call_time": 60})
        assert bill(engine, *calls) == [Decimal("0.10"), Decimal("0.60")]
        assign_tariff(engine, None, "all", assigned_by="me")
        assert bill(engine, *calls) == [Decimal("0.10"), Decimal("0.20")]
        unassign_tariff(engine, "a", unassigned_by="me")
        assert bill(engine, *calls) == [Decimal("0.20"), Decimal("0.20")]
        unassign_tariff(engine, None, unassigned_by="me")
        assert bill(engine, *calls) == [Decimal("0.60"), Decimal("0.60")]
        done = rows(engine, "SELECT action, detail ->> 'campaign', detail ->> 'tariff' FROM actions ORDER BY id")
        assert done == [
            ("assign tariff", "a", "own"),
            ("assign tariff", None, "all"),
            ("unassign tariff", "a", "own"),
            ("unassign tariff", None, "all"),
        ]

    def test_the_lines_name_their_own_version(self, engine):
        """Each line of a mixed batch says which version of which tariff, and which of its rates, made it."""
        load(engine, "27,0.60")
        load(engine, "27,0.10\n2782,0.30", tariff="own")
        assign_tariff(engine, "a", "own", assigned_by="me")
        bill(engine, {"ref": "a"}, {"ref": "b"}, {"ref": "a"})
        found = rows(
            engine,
            "SELECT name, rate_line, rated_seconds FROM ledger JOIN tariff_versions AS v ON v.id = tariff_version_id "
            "JOIN tariffs AS t ON t.id = tariff_id ORDER BY call_id",
        )
        assert found == [("own", 3, 61), ("default", 2, 61), ("own", 3, 61)]

    def test_what_waited_is_released(self, engine):
        """A call that waits for a rate is charged once its campaign is given a tariff that has one."""
        load(engine, "44,1")
        load(engine, "27,0.60", tariff="own")
        walk(engine, receive(engine, make_record(ref="a")))
        assert sheet(engine).failed.records == 1
        assert assign_tariff(engine, "a", "own", assigned_by="me").retried == 1
        walk_overdue(engine)
        assert sheet(engine).charged == {"ZAR": Decimal("0.61")}

    def test_assigned_again(self, engine):
        """The same again changes nothing, but finishes an assignment that was interrupted before it released."""
        load(engine, "27,0.60", tariff="own")
        assign_tariff(engine, "a", "own", assigned_by="me")
        walk(engine, receive(engine, make_record(ref="b")))
        again = assign_tariff(engine, "a", "own", assigned_by="me")
        assert (again.changed, again.retried) == (False, 1)
        assert rows(engine, "SELECT count(*) FROM actions") == [(1,)]

    def test_what_cannot_be_assigned(self, engine):
        """A tariff nobody loaded, a campaign without a name, and taking away what is not there are refused."""
        load(engine, "27,0.60")
        with pytest.raises(UnknownTariffError, match="there is no tariff 'own'"):
            assign_tariff(engine, "a", "own", assigned_by="me")
        with pytest.raises(DataError, match="campaign"):
            assign_tariff(engine, " ", "default", assigned_by="me")
        with pytest.raises(NotAssignedError, match="'a' is not assigned"):
            unassign_tariff(engine, "a", unassigned_by="me")
        with pytest.raises(NotAssignedError, match="to everything"):
            unassign_tariff(engine, None, unassigned_by="me")
        assert rows(engine, "SELECT count(*) FROM tariff_assignments") == [(0,)]

    def test_memory_is_bounded(self, engine):
        """Of many tariffs a process keeps as many rates as it may, and the one in hand whatever its size."""
        rates = "\n".join(f"{prefix},0.60" for prefix in range(100, 150))
        for name in "abcdef":
            load(engine, f"27,0.60\n{rates}", tariff=name)
            assign_tariff(engine, name, name, assigned_by="me")
        cache = TariffCache(ZONE, rates_kept=110)
        for name in "abcdef":
            with engine.begin() as connection:
                tariff = tariff_in_force(cache, connection, name)
            assert tariff is not None
            assert tariff.name == name
        assert [tariff.name for tariff in cache._loaded.values()] == ["e", "f"]
        tiny = TariffCache(ZONE, rates_kept=1)
        with engine.begin() as connection:
            assert tariff_in_force(tiny, connection, "a") is tariff_in_force(tiny, connection, "a")

    def test_two_small_queries_a_batch(self, engine, monkeypatch):
        """However many tariffs a batch needs, knowing that they still hold costs one query and one lock."""
        load(engine, "27,0.60")
        cache = TariffCache(ZONE)
        campaigns = [uuid.uuid4().hex for _ in range(50)]
        with engine.begin() as connection:
            tariff_in_force(cache, connection)
            asked = []
            for asks in (connection, driver_connection(connection)):
                monkeypatch.setattr(asks, "execute", counted(asks.execute, asked))
            for version_id in cache.in_force(connection, campaigns).values():
                cache.version(connection, version_id)
        assert len(asked) == 2


class TestSettings:
    def test_billable_dispositions(self, engine):
        """A tariff may bill more than answered calls; what it does not bill says so."""
        load(engine, "27,0.60", billable_dispositions=frozenset({Disposition.ANSWERED, Disposition.VOICEMAIL}))
        voicemail = {"end_reason": "voicemail", "extension": None, "call_time": 60}
        assert bill(engine, voicemail, BUSY) == [Decimal("0.60"), "a call that ended as busy is not billed"]

    def test_the_duration_basis(self, engine):
        """Call time, or call time and hold time; a hold time that was not sent counts as none."""
        load(engine, "27,0.60", duration_basis=DurationBasis.CALL_AND_HOLD)
        assert bill(engine, {"call_time": 60, "hold_time": 30}, {"call_time": 60}) == [Decimal("0.90"), Decimal("0.60")]
        assert rows(engine, "SELECT talk_seconds, rated_seconds FROM ledger ORDER BY call_id") == [(60, 90), (60, 60)]
        load(engine, "27,0.60", duration_basis=DurationBasis.CALL)
        assert bill(engine, {"call_time": 60, "hold_time": 30}) == [Decimal("0.60")]

    def test_inbound_calls(self, engine):
        """They are charged only when the tariff says so, and then by the number that was called."""
        load(engine, "2712,0.10\n2782,5")
        assert bill(engine, {**INBOUND, "call_time": 60}) == ["inbound calls are not billed"]
        load(engine, "2712,0.10\n2782,5", inbound_rated=True)
        short_code = {**INBOUND, "call_time": 60, "dial_number": "toll-free"}
        assert bill(engine, {**INBOUND, "call_time": 60}) == [Decimal("0.10")]
        walk(engine, receive(engine, make_record(**short_code)))
        assert "no rate for toll-free" in rows(engine, "SELECT reason FROM failures")[0].reason

    def test_the_attempt_fee(self, engine):
        """It is charged for attempts of whatever outcome, not for calls that never left the dialler, and alone for
        those the tariff does not bill."""
        load(engine, "27,0.60,0.05\n44,0.60,0", columns="prefix,rate_per_minute,attempt_fee")
        outcomes = bill(
            engine,
            {"call_time": 60},
            BUSY,
            {"call_time": 0},
            FAILED,
            {**BUSY, "number": "+442079460000"},
            INBOUND | BUSY,
        )
        assert outcomes == [
            Decimal("0.65"),
            Decimal("0.05"),
            Decimal("0.05"),
            "a call that ended as failed is not billed",
            "a call that ended as busy is not billed",
            "a call that ended as busy is not billed",
        ]
        assert rows(engine, "SELECT reason, billable_seconds, unrounded FROM ledger ORDER BY call_id") == [
            ("rated", 60, Decimal("0.65")),
            ("attempt", 0, Decimal("0.05")),
            ("zero_seconds", 0, Decimal("0.05")),
        ]
        assert sheet(engine).closes

    def test_a_fee_below_a_cent_is_no_charge(self, engine):
        """What rounds to nothing is no line of zero; the call is uncharged, for its own reason."""
        load(engine, "27,0.60,0.001", columns="prefix,rate_per_minute,attempt_fee")
        assert bill(engine, BUSY) == ["a call that ended as busy is not billed"]

    def test_settings_stay_until_they_are_changed(self, engine):
        """A new file changes rates and nothing else; decimals go with the currency."""
        load(engine, "27,1", rounding=Rounding.UP, decimals=4, inbound_rated=True)
        load(engine, "27,2")
        load(engine, "27,3", billable_dispositions=frozenset({Disposition.BUSY}), inbound_rated=False)
        load(engine, "27,3,JPY", columns="prefix,rate_per_minute,currency")
        with engine.connect() as connection:
            terms = [listed.version.terms for listed in list_versions(connection)]
        answered, busy = frozenset({"answered"}), frozenset({"busy"})
        assert terms[::-1] == [
            ("ZAR", "up", 4, answered, "call_time", True),
            ("ZAR", "up", 4, answered, "call_time", True),
            ("ZAR", "up", 4, busy, "call_time", False),
            ("JPY", "up", 0, busy, "call_time", False),
        ]

    def test_old_code_can_still_load(self, engine):
        """A worker of the version before inserts versions and lines that know nothing of the new columns."""
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO tariffs (name) VALUES ('default')"))
            connection.execute(
                text(
                    "INSERT INTO tariff_versions (tariff_id, version, currency, rounding, decimals, "
                    "billable_dispositions, file_name, file_sha256, loaded_by) "
                    "VALUES (1, 1, 'ZAR', 'half_up', 2, '{answered}', 'f', '', 'me')"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO ledger (call_id, kind, revision, tariff_version_id, prefix, rate_per_minute, "
                    "connect_fee, talk_seconds, billable_seconds, unrounded, amount, currency, reason) "
                    "VALUES (1, 'charge', 1, 1, '27', 1, 0, 60, 60, 1, 1, 'ZAR', 'rated')"
                )
            )
        with engine.connect() as connection:
            (listed,) = list_versions(connection)
        assert (listed.version.terms.duration_basis, listed.version.terms.inbound_rated) == ("call_time", False)


class TestTimes:
    @pytest.mark.parametrize(
        ("local", "fold", "amount"),
        [
            # London, 25 October 2026: 01:30 comes twice. A window 01:00-02:00 local holds both times.
            ("2026-10-25T00:59:59", 0, "1.00"),
            ("2026-10-25T01:30:00", 0, "5.00"),
            ("2026-10-25T01:30:00", 1, "5.00"),
            ("2026-10-25T02:00:00", 0, "1.00"),
            # 28 February is followed by 1 March in 2026; the window is on every day.
            ("2026-02-28T01:00:00", 0, "5.00"),
        ],
    )
    def test_hours_are_local_when_clocks_change(self, engine, local, fold, amount):
        """A time-of-day rate goes by the clock on the wall, twice in the repeated hour; in quote and ledger alike."""
        zone = "Europe/London"
        at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold)
        load(engine, "27,5,01:00-02:00\n27,1,02:00-01:00", columns="prefix,rate_per_minute,time_of_day", zone=zone)
        with engine.connect() as connection:
            quoted = quote(connection, HypotheticalCall("+27820001234", 60, at), region="ZA", timezone=zone)
        batch = receive(engine, make_record(call_time=60, dialed_at=int(at.timestamp())))
        walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY))
        cache = TariffCache(zone)
        run_step(engine, batch.batch_id, Step.BILL, lambda *args: bill_step(*args, cache), resend_after_seconds=10)
        assert [quoted.amount, *rows(engine, "SELECT amount FROM ledger")[0]] == [Decimal(amount)] * 2

    def test_the_hour_that_is_skipped(self, engine):
        """New York, 8 March 2026: there is no 02:30, a window 02:00-03:00 holds nothing, and no call lacks a rate."""
        rates = "27,5,02:00-03:00\n27,1,03:00-02:00"
        load(engine, rates, columns="prefix,rate_per_minute,time_of_day", zone="America/New_York")
        before, after = datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC), datetime(2026, 3, 8, 7, tzinfo=UTC)
        for at in (before, after):
            asked = HypotheticalCall("+27820001234", 60, at)
            with engine.connect() as connection:
                assert quote(connection, asked, region="ZA", timezone="America/New_York").amount == 1


class TestQuoteEqualsLedger:
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_whatever_the_tariff_and_the_call(self, engine, data):
        """A quote is what the ledger says of the same call: amount, seconds, unrounded; or that nothing is charged."""
        draw = data.draw
        money = st.decimals(0, 3, places=4)
        name = f"t{uuid.uuid4().hex}"
        columns = "prefix,rate_per_minute,connect_fee,first_increment,next_increment,attempt_fee,free_below_seconds"
        increments = st.integers(1, 90)
        cells = (27, draw(money), draw(money), draw(increments), draw(increments), draw(money), draw(st.integers(0, 9)))
        load(
            engine,
            ",".join(map(str, cells)),
            tariff=name,
            columns=columns,
            rounding=draw(st.sampled_from(Rounding)),
            decimals=draw(st.integers(0, 5)),
            duration_basis=draw(st.sampled_from([DurationBasis.CALL, DurationBasis.CALL_AND_HOLD])),
            inbound_rated=draw(st.booleans()),
            billable_dispositions=frozenset({Disposition.ANSWERED, *draw(st.sets(st.sampled_from(Disposition)))}),
        )
        assign_tariff(engine, name, name, assigned_by="me")
        talk, hold = draw(st.integers(0, 4_000)), draw(st.none() | st.integers(0, 90))
        direction = draw(st.sampled_from(["inbound", "outbound"]))
        ended = draw(st.sampled_from([{}, BUSY, FAILED, {"end_reason": "voicemail"}]))
        record = make_record(ref=name, hold_time=hold, call_dir=direction, **{"call_time": talk, **ended})
        batch = receive(engine, record)
        walk(engine, batch)
        call_id = batch.batch_id * 65_536
        (disposition, talked) = rows(
            engine,
            f"SELECT disposition, talk_seconds FROM dispositions JOIN calls ON id = call_id WHERE id = {call_id}",
        )[0]
        number = "27123456789" if direction == "inbound" else "0820001234"
        quoted = ask(
            engine, number, talked, campaign=name, hold_seconds=hold, direction=direction, disposition=disposition
        )
        found = rows(engine, f"SELECT amount, billable_seconds, unrounded FROM ledger WHERE call_id = {call_id}")
        free = rows(engine, f"SELECT reason FROM uncharged WHERE call_id = {call_id}")
        assert len(found) + len(free) == 1
        expected = found[0] if found else (0, 0, 0)
        assert (quoted.amount, quoted.billable_seconds, quoted.unrounded) == tuple(expected)


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 300)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


class TestCommands:
    def test_worked_numbers(self, run, tmp_path):
        """The worked numbers hold through `tariff load` and `quote`."""
        file = tmp_path / "t.csv"
        for first, next_, fee, seconds, billable, amount in WORKED[::3]:
            file.write_text(
                f"prefix,rate_per_minute,first_increment,next_increment,connect_fee\n27,0.60,{first},{next_},{fee}\n"
            )
            run("tariff", "load", file)
            quoted = json.loads(run("quote", "0820001234", seconds, "--json").output)
            assert (quoted["billable_seconds"], quoted["amount"]) == (billable, amount)

    def test_settings_are_options(self, run, tmp_path):
        """What `tariff load` is told is listed, and told again at an export."""
        file = tmp_path / "t.csv"
        file.write_text("prefix,rate_per_minute\n27,0.60\n")
        loaded = run(
            "tariff", "load", file, "--billable", "answered", "--billable", "voicemail",
            "--duration", "call_time+hold_time", "--inbound",
        )  # fmt: skip
        assert "call_time+hold_time of answered, voicemail, inbound too" in loaded.output
        (listed,) = json.loads(run("tariff", "list", "--json").output)
        assert listed["billable_dispositions"] == ["answered", "voicemail"]
        assert (listed["duration_basis"], listed["inbound_rated"]) == ("call_time+hold_time", True)
        assert (listed["assigned_to"], listed["assigned_to_everything"]) == ([], False)
        assert "call_time+hold_time of answered" in run("tariff", "list").output
        told = run("tariff", "export").stderr
        assert "--billable answered --billable voicemail --duration call_time+hold_time --inbound" in told
        assert run("tariff", "load", file, "--billable", "sleepy").exit_code == 2
        assert run("tariff", "load", file, "--duration", "ring_time").exit_code == 2
        quoted = run("quote", "27123456789", 50, "--hold", 10, "--inbound")
        assert "duration is call time + hold time: 50 s + 10 s" in quoted.output
        assert "0.60 ZAR" in quoted.output

    def test_assign(self, run, tmp_path):
        """Assign, list, quote, unassign; and what cannot be meant is refused."""
        file = tmp_path / "t.csv"
        file.write_text("prefix,rate_per_minute\n27,0.60\n")
        run("tariff", "load", file)
        file.write_text("prefix,rate_per_minute\n27,0.30\n")
        run("tariff", "load", file, "--tariff", "own")
        assert "Campaign 'a' has the tariff own from now on." in run("tariff", "assign", "a", "own").output
        assert "has the tariff own already" in run("tariff", "assign", "a", "own").output
        assert "Everything has the tariff own" in run("tariff", "assign", "--everything", "own").output
        assert "everything, 'a'" in run("tariff", "list").output
        assert "no tariff of its own any more" in run("tariff", "unassign", "--everything").output
        amounts = [
            json.loads(run("quote", "0820001234", 60, "--json", *more).output)["amount"]
            for more in ((), ("--campaign", "a"), ("--campaign", "b"))
        ]
        assert amounts == ["0.60", "0.30", "0.60"]
        for wrong in (
            ("assign", "own"),
            ("assign", "--everything", "a", "own"),
            ("unassign",),
            ("assign", "a", "b", "c"),
        ):
            assert run("tariff", *wrong).exit_code == 2, wrong
