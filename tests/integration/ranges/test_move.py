"""Tables that are whole become ranges: no row is touched, nobody waits, and wherever it is cut off it goes on."""

from __future__ import annotations

import threading
import time

import pytest
from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from pipeline.database.ranges import BITS, KEYS, all_ranges
from pipeline.ranges.move import MoveError, enter_keys, move
from tests.factories import make_record
from tests.integration.flow import receive, sheet, walk
from tests.integration.ranges.conftest import comes_to_an_end

INSERT = (
    "INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, direction, "
    "dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash) "
    "VALUES (:id, 'enigma', :ref, 'c', false, false, 'outbound', now(), 0, 'hungup', false, '')"
)


class TestTheMove:
    """Rows stay where they are; the table around them is another."""

    def test_rows_are_what_they_were(self, whole):
        """Every row, the balance, and what the models say of the tables."""
        before, charged = whole.contents(), sheet(whole.engine).charged
        assert set(whole.kinds().values()) == {"r"}
        moved = move(whole.engine, who="thandi")
        assert (moved.keys, moved.tables) == (60, tuple(KEYS))
        assert whole.contents() == before
        assert set(whole.kinds().values()) == {"p"}
        assert sheet(whole.engine).charged == charged
        assert sheet(whole.engine).closes
        assert move(whole.engine, who="thandi") == (0, ())
        assert whole.rows("SELECT who, detail ->> 'keys' FROM actions WHERE action LIKE 'tables%'") == [
            ("thandi", "60")
        ]

    def test_it_makes_what_a_new_database_has(self, whole, engine):
        """Columns, indexes, checks, triggers and rights of each table and of its first range."""
        move(whole.engine, who="thandi")
        tables = "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        indexes = "regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'INDEX ON'), indisvalid FROM pg_index"
        for what in (
            f"SELECT relname, relkind, reloptions FROM pg_class WHERE oid IN ({tables})",
            "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT conrelid::regclass::text, conname, convalidated FROM pg_constraint WHERE conrelid > 16383",
            f"SELECT {indexes} WHERE indrelid IN ({tables})",
        ):
            with engine.connect() as connection:
                made = sorted(map(str, connection.execute(text(what))))
            assert sorted(map(str, whole.rows(what))) == made, what

    def test_rights_go_along(self, whole):
        """Those of a table, and those on columns alone, also of roles that the pipeline does not know."""
        whole.engine.dispose()
        with whole.engine.begin() as connection:
            connection.execute(text("DROP ROLE IF EXISTS moved_reader"))
            connection.execute(text("CREATE ROLE moved_reader"))
            connection.execute(text("GRANT SELECT ON calls TO moved_reader"))
            connection.execute(text("GRANT INSERT (call_id, kind) ON ledger TO moved_reader WITH GRANT OPTION"))
        move(whole.engine, who="thandi")
        rights = (
            "SELECT has_table_privilege('moved_reader', 'calls', 'SELECT'), "
            "has_table_privilege('moved_reader', 'calls', 'INSERT'), "
            "has_column_privilege('moved_reader', 'ledger', 'kind', 'INSERT WITH GRANT OPTION'), "
            "has_column_privilege('moved_reader', 'ledger', 'amount', 'INSERT')"
        )
        try:
            assert whole.rows(rights) == [(True, False, True, False)]
        finally:
            with whole.engine.begin() as connection:
                connection.execute(text("DROP OWNED BY moved_reader; DROP ROLE moved_reader"))

    def test_cut_off_after_every_statement_it_goes_on(self, whole):
        """The run that is ended after one statement is followed by one that is ended after two, and so on."""
        before = whole.contents()
        allowed = 1
        while not comes_to_an_end(whole.engine, lambda: move(whole.engine, who="thandi"), statements=allowed):
            allowed += 1
            assert allowed <= 200, "it never came to an end"
        assert allowed > 10
        assert whole.contents() == before
        assert set(whole.kinds().values()) == {"p"}
        assert sheet(whole.engine).closes

    def test_a_table_that_somebody_holds_is_waited_for_and_nobody_waits_long(self, whole):
        """A reader keeps its lock; others read meanwhile within the half second that we ask for it."""
        with whole.engine.connect() as reader:
            reader.execute(text("SELECT count(*) FROM inbox"))
            failed = []

            def moving():
                with pytest.raises(MoveError, match="inbox was never free"):
                    move(whole.engine, who="thandi", patience_seconds=1.5)
                failed.append(True)

            at_work = threading.Thread(target=moving)
            at_work.start()
            longest = 0.0
            while at_work.is_alive():
                began = time.monotonic()
                assert whole.rows("SELECT count(*) FROM inbox") == [(60,)]
                longest = max(longest, time.monotonic() - began)
            at_work.join()
            assert failed
            assert longest < 1.5
        assert move(whole.engine, who="thandi").tables == tuple(KEYS)

    def test_two_runs_at_once(self, whole):
        """The second is told."""
        with whole.engine.connect() as other:
            other.execute(text("SELECT pg_advisory_lock(712004314)"))
            with pytest.raises(MoveError, match="another run"):
                move(whole.engine, who="thandi")


