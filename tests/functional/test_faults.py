"""Death at each point of the way, one after the other, on real processes: nothing is lost, nothing is done twice."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, text

from pipeline.balance.sheet import balance_sheet
from pipeline.dialler.cdr_list import CdrList
from pipeline.record_ids import first_record
from tests.chaos.faulty import INGESTOR_POINTS, POINTS, WORKER_POINTS
from tests.chaos.harness import LIST, arena
from tests.factories import make_record
from tests.functional.conftest import eventually, hurry

RECORDS = 20
AWAY_SECONDS = 4.0
CHARGE = Decimal("0.81")
_refs = itertools.count(500_000)


@pytest.fixture(scope="module")
def running():
    """One arena for all tests, with an ingestor and a worker that die where they are told to."""
    with (
        tempfile.TemporaryDirectory(prefix="cdr-faults-", ignore_cleanup_errors=True) as folder,
        arena(Path(folder), ("beat",)) as (servers, stack),
    ):
        armed(stack).mkdir()
        for name in ("ingestor", "worker"):
            start_mortal(stack, name)
        yield servers, stack


def armed(stack):
    """The folder whose files name the points at which to die."""
    return stack.folder / "armed"


def start_mortal(stack, name):
    stack.start_as(name, faulty(stack.commands[name], "armed", name, str(armed(stack))))


def sheet(stack):
    engine = create_engine(stack.settings["DATABASE_URL"])
    with engine.connect() as connection:
        found = balance_sheet(connection)
    engine.dispose()
    return found


def query(stack, statement, **values):
    engine = create_engine(stack.settings["DATABASE_URL"])
    with engine.connect() as connection:
        found = connection.execute(text(statement), values).all()
    engine.dispose()
    return found


def next_record(stack):
    """The first id that a record received from now on can have: the tests before have records of their own."""
    ((newest,),) = query(stack, "SELECT coalesce(max(id), 0) FROM batches")
    return first_record(newest + 1)


def faulty(command, *how):
    """The command of a process with a fault."""
    quoted = shlex.join(how)
    program = command.removeprefix("env REMAP_SIGTERM=SIGQUIT ")
    return f"env REMAP_SIGTERM=SIGQUIT {sys.executable} -m tests.chaos.faulty {quoted} -- {program}"


def leads(servers):
    """Whether an ingestor is at work and has taken up what the one before it left."""
    with contextlib.closing(CdrList(servers.dialler_redis.url, LIST, owner="a look")) as held:
        there = held.look(1)
    return there.holder and not there.claims


def push(servers, *elements):
    """Put elements on the list, as soon as Redis has read its data again."""
    with redis.Redis.from_url(servers.dialler_redis.url) as client:
        eventually(lambda: answers(client))
        client.rpush(LIST, *elements)


def answers(client):
    try:
        return client.ping()
    except redis.RedisError:
        return False


def test_every_point_is_covered():
    """The points are told apart by the process that passes them."""
    assert sorted([*INGESTOR_POINTS, *WORKER_POINTS]) == sorted(POINTS)
    assert len(POINTS) >= 14


@pytest.mark.parametrize("point", POINTS)
def test_death_at(running, point):
    """A process killed at this point leaves what its successor needs: the balance closes exactly."""
    servers, stack = running
    eventually(lambda: leads(servers), check=stack.check)
    before = sheet(stack)
    deadly = armed(stack) / point
    deadly.touch()
    push(servers, *(make_record(call_ref=next(_refs), contact_ref=None) for _ in range(RECORDS)))
    eventually(lambda: not deadly.exists())
    if point in INGESTOR_POINTS:
        stack.processes["ingestor"].wait(10)
        stack.kill("ingestor")
        start_mortal(stack, "ingestor")
    hurry(stack)

    def settled():
        found = sheet(stack)
        return found if found.processed.records == before.processed.records + RECORDS else None

    after = eventually(settled, seconds=40)
    assert after.closes, after.violations
    assert after.received.records == before.received.records + RECORDS
    assert after.duplicate.records == before.duplicate.records
    assert after.charged["ZAR"] - before.charged.get("ZAR", 0) == RECORDS * CHARGE


def test_a_record_that_kills_its_worker_is_set_aside_alone(running):
    """Poison takes its worker down each time; the record is found, its batch is finished, the fleet stays up."""
    servers, stack = running
    before, mine = sheet(stack), next_record(stack)
    stack.kill("worker")
    stack.start_as("worker", faulty(stack.commands["worker"], "poison"))
    records = [make_record(call_ref=next(_refs)) for _ in range(300)]
    records[123] = make_record(call_ref=next(_refs), contact_ref="poison")
    push(servers, *records)

    def found():
        lost = "SELECT reason FROM failures WHERE error_type = 'WorkerLost' AND record_id >= :mine"
        return query(stack, lost, mine=mine)

    ((reason,),) = eventually(found, seconds=90)
    assert reason.startswith("its worker process died each time this record was in hand")
    after = eventually(
        lambda: (s := sheet(stack)).processed.records == before.processed.records + 299 and s, seconds=60
    )
    assert after.closes, after.violations
    assert after.quarantined.records == before.quarantined.records + 1
    assert stack.processes["worker"].poll() is None, "the worker itself went on"
    stack.kill("worker")
    start_mortal(stack, "worker")


@pytest.mark.parametrize("which", ["postgres", "broker", "dialler_redis"])
@pytest.mark.parametrize("how", ["kill", "pause"])
def test_an_outage_spends_nobodys_attempt(running, which, how):
    """A server that goes and comes back costs no attempt of any record, and each process says each at most once."""
    servers, stack = running
    before, mine = sheet(stack), next_record(stack)
    said = {name: stack.log_of(name).read_text().count("outage_began") for name in ("ingestor", "worker")}
    server = getattr(servers, which)
    if which != "dialler_redis":
        push(servers, *(make_record(call_ref=next(_refs)) for _ in range(200)))
    if how == "kill":
        server.kill()
    else:
        server.pause()
    if which != "dialler_redis":
        push(servers, *(make_record(call_ref=next(_refs)) for _ in range(200)))
    time.sleep(AWAY_SECONDS)
    if how == "kill":
        server.start()
    else:
        server.resume()
    if which == "dialler_redis":
        push(servers, *(make_record(call_ref=next(_refs)) for _ in range(400)))
    after = eventually(
        lambda: (s := sheet(stack)).processed.records == before.processed.records + 400 and s, seconds=40
    )
    assert after.closes, after.violations
    assert query(stack, "SELECT count(*) FROM failures WHERE record_id >= :mine", mine=mine) == [(0,)]
    for name, processes in (("ingestor", 1), ("worker", 3)):
        text_now = stack.log_of(name).read_text()
        assert text_now.count("outage_began") - said[name] <= processes
