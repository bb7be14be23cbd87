"""A month comes back as it was, all of it or nothing; and what is archived can be read back and compared."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.archive import restore as restoring
from pipeline.archive.restore import restore_month
from pipeline.archive.rules.places import Place
from pipeline.archive.rules.refused import ArchiveAwayError, BrokenArchiveError, NotArchivedError, NotRestorableError
from pipeline.archive.verify import verify_month
from tests.factories import make_record
from tests.integration.archive.conftest import BEGINS, DAY, MONTH
from tests.integration.flow import receive, sheet, walk

EXCUSED = (
    "INSERT INTO uncharged (call_id, reason, side) "
    "SELECT call_id, 'x', side FROM ledger WHERE kind = 'charge' AND revision = 1"
)
OF_SEPTEMBER = "source = 'enigma' AND dialed_at >= '2026-09-01 00:00+00' AND dialed_at < '2026-10-01 00:00+00'"


def restore(archive, place=MONTH, **options):
    return restore_month(archive.engine, options.pop("store", archive.store), place, who="thandi")


class TestRestoring:
    """Done-when: a month archived, dropped, restored: rows equal."""

    def test_rows_are_what_they_were(self, september):
        """Every column of every table, with the zeros that an amount was written with; and the balance closes."""
        before = september.contents()
        september.run()
        september.drop(OF_SEPTEMBER)
        assert september.contents() != before
        done = restore(september)
        assert september.contents() == before
        assert (done.calls, done.inserted["calls"], done.inserted["inbox"]) == (41, 41, 43)
        assert sheet(september.engine).closes
        assert restore(september).inserted == {}
        assert september.run().written == 0
        ((who, detail),) = september.rows("SELECT who, detail FROM actions WHERE action = 'archive restored'")
        assert (who, detail["month"], detail["rows"]["calls"]) == ("thandi", "2026-09", 41)

    def test_what_is_there_already_stays(self, september):
        """A part of it was dropped, and some came back by another way."""
        before = september.contents()
        september.run()
        september.drop(f"{OF_SEPTEMBER} AND id % 2 = 0")
        inserted = restore(september).inserted
        assert 0 < inserted["calls"] < 41
        assert september.contents() == before

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("UPDATE calls SET campaign_ref = 'x' WHERE call_ref = '1038'", "calls: 1 rows differ, the first of id"),
            ("UPDATE ledger SET amount = amount + 0.01, unrounded = 1", "ledger: .* rows differ"),
            ("UPDATE dispositions SET why = 'x'", "dispositions: 41 rows differ|dispositions: .* rows differ"),
            ("UPDATE inbox SET raw = 'x'", "inbox: .* rows differ"),
            (EXCUSED, "uncharged: .* rows are not archived"),
            (
                "UPDATE calls SET id = id + 60000, call_ref = '1038', source = 'enigma' WHERE call_ref = '1039'",
                "calls: 1 references are those of other records, the first 1038",
            ),
        ],
        ids=["a call", "a line", "a disposition", "a record", "a reason", "a key"],
    )
    def test_what_differs_is_refused_and_nothing_is_changed(self, september, change, said):
        september.run()
        if "call_ref = '1038'," in change:
            september.drop("call_ref = '1038'")
        september.change(change)
        before = september.contents()
        with pytest.raises(NotRestorableError, match=f"(?s){said}.*Nothing was changed"):
            restore(september)
        assert september.contents() == before

    @pytest.mark.parametrize("at", range(8))
    def test_killed_in_the_middle_nothing_is_there_and_again_it_is_whole(self, september, monkeypatch, at):
        """Before the table of each turn; a transaction that is cut off is none."""
        before = september.contents()
        september.run()
        september.drop(OF_SEPTEMBER)
        dropped = september.contents()

        class Killed(restoring.Restoring):
            def insert(self, table):
                if table is restoring.RESTORED[at]:
                    raise KeyboardInterrupt
                return super().insert(table)

        with monkeypatch.context() as patched:
            patched.setattr(restoring, "Restoring", Killed)
            with pytest.raises(KeyboardInterrupt):
                restore(september)
        assert september.contents() == dropped
        restore(september)
        assert september.contents() == before

    def test_a_part_that_cannot_be_believed_changes_nothing(self, september):
        september.run()
        september.drop(OF_SEPTEMBER)
        dropped = september.contents()
        part = september.folder / MONTH.folder / "part-4.parquet"
        part.write_bytes(part.read_bytes()[:-9])
        with pytest.raises(BrokenArchiveError, match=r"part-4\.parquet has other bytes"):
            restore(september)
        assert september.contents() == dropped

    def test_a_store_that_goes_away_in_the_middle_changes_nothing(self, september, monkeypatch):
        september.run()
        september.drop(OF_SEPTEMBER)
        dropped = september.contents()
        fetched = september.store.fetched

        def away(place, name, **options):
            if name == "part-3.parquet":
                raise ArchiveAwayError("gone")
            return fetched(place, name, **options)

        monkeypatch.setattr(september.store, "fetched", away)
        with pytest.raises(ArchiveAwayError):
            restore(september)
        assert september.contents() == dropped

    def test_a_month_that_is_not_archived(self, september):
        with pytest.raises(NotArchivedError, match="2020-01 of enigma is not in this archive"):
            restore(september, Place("enigma", "2020-01"))


def verify(archive, place=MONTH):
    return verify_month(archive.engine, archive.store, place)


class TestVerifying:
    """Reading back is what shows that an archive is one."""

    def test_it_is_what_the_database_has(self, september):
        september.run()
        found = verify(september)
        assert (found.problems, found.parts, found.rows, found.compared, found.only_here) == ((), 4, 41, 41, 0)
        september.change("UPDATE recordings SET verified_at = now()")
        assert verify(september).problems == (), "somebody has looked at a file, and that is no change"

    def test_what_only_it_has_is_counted(self, september):
        september.run()
        september.drop(OF_SEPTEMBER)
        found = verify(september)
        assert (found.problems, found.rows, found.compared, found.only_here) == ((), 41, 0, 41)

    def test_what_has_changed_since_is_named(self, september):
        september.run()
        september.change(
            "UPDATE calls SET campaign_ref = 'x' WHERE call_ref = '1038'",
            "UPDATE ledger SET reason = 'x' WHERE call_id = (SELECT id FROM calls WHERE call_ref = '1900')",
        )
        walk(september.engine, receive(september.engine, make_record(call_ref=9, dialed_at=BEGINS + 4 * DAY)))
        walk(september.engine, receive(september.engine, make_record(call_ref=10, dialed_at=BEGINS + 9 * DAY)))
        problems = sorted(verify(september).problems)
        assert [problem[:10] for problem in problems] == ["2026-09-01", "2026-09-05", "2026-09-10"]
        assert "1 calls of the database are not as they are archived, and 0 are not archived" in problems[0]
        assert "1 calls of the database are not as they are archived, and 1 are not archived" in problems[1]
        assert "1 calls of the database are not archived" in problems[2]
        september.run()
        assert verify(september).problems == ()

    def truncated(self, file):
        file.write_bytes(file.read_bytes()[:200])

    def flipped(self, file):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    def gone(self, file):
        file.unlink()

    @pytest.mark.parametrize(
        ("harm", "said"),
        [(truncated, "has other bytes"), (flipped, "has other bytes"), (gone, "is not there")],
        ids=["truncated", "flipped", "gone"],
    )
    def test_a_part_that_is_not_as_it_was_written(self, september, harm, said):
        """The others are read all the same."""
        september.run()
        harm(self, september.folder / MONTH.folder / "part-2.parquet")
        found = verify(september)
        assert len(found.problems) == 1
        assert f"part-2.parquet {said}" in found.problems[0]
        assert found.parts == 4
        assert 0 < found.rows < 41

    def test_a_manifest_that_lies_in_all_of_its_sums(self, september):
        """What adds up within it need not be what the parts hold."""
        september.run()
        file = september.folder / MONTH.folder / "manifest.json"
        told = json.loads(file.read_text())
        for sums in (told["sums"], told["parts"][0]["sums"]):
            sums["talk_seconds"] += 1
        file.write_text(json.dumps(told))
        (problem,) = verify(september).problems
        assert "part-1.parquet: the manifest says talk_seconds" in problem

    def test_a_checksum_that_was_changed_along_with_a_part(self, september):
        """The database knows the one that was written."""
        september.run()
        file = september.folder / MONTH.folder / "manifest.json"
        told = json.loads(file.read_text())
        told["parts"][0]["sha256"] = told["parts"][1]["sha256"]
        told["parts"][0]["name"], told["parts"][1]["name"] = told["parts"][1]["name"], told["parts"][0]["name"]
        file.write_text(json.dumps(told))
        assert any("names other parts than table archive_parts" in each for each in verify(september).problems)

    def test_a_month_whose_manifest_is_gone(self, september):
        september.run()
        (september.folder / MONTH.folder / "manifest.json").unlink()
        assert (
            "4 parts of 2026-09 of enigma were archived, and this store has no manifest"
            in verify(september).problems[0]
        )

    def test_a_part_of_a_version_before_is_read(self, september):
        """It lacks what a recording's row has had since, which is null there."""
        september.run()
        folder = september.folder / MONTH.folder
        file = folder / "part-1.parquet"
        table = pq.ParquetFile(file).read()
        at, recording = table.schema.get_field_index("recording"), table["recording"].combine_chunks()
        before = [field for field in recording.type if field.name != "key_month"]
        assert len(before) == len(list(recording.type)) - 1
        parts = [recording.field(field.name) for field in before]
        shorter = pa.StructArray.from_arrays(parts, fields=before, mask=recording.is_null())
        pq.write_table(table.set_column(at, pa.field("recording", shorter.type), shorter), file)
        self._believe(september, folder, file)
        assert not verify(september).problems

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda table: table.replace_schema_metadata({"schema_version": "2"}), "is of schema version 2, and this"),
            (lambda table: table.replace_schema_metadata(None), "is of schema version none, and this version reads 1"),
            (lambda table: table.drop_columns(["lines"]), "has other columns than its schema version says"),
            (lambda table: table.slice(0, 1), "part-1.parquet: the manifest says rows"),
            (
                lambda table: table.take(list(range(table.num_rows - 1, -1, -1))),
                "its rows are not by their ids, each once",
            ),
        ],
        ids=["newer", "none", "columns", "rows", "order"],
    )
    def test_a_part_that_somebody_wrote_with_its_checksum(self, september, change, said):
        """The manifest and the database name its bytes, and what is in it is looked at all the same."""
        september.run()
        folder = september.folder / MONTH.folder
        file = folder / "part-1.parquet"
        pq.write_table(change(pq.ParquetFile(file).read()), file)
        self._believe(september, folder, file)
        assert any(said in problem for problem in verify(september).problems)

    @staticmethod
    def _believe(september, folder, file):
        """Have the manifest and the database name a file's bytes."""
        told = json.loads((folder / "manifest.json").read_text())
        old, new = told["parts"][0]["sha256"], hashlib.sha256(file.read_bytes()).hexdigest()
        told["parts"][0]["sha256"] = new
        (folder / "manifest.json").write_text(json.dumps(told))
        september.change(f"UPDATE archive_parts SET sha256 = '{new}' WHERE sha256 = '{old}'")
