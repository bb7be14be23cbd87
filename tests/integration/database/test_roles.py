"""Each process does its work under a role of its own, and cannot do what it must not."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from pipeline.balance.sheet import balance_sheet
from pipeline.batches.progress import reopen, send_at_next_look, step_held
from pipeline.batches.reconcile import reconcile
from pipeline.batches.rules.steps import Step
from pipeline.batches.sources import known_sources
from pipeline.database.engine import make_engine
from pipeline.database.roles import FUNCTIONS, ROLES, apply_roles, names
from pipeline.database.tables import metadata
from pipeline.dialler.cdr_list import CdrList
from pipeline.failures import bulk, operator
from pipeline.failures.bulk_rows import ask_for, recent_bulk_actions
from pipeline.failures.leafing import page_failures
from pipeline.failures.listing import FailureFilter, read_failure
from pipeline.failures.rules.change import Change
from pipeline.failures.stats import failure_stats
from pipeline.feed import subscribers
from pipeline.feed.deliver import deliver
from pipeline.feed.replays import Asked, start, take_replay
from pipeline.feed.retention import drop_old, expire
from pipeline.feed.rules.event import KINDS
from pipeline.feed.rules.filter import Filter
from pipeline.feed.sequence import place
from pipeline.feed.sinks import open_sink
from pipeline.feed.sinks.base import RefusedError
from pipeline.flower import figures
from pipeline.flower.failures import one as failed_call
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.states import State
from pipeline.monitoring.heartbeats import INGESTOR, beat
from pipeline.record_ids import batch_of
from pipeline.recordings.download import dispatch
from pipeline.recordings.rules.pace import Limits
from tests.conftest import LIST, own_database
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, walk_overdue
from tests.warm import warm

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REFUSED = "permission denied|must be owner"
MUST_NOT = "may not be|may give no"


@contextlib.contextmanager
def opened(engine, database_url):
    """The owner's connections, and each role's own."""
    with engine.begin() as connection:
        apply_roles(connection)
        for role in ROLES:
            connection.execute(text(f"ALTER ROLE {role} LOGIN"))
    url = make_url(database_url)
    engines = {
        role: make_engine(url.set(username=role).render_as_string(hide_password=False), application=role)
        for role in ROLES
    }
    yield {"owner": engine, **engines}
    for each in engines.values():
        each.dispose()


@pytest.fixture
def engines(engine, database_url):
    """A test's own database, as each role sees it."""
    with opened(engine, database_url) as found:
        yield found


def refused(engine, statement, because=REFUSED):
    with pytest.raises(DBAPIError, match=because), engine.begin() as connection:
        connection.execute(text(statement))


def failure_ids(engine, failure_class):
    return [row.id for row in rows(engine, f"SELECT id FROM failures WHERE class = '{failure_class}' ORDER BY id")]


def with_charges(engines):
    """Two calls billed by the workers' role, one of them sent again with other content, and two bad records."""
    load(engines["owner"])
    worker = engines["cdr_work"]
    first = make_record(call_ref=1, call_time=61)
    walk(worker, receive(engines["cdr_ingest"], first, make_record(call_ref=2)))
    walk(worker, receive(engines["cdr_ingest"], make_record(call_ref=1, call_time=121), b"no call", b"no call either"))
    return engines


@pytest.fixture
def charged(engines):
    """Something of everything, in a database that the test may change."""
    return with_charges(engines)


@pytest.fixture(scope="module")
def standing(template):
    """The same for the many tests of one statement that is refused: nothing in it changes."""
    url = make_url(template)
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE roles TEMPLATE {url.database}"))
    database_url = url.set(database="roles").render_as_string(hide_password=False)
    owner = make_engine(database_url, application="test")
    with opened(owner, database_url) as engines:
        yield with_charges(engines)
    owner.dispose()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE roles WITH (FORCE)"))
    server.dispose()


def test_from_the_list_to_the_ledger(engines, servers, dialler_redis):
    """The ingestor settles under its role, and the workers' role does every step; the balance closes."""
    load(engines["owner"])
    dialler_redis.rpush(LIST, make_record(call_ref=7), make_record(call_ref=8))
    sent = []
    cdr_list = CdrList(servers.dialler_redis.url, LIST, owner="test")
    ingestor = Ingestor(
        cdr_list, engines["cdr_ingest"], source="enigma", send=lambda batch: bool(sent.append(batch)) or True
    )
    assert ingestor.run_once() is State.DRAINING
    assert ingestor.run_once() is State.RESTING
    cdr_list.close()
    walk(engines["cdr_work"], sent[0])
    assert dispatch(engines["cdr_work"], limits=Limits(8, 50), source=None) == []  # none is due yet
    with engines["cdr_read"].connect() as connection:
        balance = balance_sheet(connection)
    assert (balance.processed.records, balance.closes) == (2, True)


def test_an_ingestor_that_meets_bad_records_stops_itself(engines, servers, dialler_redis):
    """The fuse reads what failed and writes why it stopped, under the ingestor's role."""
    walk(engines["cdr_work"], receive(engines["cdr_ingest"], *[b"no call"] * 120))
    cdr_list = CdrList(servers.dialler_redis.url, LIST, owner="test")
    ingestor = Ingestor(cdr_list, engines["cdr_ingest"], source="enigma", send=lambda _: True)
    assert ingestor.run_once() is State.STOPPED
    cdr_list.close()


