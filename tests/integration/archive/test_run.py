"""A month is archived: what is written, what is written anew, and what a run that was cut off leaves behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from pipeline.archive import run as running
from pipeline.archive.month import alone
from pipeline.archive.part_rows import known_parts
from pipeline.archive.rules.manifest import NOTHING
from pipeline.archive.rules.places import Place
from pipeline.archive.rules.refused import (
    ArchiveAwayError,
    BrokenArchiveError,
    BusyError,
    NotWritableError,
)
from pipeline.archive.store import ArchiveStore
from pipeline.billing.rules.months import month_in
from pipeline.billing.rules.sides import Side
from pipeline.billing.statements import GroupBy, charges_by, not_charged, totals
from pipeline.errors import PipelineError
from tests.factories import make_record
from tests.integration.archive.conftest import BEGINS, DAY, MONTH, rerated
from tests.integration.flow import receive, walk

DAYS = [date(2026, 9, day) for day in (1, 5, 21, 30)]


def test_a_month_is_a_folder_with_a_part_a_day(september):
    done = september.run()
    assert (done.written, done.rows, done.stopped) == (4, 41, False)
    assert september.files() == ["manifest.json", *(f"part-{number}.parquet" for number in (1, 2, 3, 4))]
    manifest = september.manifest()
    assert manifest == done.manifest
    assert [part.day for part in manifest.parts] == DAYS
    assert manifest.complete_through > MONTH.until
    in_database = september.rows(
        "SELECT source, month, day, name, first_record, last_record, rows, sha256 FROM archive_parts ORDER BY day"
    )
    assert in_database == [
        ("enigma", "2026-09", part.day, part.name, part.first_record, part.last_record, part.sums.rows, part.sha256)
        for part in manifest.parts
    ]
    assert not [*(september.folder / ".partial").iterdir()]


def test_a_run_that_finds_nothing_new_writes_nothing(september):
    september.run()
    before = {path: path.stat().st_mtime_ns for path in september.folder.rglob("*.*")}
    assert september.run().written == 0
    assert {path: path.stat().st_mtime_ns for path in september.folder.rglob("*.*")} == before


def statement(archive, timezone, side, source="enigma"):
    """What the pipeline's own statement of the month says."""
    with archive.engine.connect() as connection:
        entries = totals(charges_by(connection, month_in("2026-09", timezone), GroupBy.DAY, source=source, side=side))
        return {each.currency: each.amount for each in entries}, sum(each.billable_seconds for each in entries), entries


@pytest.mark.parametrize("side", Side)
def test_money_is_that_of_the_statements_to_the_last_digit(september, side):
    """After a rerating, an accepted conflict and calls that cost nothing."""
    manifest = september.run().manifest
    money, seconds, entries = statement(september, "UTC", side)
    of_side = getattr(manifest.sums, side.value)
    assert money
    assert of_side.money == money
    assert of_side.billable_seconds == seconds
    assert of_side.charged == sum(each.calls for each in entries)
    with september.engine.connect() as connection:
        reasons = not_charged(connection, month_in("2026-09", "UTC"), side, source="enigma")
    assert of_side.not_charged == sum(each.calls for each in reasons)
    ((talk,),) = september.rows(
        "SELECT sum(talk_seconds) FROM calls WHERE source = 'enigma' AND dialed_at >= '2026-09-01 00:00+00' "
        "AND dialed_at < '2026-10-01 00:00+00'"
    )
    assert manifest.sums.talk_seconds == talk


def test_money_is_that_of_a_statement_in_any_zone(september):
    """A month of Johannesburg lies in two months of the archive."""
    months = [Place("enigma", name) for name in ("2026-08", "2026-09")]
    rows = [row for place in months if september.run(place).manifest for row in read(september, place)]
    days = month_in("2026-09", "Africa/Johannesburg")
    charged = [row for row in rows if days.since <= row["dialed_at"] < days.until and row["client_amount"] is not None]
    money, seconds, _ = statement(september, "Africa/Johannesburg", Side.CLIENT)
    assert {"ZAR": sum((row["client_amount"] for row in charged), Decimal(0))} == money
    assert sum(row["client_billable_seconds"] for row in charged) == seconds


def read(archive, place=MONTH):
    """The rows of a month, by anything that reads Parquet."""
    found = []
    for part in archive.manifest(place).parts:
        found += pq.ParquetFile(archive.folder / place.folder / part.name).read().to_pylist()
    return found


