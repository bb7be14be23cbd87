"""A range goes when nothing stands against it, in steps that can be cut off, and the balance closes at each of them."""

from __future__ import annotations

import json
import sys
import threading
import time

import pytest

from pipeline.archive.restore import restore_month
from pipeline.database.ranges import KEYS, all_ranges
from pipeline.ranges.drop import DropError, NoSuchRangeError, drop, look_at
from tests.factories import make_record
from tests.integration.archive.conftest import BEGINS, DAY, MONTH
from tests.integration.archive.conftest import archive as archive  # noqa: PLC0414 - a fixture
from tests.integration.archive.conftest import september as september  # noqa: PLC0414
from tests.integration.flow import receive, sheet, walk
from tests.integration.ranges.conftest import comes_to_an_end
from tests.integration.ranges.test_move import next_month


def look(archive, name="first"):
    return look_at(archive.engine, archive.store, name)


def drop_it(archive, name="first", **options):
    drop(archive.engine, look(archive, name), who="thandi", because="seven years", **options)


def archived(archive):
    """Everything is archived, every month of every dialler."""
    for source, month in archive.rows(
        "SELECT DISTINCT source, to_char(dialed_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM calls ORDER BY 1, 2"
    ):
        archive.run(MONTH._replace(source=source, month=month))


@pytest.fixture
def ready(september):
    """September's month is over: recordings are gone, the feed has nothing of it, all is archived."""
    walk(september.engine, receive(september.engine, make_record(call_ref=3_000, dialed_at=BEGINS + DAY, call_time=9)))
    september.change(
        "UPDATE recordings SET state = 'absent', due_at = NULL WHERE state = 'scheduled'",
        "UPDATE recordings SET deleted_at = now(), deleted_reason = 'old' WHERE state = 'stored'",
        "DELETE FROM feed",
    )
    next_month(september.engine)
    archived(september)
    return september


def walked(archive, *records):
    """New calls, in the month that runs."""
    walk(archive.engine, receive(archive.engine, *records))