def test_the_reconciler_works_under_the_workers_role(charged):
    """What stands still is found, what is to be retried released, what was asked for in bulk done."""
    with charged["cdr_flower"].begin() as connection:
        bulk_id = ask_for(connection, "discard", FailureFilter(failure_class="data"), who="ann", reason="noise")
    assert bulk.run_bulk(charged["cdr_work"], bulk_id, seconds=5, region="ZA").done == 2
    assert reconcile(charged["cdr_work"], limit=10, resend_after_seconds=0).overdue == []


def test_flower_reads_all_that_its_tabs_show(charged, monkeypatch):
    """Lists, counts, one failure with its call and charge, what moves, the balance."""
    flower = charged["cdr_flower"]
    monkeypatch.setattr(figures, "engine", lambda: flower)
    with flower.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        assert len(page_failures(connection, FailureFilter(), limit=50).failures) == 3
        assert failure_stats(connection, FailureFilter(), limit=50)
        assert known_sources(connection) == ["enigma"]
        assert recent_bulk_actions(connection, limit=5) == []
        conflict = read_failure(connection, failure_ids(flower, "conflict")[0])
        assert conflict is not None
        call = failed_call._call_of(connection, conflict)
        assert call is not None
        assert len(call.charges) == 1
        assert figures.sources(connection) == ["enigma"]
        assert figures.moving(connection, None)["standing"] == []
    assert figures.waiting(None)["steps"] == []
    assert figures.recordings()["recordings"]
    assert figures.balance(None, None)["closes"]


def test_flower_does_all_that_its_buttons_do(charged):
    """Retry, discard, edit, accept, all that match, send again: under its role, and the workers finish it."""
    flower, worker = charged["cdr_flower"], charged["cdr_work"]
    first, second = failure_ids(flower, "data")
    operator.edit(flower, first, make_record(call_ref=3), who="ann", region="ZA", now=NOW)
    assert sum(operator.discard(flower, FailureFilter(ids=(second,)), who="ann", reason="noise")) == 1
    accepted = operator.accept(flower, failure_ids(flower, "conflict")[0], who="ann")
    assert accepted.reversed_charges == 1
    with flower.begin() as connection:
        ask_for(connection, "retry", FailureFilter(), who="ann", reason=None)
        assert send_at_next_look(
            connection, rows(flower, "SELECT min(id) AS id FROM batches WHERE finished_at IS NULL")[0].id
        )
    walk_overdue(worker)
    balance = sheet(charged["cdr_read"])
    assert (balance.closes, balance.discarded.records, balance.pending.records) == (True, 1, 0)
    net = rows(
        flower,
        "SELECT sum(amount) AS net, count(*) AS lines FROM ledger WHERE call_id = "
        "(SELECT id FROM calls WHERE call_ref = '1')",
    )[0]
    assert (str(net.net), net.lines) == ("1.41", 3)


A_LINE = (
    "INSERT INTO ledger (call_id, kind, revision, tariff_version_id, prefix, rate_per_minute, connect_fee, "
    "talk_seconds, billable_seconds, unrounded, amount, currency, reason) VALUES "
)

OF_PROVIDERS = (
    "UPDATE provider_lines SET amount = 0",
    "DELETE FROM provider_lines",
    "UPDATE provider_files SET state = 'withdrawn'",
    "INSERT INTO provider_bad_lines (file_id, line, raw, reason) VALUES (1, 1, '', '')",
)
"""What providers bill is loaded and withdrawn by people alone."""

