"""Recordings from a dialler that misbehaves, by the Procfile's own processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import redis
from sqlalchemy import create_engine, text

from pipeline.sandbox.audio import recording_body
from tests.factories import make_record
from tests.functional.conftest import Stack, balance, eventually, load_tariff
from tests.functional.conftest import hurry as time_passes

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = ["ingestor", "worker", "recordings", "beat"]


@pytest.fixture
def stack(servers, database_url, dialler, tmp_path) -> Iterator[Stack]:
    """As in the other functional tests, but a recording is tried again after a second."""
    broker = redis.Redis.from_url(servers.broker.url)
    broker.flushall()
    broker.close()
    env = {"DATABASE_URL": database_url, "RECORDINGS_RETRY_SECONDS": "0.5", "RECORDINGS_DELAY_SECONDS": "0"}
    with Stack(servers, tmp_path / "stack", api_url=dialler.api_url, env=env) as stack:
        load_tariff(stack)
        yield stack


@pytest.fixture
def states(database_url):
    """Count recordings by state."""
    engine = create_engine(database_url)

    def count() -> dict[str, int]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT state, count(*) FROM recordings GROUP BY state"))
            return dict(tuple(row) for row in rows)

    yield count
    engine.dispose()


def hurry(database_url):
    """Time passes for what waits long: a day's patience is not part of this test."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE recordings SET due_at = least(due_at, now()) WHERE state = 'scheduled'"))
        connection.execute(text("UPDATE recording_pauses SET until = now()"))
    engine.dispose()


def stored_files(stack):
    return {file.stem: file for file in (stack.folder / "recordings").rglob("*.wav")}


def check_files(stack, calls):
    """Every call's recording is there with the dialler's bytes, and nothing else is."""
    found = stored_files(stack)
    assert set(found) == {str(call.call_ref) for call in calls}
    for call in calls:
        expected = recording_body(call.call_ref, call.hold_seconds + call.talk_seconds)
        assert found[str(call.call_ref)].read_bytes() == expected


