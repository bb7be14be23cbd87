"""A number that is erased is gone from the archive, too, and what the archive adds up to is what it was."""

from __future__ import annotations

import pyarrow.parquet
import pytest
from sqlalchemy import text

from pipeline.archive.restore import restore_month
from pipeline.archive.rules.manifest import read_manifest
from pipeline.archive.rules.places import Place
from pipeline.archive.run import archive_month
from pipeline.archive.store import ArchiveStore
from pipeline.archive.verify import verify_month
from pipeline.erasure.archived import ArchivedError, holding
from tests.factories import DIALED_AT, make_record
from tests.integration.archive.conftest import DROPPED
from tests.integration.erasure.conftest import FORMS, SPELLED, make_person, money, nowhere, walk
from tests.integration.flow import receive, rows

MONTH = Place("enigma", "2026-09")


class Archived:
    """A person with an archive."""

    def __init__(self, engine, folder, *, calls=24, recordings=6):
        self.person = make_person(engine, folder / "recordings", calls=calls, recordings=recordings)
        self.engine, self.folder = engine, folder / "archive"
        self.store = ArchiveStore(self.folder.as_uri())
        archive_month(engine, self.store, MONTH)

    def erase(self, **options):
        return self.person.erase(**{"archive": self.store, **options})

    def left(self):
        """Where any file of the archive holds the number, each cell read."""
        found = []
        for path in self.folder.rglob("*.parquet"):
            for row in pyarrow.parquet.read_table(path).to_pylist():
                found += [(path.name, row["id"], each.group()) for each in FORMS.finditer(cells(row))]
        return found

    def sums(self):
        return read_manifest(self.store.manifest(MONTH), MONTH).sums

    def drop(self):
        """As a range that is dropped: nothing is in the database any more."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for table in DROPPED:
                connection.execute(text(f"DELETE FROM {table}"))


def cells(value):
    """Every cell of a row, whatever is nested, as bytes."""
    if isinstance(value, dict):
        return b"\n".join(map(cells, value.values()))
    if isinstance(value, list):
        return b"\n".join(map(cells, value))
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture
def archived(engine, tmp_path):
    return Archived(engine, tmp_path)


def test_nothing_is_left_of_it_in_the_archive_and_the_sums_are_the_same(archived):
    before, lines = archived.sums(), money(archived.engine)
    held = list(holding(archived.engine, archived.store, SPELLED))
    assert archived.left()
    assert sum(each.rows for each in held) >= 24
    proof = archived.erase()
    assert archived.left() == []
    assert nowhere(archived.person) == []
    assert (archived.sums(), money(archived.engine)) == (before, lines)
    assert proof.counts["archive files"] == len(held)
    assert list(holding(archived.engine, archived.store, SPELLED)) == []
    assert verify_month(archived.engine, archived.store, MONTH).problems == ()


@pytest.mark.parametrize("at", ["holds", "archive"])
def test_a_run_that_is_killed_before_or_behind_the_archive_is_gone_on_with(archived, at):
    def reached(place):
        if place == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archived.erase(reached=reached)
    assert rows(archived.engine, "SELECT state FROM erasures") == [("underway",)]
    archived.erase()
    assert archived.left() == []
    assert rows(archived.engine, "SELECT state FROM erasures") == [("done",)]


def test_without_the_archive_nothing_is_begun(archived):
    """It holds the number, and cannot be reached from here."""
    with pytest.raises(ArchivedError, match="ARCHIVE_URL is not set here"):
        archived.erase(archive=None)
    assert rows(archived.engine, "SELECT count(*) FROM erasures") == [(0,)]


def test_what_is_nowhere_but_in_the_archive_is_brought_back_first(archived):
    archived.drop()
    with pytest.raises(ArchivedError, match="pipeline archive restore 2026-09 --source enigma"):
        archived.erase()
    assert rows(archived.engine, "SELECT state FROM erasures") == [("underway",)]
    before = archived.sums()
    restore_month(archived.engine, archived.store, MONTH, who="ann")
    archived.erase()
    assert archived.left() == []
    assert archived.sums() == before


def test_what_another_numbers_call_quotes_keeps_nobody_from_an_end(archived):
    """It stays in the archive as it stays in the database."""
    other = make_record(call_ref=9, number="0719998888", dialed_at=DIALED_AT, note="ask for 0831234567")
    walk(archived.engine, receive(archived.engine, other))
    archive_month(archived.engine, archived.store, MONTH)
    archived.erase()
    assert rows(archived.engine, "SELECT state FROM erasures") == [("done",)]
    assert len({call_id for _, call_id, _ in archived.left()}) == 1
