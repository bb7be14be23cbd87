"""What goes past SQLAlchemy fails as if it had not: outages are told from refusals, and broken connections are left."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from pipeline.calls.columns import COLUMNS, NewCall, row_of
from pipeline.calls.rules.cdr import read_cdr
from pipeline.database.engine import copy_rows, driver_connection, execute, is_outage, make_engine, reading
from pipeline.database.tables import calls, uncharged
from tests.factories import make_record
from tests.integration.flow import NOW


def end_session(engine, connection):
    """End a connection's session from outside, as a restart of the server does."""
    pid = driver_connection(connection).info.backend_pid
    with engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


@pytest.mark.parametrize(
    "work",
    [
        lambda connection: execute(connection, "SELECT %(one)s", {"one": 1}),
        lambda connection: copy_rows(connection, uncharged, ("call_id", "reason"), [(1, "x")]),
    ],
)
def test_a_lost_connection_is_an_outage_and_is_replaced(engine, work):
    """The loops above go by SQLAlchemy's errors; one of the driver's own would end the process."""
    with engine.connect() as connection:
        execute(connection, "SELECT 1", {})
        end_session(engine, connection)
        with pytest.raises(DBAPIError) as caught:
            work(connection)
        assert is_outage(caught.value)
        assert isinstance(caught.value, OperationalError)
        assert connection.invalidated
    with engine.begin() as connection:
        assert execute(connection, "SELECT %(one)s", {"one": 1}).fetchone() == (1,)


def test_a_refused_row_is_no_outage(engine):
    """A key twice, and an integer that four bytes cannot hold, which psycopg would cut down to them."""
    with engine.connect() as connection, pytest.raises(IntegrityError):
        copy_rows(connection, uncharged, ("call_id", "reason"), [(1, "x"), (1, "x")])
    for number in (2**40, 2**31, -(2**31) - 1, -(2**40)):
        with engine.connect() as connection, pytest.raises(DataError, match="out of range"):
            copy_rows(connection, uncharged.metadata.tables["calls"], ("id", "talk_seconds"), [(1, number)])


UNLIKE = [
    make_record(call_ref="1"),
    make_record(call_ref="2", recording_url=None, extension=None),
    make_record(call_ref="3", number="12", call_time=0, future={"field": [1, None, "ü"]}),
    make_record(call_ref="4", call_time=40_000, hold_time=604_800),
]
"""With what may be absent and with what may be odd: numbers of two bytes and of four, JSON, texts that are no ASCII."""


def test_a_row_by_itself_is_stored_as_one_of_several_is(engine):
    """It goes in another way, for one way to the server less."""
    new = [NewCall(place, read_cdr(raw, region="ZA", now=NOW)) for place, raw in enumerate(UNLIKE, 1)]
    values = [row_of("enigma", call) for call in new]
    stored = []
    with engine.connect() as connection:
        for portions in ([values], [[row] for row in values]):
            with connection.begin() as transaction:
                for portion in portions:
                    copy_rows(connection, calls, tuple(COLUMNS), portion)
                found = connection.execute(text(f"SELECT {', '.join(COLUMNS)} FROM calls ORDER BY id"))
                stored.append([tuple(row) for row in found])
                transaction.rollback()
    assert len(stored[0]) == len(UNLIKE)
    assert stored[0] == stored[1]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_row_by_itself_is_one_way_to_the_server(engine, monkeypatch, rows):
    """And none is none."""
    went = []
    wait = psycopg.Connection.wait
    with engine.connect() as connection:
        execute(connection, "SELECT 1", {})
        monkeypatch.setattr(psycopg.Connection, "wait", lambda *args, **more: went.append(args) or wait(*args, **more))
        copy_rows(connection, uncharged, ("call_id", "reason"), ((place, "x") for place in range(rows)))
        monkeypatch.undo()
        assert execute(connection, "SELECT count(*) FROM uncharged", {}).fetchone() == (rows,)
    assert len(went) == rows


def test_a_look_leaves_what_its_connection_has_prepared(database_url):
    """psycopg forgets all of it at a rollback, and the worker looks around every other second."""
    engine = make_engine(database_url, application="test", pool_size=1)

    def prepared(connection):
        return execute(
            connection, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %(of)s", {"of": "%41%"}
        ).fetchone()[0]

    with engine.begin() as connection:
        for _ in range(8):
            execute(connection, "SELECT 41 + %(one)s", {"one": 1})
        before = prepared(connection)
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    with engine.begin() as connection:
        assert prepared(connection) == before == 1
    engine.dispose()
