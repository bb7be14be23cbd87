"""Fixtures of all floors: a clean environment, and real servers on free ports, started once a run."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.dialler.cdr_list import CdrList
from pipeline.sandbox.servers import Servers, sandbox_servers
from pipeline.sandbox.stack import OWN_PREFIXES
from pipeline.settings import current_settings
from tests.commands import build_each_once
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

LIST = "enigma:notifications:campaigns"

# Whoever runs the tests may have settings of their own; no test may see them.
for name in [name for name in os.environ if name.startswith(OWN_PREFIXES)]:
    del os.environ[name]

build_each_once()

OF_NO_ORDER = re.compile(r"frozenset\(\{|\{'[^']*'(?:, '[^']*')+\}| at 0x")
"""In a test's name: a set, of which texts have another order in each process, or an address."""

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 2_000_000_000
"""What the servers of one test process may come to: a tenth of it, but for a test that writes a lot."""

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the tests by name, so no name may depend on the order of a set or on an address."""
    for item in items:
        if OF_NO_ORDER.search(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid}: its name differs in each process, give the cases ids of their own")


def place_for_servers() -> str | None:
    """Where the servers' files are best: in memory, if there is room. Each test has a thousand made and removed."""
    roomy = os.access(IN_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(IN_MEMORY).free >= ROOM_BYTES
    return str(IN_MEMORY) if roomy else None


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Two Redis servers and PostgreSQL. Nothing they hold matters, so they need not sync to disk."""
    with (
        tempfile.TemporaryDirectory(prefix="cdr-tests-", dir=place_for_servers()) as folder,
        sandbox_servers(Path(folder), fsync=False, appendonly=False) as started,
    ):
        yield started


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """The URL of a migrated, empty database that others are copied from."""
    engine = make_engine(servers.postgres.url, application="template")
    upgrade(engine)
    engine.dispose()
    return servers.postgres.url


@contextlib.contextmanager
def own_database(template: str) -> Iterator[str]:
    """The URL of a database that is new and gone afterwards."""
    url = make_url(template)
    name = f"test_{next(_numbers)}"
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {url.database} STRATEGY FILE_COPY"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        drop_database(connection, name)
    server.dispose()


def drop_database(connection: Connection, name: str) -> None:
    """Once whoever is connected is gone: to look again, PostgreSQL itself would rest for a tenth of a second."""
    others = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name")
    until = time.monotonic() + 5
    while connection.scalar(others, {"name": name}) and time.monotonic() < until:
        time.sleep(0.002)
    connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session", autouse=True)
def _warm_process_ends() -> Iterator[None]:
    """If any test has asked for one."""
    yield
    if warm.cache_info().currsize:
        warm().end()


@pytest.fixture
def database_url(template: str) -> Iterator[str]:
    """A database of this test's own."""
    with own_database(template) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Connections to the test's own database."""
    engine = make_engine(database_url, application="test")
    yield engine
    engine.dispose()


@pytest.fixture
def empty(servers: Servers) -> Iterator[Engine]:
    """A database with nothing in it, not even tables."""
    url = make_url(servers.postgres.url)
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
    engine = make_engine(url.set(database="empty").render_as_string(hide_password=False), application="test")
    yield engine
    engine.dispose()
    with server.connect() as connection:
        drop_database(connection, "empty")
    server.dispose()


@pytest.fixture
def dialler_redis(servers: Servers) -> Iterator[redis.Redis]:
    """The dialler's Redis, empty."""
    client = redis.Redis.from_url(servers.dialler_redis.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def cdr_list(servers: Servers, dialler_redis: redis.Redis) -> Iterator[CdrList]:
    """The dialler's list, as an ingestor holds it."""
    held = CdrList(servers.dialler_redis.url, LIST, owner="test")
    yield held
    held.close()


@pytest.fixture
def settings_env(monkeypatch: pytest.MonkeyPatch, servers: Servers, database_url: str, tmp_path) -> Iterator[None]:
    """The environment a process of the pipeline finds; settings are read afresh."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ENIGMA_REDIS_URL", servers.dialler_redis.url)
    monkeypatch.setenv("CELERY_BROKER_URL", servers.broker.url)
    monkeypatch.setenv("RECORDINGS_URL", (tmp_path / "recordings").as_uri())
    monkeypatch.setenv("PIPELINE_RUN_DIR", str(tmp_path / "run"))
    current_settings.cache_clear()
    yield
    current_settings.cache_clear()
