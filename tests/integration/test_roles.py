"""Each process does its work under a role of its own, and cannot do what it must not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from pipeline.adapters.cdr_list import CdrList
from pipeline.domain.pace import Limits
from pipeline.flower import failed_call, overview
from pipeline.ingestor import Ingestor, Turn
from pipeline.steps import bulk, operator
from pipeline.steps.reconcile import reconcile
from pipeline.steps.recordings import dispatch
from pipeline.storage.balance import balance_sheet
from pipeline.storage.bulk_actions import ask_for, recent_bulk_actions
from pipeline.storage.database import make_engine
from pipeline.storage.failure_list import FailureFilter, failure_stats, page_failures, read_failure
from pipeline.storage.inbox import known_sources
from pipeline.storage.models import metadata
from pipeline.storage.progress import hurry
from pipeline.storage.roles import ROLES, apply_roles
from tests.conftest import LIST
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, walk_overdue
from tests.warm import warm

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REFUSED = "permission denied|must be owner"


@pytest.fixture
def engines(engine, database_url):
    """The owner's connections, and each role's own."""
    with engine.begin() as connection:
        apply_roles(connection)
        for role in ROLES:
            connection.execute(text(f"ALTER ROLE {role} LOGIN"))
    url = make_url(database_url)
    opened = {
        role: make_engine(url.set(username=role).render_as_string(hide_password=False), application=role)
        for role in ROLES
    }
    yield {"owner": engine, **opened}
    for each in opened.values():
        each.dispose()


def refused(engine, statement):
    with engine.connect() as connection, pytest.raises(DBAPIError, match=REFUSED):
        connection.execute(text(statement))


def failure_ids(engine, failure_class):
    return [row.id for row in rows(engine, f"SELECT id FROM failures WHERE class = '{failure_class}' ORDER BY id")]


@pytest.fixture
def charged(engines):
    """Two calls billed by the workers' role, one of them sent again with other content, and two bad records."""
    load(engines["owner"])
    worker = engines["cdr_work"]
    first = make_record(call_ref=1, call_time=61)
    walk(worker, receive(engines["cdr_ingest"], first, make_record(call_ref=2)))
    walk(worker, receive(engines["cdr_ingest"], make_record(call_ref=1, call_time=121), b"no call", b"no call either"))
    return engines


def test_from_the_list_to_the_ledger(engines, servers, dialler_redis):
    """The ingestor settles under its role, and the workers' role does every step; the balance closes."""
    load(engines["owner"])
    dialler_redis.rpush(LIST, make_record(call_ref=7), make_record(call_ref=8))
    sent = []
    cdr_list = CdrList(servers.dialler_redis.url, LIST, owner="test")
    ingestor = Ingestor(
        cdr_list, engines["cdr_ingest"], source="enigma", send=lambda batch: bool(sent.append(batch)) or True
    )
    assert ingestor.run_once() is Turn.CLAIMED
    assert ingestor.run_once() is Turn.EMPTY
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
    assert ingestor.run_once() is Turn.STOPPED
    cdr_list.close()


def test_the_reconciler_works_under_the_workers_role(charged):
    """What stands still is found, what is to be retried released, what was asked for in bulk done."""
    with charged["cdr_flower"].begin() as connection:
        bulk_id = ask_for(connection, "discard", FailureFilter(failure_class="data"), who="ann", reason="noise")
    assert bulk.run_bulk(charged["cdr_work"], bulk_id, seconds=5).done == 2
    assert reconcile(charged["cdr_work"], limit=10, resend_after_seconds=0).overdue == []


def test_flower_reads_all_that_its_tabs_show(charged, monkeypatch):
    """Lists, counts, one failure with its call and charge, what moves, the balance."""
    flower = charged["cdr_flower"]
    monkeypatch.setattr(overview, "engine", lambda: flower)
    with flower.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        assert len(page_failures(connection, FailureFilter(), limit=50).failures) == 3
        assert failure_stats(connection, FailureFilter())
        assert known_sources(connection) == ["enigma"]
        assert recent_bulk_actions(connection, limit=5) == []
        conflict = read_failure(connection, failure_ids(flower, "conflict")[0])
        assert conflict is not None
        call = failed_call._call_of(connection, conflict)
        assert call is not None
        assert len(call["charges"]) == 1
        assert overview._moving(connection)["backlog"] == []
        assert overview._recordings(connection)["recordings"]
    assert overview._balance(None)["closes"]


def test_flower_does_all_that_its_buttons_do(charged):
    """Retry, discard, edit, accept, all that match, send again: under its role, and the workers finish it."""
    flower, worker = charged["cdr_flower"], charged["cdr_work"]
    first, second = failure_ids(flower, "data")
    operator.edit(flower, first, make_record(call_ref=3), who="ann", region="ZA", now=NOW)
    assert sum(operator.discard(flower, FailureFilter(ids=(second,)), who="ann", reason="noise")) == 1
    accepted = operator.accept(flower, failure_ids(flower, "conflict")[0], who="ann", region="ZA", now=NOW)
    assert accepted.reversed_charges == 1
    with flower.begin() as connection:
        ask_for(connection, "retry", FailureFilter(), who="ann", reason=None)
        assert hurry(connection, rows(flower, "SELECT min(id) AS id FROM batches WHERE finished_at IS NULL")[0].id)
    walk_overdue(worker)
    balance = sheet(charged["cdr_read"])
    assert (balance.closes, balance.discarded.records, balance.pending.records) == (True, 1, 0)
    net = rows(
        flower,
        "SELECT sum(amount) AS net, count(*) AS lines FROM ledger WHERE call_id = "
        "(SELECT id FROM calls WHERE call_ref = '1')",
    )[0]
    assert (str(net.net), net.lines) == ("1.41", 3)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ledger SELECT * FROM ledger",
        "UPDATE ledger SET amount = 0",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "INSERT INTO inbox (record_id, raw) VALUES (1, 'x')",
        "UPDATE inbox SET raw = 'x'",
        "DELETE FROM inbox",
        "UPDATE failures SET class = 'conflict'",
        "DELETE FROM failures",
        "UPDATE batches SET records = 1",
        "UPDATE actions SET who = 'somebody else'",
        "DELETE FROM actions",
        "UPDATE rates SET rate_per_minute = 0",
        "UPDATE tariff_assignments SET tariff_id = 1",
        "UPDATE recordings SET path = '../..'",
        "CREATE TABLE mine (id int)",
        "ALTER FUNCTION ledger_is_append_only() OWNER TO cdr_flower",
    ],
)
def test_flower_cannot(charged, statement):
    """Neither money nor what was received nor who did what can be changed from Flower."""
    refused(charged["cdr_flower"], statement)


