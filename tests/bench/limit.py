"""The limit: one process that pops, decodes and copies, and promises nothing.

What it popped is lost when it dies; nothing is rated (each charge is the same), no duplicate is looked for, nothing is
explained; every number is in its cache before it starts. It writes the same calls, recordings and charges into the same
tables as the pipeline, or, with ``--bare``, fewer columns into tables of its own with one index each: what is faster
than that is no longer Redis, Python and PostgreSQL.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec
import psycopg
import redis

from pipeline.calls.rules.phone_numbers import normalize_number
from pipeline.sandbox.dialler import NOTIFICATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POPPED = 1_000

COLUMNS = {
    "calls": "id, source, call_ref, campaign_ref, contact_ref, extension, client_number, client_number_original, "
    "dial_number, direction, dialed_at, talk_seconds, hold_seconds, end_reason, end_code, recording_url",
    "recordings": "call_id, source, call_ref, due_at",
    "ledger": "call_id, rate_per_minute, talk_seconds, billable_seconds, amount, currency, reason",
}
# What the pipeline's tables want beyond that, the same for every row.
MORE_COLUMNS = {
    "calls": "client_number_is_e164, dial_number_is_e164, dial_number_original, recording_url_sent, content_hash",
    "recordings": "state, dialed_at",
    "ledger": "kind, revision, tariff_version_id, rate_line, prefix, connect_fee, rated_seconds, unrounded",
}
MORE = {
    "calls": (True, True, "0870001234", True, b"0" * 32),
    "recordings": ("scheduled", datetime(2026, 1, 1, tzinfo=UTC)),
    "ledger": ("charge", 1, 1, 1, "27", "0", 60, "1.20"),
}
BARE = """
CREATE SCHEMA bare;
CREATE TABLE bare.calls (
    id bigint, source text, call_ref text PRIMARY KEY, campaign_ref text, contact_ref text, extension text,
    client_number text, client_number_original text, dial_number text, direction text, dialed_at timestamptz,
    talk_seconds integer, hold_seconds integer, end_reason text, end_code integer, recording_url text);
CREATE TABLE bare.recordings (call_id bigint PRIMARY KEY, source text, call_ref text, due_at timestamptz);
CREATE TABLE bare.ledger (
    call_id bigint PRIMARY KEY, rate_per_minute numeric, talk_seconds integer, billable_seconds integer,
    amount numeric, currency text, reason text);
"""


class Payload(msgspec.Struct):
    """What is read of a record."""

    call_ref: int | None
    ref: str
    contact_ref: str | None
    extension: str | None
    number: str
    dial_number: str
    call_dir: str
    dialed_at: int
    call_time: int
    hold_time: int
    end_reason: str
    end_code: int | None
    recording_url: str | None


class Record(msgspec.Struct):
    """An element of the list."""

    type: str
    payload: Payload


_decode = msgspec.json.Decoder(Record).decode


def rows(first: int, elements: Sequence[bytes]) -> tuple[list[Any], list[Any], list[Any]]:
    """The rows of calls, recordings and ledger."""
    now = datetime.now(UTC)
    calls, recordings, ledger = [], [], []
    for call_id, element in enumerate(elements, first):
        cdr = _decode(element).payload
        ref = str(cdr.call_ref)
        calls.append(
            (
                *(call_id, "enigma", ref, cdr.ref, cdr.contact_ref, cdr.extension),
                *(cached(cdr.number), cdr.number),
                *(cached(cdr.dial_number), cdr.call_dir),
                datetime.fromtimestamp(cdr.dialed_at, UTC),
                *(cdr.call_time, cdr.hold_time, cdr.end_reason, cdr.end_code, cdr.recording_url),
            )
        )
        if cdr.extension:
            recordings.append((call_id, "enigma", ref, now))
            ledger.append((call_id, "0.60", cdr.call_time, cdr.call_time, "1.20", "ZAR", "rated"))
    return calls, recordings, ledger


def write(connection: psycopg.Connection[Any], tables: tuple[list[Any], list[Any], list[Any]], *, bare: bool) -> None:
    """Copy, then commit."""
    with connection.cursor() as cursor:
        for name, contents in zip(COLUMNS, tables, strict=True):
            more: tuple[Any, ...] = () if bare else MORE[name]
            target = f"bare.{name} ({COLUMNS[name]})" if bare else f"{name} ({COLUMNS[name]}, {MORE_COLUMNS[name]})"
            with cursor.copy(f"COPY {target} FROM STDIN".encode()) as copy:
                for row in contents:
                    copy.write_row(row + more)
    connection.commit()


def drain(pop: Callable[[], list[bytes]], connection: psycopg.Connection[Any], count: int, *, bare: bool) -> float:
    """Seconds from the first pop to the last commit."""
    done = 0
    began = time.perf_counter()
    while done < count:
        if elements := pop():
            write(connection, rows(done, elements), bare=bare)
            done += len(elements)
    return time.perf_counter() - began


@functools.cache
def cached(number: str) -> str:
    """The number in E.164."""
    return normalize_number(number, "ZA").value


def main() -> int:
    """Fill the cache, say so, wait for a line, drain, say what it took, wait for another line."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--redis", required=True)
    arguments.add_argument("--database", required=True, help="a libpq URL")
    arguments.add_argument("--count", type=int, required=True)
    arguments.add_argument("--bare", action="store_true")
    options = arguments.parse_args()
    dialler = redis.Redis.from_url(options.redis)

    def pop() -> list[bytes]:
        return cast("list[bytes]", dialler.rpop(NOTIFICATIONS, POPPED)) or []

    # No key of all time is entered either: nothing here looks for a call that came before.
    with psycopg.connect(options.database, options="-c cdr.enters_keys=on") as connection:
        if options.bare:
            connection.execute(BARE)
            connection.commit()
        for element in cast("list[bytes]", dialler.lrange(NOTIFICATIONS, 0, -1)):
            cached(_decode(element).payload.number)
        print("ready", flush=True)
        sys.stdin.readline()
        seconds = drain(pop, connection, options.count, bare=options.bare)
        print(json.dumps({"seconds": seconds}), flush=True)
        sys.stdin.readline()  # whoever measures looks at this process, and PostgreSQL's for it, once more
    return 0


if __name__ == "__main__":
    sys.exit(main())
