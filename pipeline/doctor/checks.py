"""What ``pipeline doctor`` looks at: each check connects by itself, and has a deadline it cannot miss."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import redis
import tornado.options
from sqlalchemy.exc import SQLAlchemyError

import pipeline
from pipeline.archive.rules.refused import ArchiveAwayError, ArchiveError
from pipeline.archive.store import ArchiveStore
from pipeline.database.engine import lacks_right, make_engine
from pipeline.dialler.cdr_list import CdrList
from pipeline.dialler.http_api import DiallerApi
from pipeline.doctor import database_facts, redis_facts
from pipeline.doctor.broker_checks import check_broker, check_workers
from pipeline.doctor.row_checks import check_rows
from pipeline.doctor.rules import cdr_list, database, keys, months, outside, redis_server, variables
from pipeline.doctor.rules.verdict import Verdict, first_line, problem, unknown
from pipeline.logs.rules.secrets import is_unmistakable, secret_values, secrets_of
from pipeline.monitoring.heartbeats import ARCHIVER, last_seen
from pipeline.recordings.store_trouble import StoreError
from pipeline.setting_words import is_on
from pipeline.settings import recording_keys, recording_store, stray_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import sqlalchemy

    from pipeline.settings import Settings

DEADLINE_SECONDS: Final = 15.0
PEEKED: Final = 20
OF_ROWS: Final = ("beat", "stops", "recordings", "completeness", "months")
"""What the tables tell, where they can be read."""


class Check(NamedTuple):
    """One thing to look at; it may come to several verdicts."""

    name: str
    look: Callable[[Settings], Iterable[Verdict]]


def check_settings(_: Settings) -> Iterator[Verdict]:
    """The environment: what looks like a setting and is read by nobody. One that cannot be meant ended us before."""
    import flower.options  # noqa: F401, PLC0415 - defines Flower's options; no other check needs it

    flowers = [f"FLOWER_{name.upper().replace('-', '_')}" for name in tornado.options.options]
    yield from variables.judge_strays(stray_settings(flowers))
    yield from variables.judge_copies(Path(pipeline.__file__).parent, Path.cwd())
    yield from variables.judge_flowers_api(is_open=is_on(os.environ.get("FLOWER_UNAUTHENTICATED_API", "")))


def check_dialler_redis(settings: Settings) -> Iterator[Verdict]:
    """The dialler's Redis, the list in it, and who drains that."""
    url, name = settings.enigma_redis_url, settings.enigma_list
    try:
        with redis_facts.connected(url) as client, contextlib.closing(_list(settings)) as held:
            facts = redis_facts.look_at_redis(client, trial_key=f"{held.key_prefix}trial", claims=True)
            there = held.look(PEEKED)
    except (redis.RedisError, OSError) as error:
        yield redis_server.judge_redis_error("dialler redis", "ENIGMA_REDIS_URL", error)
        yield from (unknown(each, "the dialler's Redis cannot be used") for each in ("dialler list", "ingestor"))
        return
    yield from redis_server.judge_dialler_redis(facts)
    yield from cdr_list.judge_list(there._replace(name=name), settings.enigma_pop_end)
    yield cdr_list.judge_ingestor(settings.enigma_source, there.holder)


def _list(settings: Settings) -> CdrList:
    return CdrList(
        settings.enigma_redis_url, settings.enigma_list, pop_end=settings.enigma_pop_end, owner="pipeline doctor"
    )


def check_database(settings: Settings) -> Iterator[Verdict]:
    """The database, its tables, and what they say of the processes."""
    engine = make_engine(settings.database_url, application="cdr-doctor", pool_size=1)
    try:
        with engine.connect() as connection:
            yield from database.judge_database(
                database_facts.look_at_database(connection, settings.pipeline_timezone), settings.pipeline_timezone
            )
            tables = _tables(connection)
            yield tables
            if tables.remedy:
                yield from (unknown(each, "the tables are not those of this version") for each in OF_ROWS)
            else:
                yield from _check_readable_rows(connection, settings)
    except SQLAlchemyError as error:
        yield database.judge_database_error(getattr(error, "orig", None) or error)
        yield from (unknown(each, "the database cannot be used") for each in ("database tables", *OF_ROWS))
    finally:
        engine.dispose()


def _check_readable_rows(connection: sqlalchemy.Connection, settings: Settings) -> Iterator[Verdict]:
    """What the tables tell, as far as this role may read them: the ingestor's may read few."""
    told: set[str] = set()
    try:
        for verdict in check_rows(connection, settings):
            told.add(verdict.check)
            yield verdict
    except SQLAlchemyError as error:
        if not lacks_right(error):
            raise
        why = "this role may not read the tables that tell it: ask as cdr_read, or as their owner"
        yield from (unknown(each, why) for each in OF_ROWS if each not in told)


def _tables(connection: sqlalchemy.Connection) -> Verdict:
    from pipeline.database.migrations import known_revisions, revision_of  # noqa: PLC0415 - Alembic loads slowly

    known, newest = known_revisions()
    return database.judge_tables(revision_of(connection), newest, known)


def check_store(settings: Settings) -> Iterator[Verdict]:
    """The recordings store, by writing a file and deleting it."""
    try:
        store = recording_store(settings)
        yield from outside.judge_store(settings.recordings_url, store.try_out())
    except (StoreError, OSError, ValueError, ImportError) as error:
        yield outside.judge_store_error(settings.recordings_url, error)


