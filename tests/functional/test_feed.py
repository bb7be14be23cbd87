"""What a dialler sent comes to its other readers, by the processes of the Procfile."""

from __future__ import annotations

import http.server
import json
import threading
import time

import pytest
import redis
from sqlalchemy import create_engine, text

from pipeline.sandbox.stack import STOP_SECONDS
from tests.functional.conftest import balance, eventually

CALLS = 120
LIST = "crm:cdrs"


@pytest.fixture
def crm(servers):
    client = redis.Redis.from_url(servers.dialler_redis.url)
    yield client
    client.close()


def subscriber(stack):
    [shown] = json.loads(stack.run("pipeline", "subscriber", "list", "--json").stdout)
    return shown


def test_an_unchanged_reader_gets_every_element_once(stack, dialler, crm, servers, database_url):
    """Byte for byte, although the process that delivers is killed in the middle."""
    stack.start(["ingestor", "worker", "feed", "beat"])
    added = stack.run(
        *("pipeline", "subscriber", "add", "crm", "--sink", "redis-list", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--shape", "raw", "--set", f"list={LIST}"),
        *("--set", f"url={servers.dialler_redis.url}"),
    )
    assert added.returncode == 0, added.stderr
    dialler.place_calls(CALLS)
    eventually(lambda: crm.llen(LIST) > 0, seconds=60, check=stack.check)
    stack.kill("feed")
    dialler.place_calls(CALLS)
    eventually(lambda: balance(stack)["processed"]["records"] == 2 * CALLS, seconds=60, check=stack.check)
    stack.start(["feed"])
    eventually(lambda: crm.llen(LIST) >= 2 * CALLS, seconds=60, check=stack.check)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        received = list(connection.scalars(text("SELECT raw FROM inbox ORDER BY record_id")))
    engine.dispose()
    assert sorted(crm.lrange(LIST, 0, -1)) == sorted(received)
    assert stack.run("pipeline", "health", "feed", "--ready").returncode == 0
    shown = eventually(lambda: (one := subscriber(stack))["delivered"] == 2 * CALLS and one, seconds=20)
    assert (shown["state"], shown["refused"], shown["misses"]) == ("active", 0, 0)
    assert balance(stack)["subscribers"]["crm"] == {
        **dict.fromkeys(("waiting", "refused", "filtered", "missed"), 0),
        **dict.fromkeys(("fed", "delivered"), 2 * CALLS),
    }


def test_what_it_had_comes_once_more(stack, dialler, crm, servers):
    """Each element once again and no more, although the process that brings it is killed in the middle."""
    stack.start(["ingestor", "worker", "feed", "beat"])
    added = stack.run(
        *("pipeline", "subscriber", "add", "crm", "--sink", "redis-list", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--shape", "raw", "--set", f"list={LIST}"),
        *("--set", f"url={servers.dialler_redis.url}"),
    )
    assert added.returncode == 0, added.stderr
    dialler.place_calls(CALLS)
    eventually(lambda: subscriber(stack)["delivered"] == CALLS, seconds=60, check=stack.check)
    had = crm.lrange(LIST, 0, -1)
    crm.delete(LIST)
    begun = stack.run("pipeline", "subscriber", "replay", "crm", "--since", "2020-01-01", "--rate", "20")
    assert begun.returncode == 0, begun.stderr
    eventually(lambda: crm.llen(LIST) > 0, seconds=60, check=stack.check)
    stack.kill("feed")
    assert crm.llen(LIST) < CALLS
    stack.start(["feed"])
    eventually(lambda: subscriber(stack)["replay"] is None, seconds=60, check=stack.check)
    assert crm.lrange(LIST, 0, -1) == had
    shown = subscriber(stack)
    assert (shown["delivered"], shown["rows_behind"]) == (CALLS, 0)


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers when the one that asks has long been told to end."""

    asked = threading.Event()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.set()
        time.sleep(4)
        self.send_response_only(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_stop_in_the_middle_of_a_delivery_ends_in_no_error(stack, dialler, tmp_path):
    """Nobody can end a thread; it used to end Celery's stopping in an exception instead."""
    stack.env["FEED_WEBHOOK_ALLOWED_HOSTS"] = "127.0.0.1"
    (tmp_path / "secret").write_text("whsec_" + "a" * 44)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.start(["ingestor", "worker", "feed", "beat"])
    added = stack.run(
        *("pipeline", "subscriber", "add", "slow", "--sink", "webhook", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--set", f"url=http://127.0.0.1:{server.server_port}/"),
        *("--secret-file", f"secret={tmp_path / 'secret'}"),
    )
    assert added.returncode == 0, added.stderr
    dialler.place_calls(1)
    assert Slow.asked.wait(60)
    assert stack.stop(["feed"])["feed"] < STOP_SECONDS
    log = stack.log_of("feed").read_text()
    assert "worker_waits_for_tasks" in log
    assert '"critical"' not in log
    server.shutdown()
    server.server_close()