def test_a_row_is_all_that_is_known_of_a_call(september):
    september.run()
    rows = {row["call_ref"]: row for row in read(september)}
    changed = rows["1900"]
    assert (changed["talk_seconds"], len(changed["duplicates"]), len(changed["versions"])) == (200, 1, 1)
    assert [json.loads(each["raw"])["payload"]["call_time"] for each in changed["other_records"]] == [60, 200]
    assert json.loads(changed["raw"])["payload"]["call_time"] == 60
    kinds = [(line["side"], line["revision"], line["kind"]) for line in changed["lines"]]
    assert kinds == sorted(kinds)
    assert {("client", 2, "reversal"), ("client", 3, "charge")} <= set(kinds)
    in_force = [line for line in changed["lines"] if line["side"] == "client"][-1]
    assert (changed["client_amount"], changed["client_currency"]) == (in_force["amount"], "ZAR")
    assert changed["provider_currency"] == "USD"
    free = [row for row in rows.values() if row["client_amount"] is None]
    assert free
    assert all(row["client_not_charged"] and row["uncharged"] for row in free)
    stored = [row for row in rows.values() if row["recording"] is not None and row["recording"]["state"] == "stored"]
    assert [row["recording"]["path"] for row in stored] == ["a/b.wav"]


class TestAChangedDay:
    """It is written anew under another name; the others stay as they are."""

    def anew(self, archive, day):
        before = archive.manifest()
        done = archive.run()
        after = archive.manifest()
        assert [part for part in after.parts if part.day != day] == [part for part in before.parts if part.day != day]
        changed = after.part_of(day)
        assert changed.name == f"part-{before.last_number + 1}.parquet"
        assert archive.files() == sorted(["manifest.json", *(part.name for part in after.parts)])
        assert archive.run().written == 0
        return done, changed

    def test_a_late_record(self, september):
        september.run()
        walk(september.engine, receive(september.engine, make_record(call_ref=9, dialed_at=BEGINS + 4 * DAY)))
        done, part = self.anew(september, DAYS[1])
        assert done.rows == part.sums.rows

    def test_a_recording_that_was_deleted(self, september):
        september.run()
        ((day,),) = september.rows(
            "SELECT cast(c.dialed_at AT TIME ZONE 'UTC' AS date) FROM calls AS c "
            "JOIN recordings ON call_id = c.id WHERE state = 'stored'"
        )
        september.change("UPDATE recordings SET deleted_at = now() WHERE state = 'stored'")
        self.anew(september, day)

    def test_a_rerating_changes_every_day(self, september):
        september.run()
        rerated(september.engine, b"prefix,rate_per_minute\n27,0.90\n")
        assert september.run().written > 1
        assert september.manifest().sums.client.money == statement(september, "UTC", Side.CLIENT)[0]

    def test_a_call_that_is_of_another_day_by_now(self, september):
        september.run()
        september.change("UPDATE calls SET dialed_at = dialed_at - interval '1 day' WHERE call_ref = '1039'")
        assert september.run().written == 2
        assert [part.day for part in september.manifest().parts] == sorted([*DAYS, date(2026, 9, 29)])
        assert len({row["id"] for row in read(september)}) == september.manifest().sums.rows == 41

    def test_who_looks_at_a_stored_file_changes_nothing(self, september):
        september.run()
        september.change("UPDATE recordings SET verified_at = now()")
        assert september.run().written == 0


class TestWhatTheDatabaseHasNoLonger:
    """It stays in the archive, whatever is written anew."""

    def test_a_month_that_was_dropped(self, september):
        september.run()
        before, rows = september.manifest(), read(september)
        september.drop()
        assert september.run().written == 0
        assert read(september) == rows
        after = september.manifest()
        assert {part.state for part in after.parts} == {NOTHING}
        assert [part.name for part in after.parts] == [part.name for part in before.parts]
        assert after.sums == before.sums

    def test_a_late_record_of_a_day_that_was_dropped(self, september):
        september.run()
        rows = read(september)
        september.drop("call_ref <> '1000'")
        walk(september.engine, receive(september.engine, make_record(call_ref=9, dialed_at=BEGINS + 4 * DAY)))
        september.run()
        found = read(september)
        late = [row for row in found if row["call_ref"] == "9"]
        assert sorted((row for row in found if row["call_ref"] != "9"), key=by_id) == sorted(rows, key=by_id)
        assert len(late) == 1
        assert september.run().written == 0

    @pytest.mark.parametrize("table", ["inbox", "ledger", "dispositions", "recordings", "duplicates", "uncharged"])
    def test_what_was_dropped_before_the_call(self, september, table):
        """Raw records are kept for a shorter time than calls; and then the day changes."""
        september.run()
        rows = sorted(read(september), key=by_id)
        september.change(f"DELETE FROM {table}", "UPDATE calls SET campaign_ref = 'winter'")
        assert september.run().written == 4
        assert sorted(read(september), key=by_id) == [row | {"campaign_ref": "winter"} for row in rows]


