"""The whole pipeline as the Procfile starts it, beside a simulated dialler."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import kombu
import pytest
import redis
from playwright.sync_api import sync_playwright

from pipeline.sandbox import stack as sandbox
from pipeline.sandbox.dialler import SimulatedDialler
from tests import commands
from tests.chaos.harness import QUEUES
from tests.conftest import LIST
from tests.patience import eventually

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from pipeline.sandbox.servers import Servers

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER_FLAGS = [
    "--no-sandbox",  # a container's root has no namespaces to make one of
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

__all__ = ["TARIFF", "Stack", "balance", "eventually"]

TARIFF = "prefix,rate_per_minute,connect_fee,first_increment,next_increment\n,0.60,0.20,60,1\n"


class Stack(sandbox.Stack):
    """A stack whose commands are called in this process where they can be, and that is not waited for at a test's end.

    What its processes do when they are told to end is what some tests are about; these tell them.
    """

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with the stack's settings."""
        program, *words = command
        if program == "pipeline" and words[0] not in commands.NEEDS_A_PROCESS:
            return commands.call(*words, env=self.env)
        return super().run(*command)


def balance(stack: Stack) -> dict[str, Any]:
    """What ``pipeline balance --json`` prints."""
    done = stack.run("pipeline", "balance", "--json")
    assert done.stdout, done.stderr
    sheet: dict[str, Any] = json.loads(done.stdout)
    return sheet


@pytest.fixture
def dialler(servers: Servers, dialler_redis: redis.Redis) -> Iterator[SimulatedDialler]:
    """A simulated dialler whose recordings are ready after a fifth of a second."""
    with SimulatedDialler(servers.dialler_redis.url, seed=7) as dialler:
        yield dialler


@pytest.fixture
def stack(servers: Servers, database_url: str, dialler: SimulatedDialler, tmp_path: Path) -> Iterator[Stack]:
    """A migrated database with a tariff, and processes ready to be started."""
    broker = redis.Redis.from_url(servers.broker.url)
    broker.flushall()
    broker.close()
    tariff = tmp_path / "tariff.csv"
    tariff.write_text(TARIFF)
    env = {"DATABASE_URL": database_url}
    with Stack(servers, tmp_path / "stack", api_url=dialler.api_url, env=env) as stack:
        loaded = stack.run("pipeline", "tariff", "load", str(tariff))
        assert loaded.returncode == 0, loaded.stderr
        yield stack


@pytest.fixture
def push(dialler_redis: redis.Redis) -> Callable[..., object]:
    """Put elements on the dialler's list."""
    return lambda *elements: dialler_redis.rpush(LIST, *elements)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium; without one these tests are skipped, but where CDR_TESTS_NEED_BROWSER says that they must run."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        if os.environ.get("CDR_TESTS_NEED_BROWSER"):
            pytest.fail(f"none of {', '.join(BROWSERS)} is on PATH, and CDR_TESTS_NEED_BROWSER is set")
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh window, logged in as the sandbox's operator. A script's error, or a dialog, fails the test."""
    context = chromium.new_context(
        http_credentials={"username": "operator", "password": "sandbox"},
        viewport={"width": 1400, "height": 800},
        color_scheme="light",
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("console", lambda said: wrong.extend([said.text] if "Content Security Policy" in said.text else []))
    yield page
    context.close()
    assert not wrong, wrong


@pytest.fixture
def rabbitmq() -> Iterator[str]:
    """A RabbitMQ somebody else runs: its queues are ours for the test, and gone afterwards."""
    url = os.environ.get("TEST_AMQP_URL")
    if not url:
        pytest.skip("TEST_AMQP_URL names no RabbitMQ")
    with kombu.Connection(url, connect_timeout=5) as connection, connection.channel() as channel:
        for when in ("before", "after"):
            for queue in QUEUES:
                channel.queue_delete(queue)
            if when == "before":
                yield url