CANNOT = {
    # Neither money nor what was received nor who did what can be changed from Flower.
    "cdr_flower": (
        "INSERT INTO ledger SELECT * FROM ledger",
        *OF_PROVIDERS,
        f"{A_LINE} (1, 'charge', 1, 1, '27', 1, 0, 60, 60, 1, 1, 'ZAR', '')",
        "UPDATE ledger SET amount = 0",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "UPDATE calls SET id = 1",
        "UPDATE calls SET source = 'another'",
        "UPDATE calls SET call_ref = '2' WHERE call_ref = '1'",
        "UPDATE calls SET talk_seconds = 6000",
        "UPDATE calls SET client_number = '+27820001234'",
        "INSERT INTO calls SELECT * FROM calls",
        "DELETE FROM calls",
        "DELETE FROM dispositions",
        "UPDATE dispositions SET disposition = 'answered'",
        "DELETE FROM uncharged",
        "INSERT INTO uncharged (call_id, reason) VALUES (1, 'x')",
        "INSERT INTO duplicates (record_id, call_id) VALUES (1, 1)",
        "INSERT INTO revisions (record_id, call_id, replaced, replaced_hash, accepted_by) VALUES (1, 1, '{}', '', 'x')",
        "DELETE FROM revisions",
        "INSERT INTO conflicts (record_id, content) VALUES (1, '{}')",
        "UPDATE conflicts SET content = '{}'",
        "SELECT reverse_charge_of_conflict(1, 1, 'x')",
        "INSERT INTO inbox (record_id, raw) VALUES (1, 'x')",
        "UPDATE inbox SET raw = 'x'",
        "DELETE FROM inbox",
        (
            "INSERT INTO failures (record_id, step, class, state, source, reason) "
            "VALUES (1, 'bill', 'conflict', 'open', '', '')"
        ),
        "UPDATE failures SET class = 'conflict'",
        "UPDATE failures SET call_ref = '2'",
        "UPDATE failures SET record_id = 1",
        "DELETE FROM failures",
        "UPDATE batches SET records = 1",
        "UPDATE edits SET raw = 'x'",
        "DELETE FROM edits",
        "INSERT INTO edits (record_id, revision, raw, edited_by, edited_at) VALUES (1, 1, 'x', 'ann', '2020-01-01')",
        "UPDATE actions SET who = 'somebody else'",
        "DELETE FROM actions",
        "INSERT INTO actions (who, action, at) VALUES ('ann', 'accept', '2020-01-01')",
        "INSERT INTO actions (who, action, role) VALUES ('ann', 'accept', 'cdr')",
        "UPDATE bulk_actions SET who = 'ann'",
        "INSERT INTO bulk_actions (action, wanted, who, total, ended_at) VALUES ('discard', '{}', 'ann', 1, now())",
        "UPDATE rates SET rate_per_minute = 0",
        "UPDATE tariff_assignments SET tariff_id = 1",
        "UPDATE recordings SET path = '../..'",
        "UPDATE subscribers SET position = 9",
        "UPDATE subscribers SET campaigns = '{*}'",
        "UPDATE feed_refusals SET request = ''",
        "DELETE FROM feed_refusals",
        "INSERT INTO heartbeats (name, source, who) VALUES ('reconciler', '', 'x')",
        "LOCK TABLE calls IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE failures IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE batches IN SHARE MODE",
        "CREATE TABLE mine (id int)",
        "ALTER FUNCTION accept_conflict(bigint, text) OWNER TO cdr_flower",
        "CREATE OR REPLACE FUNCTION ledger_line_follows() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
    ),
    # Neither read calls and money, nor release itself, nor declare its work done, nor speak for others.
    "cdr_ingest": (
        *(f"SELECT * FROM {table}" for table in ("ledger", "calls", "inbox", "dispositions", "recordings", "rates")),
        *(f"SELECT * FROM {table}" for table in ("edits", "actions", "uncharged", "revisions", "conflicts")),
        *(f"SELECT * FROM {table}" for table in ("provider_files", "provider_lines")),
        "SELECT reason FROM failures",
        "UPDATE batches SET finished_at = now()",
        (
            "INSERT INTO batches (claim, source, records, due_at, finished_at) "
            "VALUES (gen_random_uuid(), 'enigma', 1, now(), now())"
        ),
        "UPDATE inbox SET raw = 'x'",
        "DELETE FROM stops",
        "UPDATE stops SET released_at = now()",
        "INSERT INTO stops (source, kind, reason, released_at) VALUES ('enigma', 'wrong_list', 'x', now())",
        "INSERT INTO ledger DEFAULT VALUES",
        "INSERT INTO actions (who, action) VALUES ('ann', 'accept')",
        "INSERT INTO heartbeats (name, source, who, at) VALUES ('ingestor', '', 'x', '2099-01-01')",
        "UPDATE heartbeats SET name = 'reconciler'",
        "DELETE FROM heartbeats",
        "LOCK TABLE heartbeats IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE batches IN SHARE MODE",
        "SELECT pg_advisory_lock(1)",
        "SELECT accept_conflict(1, 'x')",
        "SELECT reverse_charge_of_conflict(1, 1, 'x')",
    ),
    # Change what was received, what a call was, what it cost, or a rate; nor act as a person.
    "cdr_work": (
        "UPDATE ledger SET amount = 0",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        (
            "INSERT INTO ledger (call_id, kind, revision, tariff_version_id, prefix, rate_per_minute, connect_fee, "
            "talk_seconds, billable_seconds, unrounded, amount, currency, reason, entered_at) VALUES "
            "(1, 'charge', 1, 1, '27', 1, 0, 60, 60, 1, 1, 'ZAR', '', '2020-01-01')"
        ),
        *OF_PROVIDERS,
        "INSERT INTO inbox (record_id, raw) VALUES (1, 'x')",
        "UPDATE inbox SET raw = 'x'",
        "DELETE FROM inbox",
        "DELETE FROM calls",
        "UPDATE calls SET talk_seconds = 0",
        "DELETE FROM dispositions",
        "DELETE FROM uncharged",
        "DELETE FROM duplicates",
        "INSERT INTO edits (record_id, revision, raw, edited_by) VALUES (1, 1, 'x', 'ann')",
        "INSERT INTO revisions (record_id, call_id, replaced, replaced_hash, accepted_by) VALUES (1, 1, '{}', '', 'x')",
        "SELECT accept_conflict(1, 'x')",
        "SELECT reverse_charge_of_conflict(1, 1, 'x')",
        "UPDATE rates SET rate_per_minute = 0",
        "INSERT INTO tariffs (name) VALUES ('mine')",
        "UPDATE tariff_assignments SET tariff_id = 1",
        "UPDATE batches SET records = 1",
        "UPDATE batches SET source = 'another'",
        "INSERT INTO batches (claim, source, records, due_at) VALUES (gen_random_uuid(), 'enigma', 1, now())",
        "DELETE FROM actions",
        "UPDATE actions SET who = 'somebody else'",
        "INSERT INTO actions (who, action, role) VALUES ('ann', 'discard', 'cdr_flower')",
        "INSERT INTO actions (who, action, at) VALUES ('ann', 'discard', '2020-01-01')",
        "INSERT INTO bulk_actions (action, wanted, who, total) VALUES ('discard', '{}', 'ann', 1)",
        "UPDATE bulk_actions SET who = 'ann', wanted = '{}'",
        "DELETE FROM failures",
        "UPDATE stops SET released_at = now()",
        "DELETE FROM heartbeats",
        "LOCK TABLE ledger IN SHARE MODE",
    ),
    # Read what was received or who heard what, let anybody in, or say when and as whom it wrote.
    "cdr_api": (
        *(f"SELECT * FROM {table}" for table in ("edits", "access_log", "subscribers", "heartbeats", "conflicts")),
        *(f"SELECT * FROM {table}" for table in ("provider_files", "provider_lines")),
        (
            "INSERT INTO api_tokens (name, token_hash, scopes, sources, campaigns, created_by) "
            "VALUES ('x', '', '{}', '{}', '{}', 'x')"
        ),
        "UPDATE api_tokens SET scopes = '{}'",
        "DELETE FROM api_tokens",
        "UPDATE access_log SET who = 'x'",
        "DELETE FROM access_log",
        "TRUNCATE access_log",
        "LOCK TABLE access_log IN SHARE MODE",
        "INSERT INTO access_log (who, via, action, detail, at) VALUES ('x', 'api', 'listen', '{}', '2020-01-01')",
        "INSERT INTO access_log (who, via, action, detail, role) VALUES ('x', 'api', 'listen', '{}', 'cdr')",
        "UPDATE calls SET talk_seconds = 0",
        "DELETE FROM ledger",
        "UPDATE recordings SET path = '../..'",
        "INSERT INTO actions (who, action) VALUES ('ann', 'accept')",
        "SELECT pg_advisory_lock(1)",
        "SELECT accept_conflict(1, 'x')",
        "CREATE TABLE mine (id int)",
    ),
    # A lock by number is what steps wait for; whoever only reads has none to wait for.
    "cdr_read": (
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_lock_shared(1)",
        *OF_PROVIDERS,
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_advisory_xact_lock(1, 2)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
        "SELECT FROM batches FOR UPDATE",
        "SELECT FROM batches FOR KEY SHARE",
        "LOCK TABLE batches IN ROW SHARE MODE",
        "SELECT accept_conflict(1, 'x')",
        "SELECT reverse_charge_of_conflict(1, 1, 'x')",
        "CREATE TABLE mine (id int)",
    ),
}
"""What no role may do: it is not given the right."""


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role, all_ in CANNOT.items() for each in all_])
def test_a_role_cannot(standing, role, statement):
    """One statement, refused for want of the right to it."""
    refused(standing[role], statement)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("cdr_flower", "UPDATE failures SET state = 'resolved' WHERE state = 'open'"),
        ("cdr_flower", "UPDATE failures SET state = 'discarded' WHERE class = 'data'"),
        (
            "cdr_flower",
            (
                "INSERT INTO edits (record_id, revision, raw, edited_by) "
                "SELECT record_id, 1, 'x', 'ann' FROM inbox ORDER BY record_id LIMIT 1"
            ),
        ),
        ("cdr_ingest", "INSERT INTO heartbeats (name, source, who) VALUES ('reconciler', '', 'x')"),
        ("cdr_ingest", "INSERT INTO heartbeats (name, source, who) VALUES ('recordings_keeper', 'enigma', 'x')"),
        ("cdr_work", "INSERT INTO heartbeats (name, source, who) VALUES ('ingestor', 'enigma', 'x')"),
    ],
)
def test_a_role_cannot_use_a_right_for_that(standing, role, statement):
    """It has the right, and a trigger says what for: failures do not vanish, and no good record is edited."""
    refused(standing[role], statement, MUST_NOT)


