"""Runs: the same again for the same inputs, locked for good, refused where they cannot be."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from pipeline.accounts import reconcile_rows as rows
from pipeline.accounts.file_rows import InUseError, withdraw_file
from pipeline.accounts.reconcile_export import export_lines
from pipeline.accounts.reconcile_files import NotReconcilableError
from pipeline.accounts.reconcile_report import as_dict
from pipeline.accounts.rules.classes import ItemClass
from pipeline.accounts.rules.offset import AmbiguousOffsetError
from pipeline.completeness.missing_lines import settle_missing_lines
from pipeline.lookup.rules.plain import plain
from tests.integration.accounts.conftest import MONTH, SAME, at

NOW = datetime(2026, 12, 2, tzinfo=UTC)


def classes(run):
    both = {name: (sums["lines"], sums["calls"]) for name, sums in run.totals.items()}
    return {name: counts for name, counts in both.items() if any(counts)}


def test_run_again_the_same_bytes_come_out(acme):
    """Of the report and of the export, although the run has another number and was made at another time."""
    acme.file([*SAME[:8], (8, at(8), 60, "6.00"), (99, at(3), 5, "0.05")])

    def made():
        run = acme.reconcile().run
        with acme.engine.connect() as connection:
            exported = "".join(export_lines(connection, run.id, list(ItemClass), ZoneInfo("UTC")))
        return run.id, json.dumps(as_dict(run), default=plain).encode(), exported.encode()

    first, second = made(), made()
    assert first[0] != second[0]
    assert first[1:] == second[1:]
    assert [run.id for run in runs_of(acme)] == [second[0]]


def runs_of(acme):
    with acme.engine.connect() as connection:
        return rows.runs(connection)


def test_only_the_charge_in_force_counts(acme):
    """A call that was rerated is compared by what it costs now, and one taken back is not charged."""
    acme.file(SAME)
    acme.run(
        "INSERT INTO ledger (call_id, kind, revision, side, tariff_version_id, rate_line, prefix, rate_per_minute, "
        "  connect_fee, talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason) "
        "SELECT call_id, new.kind, new.revision, side, tariff_version_id, rate_line, prefix, rate_per_minute, "
        "  connect_fee, talk_seconds, rated_seconds, billable_seconds, new.sum * unrounded, new.sum * amount, "
        "  currency, "
        "  'rerated' FROM ledger, (VALUES ('reversal', 1, -1), ('charge', 2, 3)) AS new (kind, revision, sum) "
        "WHERE call_id = (SELECT min(call_id) FROM ledger) ORDER BY new.kind DESC"
    )
    run = acme.reconcile().run
    assert classes(run) == {"equal": (9, 9), "rate": (1, 1)}
    assert run.totals["rate"]["money_here"] == {"ZAR": "1.8"}
    assert run.totals["rate"]["causes"] == [
        {"cause": "units agree, cost 0.33 times, 0.6000 a minute there", "items": 1}
    ]


def test_a_call_of_another_provider_is_not_this_ones(acme):
    """Nor are the client's charges."""
    acme.tariff("Other")
    acme.call(50, at(4), provider="Other")
    acme.call(51, at(5), side="client")
    acme.file([*SAME, (50, at(4), 60, "0.60")])
    result = acme.reconcile()
    assert classes(result.run) == {"equal": (10, 10), "missing here": (1, 0)}
    assert result.run.totals["missing here"]["causes"][0]["cause"].startswith("the call is here")
    assert result.cases == 0


def test_a_call_that_costs_nothing_is_of_the_provider_it_is_assigned_to(acme):
    acme.tariff("Other")
    for number, dialled, provider in ((60, "+27100000000", "acme"), (61, "+27200000000", "Other")):
        call_id = acme.call(number, at(6), charged=False)
        acme.run("UPDATE dispositions SET disposition = 'busy' WHERE call_id = :id", id=call_id)
        acme.run("INSERT INTO uncharged (call_id, side, reason) VALUES (:id, 'provider', 'busy')", id=call_id)
        acme.run("UPDATE calls SET dial_number = :dialled WHERE id = :id", id=call_id, dialled=dialled)
        acme.run(
            "INSERT INTO provider_assignments (dial_number, tariff_id, assigned_by) "
            "SELECT :dialled, id, 'test' FROM tariffs WHERE provider = :provider",
            dialled=dialled,
            provider=provider,
        )
    acme.file(SAME)
    assert classes(acme.reconcile().run) == {"equal": (10, 11)}


