"""How long the balance sheet takes over many calls.

    python -m tests.bench.balance --calls 10000000

The calls are made by SQL in a sandbox PostgreSQL: two in five answered, as a call centre's are.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.balance.sheet import balance_sheet
from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.record_ids import PLACES
from pipeline.sandbox.servers import PostgresServer
from tests.bench.folders import folder

if TYPE_CHECKING:
    from sqlalchemy import Engine

RECORDS = 2_000

FILL = [
    """INSERT INTO batches (claim, source, records, received_at, due_at, normalized_at, classified_at, billed_at,
                            recordings_scheduled_at, contacts_updated_at, finished_at)
       SELECT gen_random_uuid(), 'enigma', :records, now() - interval '1 second' * (:batches - n), now(), now(), now(),
              now(), now(), now(), now() FROM generate_series(1, :batches) AS n""",
    """INSERT INTO inbox (record_id, raw) SELECT b * :places + n, '\\x7b7d'
       FROM generate_series(1, :batches) AS b, generate_series(0, :records - 1) AS n""",
    """INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, direction,
                          dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash)
       SELECT record_id, 'enigma', (record_id + 1000000000000)::text, 'campaign' || record_id % 7, true, true,
              'outbound', now(),
              CASE WHEN record_id % 5 < 2 THEN 61 ELSE 0 END, 'hungup', true, '\\x00' FROM inbox""",
    """INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                                 can_have_audio)
       SELECT id, CASE WHEN talk_seconds > 0 THEN 'answered' ELSE 'busy' END, false,
              'The dialler gave the reason, although end_code 16 (normal call clearing) stands for a hang-up',
              talk_seconds > 0, talk_seconds > 0, talk_seconds > 0, talk_seconds > 0 FROM calls""",
    "INSERT INTO tariffs (name) VALUES ('bench')",
    """INSERT INTO tariff_versions (tariff_id, version, currency, rounding, decimals, billable_dispositions, timezone,
                                    file_name, file_sha256, loaded_by)
       SELECT id, 1, 'ZAR', 'half_up', 2, '{answered}', 'UTC', 'bench.csv', '\\x00', 'bench' FROM tariffs
       WHERE name = 'bench'""",
    """INSERT INTO rates (tariff_version_id, line, prefix, rate_per_minute, connect_fee, first_increment,
                          next_increment)
       SELECT v.id, 2 + n, '27' || n, 0.60, 0.20, 60, 1
       FROM tariff_versions AS v, generate_series(0, 199999) AS n WHERE v.file_name = 'bench.csv'""",
    """INSERT INTO ledger (call_id, kind, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                           talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
       SELECT c.id, 'charge', 1, v.id, 2 + c.id % 3000, '27' || c.id % 3000, 0.60, 0.20, 61, 61, 61, 0.81, 0.81, 'ZAR',
              'rated'
       FROM calls AS c, tariff_versions AS v WHERE c.talk_seconds > 0 AND v.file_name = 'bench.csv'""",
    """INSERT INTO uncharged (call_id, reason) SELECT id, 'a call that ended as busy is not billed' FROM calls
       WHERE talk_seconds = 0""",
    """INSERT INTO recordings (call_id, source, call_ref, state) SELECT id, source, call_ref, 'stored' FROM calls
       WHERE talk_seconds > 0""",
]


def fill(engine: Engine, calls: int) -> None:
    """Make calls, in whole batches; the next batch the ingestor makes comes after them."""
    values = {"batches": calls // RECORDS, "records": RECORDS, "places": PLACES}
    for statement in FILL:
        with engine.begin() as connection:
            connection.execute(text(statement), {name: v for name, v in values.items() if f":{name}" in statement})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def main() -> None:
    """Fill a database, then draw up the balance three times."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.balance")
    parser.add_argument("--calls", type=int, default=10_000_000)
    batches = parser.parse_args().calls // RECORDS
    with folder() as place, PostgresServer(place / "postgres", fsync=False, settings={"max_wal_size": "8GB"}) as server:
        engine = make_engine(server.url, application="bench")
        upgrade(engine)
        began = time.monotonic()
        fill(engine, batches * RECORDS)
        print(f"filled with {batches * RECORDS:,} calls in {time.monotonic() - began:.0f} s", flush=True)
        for turn in range(3):
            began = time.monotonic()
            with engine.connect() as connection:
                sheet = balance_sheet(connection)
            print(f"balance {turn + 1}: {time.monotonic() - began:.1f} s, closes: {sheet.closes}", flush=True)
        print(json.dumps(sheet.as_dict()))
        engine.dispose()


if __name__ == "__main__":
    main()
