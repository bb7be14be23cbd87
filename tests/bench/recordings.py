"""How many recordings a second the pipeline fetches, beside a plain httpx loop of the same concurrency.

    .venv/bin/python tests/bench/recordings.py

Both ask the same simulated dialler, a process of its own on loopback, at each latency one after the other. The plain
loop fetches into files with nothing else: no row, no checksum, no fsync. The pipeline is what the Procfile starts.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from sqlalchemy import create_engine, text  # noqa: E402

from pipeline.record_ids import first_record  # noqa: E402
from pipeline.sandbox.api import RecordingsApi  # noqa: E402
from pipeline.sandbox.audio import recording_body  # noqa: E402
from pipeline.sandbox.servers import sandbox_servers  # noqa: E402
from pipeline.sandbox.stack import Stack  # noqa: E402
from tests.integration.recording_rows import add_call, simulated  # noqa: E402

if TYPE_CHECKING:
    from sqlalchemy import Engine

LATENCIES_MS = (0, 50, 500)
BYTES_A_SECOND = 65  # of a simulated recording


def main() -> int:
    """Run every latency, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, default=8, help="downloads at once (default: %(default)s)")
    parser.add_argument("--files", type=int, default=400, help="at 0 and 50 ms; a third of it at 500 ms")
    parser.add_argument("--kilobytes", type=int, default=480, help="of a recording; 480 is about five minutes")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.files, options.kilobytes)
        return 0
    results = []
    with tempfile.TemporaryDirectory(prefix="cdr-bench-") as folder, sandbox_servers() as servers:
        for latency in LATENCIES_MS:
            files = options.files if latency < 500 else max(options.files // 3, 1)
            results.append(measure(servers, Path(folder) / str(latency), latency, files, options))
    show(results, options)
    return 0


def measure(servers, folder: Path, latency: int, files: int, options) -> dict[str, float]:
    """One latency: first the plain loop, then the pipeline."""
    folder.mkdir()
    arguments = ["--serve", str(latency / 1000), "--files", str(files), "--kilobytes", str(options.kilobytes)]
    dialler = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    assert dialler.stdout is not None
    url = dialler.stdout.readline().strip()
    try:
        plain = plain_loop(url, folder / "plain", files, options.concurrency)
        pipeline = through_pipeline(servers, url, folder / "stack", latency, files, options.concurrency)
    finally:
        dialler.terminate()
        dialler.wait()
    size = len(body(1, options.kilobytes))
    return {
        "latency_ms": latency,
        "files": files,
        "bytes_each": size,
        "plain_files_per_s": round(files / plain, 1),
        "plain_mb_per_s": round(files * size / plain / 1e6, 1),
        "pipeline_files_per_s": round(files / pipeline, 1),
        "pipeline_mb_per_s": round(files * size / pipeline / 1e6, 1),
        "share": round(plain / pipeline, 2),
    }


def plain_loop(url: str, folder: Path, files: int, concurrency: int) -> float:
    """Seconds that threads with one httpx client take."""
    folder.mkdir()
    refs: queue.SimpleQueue[int] = queue.SimpleQueue()
    for ref in range(1, files + 1):
        refs.put(ref)

    def fetch() -> None:
        while True:
            try:
                ref = refs.get_nowait()
            except queue.Empty:
                return
            with (
                client.stream("GET", f"{url}/calls/recording/{ref}") as response,
                (folder / str(ref)).open("wb") as file,
            ):
                for chunk in response.iter_raw():
                    file.write(chunk)

    with httpx.Client(limits=httpx.Limits(max_connections=concurrency)) as client:
        client.get(f"{url}/calls/recording/0")
        began = time.perf_counter()
        threads = [threading.Thread(target=fetch) for _ in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(folder.iterdir())) == files
    return time.perf_counter() - began


def through_pipeline(servers, url: str, folder: Path, latency: int, files: int, concurrency: int) -> float:
    """Seconds from the first claim to the last recording stored; processes are warm, everything is due at once."""
    name = f"bench_{latency}"
    admin = create_engine(servers.postgres.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database = admin.url.set(database=name)
    admin.dispose()
    env = {
        "DATABASE_URL": database.render_as_string(hide_password=False),
        "RECORDINGS_CONCURRENCY": str(concurrency),
        "RECORDINGS_RATE": "10000",
    }
    with Stack(servers, folder, api_url=url, env=env) as stack:
        stack.release()
        engine = create_engine(database)
        enter(engine, files)
        command = stack.commands["recordings"].replace("--concurrency 8", f"--concurrency {concurrency}")
        stack.start(["worker", "beat"])
        stack.start_as("recordings", command)
        due(engine, "call_ref = '1'")
        wait(engine, stack, 1)
        due(engine, "call_ref <> '1'")
        wait(engine, stack, files)
        with engine.connect() as connection:
            query = "SELECT extract(epoch FROM max(ended_at) - min(tried_at)) FROM recordings WHERE call_ref <> '1'"
            seconds = float(connection.scalar(text(query)))
        engine.dispose()
    return seconds * files / (files - 1)


def enter(engine: Engine, files: int) -> None:
    """Rows of recordings, none of them due."""
    with engine.begin() as connection:
        for place in range(files):
            add_call(connection, first_record(1) + place, str(place + 1))
        connection.execute(
            text(
                "INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, due_at) "
                "SELECT id, source, call_ref, dialed_at, 'scheduled', now() + interval '1 day' FROM calls"
            )
        )


def due(engine: Engine, which: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE recordings SET due_at = now() WHERE {which}"))


def wait(engine: Engine, stack: Stack, stored: int) -> None:
    deadline = time.monotonic() + 300
    while True:
        stack.check()
        with engine.connect() as connection:
            if connection.scalar(text("SELECT count(*) FROM recordings WHERE state = 'stored'")) >= stored:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def body(ref: int, kilobytes: int) -> bytes:
    return recording_body(ref, seconds_for(kilobytes))


def seconds_for(kilobytes: int) -> int:
    return kilobytes * 1000 // BYTES_A_SECOND


def serve(latency_seconds: float, files: int, kilobytes: int) -> None:
    """The dialler's process: every recording is made once, before the clock runs."""
    made = body(1, kilobytes)
    with mock.patch("pipeline.sandbox.api.recording_body", return_value=made), RecordingsApi() as api:
        api.faults.latency_seconds = latency_seconds
        api.add(simulated(ref) for ref in range(1, files + 1))
        print(api.url, flush=True)
        threading.Event().wait()


def show(results: list[dict[str, float]], options) -> None:
    table = Table("latency", "files", "plain files/s", "plain MB/s", "pipeline files/s", "pipeline MB/s", "share")
    for result in results:
        table.add_row(
            f"{result['latency_ms']} ms",
            str(result["files"]),
            *(str(result[name]) for name in ("plain_files_per_s", "plain_mb_per_s")),
            *(str(result[name]) for name in ("pipeline_files_per_s", "pipeline_mb_per_s")),
            f"{result['share']:.0%}",
        )
    Console().print(table)
    at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    print(json.dumps({"at": at, "concurrency": options.concurrency, "results": results}))


if __name__ == "__main__":
    sys.exit(main())