@pytest.mark.parametrize(
    ("files", "provider", "said"),
    [
        ([{}], "Acme Voce", "there is no provider Acme Voce: there is acme"),
        ([], "acme", "no file of acme has any of that period"),
        ([{"state": "withdrawn"}], "acme", "acme.csv was withdrawn"),
        (
            [{}, {"name": "b.csv", "since": at(20)}],
            "acme",
            r"file \d+ \(acme.csv\) and file \d+ \(b.csv\) of acme overlap",
        ),
        ([{"since": at(40), "until": at(60)}], "acme", "no file of acme has any of that period"),
    ],
    ids=["unknown provider", "no file", "withdrawn", "overlapping", "of another month"],
)
def test_what_cannot_be_compared_is_refused(acme, files, provider, said):
    for each in files:
        acme.file(SAME, **each)
    with pytest.raises(NotReconcilableError, match=said):
        acme.reconcile(MONTH._replace(provider=provider))
    assert runs_of(acme) == []


def test_a_file_without_a_period_is_of_the_time_of_its_calls(acme):
    """And a call after the last of them is not one that the provider left out."""
    acme.file(SAME[:9], since=None, until=None)
    run = acme.reconcile().run
    assert classes(run) == {"equal": (9, 9), "missing there": (0, 1)}
    assert run.totals["missing there"]["causes"] == [{"cause": "no file covers that time", "items": 1}]


def test_a_month_may_come_in_several_files(acme):
    acme.file(SAME[:6])
    acme.file(SAME[6:], name="the-rest.csv")
    run = acme.reconcile().run
    assert classes(run) == {"equal": (10, 10)}
    assert [each["name"] for each in run.inputs["files"]] == ["acme.csv", "the-rest.csv"]


def test_an_ambiguous_clock_is_refused_and_can_be_given(acme):
    acme.file([(number, at(number, minutes=-number * 47), 60, "0.60") for number in range(10)])
    with pytest.raises(AmbiguousOffsetError):
        acme.reconcile()
    assert classes(acme.reconcile(MONTH._replace(offset_seconds=0)).run)["equal"] == (1, 1)


def test_what_was_lost_between_is_noticed(acme):
    """A line that is no longer there, and a file that says so: the run is failed, and the one before stays."""
    acme.file(SAME)
    first = acme.reconcile().run
    acme.run("DELETE FROM provider_lines WHERE line = 3")
    failed = acme.reconcile().run
    assert failed.state == "failed"
    assert failed.problems == ["lines: the files were loaded with 10, and 9 are there"]
    assert [run.id for run in runs_of(acme)] == [failed.id, first.id]
    with acme.engine.begin() as connection, pytest.raises(rows.LockedRunError, match="does not add up"):
        rows.lock_run(connection, failed.id, who="a", because="b")


class TestLocked:
    """What was agreed upon stays as it is."""

    @pytest.fixture
    def locked(self, acme):
        acme.file(SAME)
        run = acme.reconcile().run
        with acme.engine.begin() as connection:
            rows.lock_run(connection, run.id, who="accountant", because="agreed with Acme")
        return run

    def test_its_files_cannot_be_withdrawn(self, acme, locked):
        (file,) = locked.inputs["files"]
        with (
            acme.engine.begin() as connection,
            pytest.raises(InUseError, match=f"reconciliation {locked.id} was made with it and is locked"),
        ):
            withdraw_file(connection, file["id"], because="wrong", who="accountant")
        assert acme.rows("SELECT state FROM provider_files") == [("loaded",)]

    def test_no_other_run_takes_its_place(self, acme, locked):
        with pytest.raises(rows.LockedRunError, match="locked by accountant: agreed with Acme"):
            acme.reconcile()
        with pytest.raises(rows.LockedRunError):
            acme.reconcile(MONTH._replace(since=at(20), until=at(40)))
        assert [(run.id, run.state) for run in runs_of(acme)] == [(locked.id, "locked")]

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM reconcile_runs",
            "UPDATE reconcile_runs SET state = 'done'",
            "DELETE FROM reconcile_items WHERE item = 1",
            "UPDATE reconcile_items SET cause = 'x'",
            "TRUNCATE reconcile_items",
            "INSERT INTO reconcile_items (run_id, item, item_class) SELECT id, 99, 'x' FROM reconcile_runs",
        ],
    )
    def test_nobody_changes_it(self, acme, locked, statement):
        """Not even the owner of the tables."""
        with pytest.raises(IntegrityError, match=r"what was agreed upon stays|never changed"):
            acme.run(statement)

    def test_a_run_whose_file_was_withdrawn_cannot_be(self, acme):
        acme.file(SAME)
        run = acme.reconcile().run
        acme.run("UPDATE provider_files SET state = 'withdrawn'")
        with acme.engine.begin() as connection, pytest.raises(rows.LockedRunError, match="withdrawn since"):
            rows.lock_run(connection, run.id, who="a", because="b")