def test_what_was_discarded_stays_so_for_flower(charged):
    """Nor is anything released that is not open."""
    flower = charged["cdr_flower"]
    assert sum(operator.discard(flower, FailureFilter(failure_class="data"), who="ann", reason="noise")) == 2
    refused(flower, "UPDATE failures SET state = 'retrying' WHERE state = 'discarded'", MUST_NOT)


def test_flower_restores_by_name_only(charged):
    """Whoever takes back that something was discarded is named before it is."""
    flower = charged["cdr_flower"]
    everything = FailureFilter(failure_class="data")
    assert sum(operator.discard(flower, everything, who="ann", reason="noise")) == 2
    refused(flower, "UPDATE failures SET state = 'open' WHERE state = 'discarded'", MUST_NOT)
    assert sum(operator.restore(flower, everything, who="ann")) == 2
    assert sum(operator.discard(flower, everything, who="ann", reason="noise")) == 2
    refused(flower, "UPDATE failures SET state = 'open' WHERE state = 'discarded'", MUST_NOT)


def test_a_worker_redacts_what_is_no_call_yet(charged):
    """Once a number was erased, and for nobody else."""
    owner, work = charged["owner"], charged["cdr_work"]
    [(call, record)] = rows(
        owner, "SELECT min(calls.id), max(record_id) FROM calls, failures WHERE failures.class = 'data'"
    )
    redact = "SELECT redact_records('{{{0}}}', '{{0}}', ARRAY['x'::bytea])"
    refused(work, redact.format(record), "no number was erased")
    with owner.begin() as connection:
        connection.execute(text("INSERT INTO erased_numbers (mark, key_id) VALUES ('x', 'y')"))
    refused(work, redact.format(call), "a call already")
    refused(charged["cdr_ingest"], redact.format(record))
    with work.begin() as connection:
        connection.execute(text(redact.format(record)))
    assert rows(owner, f"SELECT raw FROM inbox WHERE record_id = {record}") == [(b"x",)]


