"""What integrators run behind the pipeline: the examples, and how a consumer of the dialler's list gets there."""

from __future__ import annotations

import re
import shlex
import socket
import sys
import threading
from collections import Counter

import pytest
from sqlalchemy import create_engine

from pipeline.sandbox.examples import CRM, HOST, SHOP, Examples
from pipeline.sandbox.servers import RedisServer
from pipeline.sandbox.stack import ROOT
from tests.functional.conftest import balance, eventually
from tests.functional.test_feed import subscriber

CALLS = 150
CONSUMER = ROOT / "deploy" / "examples" / "consumer.py"
PAGE = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")


def test_the_examples_get_what_the_feed_gives_once_each(stack, dialler, tmp_path):
    """And nothing of them is left."""
    stack.env["FEED_WEBHOOK_ALLOWED_HOSTS"] = HOST
    engine = create_engine(stack.settings["DATABASE_URL"])
    with Examples(stack, tmp_path / "examples") as examples, engine.connect() as connection:
        port = examples.redis.port
        examples.start()
        stack.start(["ingestor", "worker", "feed", "beat"])
        dialler.place_calls(CALLS)
        eventually(lambda: balance(stack)["processed"]["records"] == CALLS, seconds=60, check=stack.check)

        def all_there():
            found = examples.wait(connection, seconds=0)
            return all(each.given == CALLS for each in found) and found

        eventually(all_there, seconds=60, check=stack.check)
        for each in examples.wait(connection, seconds=20):
            assert (each.received, each.once) == (CALLS, True), each
        took = stack.stop([CRM, SHOP])
        assert max(took.values()) < 5
    engine.dispose()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def command():
    """The page's own: how the consumer is subscribed."""
    [found] = re.findall(r"^pipeline subscriber add crm .*?\n(?: .*\n)*", PAGE, re.MULTILINE)
    return found.strip()


class Pushing(threading.Thread):
    """The dialler, that goes on placing calls whatever is moved."""

    def __init__(self, dialler):
        super().__init__(daemon=True)
        self._dialler, self._done = dialler, threading.Event()

    def run(self):
        while not self._done.wait(0.02):
            self._dialler.place_calls(3)

    def stop(self):
        self._done.set()
        self.join(30)


@pytest.mark.parametrize("late", [False, True], ids=["as the page says", "the pipeline was first, and --from-start"])
def test_a_consumer_moves_behind_the_pipeline_without_losing_a_call(stack, dialler, servers, tmp_path, late):
    """Byte for byte, none twice, while the dialler goes on pushing."""

    def consume(url, name):
        stack.start_as("consumer", shlex.join([sys.executable, str(CONSUMER), url, name]))

    def consumed():
        return stack.log_of("consumer").read_bytes().split(b"\n")[:-1]

    def subscribe(*more):
        (tmp_path / "crm-redis").write_text(lists.url)
        added = stack.run("bash", "-euc", f"cd {shlex.quote(str(tmp_path))}; {shlex.join([*words, *more])}")
        assert added.returncode == 0, added.stdout + added.stderr

    words = shlex.split(command().replace("\\\n", " ").replace("/etc/enigma-cdr/", ""))
    list_ = next(word for word in words if word.startswith("list=")).removeprefix("list=")
    pushing = Pushing(dialler)
    with RedisServer(tmp_path / "lists", appendonly=False) as lists:
        consume(stack.settings["ENIGMA_REDIS_URL"], "enigma:notifications:campaigns")
        pushing.start()
        eventually(lambda: len(consumed()) > 30, seconds=30, check=stack.check)
        stack.start(["worker", "feed", "beat"])
        if not late:
            subscribe()
        stack.stop(["consumer"])
        before = len(consumed())
        stack.start(["ingestor"])
        if late:
            eventually(lambda: balance(stack)["received"]["records"] > 30, seconds=60, check=stack.check)
            subscribe("--from-start")
        consume(lists.url, list_)
        eventually(lambda: len(consumed()) > before + 60, seconds=90, check=stack.check)
        pushing.stop()
        elements = [call.element() for call in dialler.calls]
        eventually(lambda: len(consumed()) >= len(elements), seconds=90, check=stack.check)
        eventually(lambda: subscriber(stack)["rows_behind"] == 0, seconds=30)
        assert Counter(consumed()) == Counter(elements)
        assert subscriber(stack)["delivered"] == len(elements) - before
