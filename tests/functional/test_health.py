"""`pipeline health` on real processes: well, frozen, cut off, gone."""

from __future__ import annotations

import os
import signal
import socket

import redis

from pipeline.sandbox.process import children, signal_all
from pipeline.sandbox.servers import RedisServer
from tests.functional.conftest import eventually

NAMES = ("ingestor", "worker", "recordings", "beat", "flower", "api")


def asked(stack, name, *options):
    done = stack.run("pipeline", "health", name, *options)
    assert done.stderr == ""
    return done


def test_each_process_is_well_until_it_stops(stack):
    """All of the Procfile's, alive and ready; and none after an orderly stop."""
    stack.start()
    for name in NAMES:
        eventually(lambda name=name: asked(stack, name, "--ready").returncode == 0, check=stack.check)
    assert asked(stack, "worker", "--progress", "300").returncode == 0
    stack.stop()
    for name in NAMES:
        assert asked(stack, name).returncode == 1


def test_a_frozen_process_is_unwell(stack):
    """It exists and its loop stands still."""
    names = ["ingestor", "worker", "recordings", "beat"]
    stack.start(names)
    for name in names:
        eventually(lambda name=name: asked(stack, name).returncode == 0, check=stack.check)
    for name in names:
        signal_all(stack.processes[name].pid, signal.SIGSTOP)
    for name in names:
        eventually(lambda name=name: asked(stack, name, "--within", "7").returncode == 1)
        stack.kill(name)


def test_a_worker_without_its_broker_lives_and_is_not_ready(stack, tmp_path):
    """A restart would mend nothing; with the broker back it is ready again."""
    with RedisServer(tmp_path / "broker") as broker:
        stack.env["CELERY_BROKER_URL"] = broker.url
        stack.start(["worker"])
        eventually(lambda: asked(stack, "worker", "--ready").returncode == 0, check=stack.check)
        broker.stop()
        eventually(lambda: asked(stack, "worker", "--ready").returncode == 1)
        unasked = asked(stack, "worker", "--progress", "0")
        assert (unasked.returncode, "is not ready" in unasked.stdout) == (0, True)
        sign = stack.folder / "run" / "worker.alive"
        for _ in range(3):
            os.utime(sign, (0, 0))
            eventually(lambda: asked(stack, "worker", "--within", "12").returncode == 0)
        broker.start()
        eventually(lambda: asked(stack, "worker", "--ready").returncode == 0, check=stack.check, seconds=60)


def test_a_worker_that_lives_and_finishes_nothing_is_unwell(stack, servers):
    """Messages wait, its loop turns, and nothing ends: both its children are frozen."""
    stack.start(["worker"])
    eventually(lambda: asked(stack, "worker", "--ready").returncode == 0, check=stack.check)
    frozen = children(stack.processes["worker"].pid)
    for child in frozen:
        os.kill(child, signal.SIGSTOP)
    with redis.Redis.from_url(servers.broker.url) as broker:
        stack.start(["beat"])
        eventually(lambda: broker.llen("cdr:pipeline") > 0, check=stack.check)
    first = asked(stack, "worker", "--progress", "3")
    assert first.returncode == 0, first.stdout
    unwell = eventually(lambda: (done := asked(stack, "worker", "--progress", "3")).returncode == 1 and done)
    assert "it finished none" in unwell.stdout
    assert asked(stack, "worker").returncode == 0
    for child in frozen:
        os.kill(child, signal.SIGCONT)
    eventually(lambda: asked(stack, "worker", "--progress", "3").returncode == 0)


def test_a_recordings_worker_whose_downloads_stand_still_is_unwell(stack, servers, dialler):
    """Its loop turns, nothing waits in its queue, and all its threads are held by a dialler that says nothing."""
    stack.env |= {"RECORDINGS_DELAY_SECONDS": "0"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stack.env["ENIGMA_API_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        stack.start(["ingestor", "worker", "recordings", "beat"])
        dialler.place_calls(20)
        eventually(lambda: asked(stack, "recordings", "--progress", "300").returncode == 0, check=stack.check)
        unwell = eventually(lambda: (done := asked(stack, "recordings", "--progress", "6")).returncode == 1 and done)
        assert "a download of recordings has not moved" in unwell.stdout
        assert asked(stack, "recordings", "--progress", "300").returncode == 0