def test_a_worker_accepts_and_edits_what_somebody_asked_for(charged):
    """In bulk, in the name of whoever asked, while it is asked for; not of itself."""
    flower, work = charged["cdr_flower"], charged["cdr_work"]
    walk(work, receive(charged["cdr_ingest"], make_record(call_time=-1)))
    (conflict,), data = failure_ids(work, "conflict"), failure_ids(work, "data")[0]
    attempts = ("SELECT accept_conflict_in_bulk({bulk}, {conflict})", "SELECT edit_in_bulk({bulk}, {data}, 'x')")
    for bulk_id in (0, 1, 2):
        for attempt in attempts:
            refused(work, attempt.format(bulk=bulk_id, conflict=conflict, data=data), "nobody has asked for")
    with flower.begin() as connection:
        accept = ask_for(connection, "accept", FailureFilter(), who="ann", reason=None)
        change = Change("set", "call_time", "5")
        edit = ask_for(connection, "edit", FailureFilter(), who="ann", reason=None, change=change)
    refused(work, attempts[0].format(bulk=edit, conflict=conflict), "nobody has asked for")
    refused(work, attempts[1].format(bulk=accept, data=data), "nobody has asked for")
    refused(work, attempts[0].format(bulk=accept, conflict=data), "no open conflict")
    refused(work, attempts[1].format(bulk=edit, data=conflict), "no open one of a record")
    refused(work, attempts[0].format(bulk=accept, conflict=10**6), "nobody has asked for")
    assert bulk.run_bulk(work, accept, seconds=5, region="ZA").done == 1
    assert bulk.run_bulk(work, edit, seconds=5, region="ZA").done == 1
    refused(work, attempts[0].format(bulk=accept, conflict=conflict), "nobody has asked for")
    assert rows(work, "SELECT accepted_by FROM revisions") == [("ann",)]


def test_an_action_says_which_role_wrote_it(charged):
    """Whatever name it gives: the database knows who is logged in."""
    operator.edit(
        charged["cdr_flower"], failure_ids(charged["owner"], "data")[0], make_record(call_ref=3),
        who="the owner", region="ZA", now=NOW,
    )  # fmt: skip
    operator.accept(charged["cdr_flower"], failure_ids(charged["owner"], "conflict")[0], who="the owner")
    found = rows(charged["owner"], "SELECT who, action, role FROM actions ORDER BY id")
    assert found == [
        ("the owner", "edit", "cdr_flower"),
        ("the owner", "accept", "cdr_flower"),
        ("the owner", "replaced by an accepted record", "cdr_flower"),
    ]


def test_when_a_sign_of_life_was_given_is_the_databases_word(charged):
    """One in the future would hide that nobody works any more."""
    with charged["cdr_ingest"].begin() as connection:
        beat(connection, INGESTOR, "enigma", who="test")
        connection.execute(text("UPDATE heartbeats SET at = '2099-01-01'"))
    assert rows(charged["cdr_read"], "SELECT at <= clock_timestamp() FROM heartbeats") == [(True,)]


A_MILLION = "1, '27', 1, 0, 60, 60, 1000000, 1000000, 'ZAR', ''"


@pytest.mark.parametrize(
    ("role", "line", "because"),
    [
        ("cdr_work", f"'charge', 2, {A_MILLION}", "follows no reversal"),
        ("cdr_work", f"'charge', 3, {A_MILLION}", "follows no reversal"),
        ("cdr_work", f"'charge', 0, {A_MILLION}", "follows no reversal"),
        ("cdr_work", f"'charge', 1, {A_MILLION}", "ledger_first_pkey"),
        ("cdr_work", "'reversal', 1, 1, '27', 0.60, 0.20, 61, 61, -0.81, -0.81, 'ZAR', ''", "may not be taken back"),
        ("owner", f"'charge', 2, {A_MILLION}", "follows no reversal"),
        ("owner", "'reversal', 1, 1, '27', 0.60, 0.20, 61, 61, -0.81, -9.81, 'ZAR', ''", "not the mirror"),
        ("owner", "'reversal', 1, 1, '27', 0.60, 0.20, 61, 61, -0.81, -0.81, 'USD', ''", "not the mirror"),
        ("owner", "'reversal', 2, 1, '27', 0.60, 0.20, 61, 61, -0.81, -0.81, 'ZAR', ''", "not the mirror"),
    ],
)
def test_a_line_of_the_ledger_follows_from_those_before(standing, role, line, because):
    """A call has one charge in force, and a reversal is its charge's mirror, entered by a person."""
    call_id = rows(standing["owner"], "SELECT id FROM calls WHERE call_ref = '1'")[0].id
    refused(standing[role], f"{A_LINE} ({call_id}, {line})", because)