def test_a_bad_dialler_loses_nothing(stack, dialler, states, database_url):
    """Slow, throttling, cutting, lying, sending pages, dropping, away for a while: all is stored in the end, once."""
    faults = dialler.faults
    faults.latency_seconds = 0.02
    faults.unavailable_share = faults.truncated_share = faults.wrong_length_share = 0.08
    faults.html_share = faults.dropped_share = 0.08
    faults.throttled_share = 0.03
    stack.start(PROCESSES)
    calls = [call for call in dialler.place_calls(150) if call.has_recording]
    eventually(lambda: states().get("stored", 0) > len(calls) // 4, check=stack.check)
    dialler.api.stop()
    cut_off = {ref for ref in dialler.api.served if str(ref) not in stored_files(stack)}  # sent, maybe not received

    def status():
        done = stack.run("pipeline", "recordings", "status", "--json")
        return json.loads(done.stdout) if done.returncode == 1 else None

    paused = eventually(status, check=stack.check)
    assert paused["pauses"][0]["kind"] in {"dialler_away", "throttled"}
    dialler.api.start()
    time.sleep(1)
    dialler.api.faults = type(faults)()
    hurry(database_url)
    eventually(lambda: states() == {"stored": len(calls)}, seconds=40, check=stack.check)
    check_files(stack, calls)
    assert {times for ref, times in dialler.api.served.items() if ref not in cut_off} == {1}
    assert len(cut_off) <= 8, "no more than were under way at once"
    missing = stack.run("pipeline", "recordings", "missing", "--json")
    assert (missing.returncode, json.loads(missing.stdout)["missing"]) == (0, 0)
    verified = stack.run("pipeline", "recordings", "verify", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["read"]) == (0, len(calls))

    def said(word):
        return stack.log_of("recordings").read_text().count(word)

    eventually(lambda: said("recordings_paused") == said("recordings_resumed") > 0)


def test_refusal_stops_the_queue_until_an_operator_says_go(stack, dialler, states, push):
    """One request is refused, the rest is not sent; after `resume` everything is fetched at once."""
    refs = list(range(1, 41))
    stack.start(PROCESSES)
    handler = dialler.api._server.RequestHandlerClass
    answer = handler.do_GET
    asked = []

    def refuse(self):
        asked.append(self.path)
        self._answer(403, "text/html", b"<html>Forbidden</html>")

    handler.do_GET = refuse
    try:
        push(*(make_record(call_ref=ref) for ref in refs))
        eventually(lambda: states().get("scheduled") == len(refs) and asked, check=stack.check)
        eventually(lambda: stack.run("pipeline", "recordings", "status").returncode == 1, check=stack.check)
        time.sleep(2)
        assert len(asked) <= 8
    finally:
        handler.do_GET = answer
    resumed = stack.run("pipeline", "recordings", "resume", "--who", "ann")
    assert resumed.returncode == 0, resumed.stderr
    # The dialler does not know these calls: each is asked for and waits, none has lost a try to the refusal.
    eventually(lambda: len(dialler.api.requests) == len(refs), check=stack.check)


def test_a_killed_worker_leaves_no_half_file_and_no_row_stuck(stack, dialler, states):
    """SIGKILL in the middle of downloads: whole files only, and the next worker stores the rest."""
    dialler.faults.latency_seconds = 0.15
    stack.start(PROCESSES)
    calls = [call for call in dialler.place_calls(120) if call.has_recording]
    eventually(lambda: states().get("stored", 0) > 8 and states().get("downloading"), check=stack.check)
    stack.kill("recordings")
    for stem, file in stored_files(stack).items():
        call = next(call for call in calls if str(call.call_ref) == stem)
        assert file.read_bytes() == recording_body(call.call_ref, call.hold_seconds + call.talk_seconds)
    stored = states()["stored"]
    assert stored < len(calls)
    dialler.faults.latency_seconds = 0
    time_passes(stack)  # a lease is twelve seconds, and the room of those that were killed is taken until then
    stack.start(["recordings"])
    eventually(lambda: states() == {"stored": len(calls)}, seconds=45, check=stack.check)
    check_files(stack, calls)
    assert max(dialler.api.served.values()) <= 2  # a second time only what was on its way


def test_workers_that_encrypt_leave_nothing_plain(stack, dialler, states):
    """Eight threads race for the key of the month, are killed in between, and what they stored is read back whole."""
    keys = stack.folder / "keys"
    keys.mkdir(mode=0o700)
    stack.env["RECORDINGS_KEYS_URL"] = keys.as_uri()
    dialler.faults.latency_seconds = 0.15
    stack.start(PROCESSES)
    calls = [call for call in dialler.place_calls(80) if call.has_recording]
    eventually(lambda: states().get("stored", 0) > 8 and states().get("downloading"), check=stack.check)
    stack.kill("recordings")
    dialler.faults.latency_seconds = 0
    time_passes(stack)
    stack.start(["recordings"])
    eventually(lambda: states() == {"stored": len(calls)}, seconds=45, check=stack.check)
    there = [path for path in (stack.folder / "recordings").rglob("*") if path.is_file() and path.name[0] != "."]
    assert {path.read_bytes()[:8] for path in there if path.suffix == ".wav"} == {b"CDRENC01"}
    raw = b"".join(path.read_bytes() for path in there)
    for call in calls:
        assert recording_body(call.call_ref, call.hold_seconds + call.talk_seconds)[100:140] not in raw
    verified = json.loads(stack.run("pipeline", "recordings", "verify", "--json").stdout)
    assert (verified["read"], verified["differing"]) == (len(calls), 0)
    listed = json.loads(stack.run("pipeline", "recordings", "keys", "list", "--json").stdout)
    assert sum(each["files"] for each in listed) == len(calls)
    assert len(list(keys.rglob("*.key"))) == len(listed)


def test_a_backlog_of_recordings_does_not_delay_billing(stack, dialler, states, database_url):
    """With a dialler that takes two seconds each, and hundreds waiting, calls are billed within seconds."""
    dialler.faults.latency_seconds = 2
    stack.start(PROCESSES)
    dialler.place_calls(1_000)
    eventually(lambda: states().get("scheduled", 0) > 200 and states().get("downloading"), check=stack.check)
    eventually(lambda: balance(stack)["pending"]["records"] == 0, check=stack.check)
    dialler.place_calls(200)
    eventually(lambda: balance(stack)["processed"]["records"] == 1_200, check=stack.check)
    assert states()["scheduled"] > 200
    engine = create_engine(database_url)
    with engine.connect() as connection:
        query = "SELECT extract(epoch FROM max(billed_at - received_at)) FROM batches WHERE id > 1"
        assert connection.scalar(text(query)) < 5
    engine.dispose()


def test_two_machines_share_one_limit(stack, dialler, states, database_url):
    """Two recordings workers with eight threads each ask for no more than three at once."""
    dialler.faults.latency_seconds = 0.1
    stack.env["RECORDINGS_CONCURRENCY"] = "3"
    most = 0
    stack.start(PROCESSES)
    stack.start_as("second", stack.commands["recordings"].replace("recordings@%h", "second@%h"))
    calls = [call for call in dialler.place_calls(100) if call.has_recording]

    def done():
        nonlocal most
        found = states()
        most = max(most, found.get("downloading", 0))
        return found.get("stored") == len(calls)

    eventually(done, check=stack.check)
    assert most <= 3
    engine = create_engine(database_url)
    with engine.connect() as connection:
        seconds = connection.scalar(text("SELECT extract(epoch FROM max(ended_at) - min(tried_at)) FROM recordings"))
    engine.dispose()
    # The pipe is full: with one look a second at what is due there would be three a second.
    assert len(calls) / float(seconds) > 6