@pytest.mark.parametrize("column", ["line_id", "call_id"])
def test_a_line_or_a_call_is_matched_once(acme, column):
    """The database itself refuses a second item of either."""
    acme.file(SAME)
    acme.reconcile()
    with pytest.raises(IntegrityError, match="reconcile_items_"):
        acme.run(
            f"INSERT INTO reconcile_items (run_id, item, item_class, {column}) "
            f"SELECT run_id, 1000, 'rate', {column} FROM reconcile_items WHERE item = 1"
        )


class TestMissingHere:
    """A line without a call is a call that never came, until it does."""

    @pytest.fixture
    def missing(self, acme):
        acme.file([(number, at(number, seconds=7_203), 60, "0.60") for number in range(12)])
        assert acme.reconcile().cases == 2
        return acme

    def cases(self, acme):
        return acme.rows(
            "SELECT number, dialed_at, seconds, state, ended_at IS NULL FROM missing_lines ORDER BY number"
        )

    def test_it_is_named_by_number_and_our_time(self, missing):
        assert self.cases(missing) == [(f"+2782{number:07}", at(number), 60, "found", True) for number in (10, 11)]
        assert missing.reconcile().cases == 0

    def test_it_has_arrived_when_its_call_came(self, missing):
        missing.call(10, at(10, seconds=2))
        missing.call(11, at(11, minutes=1))
        with missing.engine.begin() as connection:
            assert settle_missing_lines(connection, NOW) == 1
        assert [case[3:] for case in self.cases(missing)] == [("arrived late", False), ("found", True)]

    def test_a_call_that_was_here_before_is_another(self, missing):
        missing.call(10, at(10))
        missing.run("UPDATE calls SET normalized_at = now() - interval '1 day'")
        with missing.engine.begin() as connection:
            assert settle_missing_lines(connection, NOW) == 0

    def test_the_next_run_ends_what_it_finds_a_call_for(self, missing):
        missing.call(10, at(10, seconds=25))
        assert missing.reconcile().cases == 0
        assert [case[3] for case in self.cases(missing)] == ["arrived late", "found"]

    def test_it_is_told_and_dismissed_by_command(self, missing):
        told = missing.command("completeness", "--json")
        assert told.returncode == 1
        assert json.loads(told.stdout)["billed"][0]["lines"] == 2
        listed = json.loads(missing.command("completeness", "lines", "--json").stdout)
        for each in listed:
            assert (
                missing.command("completeness", "dismiss-line", str(each["id"]), "--because", "a test call").returncode
                == 0
            )
        assert missing.command("completeness", "lines").returncode == 0
        again = missing.command("completeness", "dismiss-line", str(listed[0]["id"]), "--because", "x")
        assert (again.returncode, "no line" in again.stderr) == (1, True)
        assert missing.reconcile().cases == 0
        assert {case[3] for case in self.cases(missing)} == {"dismissed"}