class TestDropping:
    """Done-when: archived, dropped, restored: rows equal; the balance says what it was."""

    def test_its_rows_go_and_its_sums_stay(self, ready):
        """Its charges are in the balance as they were, to the last digit; what comes later is counted beside them."""
        before = sheet(ready.engine)
        walked(ready, make_record(call_ref=4_000, dialed_at=BEGINS + 31 * DAY, call_time=61))
        ready.change("DELETE FROM feed WHERE batch_id < (SELECT max(id) FROM batches)")
        assert look(ready).reasons == []
        drop_it(ready)
        after = sheet(ready.engine)
        assert after.closes
        assert after.processed.records == 1
        assert after.dropped["first"]["processed"]["records"] == before.processed.records
        assert after.dropped["first"]["charged"] == before.as_dict()["charged"]
        assert ready.rows("SELECT count(*) FROM calls") == [(1,)]
        assert ready.rows("SELECT relname FROM pg_class WHERE relname LIKE '%\\_first'") == []
        assert ready.rows("SELECT dropped_by, because, trouble FROM ranges WHERE name = 'first'") == [
            ("thandi", "seven years", None)
        ]
        with pytest.raises(NoSuchRangeError, match="was dropped already"):
            look(ready)

    def test_its_calls_are_known_for_all_time(self, ready):
        """A replay of a call that is gone is a duplicate: nothing is charged twice, and nothing is in conflict."""
        drop_it(ready)
        walked(
            ready,
            make_record(call_ref=3_000, dialed_at=BEGINS + DAY, call_time=9),
            make_record(call_ref=1_900, call_time=5_000),
            make_record(call_ref=5_000, call_time=61),
        )
        assert ready.rows("SELECT count(*) FROM duplicates") == [(2,)]
        assert ready.rows("SELECT call_ref FROM calls") == [("5000",)]
        assert ready.rows("SELECT count(*) FROM failures WHERE state = 'open'") == [(0,)]
        assert sheet(ready.engine).closes

    def test_a_month_comes_back_and_goes_again(self, ready):
        """Every row of every table is what it was; then it is dropped once more, and the sums are those of before."""
        before = ready.contents()
        sums = sheet(ready.engine).as_dict()["charged"]
        drop_it(ready)
        for source, month in ready.rows("SELECT DISTINCT source, month FROM archive_parts"):
            restore_month(ready.engine, ready.store, MONTH._replace(source=source, month=month), who="thandi")
        assert ready.contents() == before
        assert sheet(ready.engine).closes
        drop_it(ready)
        assert sheet(ready.engine).dropped["first"]["charged"] == sums
        assert ready.rows("SELECT count(*) FROM calls") == [(0,)]

    def test_cut_off_after_every_statement_it_goes_on_and_always_balances(self, ready):
        """The sums are written down first: at no step is a call counted twice, or not at all."""
        whole = sheet(ready.engine).processed.records
        looked, allowed = look(ready), 1

        def run():
            drop(ready.engine, looked, who="thandi", because="old")

        while not comes_to_an_end(ready.engine, run, statements=allowed):
            now = sheet(ready.engine)
            dropped = now.dropped["first"]["processed"]["records"] if now.dropped else 0
            assert now.closes
            assert now.processed.records + dropped == whole
            looked, allowed = look(ready), allowed + 1
            assert allowed <= 200, "it never came to an end"
        assert allowed > 10
        assert ready.rows("SELECT relname FROM pg_class WHERE relname LIKE '%\\_first'") == []

    def test_nobody_waits_for_it(self, ready):
        """Others read and write while it goes, and it waits for one who reads the range itself."""
        longest, stop = [0.0], threading.Event()

        def others():
            number = 6_000
            while not stop.is_set():
                began = time.monotonic()
                walked(ready, make_record(call_ref=number, call_time=61))
                ready.rows("SELECT count(*) FROM calls")
                longest[0] = max(longest[0], time.monotonic() - began)
                number += 1

        looked = look(ready)
        at_work = threading.Thread(target=others)
        at_work.start()
        try:
            drop(ready.engine, looked, who="thandi", because="old")
        finally:
            stop.set()
            at_work.join()
        assert longest[0] < 5
        assert sheet(ready.engine).closes