class TestKeys:
    """Which record is the first of a call is known over all ranges, whoever stored it."""

    def test_a_replay_in_another_range_is_a_duplicate(self, whole):
        """Its call is in the first range, its record in the next month's."""
        move(whole.engine, who="thandi")
        next_month(whole.engine)
        batch = receive(whole.engine, make_record(call_ref=105, call_time=61), make_record(call_ref=999, call_time=61))
        assert batch.batch_id >> (BITS - 16) > 0
        walk(whole.engine, batch)
        apart = "SELECT record_id >= end_record, call_id < end_record FROM duplicates, ranges WHERE name = 'first'"
        assert whole.rows(apart) == [(True, True)]
        assert sheet(whole.engine).processed.records == 61
        assert sheet(whole.engine).closes

    def test_what_a_replay_entered_before_its_call_is_put_right(self, whole):
        """While keys are entered: the step has entered that of a record whose call was stored long ago."""
        batch = receive(whole.engine, make_record(call_ref=5, call_time=61), make_record(call_ref=700, call_time=61))
        walk(whole.engine, batch)
        assert whole.rows("SELECT count(*) FROM duplicates") == [(1,)]
        enter_keys(whole.engine)
        wrong = "SELECT count(*) FROM calls AS c JOIN call_keys AS k USING (call_ref, source) WHERE k.record_id <> c.id"
        assert whole.rows(wrong) == [(0,)]
        assert whole.rows("SELECT count(*) FROM call_keys") == [(61,)]
        assert enter_keys(whole.engine) == 0

    def test_code_of_the_version_before_is_kept_from_a_second_call(self, whole):
        """It knows of no keys: a COPY is refused, and what asks for mercy gets no row."""
        move(whole.engine, who="thandi")
        next_month(whole.engine)
        ((record,),) = whole.rows("SELECT end_record + 5 FROM ranges WHERE name = 'first'")
        with pytest.raises(IntegrityError, match="stored already"), whole.engine.begin() as connection:
            connection.execute(text(INSERT), {"id": record, "ref": "105"})
        with whole.engine.begin() as connection:
            kept = connection.execute(
                text(f"{INSERT} ON CONFLICT DO NOTHING RETURNING id"), {"id": record, "ref": "105"}
            )
            assert list(kept) == []
            new = connection.execute(
                text(f"{INSERT} ON CONFLICT DO NOTHING RETURNING id"), {"id": record, "ref": "new"}
            )
            assert [row.id for row in new] == [record]
        assert whole.rows("SELECT record_id FROM call_keys WHERE call_ref = 'new'") == [(record,)]
        driver = whole.engine.raw_connection()
        try:
            with (
                pytest.raises(UniqueViolation, match="stored already"),
                driver.cursor() as cursor,
                cursor.copy(INSERT.partition(" VALUES")[0].replace("INSERT INTO", "COPY") + " FROM STDIN") as copy,
            ):
                copy.write_row(
                    (record + 1, "enigma", "105", "c", False, False, "outbound", "2026-11-01", 0, "x", False, b"")
                )
        finally:
            driver.rollback()
            driver.close()

    def test_two_batches_with_the_same_call_at_once(self, whole):
        """The one that is second waits for the first, and finds its call."""
        move(whole.engine, who="thandi")
        batches = [receive(whole.engine, make_record(call_ref=800, call_time=61)) for _ in range(6)]
        walkers = [threading.Thread(target=walk, args=(whole.engine, batch)) for batch in batches]
        for each in walkers:
            each.start()
        for each in walkers:
            each.join()
        assert whole.rows("SELECT count(*) FROM calls WHERE call_ref = '800'") == [(1,)]
        assert whole.rows("SELECT count(*) FROM duplicates") == [(5,)]
        assert sheet(whole.engine).closes


