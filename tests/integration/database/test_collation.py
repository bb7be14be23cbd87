"""A call's key sorts by bytes: an upgrade of the system's locales must not let a replay in as a new call."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.batches.rules.steps import Step
from pipeline.calls.call_rows import calls_by_ref
from pipeline.calls.columns import COLUMNS, NewCall, row_of
from pipeline.calls.rules.cdr import read_cdr
from pipeline.database.engine import copy_rows, make_engine
from pipeline.database.migrations import upgrade
from pipeline.database.tables import calls
from pipeline.ranges.move import move
from pipeline.record_ids import first_record
from tests.factories import make_record
from tests.integration.flow import NOW, receive, rows, walk

BEFORE, AFTER = "0009", "head"
INDEX = "calls_call_ref_source_bytes_idx"
KEYS = """
SELECT c.relname, i.indisvalid,
       array(SELECT collname::text FROM unnest(i.indcollation) AS o (oid) JOIN pg_collation USING (oid)) AS collations
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY('calls'::regclass || ARRAY(SELECT inhrelid FROM pg_inherits WHERE inhparent = 'calls'::regclass))
  AND i.indisunique AND NOT i.indisprimary ORDER BY 1
"""


@pytest.fixture
def old(servers):
    """A database with the tables of a former version, that sorts by a locale which has versions."""
    url = make_url(servers.postgres.url)
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(
            text("CREATE DATABASE old TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'")
        )
    engine = make_engine(url.set(database="old").render_as_string(hide_password=False), application="test")
    upgrade(engine, BEFORE)
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE old WITH (FORCE)"))
    server.dispose()


def normalized(engine, *records):
    assert walk(engine, receive(engine, *records), (Step.NORMALIZE,)) == ["done"]


def stored(engine, *records):
    """Calls as code of the former version left them; this version's knows tables that are not there yet."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE calls ADD COLUMN IF NOT EXISTS record_kind TEXT"))
        batch_id = connection.scalar(
            text(
                "INSERT INTO batches (claim, source, records, due_at, normalized_at) "
                "VALUES (gen_random_uuid(), 'enigma', :records, now(), now()) RETURNING id"
            ),
            {"records": len(records)},
        )
        new = [
            NewCall(first_record(batch_id) + place, read_cdr(raw, region="ZA", now=NOW))
            for place, raw in enumerate(records)
        ]
        for call, raw in zip(new, records, strict=True):
            values = {"id": call.record_id, "raw": raw}
            connection.execute(text("INSERT INTO inbox (record_id, raw) VALUES (:id, :raw)"), values)
        copy_rows(connection, calls, tuple(COLUMNS), [row_of("enigma", call) for call in new])


def test_a_new_database_has_one_key_by_bytes(engine):
    """In place of one by the database's locale."""
    assert [row[1:] for row in rows(engine, KEYS)] == [(True, ["C", "C"])] * 2  # a range has one each
    of_all_time = KEYS.replace("'calls'", "'call_keys'").replace("AND NOT i.indisprimary", "")
    assert [row[1:] for row in rows(engine, of_all_time)] == [(True, ["C", "C"])] * 9


def test_one_that_has_calls_gets_a_second_key(old):
    """Without a lock that anybody would feel, and a second time after it was cut off."""
    stored(old, make_record(call_ref=1))
    with old.begin() as connection:  # what a build leaves that was cut off
        connection.execute(text(f"CREATE INDEX {INDEX} ON calls (id)"))
    upgrade(old, AFTER)
    assert rows(old, KEYS) == [(INDEX, True, ["C", "C"]), ("calls_call_ref_source_key", True, ["default", "default"])]


def test_one_that_sorts_by_bytes_already_is_left_alone(empty):
    """A second key would cost for nothing."""
    upgrade(empty, BEFORE)
    stored(empty, make_record(call_ref=1))
    upgrade(empty, AFTER)
    assert rows(empty, KEYS) == [("calls_call_ref_source_key", True, ["default", "default"])]
    normalized(empty, make_record(call_ref=1))
    assert rows(empty, "SELECT count(*) FROM duplicates") == [(1,)]


def test_a_replay_is_a_replay_when_the_old_key_misses_calls(old):
    """As after an upgrade of glibc: here the old key finds nothing at all any more, and knows of nothing new."""
    stored(old, *(make_record(call_ref=number) for number in (1, 2, 3)))
    upgrade(old, AFTER)
    with old.begin() as connection:
        connection.execute(text("ALTER TABLE calls DROP CONSTRAINT calls_call_ref_source_key"))
        connection.execute(text("CREATE INDEX calls_call_ref_source_key ON calls (call_ref, source) WHERE id < 0"))
    normalized(old, *(make_record(call_ref=number) for number in (2, 3, 4)))
    assert rows(old, "SELECT count(*) FROM calls") == [(4,)]
    assert rows(old, "SELECT count(*) FROM duplicates") == [(2,)]


def test_the_second_key_is_asked_for_what_the_first_one_misses(old):
    """Both look-ups find their way along an index."""
    stored(old, make_record(call_ref=1))
    upgrade(old, AFTER)
    with old.connect() as connection:
        assert list(calls_by_ref(connection, "enigma", ["1", "2"])) == ["1"]
        connection.execute(text("SET enable_seqscan = off"))
        plan = "\n".join(
            connection.execute(
                text(
                    'EXPLAIN SELECT id FROM calls WHERE call_ref COLLATE "C" = ANY(cast(:refs AS text[])) '
                    'AND source COLLATE "C" = :source'
                ),
                {"refs": ["1"], "source": "enigma"},
            ).scalars()
        )
    assert INDEX in plan


def test_old_code_works_beside_the_new_tables(old, engine):
    """The statement of the version before names no collation."""
    stored(old, make_record(call_ref=1))
    upgrade(old, AFTER)
    statement = (
        "INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, direction, "
        "dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash) "
        "VALUES (:id, 'enigma', :ref, 'c', false, false, 'outbound', now(), 1, 'hungup', false, '') "
        "ON CONFLICT DO NOTHING RETURNING id"
    )
    for database in (old, engine):
        normalized(database, make_record(call_ref=2))
        with database.begin() as connection:
            assert connection.execute(text(statement), {"id": 7, "ref": "2"}).all() == []
            assert connection.execute(text(statement), {"id": 8, "ref": "3"}).all() == [(8,)]


def test_one_that_sorts_by_a_locale_becomes_ranges(old):
    """Its columns stay as they are, and the key of all time is by bytes."""
    stored(old, *(make_record(call_ref=number) for number in (1, 2)))
    upgrade(old, AFTER)
    assert move(old, who="thandi").keys == 2
    normalized(old, *(make_record(call_ref=number) for number in (2, 3)))
    assert rows(old, "SELECT count(*) FROM calls") == [(3,)]
    assert rows(old, "SELECT count(*) FROM duplicates") == [(1,)]
