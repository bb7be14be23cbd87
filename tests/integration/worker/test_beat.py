"""Beat's ticks on a real broker: few wait, whatever the clocks say, and Flower does not hear of them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from pipeline.feed.rules.event import KINDS
from pipeline.feed.rules.filter import Filter
from pipeline.feed.subscribers import NewSubscriber, add
from pipeline.tasks import due
from tests.factories import make_record
from tests.integration.flow import receive, walk
from tests.integration.statements import statements
from tests.integration.tasks.test_recordings import ask

pytestmark = pytest.mark.usefixtures("settings_env")

TICKS = (
    "(lambda beat: [beat.apply_entry(entry, producer=beat.producer) for _ in range({times})"
    " for entry in beat.schedule.values()])"
    "(__import__('pipeline.worker.liveness', fromlist=['x']).LivingScheduler(app=tasks.app))"
)
EVERYTHING = Filter(("*",), ("*",), KINDS, None)
SENT = {
    *("pipeline.reconcile", "recordings.keep", "feed.keep", "completeness.watch"),
    *("archive.run", "ranges.make"),
}
ALL = SENT | {"keeping.expire_access_log", "recordings.dispatch"}
"""With what is sent only where something is due, or where that cannot be asked."""


def test_ticks_do_not_pile_up_while_nobody_reads_them(broker):
    """A day without a worker leaves as many as a moment does; once they are read, there are more."""
    ask(TICKS.format(times=30))
    assert 2 <= broker.llen("cdr:pipeline") <= 10
    broker.delete("cdr:pipeline")
    ask(TICKS.format(times=1))
    assert broker.llen("cdr:pipeline") == len(SENT)


def test_no_clock_decides_whether_a_tick_is_run(broker):
    """A worker whose clock is ahead would drop every tick that expires."""
    ask(TICKS.format(times=1))
    sent = [json.loads(raw)["headers"] for raw in broker.lrange("cdr:pipeline", 0, -1)]
    assert {headers["task"] for headers in sent} == SENT
    assert [headers["expires"] for headers in sent] == [None] * len(SENT)


TURNS = (
    "(lambda beat, time, until: sum("
    "1 for _ in iter(lambda: time.sleep(max(0, beat.tick())) or time.monotonic() < until, False)))"
    "(__import__('pipeline.worker.liveness', fromlist=['x']).LivingScheduler(app=tasks.app),"
    " __import__('time'), __import__('time').monotonic() + 2.5)"
)
"""How often beat's loop turns in so many seconds, in which a tick is due once."""


def test_beat_rests_until_a_tick_is_due(broker):
    """Celery's own wakes ten milliseconds early, and turns without a rest until then."""
    assert ask(TURNS) <= 8


def test_flower_does_not_hear_of_ticks(broker):
    """They would be all that it remembers; neither who sends nor who runs them tells it."""
    with broker.pubsub() as listening:
        listening.psubscribe("cdr:/*")
        assert listening.get_message(timeout=5)["type"] == "psubscribe"
        ask(TICKS.format(times=1))
        assert listening.get_message(timeout=0.2) is None
    quiet = "[name for name, task in sorted(tasks.app.tasks.items()) if not task.send_events]"
    assert ask(quiet) == ["feed.deliver", "feed.replay", "feed.sequence", "pipeline.reconcile", "recordings.dispatch"]


def test_a_broker_that_is_away_does_not_end_beat():
    """Neither counting what waits nor sending raises; the next tick tries again."""
    lost = TICKS.format(times=1).replace("producer=beat.producer", "producer=beat.Producer(beat.connection)")
    assert ask(lost, CELERY_BROKER_URL="redis://127.0.0.1:9/0") == [None] * len(ALL)


def test_at_rest_no_tick_is_sent_until_the_reconciler_has_to_show_that_it_lives(broker, engine):
    """Beat asks the rows itself, so no worker is woken to find that there is nothing."""
    assert _reconciler_ticks(broker) == 1
    ask("flow.reconcile()")
    assert _reconciler_ticks(broker) == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE heartbeats SET at = at - interval '16 seconds'"))
    assert _reconciler_ticks(broker) == 1


def test_a_batch_that_stands_still_is_a_tick_worth_sending(broker, engine):
    ask("flow.reconcile()")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO batches (claim, source, records, due_at) VALUES (gen_random_uuid(), 'enigma', 1, now())")
        )
    assert _reconciler_ticks(broker) == 1


