"""Many workers at one contact: what they make of it is what is made of it anew."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_all_steps, run_step
from pipeline.contacts import update
from pipeline.contacts.rebuild import rebuild
from pipeline.database.engine import make_engine
from tests.factories import DIALED_AT, make_record
from tests.integration.contact_rows import ENDS, by_the_rules, contact_rows
from tests.integration.flow import load, receive, rows, walk, works
from tests.patience import eventually

WORKERS = 8
ROUNDS = int(os.environ.get("CDR_CONTACT_ROUNDS", "15"))
"""A thousand of them take some minutes."""


@pytest.fixture
def workers(database_url):
    """Connections of eight workers."""
    engines = [make_engine(database_url, application=f"worker {number}", pool_size=1) for number in range(WORKERS)]
    yield engines
    for each in engines:
        each.dispose()


def some_records(chance, others):
    """Of one contact, mostly; what came before comes again, or says something else."""
    return [
        make_record(
            call_ref=chance.choice((chance.randrange(10**9), chance.randrange(50))),
            contact_ref=chance.choice(("one", "one", "one", *others)),
            dialed_at=DIALED_AT + chance.randrange(10_000),
            **ENDS[chance.choice(list(ENDS))],
        )
        for _ in range(chance.randint(1, 2))
    ]


def test_a_known_contact_is_locked_before_it_is_counted(engine, workers, monkeypatch):
    """Who counts holds the row from before its count on: nobody else can write another in between."""
    walk(engine, receive(engine, make_record(contact_ref="one")))
    batch = receive(engine, make_record(contact_ref="one"))
    walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY))
    held = []

    def look(connection, span, made):
        held.append(rows(engine, "SELECT count(*) FROM (SELECT FROM contacts FOR UPDATE SKIP LOCKED) AS free"))
        return recount(connection, span, made)

    recount = update.recount_others
    monkeypatch.setattr(update, "recount_others", look)
    with workers[0].begin() as connection:
        update.update_contacts(connection, batch.span)
    assert held == [[(0,)]]
    assert [own.attempts for own in contact_rows(engine).values()] == [2]


@pytest.mark.parametrize("known", [True, False])
def test_who_comes_second_counts_what_the_first_has_not_committed_yet(engine, workers, known):
    """Each has a call of one contact that the other cannot see; the second waits for the first, and then sees it."""
    if known:
        walk(engine, receive(engine, make_record(contact_ref="one")))
    first, second = (receive(engine, make_record(contact_ref="one")) for _ in range(2))
    steps = [works(engine)[step] for step in (Step.NORMALIZE, Step.CLASSIFY, Step.UPDATE_CONTACTS)]

    def work(connection, batch):
        for do in steps:
            do(connection, batch.span)

    def work_meanwhile():
        with workers[1].begin() as connection:
            work(connection, second)

    with ThreadPoolExecutor(1) as pool:
        with workers[0].begin() as connection:
            work(connection, first)
            other = pool.submit(work_meanwhile)
            eventually(lambda: rows(engine, "SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0])
        other.result(timeout=60)
    assert [own.attempts for own in contact_rows(engine).values()] == [2 + known]
    assert contact_rows(engine) == by_the_rules(engine)


def test_eight_workers_on_one_contact(engine, workers):
    """Round after round, all steps at once or one after the other; others stand in the other order in between."""
    load(engine)
    chance = random.Random(3)
    steps = works(engine)

    def work(number, batch, together):
        started.wait()
        if together:
            assert run_all_steps(workers[number], batch.batch_id, lambda _: steps, at_most=200, resend_after_seconds=10)
            return
        for step, do in steps.items():
            assert run_step(workers[number], batch.batch_id, step, do, resend_after_seconds=10).outcome == "done"

    with ThreadPoolExecutor(WORKERS) as pool:
        for turn in range(ROUNDS):
            others = chance.sample(("a", "b", "y", "z"), 2)
            batches = [receive(engine, *some_records(chance, others)) for _ in range(WORKERS)]
            started = threading.Barrier(WORKERS)
            list(pool.map(work, range(WORKERS), batches, [chance.random() < 0.5 for _ in batches]))
            assert contact_rows(engine) == by_the_rules(engine), turn
            if turn % 10 == 0 or turn == ROUNDS - 1:
                looked = rebuild(engine, check=True)
                assert (looked.different, looked.waiting) == (0, 0), turn
    before = contact_rows(engine)
    assert before[("one", "campaign001", "enigma")].attempts > ROUNDS
    assert rebuild(engine, check=False).changed == 0
    assert contact_rows(engine) == before