def test_no_ledger_of_ones_own_is_looked_at(standing):
    """A temporary table named like ours, with a reversal in it, opens nothing."""
    call_id = rows(standing["owner"], "SELECT id FROM calls WHERE call_ref = '1'")[0].id
    line = text(f"{A_LINE.replace('ledger', 'public.ledger')} ({call_id}, 'charge', 2, {A_MILLION})")
    with standing["cdr_work"].connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE ledger AS SELECT * FROM public.ledger"))
        connection.execute(text("UPDATE pg_temp.ledger SET kind = 'reversal'"))
        with pytest.raises(DBAPIError, match="follows no reversal"):
            connection.execute(line)


def accept_by_hand(connection, failure_id, *, batch_id=None):
    """What a Flower that was taken over would send."""
    if batch_id is not None:
        reopen(connection, batch_id, Step.CLASSIFY)
    return connection.execute(text(f"SELECT * FROM accept_conflict({failure_id}, 'ann')")).one()


def test_accepting_takes_no_failure_but_an_open_conflict(standing):
    """The function looks for itself: another kind of failure, none at all, and a batch that would not be done again."""
    flower = standing["cdr_flower"]
    [conflict], [data, _] = failure_ids(flower, "conflict"), failure_ids(flower, "data")
    for failure, because in (
        (data, "is no open conflict"),
        (10**12, "is no open conflict"),
        (conflict, "not reopened"),
    ):
        with flower.connect() as connection, pytest.raises(DBAPIError, match=because):
            accept_by_hand(connection, failure)


def test_accepting_happens_once_a_record_and_is_written_down(charged):
    """A second time is refused; what the call was, and who did it, is kept by the database itself."""
    flower = charged["cdr_flower"]
    [conflict] = failure_ids(flower, "conflict")
    call = rows(flower, "SELECT id, talk_seconds FROM calls WHERE call_ref = '1'")[0]
    with flower.begin() as connection:
        accept_by_hand(connection, conflict, batch_id=batch_of(call.id))
    with flower.connect() as connection, pytest.raises(DBAPIError, match="is no open conflict"):
        accept_by_hand(connection, conflict, batch_id=batch_of(call.id))
    kept = rows(flower, "SELECT call_id, replaced->>'talk_seconds', accepted_by FROM revisions")
    assert kept == [(call.id, "61", "ann")]
    assert [action.action for action in rows(flower, "SELECT action FROM actions ORDER BY id")] == [
        "accept",
        "replaced by an accepted record",
    ]
    walk_overdue(charged["cdr_work"])
    assert sheet(charged["cdr_read"]).closes


def test_accepting_takes_what_a_worker_read(charged):
    """Not what whoever accepts would like; nor is a record taken that no worker has read."""
    flower = charged["cdr_flower"]
    [conflict] = failure_ids(flower, "conflict")
    batch_id = batch_of(rows(flower, "SELECT id FROM calls WHERE call_ref = '1'")[0].id)
    with flower.begin() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE conflicts AS SELECT * FROM public.conflicts"))
        connection.execute(text("UPDATE pg_temp.conflicts SET content = content || '{\"talk_seconds\": 9999}'"))
        connection.execute(text("CREATE TEMPORARY TABLE failures AS SELECT * FROM public.failures"))
        connection.execute(text("UPDATE pg_temp.failures SET call_ref = '2'"))
        connection.execute(text("SET LOCAL search_path = pg_catalog, public"))
        accept_by_hand(connection, conflict, batch_id=batch_id)
        seconds = connection.execute(text("SELECT call_ref, talk_seconds FROM public.calls ORDER BY call_ref")).all()
    assert seconds == [("1", 121), ("2", 61)]


def test_accepting_what_no_worker_has_read_is_refused(charged):
    """The row that says so is missing: nothing is made up."""
    [conflict] = failure_ids(charged["owner"], "conflict")
    batch_id = batch_of(rows(charged["owner"], "SELECT id FROM calls WHERE call_ref = '1'")[0].id)
    with charged["owner"].begin() as connection:
        connection.execute(text("DELETE FROM conflicts"))
    with charged["cdr_flower"].connect() as connection, pytest.raises(DBAPIError, match="no worker has read"):
        accept_by_hand(connection, conflict, batch_id=batch_id)


@pytest.mark.parametrize("step", [Step.CLASSIFY, Step.BILL, Step.SCHEDULE_RECORDINGS])
def test_accepting_waits_for_the_steps_of_the_call(standing, step):
    """A charge that is being made at this moment is of the version before: the function takes the same locks."""
    flower = standing["cdr_flower"]
    [conflict] = failure_ids(flower, "conflict")
    batch_id = batch_of(rows(flower, "SELECT id FROM calls WHERE call_ref = '1'")[0].id)
    with standing["cdr_work"].connect() as worker, step_held(worker, batch_id, step), flower.connect() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            accept_by_hand(connection, conflict)


