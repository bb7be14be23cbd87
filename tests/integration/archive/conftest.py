"""A month with all that can be of a call: charges on both sides, corrected ones, duplicates, a replaced version."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from sqlalchemy import text

from pipeline.archive.rules.manifest import read_manifest
from pipeline.archive.rules.places import Place
from pipeline.archive.run import archive_month
from pipeline.archive.store import ArchiveStore
from pipeline.billing.assign import assign_provider, assigned_to
from pipeline.billing.billed_calls import Selection
from pipeline.billing.load import load_tariff
from pipeline.billing.rerate import compare, rerate
from pipeline.billing.rules.sides import Side
from pipeline.billing.tariff_cache import TariffCache
from pipeline.failures.operator import accept
from tests.commands import call as command
from tests.factories import make_record
from tests.integration import flow
from tests.integration.flow import receive, walk, walk_overdue

ZONE = "Africa/Johannesburg"
MONTH = Place("enigma", "2026-09")
BEGINS = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp())
DAY = 86_400
ENDS = [("agent_hungup", 61, "16"), ("agent_hungup", 7, "16"), ("busy", 0, "17"), ("noanswer", 0, "19")]
DROPPED = ("inbox", "calls", "dispositions", "uncharged", "recordings", "duplicates", "ledger", "revisions")
"""The tables whose rows a drop takes away; revisions as well, so that all of them are seen to come back."""


class Archive(NamedTuple):
    """What a test works with."""

    engine: object
    url: str
    folder: object
    store: ArchiveStore

    def run(self, place=MONTH, **options):
        return archive_month(self.engine, options.pop("store", self.store), place, **options)

    def manifest(self, place=MONTH):
        raw = self.store.manifest(place)
        return None if raw is None else read_manifest(raw, place)

    def files(self, place=MONTH):
        return sorted(each.name for each in (self.folder / place.folder).iterdir())

    def rows(self, sql, **values):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def change(self, *statements):
        """As whoever looks after the database does, past the guards of the tables."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                connection.execute(text(statement))

    def drop(self, where="true"):
        """What dropping ranges of calls comes to: all rows of the calls that match are gone."""
        self.change(
            f"CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT id, id AS record_id FROM calls WHERE {where}",
            "INSERT INTO gone SELECT call_id, record_id FROM duplicates WHERE call_id IN (SELECT id FROM gone)",
            "INSERT INTO gone SELECT call_id, record_id FROM revisions WHERE call_id IN (SELECT id FROM gone)",
            "DELETE FROM inbox WHERE record_id IN (SELECT record_id FROM gone)",
            *(
                f"DELETE FROM {table} WHERE call_id IN (SELECT id FROM gone)"
                for table in DROPPED
                if table not in {"inbox", "calls"}
            ),
            "DELETE FROM calls WHERE id IN (SELECT id FROM gone)",
        )

    def contents(self):
        """Every row of those tables as the text that a dump has: 1.10 is another than 1.1."""
        found = {}
        with self.engine.connect() as connection:
            for table in DROPPED:
                rows = connection.execute(text(f"SELECT t::text FROM {table} AS t ORDER BY 1"))
                found[table] = list(rows.scalars())
        return found

    def command(self, *words, **settings):
        env = {
            "DATABASE_URL": self.url,
            "ARCHIVE_URL": self.folder.as_uri(),
            "PIPELINE_TIMEZONE": "UTC",
            "PATH": "/usr/bin",
        }
        return command(*words, env={name: value for name, value in (env | settings).items() if value is not None})


def record(chance, ref, *, at):
    """A call like others."""
    reason, seconds, code = chance.choice(ENDS)
    return make_record(
        call_ref=ref,
        ref=chance.choice(["spring", "autumn"]),
        dialed_at=at,
        end_reason=reason,
        end_code=code,
        call_time=seconds + chance.randrange(30) if seconds else 0,
        extension="2001" if seconds else None,
        extra_word=chance.choice([None, "x", 1.10]),
    )


@pytest.fixture
def archive(engine, database_url, tmp_path):
    """A database with tariffs on both sides, and an empty archive."""
    flow.load(engine)
    load_tariff(
        engine,
        b"prefix,rate_per_minute\n27,0.3333\n",
        file_name="acme.csv",
        tariff="acme",
        loaded_by="test",
        default_currency="USD",
        timezone=ZONE,
        side=Side.PROVIDER,
        provider="acme",
    )
    assign_provider(engine, assigned_to(region="ZA"), "acme", assigned_by="test")
    folder = tmp_path / "archive"
    folder.mkdir()
    return Archive(engine, database_url, folder, ArchiveStore(folder.as_uri()))


@pytest.fixture
def september(archive):
    """Forty calls on four days of September, one at each end of the month, some of other months and another dialler."""
    chance, engine = random.Random(7), archive.engine
    days = [BEGINS + day * DAY for day in (0, 4, 20, 29)]
    calls = [
        record(chance, 1_000 + place, at=chance.choice(days) + chance.randrange(1, DAY - 1)) for place in range(38)
    ]
    edges = [record(chance, 1_038, at=BEGINS), record(chance, 1_039, at=BEGINS + 30 * DAY - 1)]
    others = [record(chance, 2_000, at=BEGINS - 1), record(chance, 2_001, at=BEGINS + 30 * DAY)]
    walk(engine, receive(engine, *calls, *edges, *others))
    walk(engine, receive(engine, *(record(chance, 1_000 + place, at=days[0]) for place in range(9)), source="south"))
    same = make_record(call_ref=1_900, dialed_at=days[1] + 5, call_time=60)
    walk(engine, receive(engine, same, same))
    walk(engine, receive(engine, make_record(call_ref=1_900, dialed_at=days[1] + 5, call_time=200)))
    ((conflict,),) = archive.rows("SELECT id FROM failures WHERE class = 'conflict'")
    accept(engine, conflict, who="thandi")
    walk_overdue(engine)
    rerated(engine, b"prefix,rate_per_minute\n27,0.85\n")
    archive.change(
        "UPDATE recordings SET state = 'stored', path = 'a/b.wav', size_bytes = 9, sha256 = '\\xabcd' "
        "WHERE call_id IN (SELECT min(call_id) FROM recordings)"
    )
    return archive


def rerated(engine, rates):
    """A corrected tariff, and all calls by it: reversals and new charges."""
    load_tariff(engine, rates, file_name="t.csv", loaded_by="test", default_currency="ZAR", timezone=ZONE)
    at = datetime.fromtimestamp(BEGINS, UTC)
    selection = Selection(at - timedelta(days=400), at + timedelta(days=400))
    tariffs = TariffCache(ZONE)
    compared = compare(engine, selection, tariffs, progress=lambda *_: None)
    assert rerate(engine, selection, tariffs, who="accountant", progress=lambda *_: None) == compared.changed > 0