class TestRangesAhead:
    """A month's ranges are made before it begins, and its records are numbered into them when they are there."""

    def test_a_new_database_has_this_months_end_and_the_next(self, engine):
        """Records of this month are in the first range."""
        with engine.connect() as connection:
            first, following = all_ranges(connection)
        assert (first.name, first.first_record, first.end_record) == ("first", 0, following.first_record)
        assert following.end_record - following.first_record == 1 << BITS

    def test_records_are_numbered_by_their_month_when_its_ranges_are_there(self, whole):
        """The first range ended with last month: this month's is made, and the numbers go on in it."""
        with whole.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO ranges (name, first_record, end_record) SELECT 'first', 0, "
                    "((extract(year FROM now() AT TIME ZONE 'UTC')::bigint - 2020) * 12 "
                    "+ extract(month FROM now() AT TIME ZONE 'UTC')::bigint - 1) << 43"
                )
            )
        move(whole.engine, who="thandi")
        with whole.engine.connect() as connection:
            _first, present, _next = all_ranges(connection)
        batch = receive(whole.engine, make_record(call_ref=1_001, call_time=61))
        assert batch.batch_id << 16 == present.first_record
        walk(whole.engine, batch)
        assert whole.rows("SELECT tableoid::regclass::text FROM calls WHERE call_ref = '1001'") == [
            (f"calls_{present.name.replace('-', '_')}",)
        ]
        assert sheet(whole.engine).closes
        with whole.engine.begin() as connection:
            assert connection.scalar(text("SELECT make_ranges(1)")) == 0
            assert connection.scalar(text("SELECT make_ranges(3)")) == 2
        assert receive(whole.engine, make_record(call_ref=1_002)).batch_id == batch.batch_id + 1

    def test_who_may_make_them_may_change_no_table(self, whole):
        """A worker makes the next month's; nothing else of it is open to it."""
        with whole.engine.begin() as connection:
            connection.execute(text("CREATE ROLE range_maker"))
            connection.execute(text("GRANT EXECUTE ON FUNCTION make_ranges(integer) TO range_maker"))
        try:
            move(whole.engine, who="thandi")
            for forbidden in (
                "SELECT make_range('calls', 'calls_x', 1, 2)",
                "SELECT become_ranges('calls', 'id', 1)",
                "INSERT INTO ranges (name, first_record, end_record) VALUES ('x', 1, 2)",
            ):
                with whole.engine.connect() as connection:
                    connection.execute(text("SET LOCAL ROLE range_maker"))
                    with pytest.raises(DBAPIError, match="permission denied"):
                        connection.execute(text(forbidden))
            with whole.engine.begin() as connection:
                connection.execute(text("SET LOCAL ROLE range_maker"))
                assert connection.scalar(text("SELECT make_ranges(2)")) == 1
        finally:
            with whole.engine.begin() as connection:
                connection.execute(text("DROP OWNED BY range_maker; DROP ROLE range_maker"))


def next_month(engine):
    """Records are numbered from the next range on, as when its month has begun."""
    with engine.begin() as connection:
        connection.execute(
            text("SELECT setval('batches_id_seq', (SELECT end_record >> 16 FROM ranges WHERE name = 'first'), false)")
        )
