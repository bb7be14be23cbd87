"""What a month in the archive costs: writing, reading back, restoring, and asking it by DuckDB.

    python -m tests.bench.archive --calls 10000000

The month is made by SQL in a sandbox PostgreSQL: raw records of 500 bytes, dispositions, a charge on both sides for
those that were answered, recordings for the same. What is printed: seconds, rows a second, bytes a row, and the most
memory that this process held.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import TYPE_CHECKING

import duckdb
from sqlalchemy import text

from pipeline.archive.restore import restore_month
from pipeline.archive.rules.places import Place
from pipeline.archive.run import archive_month
from pipeline.archive.store import ArchiveStore
from pipeline.archive.verify import verify_month
from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.record_ids import PLACES
from pipeline.sandbox.servers import PostgresServer
from tests.bench.folders import folder

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

MONTH = Place("enigma", "2026-09")
MB = 1024
MADE = [
    f"""CREATE UNLOGGED TABLE made AS
        SELECT n + {PLACES} AS id, n, CASE WHEN n % 3 = 0 THEN 20 + n * 7919 % 300 ELSE 0 END AS s,
               timestamptz '2026-09-01 00:00+00' + interval '1 microsecond' * (n * (:days * 86400e6 / :calls)) AS at
        FROM generate_series(0, :calls - 1) AS n""",
    """INSERT INTO batches (claim, source, records, due_at, finished_at)
       VALUES (gen_random_uuid(), 'enigma', 1, now(), now())""",
    """INSERT INTO inbox (record_id, raw)
       SELECT id, convert_to(json_build_object('type', 'cdr', 'payload', json_build_object('call_ref', n,
              'number', '0' || 600000000 + n % 90000000, 'dialed_at', extract(epoch FROM at)::bigint, 'call_time', s,
              'contact_ref', md5(n::text), 'ref', 'campaign00' || n % 9, 'extension', 2000 + n % 50, 'fill',
              repeat(md5((n * 3)::text), 8)))::text, 'UTF8') FROM made""",
    """INSERT INTO calls (id, source, call_ref, campaign_ref, contact_ref, extension, client_number,
                          client_number_is_e164, dial_number, dial_number_is_e164, direction, dialed_at, talk_seconds,
                          end_reason, end_code, recording_url_sent, content_hash)
       SELECT id, 'enigma', n::text, 'campaign00' || n % 9, md5(n::text), (2000 + n % 50)::text,
              '+27' || 600000000 + n % 90000000, true, '+27123456789', true, 'outbound', at, s, 'hungup', 16, false,
              sha256(n::text::bytea) FROM made""",
    """INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                                 can_have_audio)
       SELECT id, CASE WHEN s > 0 THEN 'answered' ELSE 'no_answer' END, false, 'as the dialler says', s > 0, s > 0,
              s > 0, s > 0 FROM made""",
    """INSERT INTO ledger (call_id, kind, revision, side, tariff_version_id, rate_line, prefix, rate_per_minute,
                           connect_fee, talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency,
                           reason)
       SELECT id, 'charge', 1, side, 1, 2, '27', 0.60, 0, s, s, s, s * 0.01, s * 0.01, 'ZAR', 'rated'
       FROM made, unnest(array['client', 'provider']) AS side WHERE s > 0""",
    """INSERT INTO uncharged (call_id, side, reason)
       SELECT id, side, 'a call that ended as no_answer is not billed'
       FROM made, unnest(array['client', 'provider']) AS side WHERE s = 0""",
    """INSERT INTO recordings (call_id, source, call_ref, state, path, size_bytes, sha256, dialed_at, ended_at)
       SELECT id, 'enigma', n::text, 'stored', 'enigma/2026/09/' || n || '.wav', s * 1650, sha256(id::text::bytea), at,
              at FROM made WHERE s > 0""",
]
DROPPED = ("inbox", "calls", "dispositions", "uncharged", "recordings", "ledger")
ASKED = """
SELECT campaign_ref, date_trunc('hour', dialed_at) AS hour, count(*), count(*) FILTER (talk_seconds > 0) / count(*),
       avg(talk_seconds) FILTER (talk_seconds > 0), client_currency, sum(client_amount), sum(provider_amount)
FROM read_parquet('{files}') GROUP BY ALL
"""


def main() -> int:
    """Fill a database, archive it, read it, drop it, restore it, ask."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.archive")
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30, help="on which they are dialled")
    options = parser.parse_args()
    settings = {"max_wal_size": "4GB"}
    with folder() as place, PostgresServer(place / "postgres", fsync=False, settings=settings) as server:
        engine = make_engine(server.url, application="bench")
        upgrade(engine)
        began = time.monotonic()
        _fill(engine, options.calls, options.days)
        print(f"made {options.calls:,} calls in {time.monotonic() - began:.0f} s", flush=True)
        _measure(engine, place / "archive", options.calls)
        engine.dispose()
    return 0


def _fill(engine: Engine, calls: int, days: int) -> None:
    for statement in MADE:
        with engine.begin() as connection:
            connection.execute(text(statement), {"calls": calls, "days": days} if ":days" in statement else {})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _measure(engine: Engine, archive: Path, calls: int) -> None:
    archive.mkdir()
    store = ArchiveStore(archive.as_uri())
    with _timed("archived", calls):
        archive_month(engine, store, MONTH)
    sizes = [file.stat().st_size for file in archive.rglob("*.parquet")]
    print(f"  {len(sizes)} parts, {sum(sizes) / MB / MB:.1f} MB, {sum(sizes) / calls:.1f} bytes a row")
    with _timed("found unchanged", calls):
        assert archive_month(engine, store, MONTH).written == 0
    with _timed("verified against the database", calls):
        assert not verify_month(engine, store, MONTH).problems
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(DROPPED)}"))
    with _timed("restored", calls):
        restore_month(engine, store, MONTH, who="bench")
    duck = duckdb.connect()
    for turn in (1, 2, 3):
        began = time.monotonic()
        lines = duck.execute(ASKED.format(files=f"{archive}/source=*/month=*/*.parquet")).fetchall()
        print(
            f"asked {turn}: {len(lines):,} lines by campaign and hour in {time.monotonic() - began:.3f} s", flush=True
        )


class _timed:  # noqa: N801 - reads as a word
    """Prints how long a part took, and the most memory held so far."""

    def __init__(self, what: str, calls: int) -> None:
        self._what, self._calls = what, calls

    def __enter__(self) -> None:
        self._began, self._used = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        took, used = time.monotonic() - self._began, time.process_time() - self._used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
        print(
            f"{self._what} in {took:.1f} s: {self._calls / took:,.0f} calls a second ({used:.1f} s of a core here), "
            f"peak {peak:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    raise SystemExit(main())
