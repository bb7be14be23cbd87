"""A provider's file is loaded once, as a whole or not at all, and what it says has to add up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from pipeline.accounts import file_rows, load
from pipeline.accounts.checked import Wanted
from pipeline.accounts.file_rows import InUseError, UnknownFileError
from pipeline.accounts.load import load_file
from pipeline.accounts.provider_file import ProviderFile
from pipeline.accounts.rules.entries import FileRefusedError, Totals
from pipeline.accounts.rules.mapping import MappingError
from pipeline.accounts.rules.mapping_file import read_mapping
from pipeline.errors import DataError
from tests.integration.flow import rows
from tests.patience import eventually

MAPPING = """
[file]
numbers = "1234.56"
[columns]
number = "to"
started_at = "at"
seconds = "for"
amount = "cost"
currency = "in"
[formats]
started_at = "iso"
"""
HEADING = "to,at,for,cost,in"
TABLES = (
    "provider_mappings",
    "provider_files",
    "provider_lines",
    "provider_bad_lines",
    "provider_skipped_lines",
    "actions",
)


def call(number, at="2026-11-02 10:00:00", seconds=60, cost="0.50", currency="EUR"):
    return f"2782{number:07},{at},{seconds},{cost},{currency}"


NOVEMBER = [call(number) for number in range(5)]


@pytest.fixture
def run(engine, tmp_path):
    """Loads lines as a provider's file."""

    def loaded(*lines, provider="acme", name="file.csv", mapping=MAPPING, zone="UTC", dry_run=False, **wanted):
        path = tmp_path / name
        path.write_text("\n".join([HEADING, *lines]) + "\n")
        asked = Wanted(provider, read_mapping(mapping), zone, "ZA", **wanted)
        with ProviderFile(path) as file:
            return load_file(engine, file, asked, who="thandi", dry_run=dry_run)

    return loaded