def check_keys(settings: Settings) -> Iterator[Verdict]:
    """The keys by which recordings are encrypted, by making a file beside them and deleting it."""
    try:
        found = recording_keys(settings)
        if found is not None:
            yield from keys.judge_keys(settings.recordings_keys_url, found.look())
    except (StoreError, OSError, ValueError, ImportError) as error:
        yield keys.judge_keys_error(settings.recordings_keys_url, error)


def check_archive(settings: Settings) -> Iterator[Verdict]:
    """The archive, by putting a file there and deleting it; and when its months were last looked at."""
    if not settings.archive_url:
        return
    try:
        ArchiveStore(settings.archive_url, settings.archive_storage_options).try_out()
    except (ArchiveError, ArchiveAwayError, OSError, ValueError, ImportError) as error:
        yield months.judge_archive_error(settings.archive_url, error)
        return
    engine = make_engine(settings.database_url, application="cdr-doctor", pool_size=1)
    looked = None
    with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:  # which check_database tells
        looked = last_seen(connection, ARCHIVER).get("")
    engine.dispose()
    yield months.judge_archive(settings.archive_url, looked)


def check_api(settings: Settings) -> Iterator[Verdict]:
    """The dialler's API, by asking for the recording of a call that cannot exist."""
    with DiallerApi(
        settings.enigma_api_url, source=settings.enigma_source, connect_seconds=4, read_seconds=4, total_seconds=8
    ) as api:
        yield outside.judge_api(settings.enigma_api_url, api.fetch("0", _Nowhere()))


class _Nowhere(io.BytesIO):
    """Takes what nobody expects to come."""

    def clear(self) -> None:
        self.seek(0)
        self.truncate()


def check_clocks(settings: Settings) -> Iterator[Verdict]:
    """Whether this machine, the database's and the dialler's agree on the time."""
    clocks = []
    with contextlib.suppress(redis.RedisError, OSError), redis_facts.connected(settings.enigma_redis_url) as client:
        client.ping()  # so that connecting is not measured
        clocks.append(redis_facts.read_clock(client, "dialler redis"))
    engine = make_engine(settings.database_url, application="cdr-doctor", pool_size=1)
    with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:
        clocks.append(database_facts.read_clock(connection))
    engine.dispose()
    yield outside.judge_clocks(clocks)


CHECKS: Final = (
    Check("settings", check_settings),
    Check("dialler redis", check_dialler_redis),
    Check("broker", check_broker),
    Check("database", check_database),
    Check("recordings store", check_store),
    Check("recordings keys", check_keys),
    Check("archive", check_archive),
    Check("dialler api", check_api),
    Check("clocks", check_clocks),
    Check("workers", check_workers),
)


def run_checks(
    settings: Settings, checks: Iterable[Check] = CHECKS, *, deadline_seconds: float = DEADLINE_SECONDS
) -> list[Verdict]:
    """Every verdict, in the order of the checks; all are made at the same time, and none is waited for too long.

    Args:
        settings: what to look at; its secrets are in no verdict.
        checks: what to do.
        deadline_seconds: a check that has not ended by then is given up. Its thread cannot be ended, but does not keep
            the process from ending.
    """
    secrets = secrets_in(settings)
    ends = time.monotonic() + deadline_seconds
    running = [(check, _start(check, settings)) for check in checks]
    return [
        verdict.without(secrets)
        for check, answers in running
        for verdict in _collect(check, answers, max(0.0, ends - time.monotonic()), deadline_seconds)
    ]


def _start(check: Check, settings: Settings) -> queue.SimpleQueue[list[Verdict]]:
    answers: queue.SimpleQueue[list[Verdict]] = queue.SimpleQueue()

    def look() -> None:
        found: list[Verdict] = []
        try:
            found.extend(check.look(settings))
        except Exception as error:  # noqa: BLE001 - one check that fails must not hide the others' verdicts
            said = f"the check itself failed: {type(error).__name__}: {first_line(error)}"
            found.append(problem(check.name, said, "Please report this."))
        answers.put(found)

    threading.Thread(target=look, name=f"check {check.name}", daemon=True).start()
    return answers


def _collect(
    check: Check, answers: queue.SimpleQueue[list[Verdict]], wait_seconds: float, deadline_seconds: float
) -> list[Verdict]:
    try:
        return answers.get(timeout=wait_seconds)
    except queue.Empty:
        says = f"nothing was found out within {deadline_seconds:g} s"
        return [
            problem(check.name, says, "Check its host, the network and firewalls: something takes and never answers.")
        ]


def secrets_in(settings: Settings) -> frozenset[str]:
    """Every text in the settings that must not be shown wherever a library quotes it.

    Not a short one, nor one that is a word: it would be in sentences that do not mean it, and the mask there would tell
    what it is. In an address and behind their names all are masked (`logs.rules.secrets.mask`).
    """
    urls = (
        settings.enigma_redis_url,
        settings.enigma_api_url,
        settings.celery_broker_url,
        settings.database_url,
        settings.recordings_url,
        settings.recordings_keys_url,
        settings.archive_url,
    )
    logins = [login.partition(":")[2] for login in settings.flower_basic_auth.split(",")]
    options = [
        *secret_values(settings.recordings_storage_options),
        *secret_values(settings.recordings_keys_storage_options),
        *secret_values(settings.archive_storage_options),
    ]
    return frozenset(secret for secret in (*secrets_of(*urls), *logins, *options) if is_unmistakable(secret))