def test_flower_takes_back_no_charge_but_that_of_a_conflict(charged):
    """The function looks for itself: another call, another kind of failure and none at all are refused."""
    flower = charged["cdr_flower"]
    [conflict], [data, _] = failure_ids(flower, "conflict"), failure_ids(flower, "data")
    calls = {row.call_ref: row.id for row in rows(flower, "SELECT id, call_ref FROM calls")}
    for failure, call in ((conflict, calls["2"]), (data, calls["1"]), (10**12, calls["1"])):
        with flower.connect() as connection, pytest.raises(DBAPIError, match="is no open conflict"):
            connection.execute(text(f"SELECT reverse_charge_of_conflict({failure}, {call}, 'x')"))
    for role in ("cdr_ingest", "cdr_work", "cdr_read"):
        refused(charged[role], f"SELECT reverse_charge_of_conflict({conflict}, {calls['1']}, 'x')")


def test_flower_cannot_put_a_table_of_its_own_before_the_function(charged):
    """A temporary table named like ours is not what the function works on."""
    flower = charged["cdr_flower"]
    [conflict] = failure_ids(flower, "conflict")
    call_id = rows(flower, "SELECT id FROM calls WHERE call_ref = '2'")[0].id
    with flower.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE failures AS SELECT * FROM public.failures"))
        connection.execute(text("UPDATE pg_temp.failures SET call_ref = '2'"))
        with pytest.raises(DBAPIError, match="is no open conflict"):
            connection.execute(text(f"SELECT reverse_charge_of_conflict({conflict}, {call_id}, 'x')"))


@pytest.mark.parametrize(
    "table",
    ["ledger", "calls", "inbox", "dispositions", "recordings", "rates", "edits", "actions", "uncharged", "revisions"],
)
def test_an_ingestor_reads_neither_calls_nor_money(charged, table):
    """It writes what it received and reads what tells it to stop."""
    refused(charged["cdr_ingest"], f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT reason FROM failures",
        "UPDATE batches SET finished_at = now()",
        "DELETE FROM stops",
        "UPDATE stops SET released_at = now()",
        "INSERT INTO ledger DEFAULT VALUES",
    ],
)
def test_an_ingestor_cannot(charged, statement):
    """Neither release itself nor declare its work done."""
    refused(charged["cdr_ingest"], statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET amount = 0",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "UPDATE inbox SET raw = 'x'",
        "DELETE FROM inbox",
        "DELETE FROM calls",
        "UPDATE calls SET talk_seconds = 0",
        "UPDATE rates SET rate_per_minute = 0",
        "DELETE FROM actions",
        "DELETE FROM failures",
        "UPDATE stops SET released_at = now()",
    ],
)
def test_a_worker_cannot(charged, statement):
    """Change what was received, what a call was, what it cost, or a rate."""
    refused(charged["cdr_work"], statement)


@pytest.mark.parametrize("table", metadata.tables)
def test_a_reader_only_reads(charged, table):
    """Every table, and nothing else of it."""
    reader = charged["cdr_read"]
    rows(reader, f"SELECT count(*) FROM {table}")
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"INSERT INTO {table} DEFAULT VALUES"):
        refused(reader, statement)


def test_keda_asks_as_a_reader(charged):
    """Its query runs under the role that its connection has, and counts what has waited for five seconds."""
    manifest = (Path(__file__).resolve().parents[2] / "deploy/kubernetes/keda/scaling.yaml").read_text(encoding="utf-8")
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
        "DROP TRIGGER ledger_is_append_only ON ledger",
        "ALTER TABLE ledger RENAME TO other",
        "DROP TABLE ledger",
        "SET session_replication_role = replica",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_nobody_but_the_owner_touches_the_ledgers_guard(charged, role, statement):
    """The trigger cannot be taken off, nor gone around."""
    refused(charged[role], statement)


def test_the_ledgers_guard_holds_for_the_owner_too(charged):
    """Who may take the trigger off must take it off first."""
    with charged["owner"].connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text("UPDATE ledger SET amount = 0"))


def test_the_sql_that_is_shown_can_be_run(settings_env, database_url, engine):
    """`pipeline db roles` prints what psql takes; `--apply` and a migration do the same, however often."""

    def run(*words):
        done = warm().pipeline("db", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run("roles")
    with engine.begin() as connection:
        connection.exec_driver_sql(shown)
    assert "have their rights" in run("roles", "--apply")
    assert "Its roles have their rights" in run("upgrade")
