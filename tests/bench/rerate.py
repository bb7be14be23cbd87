"""How long rerating a month takes, and in how much memory: ``python tests/bench/rerate.py [CALLS] [--prefixes N]``.

A PostgreSQL of its own, with fsync on, gets a month of calls by SQL, a fifth of them busy, billed by the first version
of a tariff. Then a second version raises every price, and the month is rerated as `pipeline rerate` does it: once to
show the difference, once to write it, and once more, which must change nothing.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.balance.sheet import balance_sheet
from pipeline.billing.billed_calls import Selection
from pipeline.billing.itemised import itemised
from pipeline.billing.load import load_tariff
from pipeline.billing.rerate import compare, rerate
from pipeline.billing.rules.months import month_in
from pipeline.billing.statements import GroupBy, charges_by
from pipeline.billing.tariff_cache import TariffCache
from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.sandbox.servers import sandbox_servers

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

NOVEMBER = Selection(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
FIRST_PREFIX = 100_000
IN_A_BATCH = 2_000

MONTH = (
    """
    INSERT INTO batches (claim, source, records, received_at, normalized_at, classified_at, billed_at,
                         recordings_scheduled_at, finished_at, due_at)
    SELECT gen_random_uuid(), 'bench', least(:in_a_batch, :calls - n * :in_a_batch), now(), now(), now(), now(), now(),
           now(), now()
    FROM generate_series(0, (:calls - 1) / :in_a_batch) AS n
    """,
    """
    INSERT INTO inbox (record_id, raw)
    SELECT (n / :in_a_batch + 1) * 65536 + n % :in_a_batch, '{}'
    FROM generate_series(cast(0 AS bigint), :calls - 1) AS n
    """,
    """
    INSERT INTO calls (id, source, call_ref, campaign_ref, contact_ref, extension, client_number,
                       client_number_is_e164, dial_number_is_e164, direction, dialed_at, talk_seconds, end_reason,
                       recording_url_sent, content_hash)
    SELECT (n / :in_a_batch + 1) * 65536 + n % :in_a_batch, 'bench', n, 'campaign' || n % 7, 'contact' || n,
           CASE WHEN n % 5 > 0 THEN 2000 + n % 50 END,
           '+' || :first_prefix + (n * 7919) % :prefixes || 10000 + n % 90000, true, false, 'outbound',
           :since + (:until - :since) * n / :calls, CASE WHEN n % 5 > 0 THEN 30 + (n * 31) % 600 ELSE 0 END,
           'agent_hungup', true, '\\x00'
    FROM generate_series(cast(0 AS bigint), :calls - 1) AS n
    """,
    """
    INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                              can_have_audio)
    SELECT id, CASE WHEN talk_seconds > 0 THEN 'answered' ELSE 'busy' END, false, 'for the bench', true, true,
           talk_seconds > 0, false
    FROM calls
    """,
    """
    INSERT INTO uncharged (call_id, reason) SELECT id, 'a call that ended as busy is not billed' FROM calls
    WHERE talk_seconds = 0
    """,
    """
    INSERT INTO ledger (call_id, kind, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                        talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
    SELECT id, 'charge', 1, 1, 2, substr(client_number, 2, 6), 0.60, 0, talk_seconds, talk_seconds, talk_seconds,
           talk_seconds * 0.01, talk_seconds * 0.01, 'ZAR', 'rated'
    FROM calls WHERE talk_seconds > 0
    """,
    "ANALYZE",
)


def load(engine: Engine, price: str, prefixes: int) -> None:
    lines = "".join(f"{prefix},{price}\n" for prefix in range(FIRST_PREFIX, FIRST_PREFIX + prefixes))
    load_tariff(
        engine,
        f"prefix,rate_per_minute\n{lines}".encode(),
        file_name="bench.csv",
        loaded_by="bench",
        default_currency="ZAR",
        timezone="UTC",
    )


def fill(engine: Engine, calls: int, prefixes: int) -> None:
    values = {
        "calls": calls,
        "prefixes": prefixes,
        "in_a_batch": IN_A_BATCH,
        "first_prefix": FIRST_PREFIX,
        "since": NOVEMBER.since,
        "until": NOVEMBER.until,
    }
    with engine.begin() as connection:
        for statement in MONTH:
            connection.execute(text(statement), values)


def timed(what: str, work: Callable[[], int], calls: int) -> int:
    """Do something, and say what it took."""
    started = time.perf_counter()
    changed = work()
    seconds = time.perf_counter() - started
    print(f"{what:<28}{seconds:>9.1f} s{calls / seconds:>12,.0f} calls/s{changed:>12,} change   {peak_megabytes()} MB")
    return changed


def peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("calls", nargs="?", type=int, default=100_000)
    arguments.add_argument("--prefixes", type=int, default=1_000)
    chosen = arguments.parse_args()
    with sandbox_servers() as servers:
        engine = make_engine(servers.postgres.url, application="bench")
        upgrade(engine)
        load(engine, "0.60", chosen.prefixes)
        fill(engine, chosen.calls, chosen.prefixes)
        load(engine, "0.66", chosen.prefixes)
        tariffs = TariffCache("UTC")
        print(f"{chosen.calls:,} calls, {chosen.prefixes:,} prefixes, before: {peak_megabytes()} MB at the peak")

        def difference() -> int:
            return compare(engine, NOVEMBER, tariffs, progress=lambda *_: None).changed

        def write() -> int:
            return rerate(engine, NOVEMBER, tariffs, who="bench", progress=lambda *_: None)

        def statement() -> int:
            with engine.connect() as connection:
                charges_by(connection, month_in("2026-11", "UTC"), GroupBy.PREFIX)
            return 0

        def lines() -> int:
            with engine.connect() as connection:
                sum(1 for _ in itemised(connection, NOVEMBER))
            return 0

        first = timed("the difference", difference, chosen.calls)
        written = timed("reversals and new charges", write, chosen.calls)
        again = timed("again, which changes nothing", difference, chosen.calls)
        timed("the statement by prefix", statement, chosen.calls)
        timed("every line of it", lines, chosen.calls)
        with engine.connect() as connection:
            sheet = balance_sheet(connection)
        print(f"charged {sheet.charged}, violations: {[each.rule for each in sheet.violations] or 'none'}")
        engine.dispose()
    return 0 if first == written and not again else 1


if __name__ == "__main__":
    sys.exit(main())