def test_the_owner_subscribes_somebody_and_workers_deliver(charged, servers):
    """Positions, lease, delivery, refusal, retention: all under the workers' role."""
    settings = {"url": servers.broker.url, "list": "roles:crm"}
    wanted = Filter(("*",), ("*",), KINDS)
    new = subscribers.NewSubscriber("crm", "redis-list", settings, {"end": "left"}, wanted, "thin", "none")
    with charged["owner"].begin() as connection:
        subscribers.add(connection, new, who="ann", from_start=True)
    worker = charged["cdr_work"]
    assert place(worker)
    assert deliver(worker, "crm", open_sink=open_sink, seconds=5).delivered
    with redis.Redis.from_url(servers.broker.url) as client:
        assert client.delete("roles:crm")

    def refuses(*args, **options):
        sink = open_sink(*args, **options)
        sink.deliver = raise_refused
        return sink

    def raise_refused(events):
        raise RefusedError("too large")

    with charged["owner"].begin() as connection:
        connection.execute(text("UPDATE subscribers SET position = 0, token = gen_random_uuid()"))
    assert deliver(worker, "crm", open_sink=refuses, seconds=5).refused
    for opener in (open_sink, refuses):
        with charged["owner"].begin() as connection:
            asked = Asked(datetime(2020, 1, 1, tzinfo=UTC))
            start(connection, "crm", asked, who="ann", show=str)
        again = deliver(worker, "crm", open_sink=opener, seconds=5, take=take_replay)
        assert (again.outcome, bool(again.refused)) == ("done", opener is refuses)
    flower = charged["cdr_flower"]
    refused(flower, "UPDATE feed_refusals SET state = 'resolved' WHERE state = 'open'", MUST_NOT)
    refused(flower, "UPDATE feed_refusals SET state = 'discarded'", MUST_NOT)
    wanted = FailureFilter(subscriber="crm")
    assert (count := sum(operator.discard(flower, wanted, who="ann", reason="noise")))
    refused(flower, "UPDATE feed_refusals SET state = 'open'", MUST_NOT)
    assert sum(operator.restore(flower, wanted, who="ann", reason=None)) == count
    with flower.begin() as connection:
        subscribers.pause(connection, "crm", who="ann", reason="their maintenance")
    with flower.begin() as connection:
        subscribers.resume(connection, "crm", who="ann")
    assert sum(operator.retry(flower, wanted, who="ann")) == count
    assert deliver(worker, "crm", open_sink=open_sink, seconds=5).delivered == count
    assert drop_old(worker, days=1) == 0
    assert expire(worker) == []
    with charged["owner"].begin() as connection:
        connection.execute(text("UPDATE feed SET at = at - interval '3 days'"))
        connection.execute(text("UPDATE subscribers SET position = 1"))
    assert drop_old(worker, days=1)
    assert [each.name for each in expire(worker)] == ["crm"]


@pytest.mark.parametrize("role", ["cdr_read", "cdr_flower", "cdr_ingest"])
def test_secrets_of_subscribers_are_for_those_who_deliver(standing, role):
    refused(standing[role], "SELECT settings FROM subscriber_secrets")
    rows(standing["cdr_work"], "SELECT settings FROM subscriber_secrets")


@pytest.mark.parametrize("table", [name for name in metadata.tables if name != "subscriber_secrets"])
def test_a_reader_only_reads(standing, table):
    """Every table but that of secrets, and nothing else of it."""
    reader = standing["cdr_read"]
    rows(reader, f"SELECT count(*) FROM {table}")
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"INSERT INTO {table} DEFAULT VALUES"):
        refused(reader, statement)


def test_keda_asks_as_a_reader(charged):
    """Its query runs under the role that its connection has, and counts what has waited for five seconds."""
    manifest = (Path(__file__).resolve().parents[3] / "deploy/kubernetes/keda/scaling.yaml").read_text(encoding="utf-8")
    [scaled] = [each for each in yaml.safe_load_all(manifest) if each["kind"] == "ScaledObject"]
    [trigger] = scaled["spec"]["triggers"]
    reader, owner = charged["cdr_read"], charged["owner"]
    receive(charged["cdr_ingest"], make_record(call_ref=11), make_record(call_ref=12))
    assert rows(reader, trigger["metadata"]["query"]) == [(0,)]
    with owner.begin() as connection:
        connection.execute(text("UPDATE batches SET received_at = now() - interval '1 minute'"))
    assert rows(reader, trigger["metadata"]["query"]) == [(2,)]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE ledger DISABLE TRIGGER ledger_is_append_only",
        "DROP TRIGGER ledger_line_follows ON ledger",
        "DROP TRIGGER ledger_is_append_only ON ledger",
        "ALTER TABLE ledger RENAME TO other",
        "DROP TABLE ledger",
        "SET session_replication_role = replica",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_nobody_but_the_owner_touches_the_ledgers_guard(standing, role, statement):
    """The trigger cannot be taken off, nor gone around."""
    refused(standing[role], statement)


def test_the_ledgers_guard_holds_for_the_owner_too(standing):
    """Who may take the trigger off must take it off first."""
    with standing["owner"].connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text("UPDATE ledger SET amount = 0"))


