"""How long a search of calls takes over many of them: every filter, deep pages, look-ups of one call.

    python -m tests.bench.search --calls 10000000

The calls are made by SQL in a sandbox PostgreSQL: of three months and three diallers, of which one is small; of 41
campaigns, 400 agents and three calls a contact; with dispositions and states of recordings that are common, rare and
very rare. Each filter is asked for with many values and many spans of time, a page of 50 each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic.script import ScriptDirectory
from sqlalchemy import text

from pipeline.batches.completeness import complete_through
from pipeline.database.engine import make_engine
from pipeline.database.migrations import alembic_config, upgrade
from pipeline.lookup.history import history_of
from pipeline.lookup.rules.call_filter import CallFilter, Cursor
from pipeline.lookup.search import count_calls, search_calls
from pipeline.record_ids import PLACES
from pipeline.sandbox.servers import PostgresServer
from tests.bench.folders import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    Make = Callable[[random.Random], CallFilter]

RECORDS: Final = 2_000
SEARCHES_REVISION: Final = "0022"
ENDS: Final = datetime(2026, 11, 30, tzinfo=UTC)
SPAN: Final = timedelta(days=90)
BEGINS: Final = ENDS - SPAN
PAGE: Final = 50

# hashint8 is a number that looks drawn, and the same one each time.
_DRAWN: Final = "abs(hashint8({seed} * 1000003 + id)::bigint)"


def drawn(seed: int) -> str:
    """A number of a call's own, as SQL."""
    return _DRAWN.format(seed=seed)


FILL: Final = [
    """INSERT INTO batches (claim, source, records, received_at, due_at, normalized_at, classified_at, billed_at,
                            recordings_scheduled_at, finished_at)
       SELECT gen_random_uuid(), CASE WHEN n % 500 = 7 THEN 'small' WHEN n % 3 = 0 THEN 'south' ELSE 'enigma' END,
              :records, cast(:begins AS timestamptz) + interval '90 days' * n / :batches, now(), now(), now(), now(),
              now(), now() FROM generate_series(1, :batches) AS n""",
    f"""INSERT INTO calls (id, source, call_ref, campaign_ref, contact_ref, extension, client_number,
                           client_number_is_e164, dial_number, dial_number_is_e164, direction, dialed_at, talk_seconds,
                           hold_seconds, end_reason, recording_url_sent, content_hash)
       SELECT id, source, 1000000000000 + id, 'campaign' || CASE WHEN {drawn(1)} % 20000 = 0 THEN 40
                                                                 ELSE {drawn(1)} % 40 END,
              'account_' || {drawn(2)} % (:calls / 3 + 1),
              CASE WHEN {drawn(3)} % 5 < 2 THEN (2000 + {drawn(4)} % 400)::text END,
              '+27' || 600000000 + {drawn(2)} % (:calls / 3 + 1) * 29 % 300000000, true,
              '+2712' || 3456780 + {drawn(5)} % 12, true,
              CASE WHEN {drawn(6)} % 2000 = 0 THEN 'inbound' ELSE 'outbound' END,
              date_trunc('second', received_at - interval '1 second' * ({drawn(7)} % 900)),
              CASE WHEN {drawn(3)} % 5 < 2 THEN 10 + {drawn(8)} % 600 ELSE 0 END,
              CASE WHEN {drawn(3)} % 5 < 2 THEN {drawn(11)} % 90 END, 'hungup', true, '\\x00'
       FROM (SELECT b.id * :places + n AS id, source, received_at
             FROM batches AS b, generate_series(0, :records - 1) AS n) AS received""",
    f"""INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                                  can_have_audio)
       SELECT id, CASE WHEN talk_seconds > 0 THEN 'answered' WHEN {drawn(9)} % 100000 = 0 THEN 'unknown'
                       WHEN {drawn(9)} % 400 = 1 THEN 'failed' WHEN {drawn(9)} % 100 = 2 THEN 'abandoned'
                       WHEN {drawn(9)} % 3 = 0 THEN 'busy' ELSE 'no_answer' END, false,
              'The dialler gave the reason, although end_code 16 (normal call clearing) stands for a hang-up',
              talk_seconds > 0, talk_seconds > 0, talk_seconds > 0, talk_seconds > 0 FROM calls""",
    """INSERT INTO ledger (call_id, kind, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                           talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
       SELECT id, 'charge', 1, 1, 2, '27', 0.60, 0.20, talk_seconds, talk_seconds, talk_seconds, 0.81, 0.81, 'ZAR',
              'rated' FROM calls WHERE talk_seconds > 0""",
    """INSERT INTO uncharged (call_id, reason)
       SELECT call_id, 'a call that ended as ' || disposition || ' is not billed' FROM dispositions
       WHERE disposition <> 'answered'""",
    f"""INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, deleted_at)
       SELECT id, source, call_ref, dialed_at,
              CASE WHEN {drawn(10)} % 50000 = 0 THEN 'failed' WHEN {drawn(10)} % 300 = 1 THEN 'absent'
                   ELSE 'stored' END,
              CASE WHEN {drawn(10)} % 40 = 2 THEN now() END FROM calls WHERE talk_seconds > 0""",
]