def counts(engine):
    return [rows(engine, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES]


def withdraw(engine, file_id):
    with engine.begin() as connection:
        return file_rows.withdraw_file(connection, file_id, because="wrong", who="thandi")


def test_every_line_has_its_place_and_its_text(engine, run):
    lines = [*NOVEMBER, "rubbish", call(9, "2026-12-01 00:00:00", 30, "-0.25", "USD"), ""]
    found = run(*lines, month="2026-11")
    assert (found.outside, found.differences, [each.line for each in found.bad_lines]) == (1, [], [7])
    with engine.connect() as connection:
        (file,) = file_rows.list_files(connection, "acme")
        calls = list(file_rows.lines_of(connection, file.id))
        others = [
            *file_rows.other_lines_of(connection, file.id, bad=True),
            *file_rows.other_lines_of(connection, file.id, bad=False),
        ]
    assert (file.lines, file.read_lines, file.bad_lines, file.skipped_lines, file.seconds) == (7, 6, 1, 2, 330)
    assert (file.money, file.state, file.mapping) == ({"EUR": "2.50", "USD": "-0.25"}, "loaded", 1)
    assert (file.since, file.until) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert (file.first_at, file.last_at) == (datetime(2026, 11, 2, 10, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert calls[-1][:7] == (8, "+27820000009", file.last_at, 30, None, Decimal("-0.25"), "USD")
    kept = {each.line: each.raw for each in [*calls, *others]}
    assert [kept[line] for line in sorted(kept)] == [HEADING, *lines]


def test_the_same_bytes_again_change_nothing(engine, run):
    first = run(*NOVEMBER)
    before = counts(engine)
    again = run(*NOVEMBER, name="another name.csv", month="2026-11", zone="Europe/Berlin")
    assert again.already is not None
    assert (again.file_id, again.already.name) == (first.file_id, "file.csv")
    assert counts(engine) == before
    assert run(*NOVEMBER, provider="other").file_id != first.file_id


def test_a_mapping_is_a_version_for_each_content(engine, run):
    versions = [
        run(call(1), month="2026-11").mapping_version,
        run(call(2), mapping=f"# later\n{MAPPING}").mapping_version,
        run(call(3), mapping=f'{MAPPING}repeated_hour = "refuse"\n').mapping_version,
        run(call(4), provider="other").mapping_version,
        run(call(5)).mapping_version,
    ]
    assert versions == [1, 1, 2, 1, 1]


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ({}, {}, True),
        ({"month": "2026-11"}, {}, True),
        ({"month": "2026-11"}, {"month": "2026-11"}, True),
        ({"provider": "acme"}, {"provider": "other"}, False),
    ],
)
def test_the_same_calls_in_another_file_of_that_time_are_refused(engine, run, first, second, refused):
    known = run(*NOVEMBER, **first)
    before = counts(engine)
    if refused:
        with pytest.raises(FileRefusedError, match=rf"provider file {known.file_id} has 1 of the same calls"):
            run(call(3), call(77), **second)
        assert counts(engine) == before
    else:
        assert run(call(3), call(77), **second).file_id


def test_a_call_at_the_turn_of_a_month_may_be_in_both_months_files(engine, run):
    turn = call(1, "2026-11-30 23:59:59")
    run(*NOVEMBER, turn, month="2026-11")
    found = run(turn, call(2, "2026-12-05 10:00:00"), month="2026-12")
    assert (found.file_id is not None, found.outside, found.overlapping) == (True, 1, [])


def test_other_calls_of_the_same_time_are_a_file_like_any_other(engine, run):
    first = run(*NOVEMBER)
    second = run(call(1, cost="0.51"), call(2, seconds=61), call(3, "2026-11-02 10:00:01"), call(4, currency="USD"))
    assert second.overlapping == [first.file_id]


def test_totals_that_differ_load_nothing(engine, run):
    before = counts(engine)
    stated = Totals(lines=6, seconds=300, money={"EUR": Decimal("2.51")})
    found = run(*NOVEMBER, stated=stated)
    assert found.file_id is None
    assert found.differences == [
        "lines: 6 are stated, the lines come to 5, -1",
        "amount: EUR 2.51 is stated, the lines come to EUR 2.50, -0.01",
    ]
    assert counts(engine) == before
    assert run(*NOVEMBER, stated=stated, despite_totals=True).file_id
    kept = {"lines": 6, "seconds": 300, "money": {"EUR": "2.51"}}
    assert rows(engine, "SELECT stated FROM provider_files") == [(kept,)]


def test_what_is_said_goes_before_what_the_file_says(engine, run):
    mapping = f'{MAPPING}[totals]\ncolumn = "to"\nbegins = "sum"\nseconds = "for"\namount = "cost"\n'
    found = run(*NOVEMBER, "SUM,,300,9.99,", mapping=mapping, stated=Totals(money={"EUR": Decimal("2.5")}))
    assert (found.differences, found.stated.seconds, found.file_id is None) == ([], 300, False)


@pytest.mark.parametrize(
    ("lines", "wanted", "error", "said"),
    [
        ([], {}, FileRefusedError, "the file has no lines of calls"),
        (["x", "y"], {}, FileRefusedError, "none of 2 lines can be read.*; line 2: has 1 cells"),
        ([*NOVEMBER, "x"], {"most_bad": 0}, FileRefusedError, "1 of 6 lines cannot be read, more than 0.*line 7"),
        (NOVEMBER, {"month": "2026-10"}, FileRefusedError, "none of its calls is in 2026-10"),
        (NOVEMBER, {"month": "2026-13"}, DataError, "month: must be a month"),
        (NOVEMBER, {"provider": "a b"}, MappingError, "provider: must be"),
        (NOVEMBER, {"mapping": MAPPING.replace('"cost"', '"price"')}, MappingError, "has no column 'price'"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "real"])
def test_a_file_that_is_none_leaves_nothing(engine, run, lines, wanted, error, said, dry_run):
    with pytest.raises(error, match=said):
        run(*lines, dry_run=dry_run, **wanted)
    assert counts(engine) == [0] * len(TABLES)


def test_a_dry_run_says_the_same_and_writes_nothing(engine, run):
    would_be = run(*NOVEMBER, "x", month="2026-11", dry_run=True)
    assert counts(engine) == [0] * len(TABLES)
    loaded = run(*NOVEMBER, "x", month="2026-11")
    assert vars(would_be.sums) == vars(loaded.sums)
    assert would_be.bad_lines == loaded.bad_lines
    assert run(call(8), dry_run=True).overlapping == [loaded.file_id]


def test_a_file_that_changes_meanwhile_is_refused(engine, tmp_path, monkeypatch):
    path = tmp_path / "grows.csv"
    path.write_text("\n".join([HEADING, *NOVEMBER]) + "\n")
    real = load._copy

    def written_on(*arguments):
        with path.open("a") as file:
            file.write(call(8) + "\n")
        real(*arguments)

    monkeypatch.setattr(load, "_copy", written_on)
    with ProviderFile(path) as file, pytest.raises(FileRefusedError, match="changed while it was being read"):
        load_file(engine, file, Wanted("acme", read_mapping(MAPPING), "UTC", "ZA"), who="thandi")
    assert counts(engine) == [0] * len(TABLES)


def test_what_is_withdrawn_counts_no_more_and_may_be_loaded_again(engine, run):
    first = run(*NOVEMBER)
    assert withdraw(engine, first.file_id).state == "withdrawn"
    with pytest.raises(InUseError, match="is withdrawn already"):
        withdraw(engine, first.file_id)
    with pytest.raises(UnknownFileError, match="there is no provider file 4711"):
        withdraw(engine, 4711)
    second = run(*NOVEMBER)
    assert second.file_id != first.file_id
    assert rows(engine, "SELECT count(*) FROM provider_lines")[0][0] == 2 * len(NOVEMBER)
    assert [row.action for row in rows(engine, "SELECT action FROM actions ORDER BY id")] == [
        "provider file loaded", "provider file withdrawn", "provider file loaded"
    ]  # fmt: skip


def test_two_at_once_are_one(engine, run, monkeypatch):
    """The one that comes second is told so, and does not wait."""
    inside, go_on = threading.Event(), threading.Event()
    real = load._copy

    def waits(*arguments):
        inside.set()
        assert go_on.wait(60)
        real(*arguments)

    monkeypatch.setattr(load, "_copy", waits)
    first = threading.Thread(target=run, args=NOVEMBER)
    first.start()
    assert inside.wait(60)
    with pytest.raises(FileRefusedError, match="another file of acme is being loaded just now"):
        run(call(7), name="second.csv")
    go_on.set()
    first.join()
    assert rows(engine, "SELECT count(*) FROM provider_files") == [(1,)]


def test_the_database_itself_keeps_a_file_from_being_there_twice(engine, run):
    run(*NOVEMBER)
    again = "INSERT INTO provider_files SELECT (jsonb_populate_record(f, '{\"id\": 99}')).* FROM provider_files AS f"
    overriding = again.replace("provider_files SELECT", "provider_files OVERRIDING SYSTEM VALUE SELECT")
    with pytest.raises(IntegrityError, match="provider_files_loaded_idx"), engine.begin() as connection:
        connection.execute(text(overriding))


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.accounts import load
from pipeline.accounts.checked import Wanted
from pipeline.accounts.provider_file import ProviderFile
from pipeline.accounts.rules.mapping_file import read_mapping
from pipeline.database.engine import make_engine

load.CHUNK_LINES = 50
when, copied = int(sys.argv[4]), 0

def dies(done):
    global copied
    copied += 1
    if copied == when:
        os.kill(os.getpid(), signal.SIGKILL)  # written, and not committed

engine = make_engine(sys.argv[1], application="killed")
wanted = Wanted("acme", read_mapping(Path(sys.argv[3]).read_text()), "UTC", "ZA")
with ProviderFile(Path(sys.argv[2])) as file:
    load.load_file(engine, file, wanted, who="me", progress=dies)
"""


@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_killed_in_the_middle_nothing_is_there(engine, run, database_url, tmp_path, chunk):
    """SIGKILL after a chunk of it was written; then it is loaded as if nothing had been."""
    lines = [call(number) for number in range(320)]
    (tmp_path / "killed.csv").write_text("\n".join([HEADING, *lines]) + "\n")
    (tmp_path / "mapping.toml").write_text(MAPPING)
    words = [database_url, str(tmp_path / "killed.csv"), str(tmp_path / "mapping.toml"), str(chunk)]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    alone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killed'"
    assert eventually(lambda: rows(engine, alone) == [(0,)])
    assert counts(engine) == [0] * len(TABLES)
    assert run(*lines).sums.read == 320