def test_what_nobody_reads_of_the_feed_waits_and_what_somebody_reads_does_not(broker, engine):
    ask("flow.reconcile()")
    with engine.begin() as connection:
        batch = connection.scalar(
            text(
                "INSERT INTO batches (claim, source, records, due_at, finished_at, contacts_updated_at) "
                "VALUES (gen_random_uuid(), 'enigma', 1, now() + interval '1 hour', now(), now()) RETURNING id"
            )
        )
        connection.execute(
            text("INSERT INTO feed (kind, source, batch_id, revision) VALUES ('call.received', 'enigma', :id, 0)"),
            {"id": batch},
        )
    assert _reconciler_ticks(broker) == 0
    with engine.begin() as connection:
        add(connection, NewSubscriber("reader", "redis-list", {}, {}, EVERYTHING, "thin", "none"), who="test")
    assert _reconciler_ticks(broker) == 1


def test_a_database_that_is_away_holds_no_tick_back(broker):
    """Whoever runs it sees for itself, and says that it waits."""
    broker.delete("cdr:pipeline")
    ask(TICKS.format(times=1), DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:9/none")
    assert broker.llen("cdr:pipeline") == len(ALL)


def test_a_database_without_tables_ends_no_beat(broker, empty):
    """Beat may start before the release has made them."""
    broker.delete("cdr:pipeline")
    ask(TICKS.format(times=1), DATABASE_URL=empty.url.render_as_string(hide_password=False))
    assert broker.llen("cdr:pipeline") == len(ALL)


def test_a_replay_goes_on_though_nobody_else_reads(broker, engine):
    """Of a subscriber that has expired, which is to get nothing else."""
    ask("flow.reconcile()")
    with engine.begin() as connection:
        add(connection, NewSubscriber("late", "redis-list", {}, {}, EVERYTHING, "thin", "none"), who="test")
        connection.execute(text("UPDATE subscribers SET state = 'expired'"))
    assert _reconciler_ticks(broker) == 0
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO replays (subscriber, since, until, state, position, place, last_position, last_place, "
                "rate, events, created_by) "
                "VALUES ('late', now() - interval '1 day', now(), 'active', 0, 0, 1, 0, 100, 1, 'test')"
            )
        )
    assert _reconciler_ticks(broker) == 1


STANDS = {
    "a recording is due": "UPDATE recordings SET due_at = now()",
    "a bug may be tried again": "UPDATE failures SET state = 'open', retry_at = now()",
    "a bulk action stands": (
        "INSERT INTO bulk_actions (action, wanted, who, total, moved_at) "
        "VALUES ('retry', '{}', 'test', 1, now() - interval '1 day')"
    ),
}


@pytest.mark.parametrize("statement", STANDS.values(), ids=STANDS)
def test_what_is_due_of_anything_is_a_tick_worth_sending(engine, monkeypatch, statement):
    """And nothing before that."""
    monkeypatch.setattr(due, "engine", lambda: engine)
    walk(engine, receive(engine, make_record(), b"no call"))
    ask("flow.reconcile()")
    assert not due.anything_due()
    with engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount
    assert due.anything_due()


def test_downloads_are_looked_for_where_one_is_due(broker, engine):
    """The reconciler looks too, more often; this is for when it is held up."""
    walk(engine, receive(engine, make_record()))
    for due_at, sent in (("interval '1 hour'", False), ("interval '0'", True)):
        with engine.begin() as connection:
            assert connection.execute(text(f"UPDATE recordings SET due_at = now() + {due_at}")).rowcount
        broker.delete("cdr:pipeline")
        ask(TICKS.format(times=1))
        tasks = {json.loads(raw)["headers"]["task"] for raw in broker.lrange("cdr:pipeline", 0, -1)}
        assert ("recordings.dispatch" in tasks) == sent


def _reconciler_ticks(broker):
    """How many ticks of the reconciler one turn of beat sends."""
    broker.delete("cdr:pipeline")
    ask(TICKS.format(times=1))
    sent = [json.loads(raw)["headers"]["task"] for raw in broker.lrange("cdr:pipeline", 0, -1)]
    return sent.count("pipeline.reconcile")


def test_a_tick_that_is_not_worth_sending_costs_one_question(engine):
    """Beat asks it every other second, for as long as nothing comes."""
    ask("flow.reconcile()")
    with statements(engine, "SELECT") as asked, pytest.MonkeyPatch.context() as patch:
        patch.setattr(due, "engine", lambda: engine)
        assert due.anything_due() is False
    assert len(asked) == 1