class TestCommands:
    """What an accountant types."""

    RUN = ("reconcile", "run", "--provider", "acme", "--month", "2026-11")

    @pytest.fixture
    def run(self, acme):
        acme.file([*SAME[:9], (9, at(9), 60, "6.00"), (77, at(1), 60, "0.60")])
        done = acme.command(*self.RUN)
        assert done.returncode == 0, done.stderr
        return done

    def test_a_run_is_shown_and_reported(self, acme, run):
        assert "units agree, cost 10.00 times" in run.stdout
        reported = acme.command("reconcile", "report", "--provider", "acme", "--month", "2026-11")
        assert reported.stdout == run.stdout
        told = json.loads(acme.command("reconcile", "report", "--json").stdout)
        rate = next(each for each in told["classes"] if each["class"] == "rate")
        assert (rate["lines"], rate["money_there"], rate["money_here"]) == (1, {"ZAR": "6"}, {"ZAR": "0.6"})
        assert "+0:00:00: 10 of 10 lines agree" in told["offset"]["said"]

    def test_disputes_are_exported_with_our_evidence(self, acme, run, tmp_path):
        acme.run(
            "INSERT INTO recordings (call_id, source, call_ref, state, sha256) "
            "SELECT id, source, call_ref, 'stored', '\\xabcd' FROM calls WHERE call_ref = 'c9'"
        )
        acme.run("UPDATE provider_lines SET reference = '=HYPERLINK(1)' WHERE number LIKE '%9'")
        file = tmp_path / "disputes.csv"
        assert acme.command("reconcile", "export", "--output", str(file)).returncode == 0
        found = list(csv.DictReader(io.StringIO(file.read_text())))
        assert [row["class"] for row in found] == ["rate", "missing here"]
        assert (found[0]["call_ref"], found[0]["recording_sha256"], found[0]["line"]) == ("c9", "abcd", "11")
        assert (found[0]["amount_here"], found[0]["amount_there"]) == ("0.60", "6.00")
        assert (found[0]["number"], found[0]["reference_there"]) == ("'+27820000009", "'=HYPERLINK(1)")
        only = acme.command("reconcile", "export", "--class", "missing here").stdout
        assert [row["class"] for row in csv.DictReader(io.StringIO(only))] == ["missing here"]
        assert acme.command("reconcile", "export", "--output", str(tmp_path / "no" / "x.csv")).returncode == 2

    def test_what_is_no_file_is_written_into_and_stays_what_it_is(self, acme, run, tmp_path):
        """A device or a pipe of that name is not replaced by a file: /dev/null would be gone for the whole machine."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        try:
            assert acme.command("reconcile", "export", "--output", str(pipe)).returncode == 0
            assert stat.S_ISFIFO(pipe.stat().st_mode)
            assert os.read(reader, 5) == b"class"
        finally:
            os.close(reader)
        assert acme.command("reconcile", "export", "--output", str(tmp_path)).returncode == 2

    def test_it_is_listed_and_locked(self, acme, run):
        (listed,) = json.loads(acme.command("reconcile", "list", "--json").stdout)
        assert acme.command("reconcile", "lock", str(listed["id"]), "--because", " ").returncode == 2
        assert acme.command("reconcile", "lock", str(listed["id"]), "--because", "agreed").returncode == 0
        refused = acme.command(*self.RUN)
        assert (refused.returncode, "is locked by" in refused.stderr) == (1, True)
        actions = acme.rows("SELECT action FROM actions ORDER BY id")
        assert actions == [("reconciled",), ("reconciliation locked",)]

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (("run", "--provider", "Acme", "--month", "2026-11"), 1, "there is no provider Acme: there is acme"),
            (("run", "--provider", "acme", "--month", "2026-10"), 1, "no file of acme"),
            (("run", "--provider", "acme", "--month", "2026-13"), 2, "must be a month"),
            (("run", "--provider", "acme", "--month", "2026-11", "--zone", "Mars"), 2, "must be a zone"),
            (("run", "--provider", "acme", "--month", "2026-11", "--offset", "99999999999999"), 2, "'--offset'"),
            (("report",), 1, "there is no such run"),
            (("report", "7"), 1, "there is no run 7"),
            (("report", "7", "--month", "2026-11"), 2, "say RUN"),
            (("export", "--class", "wrong"), 2, "wrong"),
            (("lock", "7", "--because", "x"), 1, "there is no run 7"),
        ],
    )
    def test_what_is_wrong_is_said(self, acme, words, code, said):
        done = acme.command("reconcile", *words)
        assert done.returncode == code
        assert said in " ".join(done.stderr.replace("│", " ").split())

    def test_a_month_that_is_not_over_is_noted(self, acme):
        later = datetime.now(tz=UTC) + timedelta(days=40)
        acme.file([], since=datetime.now(tz=UTC), until=later)
        done = acme.command(*self.RUN[:-1], f"{later:%Y-%m}")
        assert done.returncode == 0, done.stderr
        assert "The month is not over" in done.stdout + done.stderr


def test_two_runs_at_once_wait_for_each_other(acme):
    """The second begins when the first is written."""
    with acme.engine.begin() as connection:
        rows.alone(connection, "acme")
        with acme.engine.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                rows.alone(other, "acme")