class TestAgainst:
    """Each reason is said, and nothing is dropped."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("SELECT setval('batches_id_seq', 50)", "records are still numbered into it"),
            ("UPDATE batches SET finished_at = NULL WHERE id = 2", "1 batches are not finished"),
            (
                """INSERT INTO failures (record_id, step, class, state, source, reason)
                SELECT min(id), 'bill', 'bug', 'open', 'enigma', 'x' FROM calls""",
                "1 failures are open",
            ),
            ("DELETE FROM uncharged WHERE side = 'client'", "its balance does not close"),
            (
                """INSERT INTO holds (number, because, held_by) SELECT client_number, 'x', 'x' FROM calls
                WHERE client_number IS NOT NULL LIMIT 1""",
                "are under a hold",
            ),
            ("UPDATE recordings SET held_at = now(), held_by = 'x'", "are under a hold"),
            ("UPDATE recordings SET state = 'scheduled'", "recordings are to be fetched yet"),
            ("UPDATE recordings SET deleted_at = NULL, state = 'stored', path = 'x'", "recordings are stored"),
            ("INSERT INTO feed (kind, source, batch_id) VALUES ('call.finished', 'enigma', 2)", "the feed has 1 rows"),
            ("UPDATE calls SET extension = '1' WHERE call_ref = '3000'", "2026-09-02 of enigma is not in the archive"),
        ],
    )
    def test_a_reason(self, ready, change, said):
        """The range stays, whatever is asked."""
        ready.change(change)
        looked = look(ready)
        assert any(said in reason for reason in looked.reasons), looked.reasons
        with pytest.raises(DropError, match="stays"):
            drop(ready.engine, looked, who="thandi", because="old")
        assert ready.rows("SELECT drop_began_at FROM ranges WHERE name = 'first'") == [(None,)]

    def test_a_part_with_other_bytes(self, ready):
        """The archive is read back to its end, whatever the database knows of it."""
        part = next((ready.folder / MONTH.folder).glob("part-*.parquet"))
        part.write_bytes(part.read_bytes()[:-1])
        assert any("part" in reason for reason in look(ready).reasons)

    def test_no_archive(self, ready):
        """Where there is none, nothing is dropped."""
        assert any("is not in the archive" in each for each in look_at(ready.engine, None, "first").reasons)

    def test_the_one_before_goes_first(self, ready):
        """Ranges go in order."""
        with ready.engine.connect() as connection:
            following = all_ranges(connection)[1]
        assert "the range before it is there: drop first first" in look(ready, following.name).reasons

    def test_a_name_that_is_none(self, ready):
        """It is said."""
        with pytest.raises(NoSuchRangeError, match="no range 2031-01"):
            look(ready, "2031-01")


class TestTheHook:
    """A command of the operator's runs when the tables stand alone, and can stop the drop."""

    def test_it_sees_the_tables(self, ready, tmp_path):
        """By their names, and they are whole."""
        code = "import os; open(os.environ['OUT'], 'w').write(os.environ['CDR_RANGE_TABLES'])"
        drop_it(ready, hook=f'env OUT={tmp_path}/seen {sys.executable} -c "{code}"')
        assert (tmp_path / "seen").read_text().split() == [f"{table}_first" for table in KEYS]

    def test_its_failure_stops_the_drop_and_the_next_run_goes_on(self, ready):
        """The tables stay; why is written down until a run comes to its end."""
        with pytest.raises(DropError, match="ended with 3, so nothing was dropped: no room"):
            drop_it(ready, hook="sh -c 'echo no room >&2; exit 3'")
        assert sheet(ready.engine).closes
        assert ready.rows("SELECT count(*) > 40 FROM calls_first") == [(True,)]
        ((trouble,),) = ready.rows("SELECT trouble FROM ranges WHERE name = 'first'")
        assert "no room" in trouble
        drop_it(ready)
        assert ready.rows("SELECT trouble, dropped_at IS NOT NULL FROM ranges WHERE name = 'first'") == [(None, True)]

    def test_one_that_is_not_there(self, ready):
        """A sentence."""
        with pytest.raises(DropError, match="could not be run"):
            drop_it(ready, hook="/no/such/program")


@pytest.mark.parametrize("report", ["charges", "margin", "calls", "traffic", "itemised"])
def test_a_report_says_what_it_cannot_count(ready, report):
    """Of a month that was dropped, in part or whole: where it is, and what brings it back."""
    asked = ["report", report, "--month", "2026-09"]
    assert "archived in" not in ready.command(*asked).stderr
    drop_it(ready)
    done = ready.command(*asked)
    assert done.returncode == 0, done.stderr
    assert "`pipeline archive restore 2026-09 --source enigma` brings them back" in " ".join(done.stderr.split())