def by_id(row):
    return row["id"]


class Stops(Exception):  # noqa: N818 - no error of the pipeline's: a process that is killed
    """The process ends here."""


class Faulty(ArchiveStore):
    """A store in which the process is killed before, or just after, its nth doing."""

    doing: itertools.count[int]
    at: int
    after: bool

    def _do(self, name, *words):
        if (turn := next(self.doing)) == self.at and not self.after:
            raise Stops
        getattr(super(), name)(*words)
        if turn == self.at:
            raise Stops

    def put(self, *words):
        self._do("put", *words)

    def swap_manifest(self, *words):
        self._do("swap_manifest", *words)

    def remove(self, *words):
        self._do("remove", *words)


def said(archive):
    """What a month's archive says, but for when and under which names."""
    return [
        (part.day, part.first_record, part.last_record, part.state, part.sums) for part in archive.manifest().parts
    ], sorted(read(archive), key=by_id)


@pytest.fixture(params=["all days are new", "two days have changed"])
def begun(september, request, tmp_path):
    """An archive as a run finds it, and what puts it back to that."""
    if request.param == "two days have changed":
        september.run()
        september.change("UPDATE calls SET campaign_ref = 'winter' WHERE call_ref IN ('1038', '1039')")
    kept = tmp_path / "kept"
    shutil.copytree(september.folder, kept)
    september.change("CREATE TABLE kept_parts AS TABLE archive_parts")

    def put_back():
        shutil.rmtree(september.folder)
        shutil.copytree(kept, september.folder)
        september.change("DELETE FROM archive_parts", "INSERT INTO archive_parts TABLE kept_parts")

    return september, put_back


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_step_and_run_again_it_ends_the_same(begun, monkeypatch, after):
    """What a reader finds by the manifest is whole at all times, and nothing that is not named is left behind."""
    archive, put_back = begun
    follow = running.follow
    archive.run()
    ended = said(archive)
    for at in itertools.count():
        put_back()
        store = Faulty(archive.folder.as_uri())
        store.doing, store.at, store.after = itertools.count(), at, after
        steps = itertools.count()

        def stops_too(*words, steps=steps, at=at):
            if next(steps) == at and after:
                raise Stops
            follow(*words)

        with monkeypatch.context() as patched, contextlib.suppress(Stops):
            patched.setattr(running, "follow", stops_too)
            archive.run(store=store)
            break
        whole_or_none(archive)
        archive.run()
        assert said(archive) == ended, at
        names = [part.name for part in archive.manifest().parts]
        assert archive.files() == sorted(["manifest.json", *names]), at
        with archive.engine.connect() as connection:
            assert [part.name for part in known_parts(connection)] == names, at
    assert at > 6


def whole_or_none(archive):
    """Each part that the manifest names is there and is read."""
    manifest = archive.manifest()
    if manifest is not None:
        assert len(read(archive)) == manifest.sums.rows


def test_a_run_whose_time_is_up_is_gone_on_with(september):
    turns = itertools.count()
    first = september.run(enough=lambda: next(turns) >= 5)
    assert (first.stopped, first.written) == (True, 2)
    assert september.manifest().unfinished.day == 6
    assert september.manifest().complete_through is None
    looked = []
    second = september.run(go_on=True, progress=lambda done, of: looked.append((done, of)))
    assert (second.stopped, second.written, looked[0]) == (False, 2, (5, 30))
    assert september.manifest().unfinished is None
    assert september.manifest().complete_through > MONTH.until


def test_two_at_one_month_exclude_each_other(september):
    with alone(september.engine, MONTH), pytest.raises(BusyError, match="another process is at the archive of 2026-09"):
        september.run()
    september.run()


