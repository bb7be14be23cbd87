"""Two diallers with the same call references feed one pipeline, and nothing of theirs meets."""

from __future__ import annotations

import json

import pytest
import redis
from sqlalchemy import create_engine, text

from pipeline.sandbox.audio import recording_body
from pipeline.sandbox.dialler import SimulatedDialler
from pipeline.sandbox.servers import RedisServer
from tests.functional.conftest import TARIFF, Stack, balance, eventually

CALLS = 60


@pytest.fixture
def south(tmp_path):
    """A second dialler, on a Redis of its own; other calls under the same references."""
    with RedisServer(tmp_path / "south-redis") as server, SimulatedDialler(server.url, seed=8) as dialler:
        yield server, dialler


@pytest.fixture
def both(servers, database_url, dialler, south, tmp_path):
    """The pipeline of the first dialler, and an ingestor and a recordings worker for the second."""
    with redis.Redis.from_url(servers.broker.url) as broker:
        broker.flushall()
    (tmp_path / "tariff.csv").write_text(TARIFF)
    north = {
        "DATABASE_URL": database_url,
        "ENIGMA_SOURCE": "north",
        "RECORDINGS_DELAY_SECONDS": "0",
        "RECORDINGS_RETRY_SECONDS": "0.5",
        "RECORDINGS_RETENTION_DAYS": "365",
        "RECORDINGS_URL": (tmp_path / "north").as_uri(),
    }
    server, other = south
    differs = (
        f"env ENIGMA_SOURCE=south ENIGMA_REDIS_URL={server.url} ENIGMA_API_URL={other.api_url} "
        f"RECORDINGS_URL={(tmp_path / 'south').as_uri()} "
    )
    with Stack(servers, tmp_path / "stack", api_url=dialler.api_url, env=north) as stack:
        assert stack.run("pipeline", "tariff", "load", str(tmp_path / "tariff.csv")).returncode == 0
        stack.start(["ingestor", "worker", "recordings", "beat"])
        stack.start_as("ingestor-south", differs + stack.commands["ingestor"])
        recordings = stack.commands["recordings"].replace("recordings@%h", "recordings-south@%h")
        stack.start_as("recordings-south", differs + recordings)
        yield stack, differs


def read(stack, *command):
    done = stack.run("pipeline", *command)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_diallers_feed_one_pipeline(both, dialler, south, database_url, tmp_path):
    """Each call is its own dialler's: balance, charges, explanation, recording, rerate, retention and check-up."""
    stack, differs = both
    other = south[1]
    calls = {"north": dialler.place_calls(CALLS), "south": other.place_calls(CALLS)}
    refs = {name: {call.call_ref for call in placed} for name, placed in calls.items()}
    assert refs["north"] == refs["south"]

    sheet = eventually(
        lambda: (s := balance(stack))["processed"]["records"] == 2 * CALLS and s, seconds=60, check=stack.check
    )
    assert sheet["closes"]
    assert sheet["duplicate"]["records"] == sheet["quarantined"]["records"] == 0
    for name, placed in calls.items():
        one = read(stack, "balance", "--source", name, "--json")
        assert one["processed"] == {"records": CALLS, "talk_seconds": sum(call.talk_seconds for call in placed)}

    audio = {name: [call for call in placed if call.has_recording] for name, placed in calls.items()}
    for name, expected in audio.items():
        folder = tmp_path / name

        def stored(folder=folder, expected=expected):
            files = {int(path.stem): path for path in folder.rglob("*.wav")}
            return files if len(files) == len(expected) else None

        files = eventually(stored, seconds=60, check=stack.check)
        for call in expected:
            body = recording_body(call.call_ref, call.hold_seconds + call.talk_seconds)
            assert files[call.call_ref].read_bytes() == body

    ref = str(next(call for call in calls["north"] if call.talk_seconds).call_ref)
    vague = stack.run("pipeline", "explain", ref)
    assert vague.returncode == 1
    assert "--source" in vague.stderr
    for name, placed in calls.items():
        call = next(call for call in placed if str(call.call_ref) == ref)
        told = read(stack, "explain", ref, "--source", name, "--json")["call"]
        assert (told["source"], told["talk_seconds"]) == (name, call.talk_seconds)

    dear = tmp_path / "dear.csv"
    dear.write_text(TARIFF.replace("0.60", "1.20"))
    assert stack.run("pipeline", "tariff", "load", str(dear)).returncode == 0
    window = ("rerate", "--since", "2020-01-01", "--until", "2040-01-01", "--dry-run", "--json")
    counted = {name: sum(d["calls"] for d in read(stack, *window, "--source", name)["differences"]) for name in calls}
    assert counted == {"north": CALLS, "south": CALLS}
    assert sum(each["calls"] for each in read(stack, *window)["differences"]) == 2 * CALLS

    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE recordings SET dialed_at = now() - interval '400 days'"))
    engine.dispose()
    asked = stack.run("python", "-c", "from pipeline.tasks.recordings import keep_recordings as t; assert t.send()")
    assert asked.returncode == 0, asked.stderr
    for name in audio:
        eventually(lambda name=name: not list((tmp_path / name).rglob("*.wav")), check=stack.check)

    for command in ("pipeline doctor --json", f"{differs} pipeline doctor --json"):
        checked = stack.run("/bin/sh", "-c", command)
        found = {check["check"]: check for check in json.loads(checked.stdout)["checks"]}
        bad = {name: check for name, check in found.items() if check["level"] == "problem"}
        assert (checked.returncode, bad) == (0, {})
    assert {"ingestor north", "queue recordings.south"} <= set(found)