class TestCommands:
    """As an operator types them."""

    def test_list_and_drop(self, ready):
        """What is there, what stands against it, and what is gone."""
        listed = ready.command("ranges", "list")
        assert listed.stdout.splitlines()[1].split()[0] == "first", listed.stdout
        tried = ready.command("ranges", "drop", "first", "--dry-run")
        assert (tried.returncode, "Nothing stands against" in tried.stderr) == (0, True), tried.stderr
        dropped = ready.command("ranges", "drop", "first", "--because", "old")
        assert (dropped.returncode, "is dropped" in dropped.stdout) == (0, True), dropped.stderr
        again = ready.command("ranges", "drop", "first", "--because", "old")
        assert (again.returncode, "was dropped already" in again.stderr) == (1, True)
        assert "first" in ready.command("balance").stdout
        assert ready.command("ranges", "move").returncode == 0

    def test_reasons(self, september):
        """Each is said, and the code is 1."""
        done = september.command("ranges", "drop", "first", "--because", "old")
        said = " ".join(done.stderr.split())
        assert done.returncode == 1
        for reason in ("records are still numbered into it", "is not in the archive", "the feed has", "stays"):
            assert reason in said

    def test_why_must_be_said(self, ready):
        """As everywhere where something goes for good."""
        done = ready.command("ranges", "drop", "first")
        assert (done.returncode, "--because" in done.stderr) == (2, True)

    def test_those_that_are_due(self, ready):
        """Of which nothing may be kept any more, by the longest of all maxima; what was brought back is not."""
        due = ("ranges", "drop", "--due", "--because", "law")
        nothing = ready.command(*due)
        assert (nothing.returncode, "No range is due" in nothing.stderr) == (0, True)
        for kind in ("calls", "charges", "raw_records"):
            ready.command("keeping", "set", kind, "--at-most", "30", "--because", "law", "--yes")
        ready.command(
            *("keeping", "set", "charges", "--source", "enigma", "--at-most", "50", "--because", "law", "--yes")
        )
        ready.change("UPDATE batches SET received_at = now() - interval '45 days'")
        assert "No range is due" in ready.command(*due).stderr
        ready.change("UPDATE batches SET received_at = now() - interval '51 days'")
        assert ready.command("ranges", "list").stdout.count(":") == 3, "first and last received, and since when due"
        tried = ready.command("ranges", "drop", "--due", "--dry-run")
        assert (tried.returncode, "Nothing stands against dropping first" in tried.stderr) == (0, True)
        dropped = ready.command(*due, "--json")
        assert dropped.returncode == 0, dropped.stderr
        assert [(each["range"], each["dropped"]) for each in json.loads(dropped.stdout)] == [("first", True)]
        for source, month in ready.rows("SELECT DISTINCT source, month FROM archive_parts"):
            restore_month(ready.engine, ready.store, MONTH._replace(source=source, month=month), who="thandi")
        assert "No range is due" in ready.command(*due).stderr

    @pytest.mark.parametrize("as_json", [False, True], ids=["told", "json"])
    def test_what_was_dropped_is_said_whatever_becomes_of_the_next(self, ready, as_json):
        """The second one's hook fails; the first is gone all the same, and whoever asked has to know."""
        walked(ready, make_record(call_ref=4_000, dialed_at=BEGINS + 31 * DAY, call_time=9))
        for kind in ("calls", "charges", "raw_records"):
            ready.command("keeping", "set", kind, "--at-most", "30", "--because", "law", "--yes")
        ready.change(
            "SELECT setval('batches_id_seq', (SELECT max(end_record) >> 16 FROM ranges), false)",
            "UPDATE recordings SET state = 'absent', due_at = NULL WHERE state = 'scheduled'",
            "UPDATE batches SET received_at = now() - interval '40 days'",
            "DELETE FROM feed",
        )
        archived(ready)
        hook = ("--hook", "/bin/sh -c 'test $CDR_RANGE = first'")
        done = ready.command("ranges", "drop", "--due", "--because", "law", *hook, *(["--json"] if as_json else []))
        assert (done.returncode, "the hook ended with 1" in " ".join(done.stderr.split())) == (1, True), done.stderr
        if as_json:
            assert [(each["range"], each["dropped"]) for each in json.loads(done.stdout)] == [("first", True)]
        else:
            assert "Range first is dropped" in done.stdout

    @pytest.mark.parametrize("names", [(), ("first", "--due")])
    def test_one_or_those_that_are_due(self, ready, names):
        """Neither, or both, is a mistake."""
        done = ready.command("ranges", "drop", *names, "--because", "old")
        assert (done.returncode, "--due" in done.stderr) == (2, True)