def fill(engine: Engine, calls: int, statements: Sequence[str] = FILL) -> None:
    """Make calls, in whole batches, and then what a search walks, as an upgrade does."""
    before = ScriptDirectory.from_config(alembic_config()).get_revision(SEARCHES_REVISION)
    upgrade(engine, str(before.down_revision))
    values = {"batches": calls // RECORDS, "records": RECORDS, "places": PLACES, "calls": calls, "begins": BEGINS}
    for statement in statements:
        with timed(statement.split("(")[0].strip()), engine.begin() as connection:
            connection.execute(text(statement), {name: v for name, v in values.items() if f":{name}" in statement})
    with timed("upgrade, with all indexes of the search"):
        upgrade(engine)
    with timed("VACUUM ANALYZE"), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long something took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def spanned(chance: random.Random, **fields: Any) -> CallFilter:
    """A filter with a day, a week, a month or all of the time, anywhere."""
    length = chance.choice([timedelta(days=1), timedelta(days=7), timedelta(days=30), SPAN])
    since = BEGINS + (SPAN - length) * chance.random()
    return CallFilter(since=since, until=since + length, **fields)


def filters(connection: Connection) -> dict[str, Make]:
    """Each filter, with values drawn from what there is."""
    sample = "SELECT call_ref, contact_ref, client_number, source FROM calls TABLESAMPLE SYSTEM (1) LIMIT 20000"
    calls = connection.execute(text(sample)).all()

    def one_of(name: str, *values: Any) -> Make:
        return lambda chance: spanned(chance, **{name: chance.choice(values)})

    def of_a_call(name: str, value: Callable[[Any], Any]) -> Make:
        return lambda chance: CallFilter()._replace(**{name: value(chance.choice(calls))})

    no = "a call that ended as {} is not billed"
    return {
        "call_ref": of_a_call("call_ref", lambda call: call.call_ref),
        "contact_ref": of_a_call("contact_ref", lambda call: call.contact_ref),
        "number": of_a_call("numbers", lambda call: (call.client_number,)),
        "number, last 6": of_a_call("number_ends", lambda call: call.client_number[-6:]),
        "number, last 4": of_a_call("number_ends", lambda call: call.client_number[-4:]),
        "time dialled": spanned,
        "source": one_of("source", "enigma", "south"),
        "source, small": one_of("source", "small"),
        "campaign": one_of("campaign", *(f"campaign{n}" for n in range(40))),
        "campaign, rare": one_of("campaign", "campaign40"),
        "agent": one_of("agent", *(str(2_000 + n) for n in range(400))),
        "dial_number": one_of("dial_numbers", *((f"+2712{3456780 + n}",) for n in range(12))),
        "direction": one_of("direction", "inbound", "outbound"),
        "disposition": one_of("disposition", "answered", "busy", "no_answer", "abandoned"),
        "disposition, rare": one_of("disposition", "failed", "unknown"),
        "disposition, none": one_of("disposition", "error"),
        "recording": one_of("recording", "stored", "none", "deleted"),
        "recording, rare": one_of("recording", "failed", "absent"),
        "charged": one_of("charged", "yes", "no", "not_yet"),
        "why not": one_of("why_not", *(no.format(each) for each in ("busy", "abandoned", "failed", "unknown"))),
        "campaign and agent": lambda chance: spanned(chance,
            campaign=f"campaign{chance.randrange(40)}", agent=str(2_000 + chance.randrange(400))
        ),
        "campaign and disposition": lambda chance: spanned(chance,
            campaign=f"campaign{chance.randrange(40)}", disposition=chance.choice(["answered", "abandoned", "failed"]),
        ),
        "agent, disposition and recording": lambda chance: spanned(chance,
            agent=str(2_000 + chance.randrange(400)), disposition="answered", recording="absent"
        ),
        "agent and disposition, rare": lambda chance: spanned(chance,
            agent=str(2_000 + chance.randrange(400)), disposition=chance.choice(["abandoned", "failed", "unknown"])
        ),
        "agent and disposition, never": lambda chance: spanned(chance,
            agent=str(2_000 + chance.randrange(400)), disposition="no_answer"
        ),
        "campaign and recording, rare": lambda chance: spanned(chance,
            campaign=f"campaign{chance.randrange(40)}", recording=chance.choice(["failed", "absent"])
        ),
        "campaign, rare, and disposition": lambda chance: spanned(chance,
            campaign="campaign40", disposition="abandoned"
        ),
        "campaign, rare, and agent": lambda chance: spanned(chance,
            campaign="campaign40", agent=str(2_000 + chance.randrange(400))
        ),
        "source, small, and disposition": lambda chance: spanned(chance, source="small", disposition="abandoned"),
        "inbound and disposition": lambda chance: spanned(chance, direction="inbound", disposition="abandoned"),
        "disposition and recording, never": lambda chance: spanned(chance,
            disposition="abandoned", recording=chance.choice(["absent", "stored"])
        ),
    }  # fmt: skip


def measured(connection: Connection, times: int, ask: Callable[[random.Random], object]) -> dict[str, float]:
    """Milliseconds of a question asked so often, and of them the processor's, ours and the server's."""
    chance = random.Random(1)
    server = Path(f"/proc/{connection.scalar(text('SELECT pg_backend_pid()'))}/schedstat")
    took, worked = [], []
    for _ in range(times):
        before = _processor_ms(server)
        began = time.perf_counter()
        ask(chance)
        took.append((time.perf_counter() - began) * 1_000)
        worked.append(_processor_ms(server) - before)
    took.sort()
    worked.sort()
    return {
        "p50": round(took[len(took) // 2], 1),
        "p95": round(took[int(len(took) * 0.95)], 1),
        "p99": round(took[int(len(took) * 0.99)], 1),
        "cpu p50": round(worked[len(worked) // 2], 1),
        "cpu p95": round(worked[int(len(worked) * 0.95)], 1),
        "cpu p99": round(worked[int(len(worked) * 0.99)], 1),
    }


def _processor_ms(server: Path) -> float:
    return time.process_time() * 1_000 + int(server.read_text().split()[0]) / 1e6


def measure(engine: Engine, times: int) -> dict[str, dict[str, float]]:
    """Every question, in milliseconds."""
    results: dict[str, dict[str, float]] = {}

    def tell(name: str, ask: Callable[[random.Random], object]) -> None:
        results[name] = measured(connection, times, ask)
        print(f"{name:40}" + "".join(f"{what} {value:8.1f}   " for what, value in results[name].items()), flush=True)

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        asked = filters(connection)
        for name, make in asked.items():
            tell(name, _page(connection, make))
        for name in ("time dialled", "campaign", "disposition", "agent", *(name for name in asked if "and" in name)):
            tell(f"{name}, a deep page", _page(connection, asked[name], deep=True))
        for name in ("time dialled", "campaign", "disposition, rare"):
            tell(f"{name}, counted", _count(connection, asked[name]))
        calls = connection.execute(text("SELECT call_ref, source FROM calls TABLESAMPLE SYSTEM (1) LIMIT 5000")).all()
        tell("look-up of a call", lambda chance: history_of(connection, *chance.choice(calls)))
        tell("complete through", lambda _: complete_through(connection))
    return results


def _page(connection: Connection, make: Make, *, deep: bool = False) -> Callable[[random.Random], object]:
    def ask(chance: random.Random) -> object:
        if not deep:
            return search_calls(connection, make(chance), limit=PAGE)
        place = Cursor(BEGINS + SPAN * (0.02 + 0.3 * chance.random()), 1)
        return search_calls(connection, make(chance)._replace(since=BEGINS, until=ENDS), limit=PAGE, after=place)

    return ask


def _count(connection: Connection, make: Make) -> Callable[[random.Random], object]:
    return lambda chance: count_calls(connection, make(chance))


def sizes(engine: Engine) -> dict[str, int]:
    """Bytes of the tables searched and of each index."""
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind IN ('r', 'i') "
                "AND relname ~ '^(calls|dispositions|uncharged|recordings)' ORDER BY 2 DESC"
            )
        )
        return {row[0]: row[1] for row in rows}


def main() -> None:
    """Fill a database, unless the folder has one, and ask."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.search")
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=200, help="each question is asked")
    parser.add_argument("--folder", type=Path, help="where the database is kept for another time")
    options = parser.parse_args()
    settings = {"max_wal_size": "4GB", "shared_buffers": "6GB", "work_mem": "16MB", "maintenance_work_mem": "512MB"}
    with contextlib.ExitStack() as stack:
        place = options.folder or stack.enter_context(folder())
        server = stack.enter_context(
            PostgresServer(place / "postgres", fsync=False, settings=settings, start_seconds=600.0)
        )
        engine = make_engine(server.url, application="bench")
        stack.callback(engine.dispose)
        with engine.connect() as connection:
            filled = connection.scalar(text("SELECT to_regclass('calls_number_ends_idx')")) is not None
        if not filled:
            fill(engine, options.calls // RECORDS * RECORDS)
        measure(engine, options.times)  # a server that has just started has nothing in memory
        results = measure(engine, options.times)
        print(json.dumps({"calls": options.calls, "milliseconds": results, "bytes": sizes(engine)}, indent=1))


if __name__ == "__main__":
    main()
