"""RabbitMQ that refuses our login: told once, with what to do, and tried again in silence.

The server here says what RabbitMQ says up to the refusal; a real one does the same in `functional/test_brokers.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import struct
import sys
import threading

import kombu
import pytest

from pipeline.sandbox.process import spawn
from tests.patience import eventually

SAID = b"ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."


def frame(class_id, method_id, arguments):
    payload = struct.pack(">HH", class_id, method_id) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def long_text(text):
    return struct.pack(">I", len(text)) + text


START = frame(10, 10, struct.pack(">BBI", 0, 9, 0) + long_text(b"PLAIN") + long_text(b"en_US"))
CLOSE = frame(10, 50, struct.pack(">HB", 403, len(SAID)) + SAID + struct.pack(">HH", 0, 0))


class Refusing(socketserver.ThreadingTCPServer):
    """Refuses every login, and counts them."""

    daemon_threads = True
    logins = 0


class Refusal(socketserver.BaseRequestHandler):
    """One connection, to its refusal."""

    def handle(self):
        with contextlib.suppress(OSError):
            self.request.recv(8)
            self.request.sendall(START)
            self.request.recv(65536)
            self.server.logins += 1
            self.request.sendall(CLOSE)
            while self.request.recv(65536):
                pass


@pytest.fixture
def refusing():
    """A RabbitMQ with another password than ours."""
    with Refusing(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_it_is_an_outage_with_what_to_do(refusing):
    """Whoever publishes waits for it as for a broker that is away."""
    url = f"amqp://cdr:hush@127.0.0.1:{refusing.server_address[1]}//"
    told = []
    ours = "pipeline.worker.rabbitmq:Transport"
    with (
        kombu.Connection(url, transport=ours) as connection,
        pytest.raises(kombu.exceptions.OperationalError) as refused,
    ):
        connection.ensure_connection(
            lambda error, _: told.append(str(error)), max_retries=1, interval_start=0, interval_step=0
        )
    assert told == [str(refused.value)]
    assert "Login was refused" in told[0]
    assert told[0].endswith("Correct the user and password in CELERY_BROKER_URL.")
    assert "hush" not in told[0]


@pytest.mark.parametrize("process", ["worker", "beat"])
def test_a_process_says_it_once_and_tries_again(refusing, settings_env, tmp_path, process):
    """No traceback, no second line, however often."""
    log = tmp_path / "log"
    options = {"worker": ["--pool", "solo"], "beat": ["--pidfile="]}[process]
    env = os.environ | {
        "CELERY_BROKER_URL": f"amqp://cdr:hush@127.0.0.1:{refusing.server_address[1]}//",
        "PIPELINE_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "celery", "-A", "pipeline", process, *options]
    running = spawn(command, folder=tmp_path, log=log, env=env)
    try:
        eventually(lambda: refusing.logins >= 3 or running.poll() is not None, seconds=40)
        assert running.poll() is None, log.read_text()
    finally:
        running.kill()
        running.wait()
    text = log.read_text()
    assert "Traceback" not in text
    assert "hush" not in text
    told = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (line,) = [line["event"] for line in told if "refuse" in line["event"]]
    assert "Correct the user and password in CELERY_BROKER_URL." in line
