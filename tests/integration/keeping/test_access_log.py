"""Who heard what: append-only until it is older than it is kept, and then deleted by one function alone."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.database import access_log
from pipeline.database.engine import make_engine
from pipeline.database.roles import apply_roles
from pipeline.keeping.holds import hold_call, hold_number
from tests.warm import warm


@pytest.fixture
def heard(world):
    """Somebody heard a call 50 days ago, 40 days ago and today, and searched 40 days ago."""
    for days, call_ref in ((50, "north-spring"), (40, "south-spring"), (0, "north-spring"), (40, None)):
        world.run(
            "INSERT INTO access_log (at, who, via, action, call_id, detail) "
            "VALUES (now() - make_interval(days => :days), 'ann', 'api', :action, "
            "        (SELECT id FROM calls WHERE call_ref = :ref), '{}')",
            days=days, action="listen" if call_ref else "search", ref=call_ref,
        )  # fmt: skip
    return world


def ages(world):
    return [age for (age,) in world.rows("SELECT extract(day FROM now() - at)::int FROM access_log ORDER BY at")]


def due(world):
    with world.engine.connect() as connection:
        return access_log.any_due(connection)


def test_without_a_rule_it_is_kept(heard):
    """Nothing is due, and nothing is deleted by asking for it."""
    assert (due(heard), access_log.expire(heard.engine)) == (False, 0)
    assert ages(heard) == [50, 40, 40, 0]
    with pytest.raises(DBAPIError, match="append-only"):
        heard.run("DELETE FROM access_log")


def test_what_is_older_than_the_rule_says_goes(heard, monkeypatch):
    """In parts; the rest stays, and that something went is written down."""
    monkeypatch.setattr(access_log, "AT_ONCE", 2)
    dry = heard.keeping("set", "access_log", "--at-most", "30", "--dry-run")
    assert "entries due for deletion\t0\t3" in dry.stdout
    heard.set("access_log", "--at-most", "30")
    assert due(heard)
    assert access_log.expire(heard.engine) == 3
    assert (ages(heard), due(heard)) == ([0], False)
    told = heard.rows("SELECT who, detail FROM actions WHERE action = 'access log deleted' ORDER BY id")
    assert told == [("retention", {"entries": 2}), ("retention", {"entries": 1})]


def test_a_minimum_wins(heard):
    """Also over a maximum that somebody wrote past the command."""
    heard.run("ALTER TABLE keeping DROP CONSTRAINT keeping_order_check")
    heard.run(
        "INSERT INTO keeping (kind, keep_at_least, keep_at_most, set_by, because) "
        "VALUES ('access_log', 45, 30, 'a', 'b')"
    )
    assert access_log.expire(heard.engine) == 1
    assert ages(heard) == [40, 40, 0]


def test_the_owner_deletes_no_more_than_that(heard):
    """What is young keeps all that goes with it in one statement."""
    heard.set("access_log", "--at-most", "45")
    for which in ("true", "at > now() - interval '41 days'"):
        with pytest.raises(DBAPIError, match="append-only"):
            heard.run(f"DELETE FROM access_log WHERE {which}")
    for statement in ("UPDATE access_log SET who = 'x'", "TRUNCATE access_log"):
        with pytest.raises(DBAPIError, match="append-only"):
            heard.run(statement)
    assert ages(heard) == [50, 40, 40, 0]
    heard.run("DELETE FROM access_log WHERE at < now() - interval '46 days'")
    assert ages(heard) == [40, 40, 0]


def test_who_heard_a_call_that_is_held_stays(heard):
    """By the call or its number; it may be what the case is about."""
    heard.set("access_log", "--at-most", "30")
    heard.run("UPDATE calls SET client_number = '+27831234567' WHERE call_ref = 'south-spring'")
    [(call_id,)] = heard.rows("SELECT id FROM calls WHERE call_ref = 'north-spring'")
    with heard.engine.begin() as connection:
        hold_call(connection, call_id, who="counsel", because="case 9")
        hold_number(connection, "+27831234567", who="counsel", because="case 9")
    assert access_log.expire(heard.engine) == 1
    assert ages(heard) == [50, 40, 0]


def test_a_worker_deletes_by_the_function_alone(heard, database_url):
    """Its role may neither delete nor set a rule; nobody else may call it."""
    heard.set("access_log", "--at-most", "30")
    with heard.engine.begin() as connection:
        apply_roles(connection)
        for role in ("cdr_work", "cdr_flower"):
            connection.execute(text(f"ALTER ROLE {role} LOGIN"))
    url = heard.engine.url
    worker, flower = (
        make_engine(url.set(username=role).render_as_string(hide_password=False), application=role)
        for role in ("cdr_work", "cdr_flower")
    )
    for statement in (
        "DELETE FROM access_log",
        "UPDATE keeping SET keep_at_most = 1",
        "INSERT INTO keeping (kind, keep_at_most, set_by, because) VALUES ('calls', 1, 'a', 'b')",
        "DELETE FROM keeping",
        "INSERT INTO holds (call_id, because, held_by) VALUES (1, 'a', 'b')",
        "UPDATE holds SET released_at = now()",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), worker.begin() as connection:
            connection.execute(text(statement))
    with pytest.raises(DBAPIError, match="permission denied"), flower.begin() as connection:
        connection.execute(text("SELECT expire_access_log(10)"))
    assert access_log.expire(worker) == 3
    assert ages(heard) == [0]
    for each in (worker, flower):
        each.dispose()


@pytest.mark.usefixtures("settings_env")
def test_beat_has_it_done_when_something_is_due(heard):
    """And sends nothing when nothing is."""
    code = (
        "from pipeline.celery import app\n"
        "app.loader.import_default_modules()\n"
        "task = app.tasks['keeping.expire_access_log']\n"
        "print(task.only_when(), task(), task.only_when(), sep='|')\n"
        "print([entry for entry in app.conf.beat_schedule.values() if entry['task'] == task.name] != [])"
    )
    heard.set("access_log", "--at-most", "30")
    done = warm().python(code, env=os.environ)
    assert done.returncode == 0, done.stderr
    said, on_schedule = done.stdout.splitlines()[-2:]
    assert said == "True|done: 3 entries of the access log deleted|False"
    assert on_schedule == "True"