def test_a_restored_database_is_closed_again(engines):
    """A copy restored without privileges lets anybody run functions; the roles' rights are more than grants."""
    with engines["owner"].begin() as connection:
        for function in FUNCTIONS:
            connection.execute(text(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC"))
        apply_roles(connection)
    refused(engines["cdr_read"], "SELECT accept_conflict(1, 'x')")
    refused(engines["cdr_flower"], "SELECT reverse_charge_of_conflict(1, 1, 'x')")


def pipeline_db(*words):
    """The command as an operator runs it; returns what it says."""
    done = warm().pipeline("db", *words)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split()) if words != ("roles",) else done.stdout


def test_the_sql_that_is_shown_can_be_run(settings_env, engine):
    """`pipeline db roles` prints what psql takes; `--apply` and a migration do the same, however often."""
    shown = pipeline_db("roles")
    assert (shown.splitlines()[0], shown.splitlines()[-1]) == ("BEGIN;", "COMMIT;")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(shown)
    assert "have their rights" in pipeline_db("roles", "--apply")
    assert "Its roles have their rights" in pipeline_db("upgrade")


def test_two_deployments_share_a_server(settings_env, engine, template, monkeypatch):
    """Each has roles of its own name, and an upgrade of one gives nothing to those of the other."""
    with own_database(template) as other_url:
        pipeline_db("roles", "--apply")
        monkeypatch.setenv("DATABASE_URL", other_url)
        assert "Its roles" not in pipeline_db("upgrade"), "cdr_read is there, and is not this database's"
        assert "north_cdr_read have their rights" in pipeline_db("roles", "--apply", "--prefix", "north_")
        other = make_engine(other_url, application="test")
        with other.begin() as connection:
            connection.execute(text("REVOKE SELECT ON calls FROM north_cdr_read"))
        assert "Its roles have their rights" in pipeline_db("upgrade")
        may = "SELECT has_table_privilege(:role, 'calls', 'SELECT')"
        for role, each, expected in (
            ("north_cdr_read", other, True),
            ("cdr_read", other, False),
            ("cdr_read", engine, True),
            ("north_cdr_read", engine, False),
        ):
            with each.connect() as connection:
                assert connection.scalar(text(may), {"role": role}) is expected, (role, each.url.database)
        other.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {', '.join(names('north_'))}"))


def test_an_upgrade_renews_the_rights_of_roles_that_were_there_before_the_apis(settings_env, engine):
    """A deployment made its roles when there were fewer: those are not forgotten for want of the new one."""
    pipeline_db("roles", "--apply", "--prefix", "older_")
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY older_cdr_api"))
        connection.execute(text("DROP ROLE older_cdr_api"))
        connection.execute(text("REVOKE SELECT ON calls FROM older_cdr_read"))
    assert "Its roles have their rights" in pipeline_db("upgrade")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT has_table_privilege('older_cdr_read', 'calls', 'SELECT')"))
        left = ", ".join(set(names("older_")) - {"older_cdr_api"})
        connection.execute(text(f"DROP OWNED BY {left}"))
        connection.execute(text(f"DROP ROLE {left}"))


@pytest.mark.parametrize("prefix", ["North_", "1", "x; --", "a" * 51, "n-"])
def test_a_prefix_is_no_sql(settings_env, prefix):
    """It stands in statements as it is."""
    done = warm().pipeline("db", "roles", "--prefix", prefix)
    assert (done.returncode, done.stdout) == (2, "")
    assert "small letters" in done.stderr


@pytest.fixture
def small_owner(servers, engines, monkeypatch):
    """A database whose owner may make roles and is no superuser; yields the server's superuser in it."""
    url = make_url(servers.postgres.url).set(database="small")
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE ROLE small LOGIN CREATEROLE"))
        connection.execute(text("CREATE DATABASE small OWNER small"))
    monkeypatch.setenv("DATABASE_URL", url.set(username="small").render_as_string(hide_password=False))
    superuser = create_engine(url)
    yield superuser
    superuser.dispose()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE small WITH (FORCE)"))
        connection.execute(text("DROP ROLE small"))
    server.dispose()


def test_an_owner_who_is_no_superuser_is_told_what_is_left_open(small_owner):
    """The locks belong to the server's superuser; once one has closed them, all that is meant to work does."""
    assert "went from revision none" in pipeline_db("upgrade")
    assert "can still hold up steps by their locks" in pipeline_db("roles", "--apply")
    with small_owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(pipeline_db("roles"))
    assert "hold up" not in pipeline_db("roles", "--apply")
    assert "Its roles have their rights" in pipeline_db("upgrade")
    url = small_owner.url
    roles = {
        role: make_engine(url.set(username=role).render_as_string(hide_password=False), application="test")
        for role in ("cdr_ingest", "cdr_work", "cdr_flower", "cdr_read", "small")
    }
    load(roles["small"])
    for seconds in (61, 121):
        walk(roles["cdr_work"], receive(roles["cdr_ingest"], make_record(call_ref=1, call_time=seconds)))
    assert operator.accept(roles["cdr_flower"], 1, who="ann").reversed_charges == 1
    walk_overdue(roles["cdr_work"])
    assert sheet(roles["cdr_read"]).closes
    refused(roles["cdr_read"], "SELECT pg_advisory_lock(1)")
    for each in roles.values():
        each.dispose()