class TestWhatStandsThere:
    """A run that cannot believe what it finds writes nothing."""

    def test_a_manifest_that_is_gone(self, september):
        september.run()
        (september.folder / MONTH.folder / "manifest.json").unlink()
        before = september.files()
        with pytest.raises(NotWritableError, match=r"4 parts of 2026-09 of enigma were archived, .* no manifest of it"):
            september.run()
        assert september.files() == before
        assert september.run(anew=True).rows == 41
        assert september.files() == ["manifest.json", *(f"part-{number}.parquet" for number in (5, 6, 7, 8))]

    def test_a_manifest_that_is_older(self, september):
        september.run()
        manifest = september.folder / MONTH.folder / "manifest.json"
        older = manifest.read_bytes()
        september.change("UPDATE calls SET campaign_ref = 'winter' WHERE call_ref = '1038'")
        september.run()
        manifest.write_bytes(older)
        with pytest.raises(NotWritableError, match="an older manifest of it"):
            september.run()

    def test_a_part_that_is_gone(self, september):
        september.run()
        (september.folder / MONTH.folder / "part-2.parquet").unlink()
        with pytest.raises(NotWritableError, match=r"month=2026-09 lacks part-2\.parquet, which its manifest names"):
            september.run()
        assert september.run(anew=True).manifest.sums.rows == 41

    def test_written_anew_nothing_is_lost(self, september):
        """What the database has no longer is not written over."""
        september.run()
        september.drop("call_ref = '1039'")
        before = september.files()
        with pytest.raises(NotWritableError, match="the others would be lost"):
            september.run(anew=True)
        assert september.files() == before

    def test_a_part_with_other_bytes(self, september):
        """What only it has could not be carried over."""
        september.run()
        part = september.folder / MONTH.folder / "part-1.parquet"
        part.write_bytes(part.read_bytes()[:-9])
        september.change("UPDATE calls SET campaign_ref = 'winter' WHERE call_ref = '1038'")
        with pytest.raises(BrokenArchiveError, match=r"part-1\.parquet has other bytes than were written"):
            september.run()

    def test_a_manifest_that_is_rubbish(self, september):
        september.run()
        (september.folder / MONTH.folder / "manifest.json").write_bytes(b"{")
        with pytest.raises(BrokenArchiveError, match="cannot be read"):
            september.run()

    def test_a_value_that_is_too_large_is_named(self, september):
        september.change("UPDATE ledger SET amount = amount + 1e-20")
        with pytest.raises(NotWritableError, match="amount: a value is more than the archive can hold"):
            september.run()
        assert september.manifest() is None


class Away(ArchiveStore):
    """A store that goes away in the middle."""

    puts = 2

    def _publish(self, file, place, name):
        self.puts -= name != "manifest.json"
        if self.puts < 0:
            raise ArchiveAwayError("the archive's store: cannot write to it (TimeoutError: gone)")
        super()._publish(file, place, name)


def test_a_store_that_goes_away_in_the_middle_loses_nothing(september):
    with pytest.raises(ArchiveAwayError):
        september.run(store=Away(september.folder.as_uri()))
    assert september.manifest().sums.rows == len(read(september))
    assert len(september.manifest().parts) == 2
    assert september.manifest().complete_through is None
    assert september.run().written == 2


def test_a_store_that_cannot_be_written_to_is_away(september, tmp_path):
    """And says so without its path twice, and without a traceback."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PipelineError, match="the archive's store: cannot "):
        september.run(store=ArchiveStore((file / "below").as_uri()))


def test_a_month_that_is_not_over_says_up_to_when(september):
    """And nothing that is dialled later is looked for."""
    dialled = datetime.now(UTC) - timedelta(seconds=1)
    september.change(f"UPDATE calls SET dialed_at = '{dialled.isoformat()}' WHERE call_ref = '2001'")
    place = Place("enigma", f"{dialled:%Y-%m}")
    manifest = september.run(place).manifest
    assert manifest.sums.rows == 1
    assert manifest.complete_through < place.until


def test_a_month_without_calls_has_no_folder(september):
    done = september.run(Place("enigma", "2020-01"))
    assert (done.manifest, done.written) == (None, 0)
    assert not (september.folder / "source=enigma" / "month=2020-01").exists()
