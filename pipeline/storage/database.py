"""The engine, bulk writes, and what an outage looks like."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg import sql
from psycopg.errors import NumericValueOutOfRange
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, Numeric, Text, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import LiteralString

    from sqlalchemy import Connection, Engine, Table

# 40001 serialization failure, 40P01 deadlock, 53xxx out of resources, 55P03 lock timeout, 57xxx operator intervention
# (shutdown, crash, cannot connect now, statement timeout), 08 connection; 42P01 and 42703, a table or column that is
# missing: the database is not migrated yet. Nothing is wrong with the work, so it is tried again.
TRANSIENT_SQLSTATES = ("40", "53", "55P03", "57", "08", "42P01", "42703")


def make_engine(url: str, *, application: str, pool_size: int = 5, lock_timeout_seconds: int = 30) -> Engine:
    """An engine whose connections speak UTC, notice a dead server and never wait for ever.

    Args:
        url: a ``postgresql+psycopg://`` URL.
        application: how the connections name themselves in ``pg_stat_activity``.
        pool_size: connections kept open; as many again may be opened for a moment.
        lock_timeout_seconds: the longest wait for another transaction's lock.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_recycle=1800,
        connect_args={
            "application_name": application,
            "connect_timeout": 5,
            "options": f"-c timezone=UTC -c lock_timeout={lock_timeout_seconds}s "
            "-c idle_in_transaction_session_timeout=120s",
            # A server that is gone without a word (power, SIGSTOP, a cut wire) is noticed in about 15 seconds.
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    )


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the database is away or busy, rather than that the work is wrong."""
    if isinstance(error, DBAPIError):
        error = error.orig if error.orig is not None else error
    if isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return state.startswith(TRANSIENT_SQLSTATES)
    # SQLAlchemy's own: the pool ran dry while connections hang.
    return type(error).__name__ == "TimeoutError" and type(error).__module__.startswith("sqlalchemy")


def copy_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows by ``COPY``: the fastest way in, all or nothing with the transaction around it.

    In binary form where the columns' types are all of the common ones, which spares both sides the text; a value then
    has to be of its column's type.
    """
    names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    types = [_WIRE_TYPES.get(type(table.c[column].type), "") for column in columns]
    form = sql.SQL("BINARY" if all(types) else "TEXT")
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(sql.Identifier(table.name), names, form)
    with (
        driver_errors(connection, f"COPY {table.name}"),
        driver_connection(connection).cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        if all(types):
            copy.set_types(types)
        narrow = [place for place, name in enumerate(types) if name == "int4"]
        for row in rows:
            for place in narrow:
                # psycopg cuts an integer down to the four bytes it was told, in silence.
                if not -_INT4 <= (row[place] or 0) < _INT4:
                    raise NumericValueOutOfRange(f"{columns[place]}: {row[place]} is out of range for four bytes")
            copy.write_row(row)


_INT4 = 2**31
_WIRE_TYPES = {
    BigInteger: "int8",
    Boolean: "bool",
    DateTime: "timestamptz",
    Integer: "int4",
    JSONB: "jsonb",
    LargeBinary: "bytea",
    Numeric: "numeric",
    Text: "text",
}


def execute(connection: Connection, query: LiteralString, values: Mapping[str, Any]) -> psycopg.Cursor[tuple[Any, ...]]:
    """A statement past SQLAlchemy, in the same transaction: for the steps, of which each saved millisecond counts.

    Args:
        connection: the step's transaction.
        query: with places such as ``%(first)s``; repeated on one connection it is prepared.
        values: for its places.

    Returns:
        A cursor on its rows, which came in binary form as plain tuples.
    """
    with driver_errors(connection, query):
        return driver_connection(connection).execute(query, values, binary=True)


@contextlib.contextmanager
def driver_errors(connection: Connection, statement: str) -> Iterator[None]:
    """What the driver raises becomes what SQLAlchemy would have raised, and a broken connection is not used again."""
    driver = driver_connection(connection)
    try:
        yield
    except psycopg.Error as error:
        broken = driver.broken
        if broken:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, connection_invalidated=broken, dialect=connection.dialect
        ) from error


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection below a SQLAlchemy one, in the same transaction."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
