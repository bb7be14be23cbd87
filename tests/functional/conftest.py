"""The whole pipeline as the Procfile starts it, beside a simulated dialler."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import kombu
import pytest
import redis
from playwright.sync_api import sync_playwright
from psycopg.errors import DeadlockDetected
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from pipeline.database.tables import metadata
from pipeline.dialler.cdr_list import CdrList
from pipeline.sandbox import stack as sandbox
from pipeline.sandbox.dialler import SimulatedDialler
from tests import commands
from tests.chaos.harness import QUEUES
from tests.conftest import LIST, own_database
from tests.patience import eventually
from tests.warm import AT_IMPORT, warm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

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

__all__ = ["TARIFF", "Stack", "as_new", "balance", "eventually", "hurry", "load_tariff"]

TARIFF = "prefix,rate_per_minute,connect_fee,first_increment,next_increment\n,0.60,0.20,60,1\n"


REMAPPED: Final = f"env {' '.join('='.join(each) for each in AT_IMPORT.items())} "
"""What a worker's command begins with: it is so where the processes are forked."""


class Stack(sandbox.Stack):
    """A stack whose commands are called in this process where they can be, and that is not waited for at a test's end.

    What its processes do when they are told to end is what some tests are about; these tell them.

    Attributes:
        warm: whether its processes are forked where all is imported; else each is started as the Procfile says.
    """

    warm = True

    def start_as(self, name: str, command: str) -> None:
        """Start any command under a name of its own."""
        remapped = command.startswith(REMAPPED)
        words = shlex.split(command.removeprefix(REMAPPED))
        of_ours = words[0] == "pipeline" or (words[0] == "celery" and ("worker" in words) is remapped)
        if self.warm and of_ours:
            started = warm().start(*words, env=self.env | (AT_IMPORT if remapped else {}), log=self.log_of(name))
            self.processes[name] = cast("subprocess.Popen[bytes]", started)
        else:
            super().start_as(name, command)

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
    with redis.Redis.from_url(servers.broker.url) as broker:
        broker.flushall()
    env = {"DATABASE_URL": database_url}
    with Stack(servers, tmp_path / "stack", api_url=dialler.api_url, env=env) as stack:
        load_tariff(stack)
        yield stack


@pytest.fixture(scope="module")
def lasting_stack(servers: Servers, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests of a module, which have ``as_new`` make it what ``stack`` would be, its processes running."""
    for url in (servers.broker.url, servers.dialler_redis.url):
        with redis.Redis.from_url(url) as client:
            client.flushall()
    with (
        own_database(template) as database_url,
        SimulatedDialler(servers.dialler_redis.url, seed=7) as dialler,
        Stack(
            servers,
            tmp_path_factory.mktemp("lasting") / "stack",
            api_url=dialler.api_url,
            env={"DATABASE_URL": database_url, "FEED_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"},
        ) as stack,
    ):
        yield stack


def load_tariff(stack: Stack, content: str = TARIFF) -> None:
    """Make this the default tariff."""
    file = stack.folder / "tariff.csv"
    file.write_text(content)
    loaded = stack.run("pipeline", "tariff", "load", str(file))
    assert loaded.returncode == 0, loaded.stderr


def hurry(stack: Stack) -> None:
    """Time passes: what stands still is overdue, and whoever was killed is given up at once."""
    with redis.Redis.from_url(stack.settings["ENIGMA_REDIS_URL"]) as client:
        client.delete(f"{CdrList.prefix_of(LIST)}lease")
    engine = create_engine(stack.settings["DATABASE_URL"], poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET due_at = now() WHERE finished_at IS NULL"))
        waiting = "state IN ('scheduled', 'downloading') AND due_at > now()"
        connection.execute(text(f"UPDATE recordings SET due_at = now() WHERE {waiting}"))


def as_new(stack: Stack) -> None:
    """Empty the tables under running processes, once nothing is on its way, and load the tariff.

    Ids go on, so what a process remembers by an id of before is never taken for something of now. Positions in the feed
    begin anew, and its process keeps for seconds what it knows by one, so that begins anew, too.
    """
    engine = create_engine(stack.settings["DATABASE_URL"], poolclass=NullPool)
    tables = ", ".join(table.name for table in metadata.sorted_tables)

    def nothing_on_its_way() -> bool:
        with engine.connect() as connection:
            return not connection.scalar(text("SELECT count(*) FROM batches WHERE finished_at IS NULL"))

    def emptied() -> bool:
        # What the ingestor keeps there would be settled again: to it, emptied tables are a database that lost commits.
        with redis.Redis.from_url(stack.settings["ENIGMA_REDIS_URL"]) as client:
            client.flushall()
        try:
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL session_replication_role = replica"))  # the ledger's guard says no
                connection.execute(text(f"TRUNCATE {tables}"))
        except OperationalError as error:  # a tick came in between
            if not isinstance(error.orig, DeadlockDetected):
                raise
            return False
        return True

    eventually(nothing_on_its_way)
    feeds = "feed" in stack.processes
    if feeds:
        stack.kill("feed")
    eventually(emptied)
    if feeds:
        stack.start(["feed"])
    load_tariff(stack)


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


@contextlib.contextmanager
def turn(name: str) -> Iterator[None]:
    """Hold a lock of this name among all processes on this machine; the end of a process lets go of it."""
    with (Path(tempfile.gettempdir()) / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def rabbitmq() -> Iterator[str]:
    """A RabbitMQ somebody else runs: its queues are ours for the test, and gone afterwards.

    It is the one server that test processes share, so they take turns.
    """
    url = os.environ.get("TEST_AMQP_URL")
    if not url:
        pytest.skip("TEST_AMQP_URL names no RabbitMQ")
    with (
        turn(f"cdr-tests-{os.getuid()}-{hashlib.sha256(url.encode()).hexdigest()[:16]}.lock"),
        kombu.Connection(url, connect_timeout=5) as connection,
        connection.channel() as channel,
    ):
        for when in ("before", "after"):
            for queue in QUEUES:
                channel.queue_delete(queue)
            if when == "before":
                yield url
