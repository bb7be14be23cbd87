"""The engine, bulk writes, and what an outage looks like."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import psycopg
from psycopg import sql
from psycopg.errors import LockNotAvailable, NumericValueOutOfRange
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, Numeric, Text, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import LiteralString

    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.exc import SQLAlchemyError

TRANSIENT_SQLSTATES = (
    "08",  # the connection
    "40",  # serialization failure, deadlock
    "53",  # out of disk, memory, connections
    "55P03",  # lock timeout
    "57",  # operator intervention: shutdown, crash, cannot connect now, statement timeout
    "58",  # the server's own system: an I/O error, a file that is gone
    "72",  # snapshot too old
    "F0",  # its configuration file is broken
    "XX001",  # a page is corrupt
    "XX002",  # an index is corrupt
    "25006",  # it takes no writes: a standby, or set to read-only for a full disk
    "25P03",  # idle in a transaction for too long: this process stood still
    "25P04",  # a transaction that took too long, the same
    "26000",  # a prepared statement is gone: a pooler, or DISCARD ALL
    "28",  # the login is refused: a password is being changed
    "3D000",  # the database is not there: it is being restored
    # A table, column, function, type or key that is missing, or the right to it: not migrated yet.
    *("3F000", "42501", "42703", "42704", "42883", "42P01", "42P10"),
)
"""Nothing is wrong with the work, so it is tried again: SQLSTATEs, or what they begin with."""

MISSING_RIGHT = "42501"
"""The SQLSTATE of what a role may not do."""

# A peer that is gone without a word (power, a cut wire, a paused machine) is noticed within 15 seconds, by both sides.
KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000}


def make_engine(
    url: str,
    *,
    application: str,
    pool_size: int = 5,
    lock_timeout_seconds: int = 30,
    statement_timeout_seconds: int | None = None,
) -> Engine:
    """An engine whose connections speak UTC, notice a dead server and never wait for ever.

    Args:
        url: a ``postgresql+psycopg://`` URL.
        application: how the connections name themselves in ``pg_stat_activity``.
        pool_size: connections kept open; as many again may be opened for a moment.
        lock_timeout_seconds: the longest wait for another transaction's lock.
        statement_timeout_seconds: the longest that a statement may take; None for processes with long ones.
    """
    options = {
        "timezone": "UTC",
        "lock_timeout": f"{lock_timeout_seconds}s",
        "idle_in_transaction_session_timeout": "120s",
        # The client's part below does not help a server whose client is gone: it would keep that one's locks for hours.
        **{name if name.startswith("tcp") else f"tcp_{name}": value for name, value in KEEPALIVES.items()},
    }
    if statement_timeout_seconds is not None:
        options["statement_timeout"] = f"{statement_timeout_seconds}s"
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_recycle=1800,
        connect_args={
            "application_name": application,
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            **KEEPALIVES,
        },
    )


def wait_for_locks(connection: Connection, seconds: float) -> None:
    """Wait for other transactions' locks no longer than this in the transaction in hand."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{int(seconds * 1_000)}ms'"))


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for questions, each a transaction of its own: nothing is begun and nothing is rolled back.

    What is asked again and again is asked here. A rollback ends all that its connection has prepared, so a look every
    other second would have every statement of every batch planned anew.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


each_by_itself = reading
"""The same for a statement that changes something: it is committed with it, one way to the server instead of three."""


NEVER_LONG_SECONDS = 1.0
"""How long what nobody waits for, and what comes by again, waits for a lock."""


@contextlib.contextmanager
def unless_held(engine: Engine) -> Iterator[Connection]:
    """A transaction that is given up, for this time, where it meets a lock that somebody holds on to."""
    try:
        with engine.begin() as connection:
            wait_for_locks(connection, NEVER_LONG_SECONDS)
            yield connection
    except DBAPIError as error:
        if not is_lock_timeout(error):
            raise


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


def is_missing(error: BaseException) -> bool:
    """Whether an error says that a table, a right or the like is missing: only who needs it cannot work."""
    return isinstance(error, DBAPIError) and (getattr(error.orig, "sqlstate", None) or "").startswith("42")


def lacks_right(error: SQLAlchemyError) -> bool:
    """Whether an error says that this role may not do what it was about to."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == MISSING_RIGHT


def is_lock_timeout(error: DBAPIError) -> bool:
    """Whether an error says that another transaction's lock was waited for in vain."""
    return isinstance(error.orig, LockNotAvailable)


def copy_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows by ``COPY``: the fastest way in, all or nothing with the transaction around it.

    In binary form where the columns' types are all of the common ones, which spares both sides the text; a value then
    has to be of its column's type. A single row goes in by ``INSERT``, which is one way to the server in place of two.
    """
    statements = _statements(table, tuple(columns))
    several = iter(rows)
    first = list(itertools.islice(several, 2))
    with driver_errors(connection, f"COPY {table.name}"):
        if len(first) > 1:
            _copy(connection, statements, itertools.chain(first, several))
        elif first:
            driver_connection(connection).execute(statements.insert, first[0])


class _Statements(NamedTuple):
    """What fills some columns of a table."""

    copy: bytes
    types: list[str] | None
    """Of the binary form; None: one is not known, and it is text."""
    narrow: list[int]
    """The places of those of four bytes."""
    insert: bytes
    columns: tuple[str, ...]


def _copy(connection: Connection, statements: _Statements, rows: Iterable[Sequence[Any]]) -> None:
    with driver_connection(connection).cursor() as cursor, cursor.copy(statements.copy) as copy:
        if statements.types is not None:
            copy.set_types(statements.types)
        for row in rows:
            for place in statements.narrow:
                # psycopg cuts an integer down to the four bytes it was told, in silence.
                if not -_INT4 <= (row[place] or 0) < _INT4:
                    said = f"{statements.columns[place]}: {row[place]} is out of range for four bytes"
                    raise NumericValueOutOfRange(said)
            copy.write_row(row)


@functools.cache
def _statements(table: Table, columns: tuple[str, ...]) -> _Statements:
    names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    types = [_WIRE_TYPES.get(type(table.c[column].type), "") for column in columns]
    form = sql.SQL("BINARY" if all(types) else "TEXT")
    copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(sql.Identifier(table.name), names, form)
    # With its type said, whatever a value is prepared as: an integer may be of two bytes, of four or of eight.
    values = sql.SQL(", ").join(sql.SQL("%s::" + kind if kind else "%s") for kind in types)
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table.name), names, values)
    return _Statements(
        copy.as_bytes(None),
        types if all(types) else None,
        [place for place, name in enumerate(types) if name == "int4"],
        insert.as_bytes(None),
        columns,
    )


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


def execute(
    connection: Connection, query: LiteralString, values: Mapping[str, Any] | Sequence[Any]
) -> psycopg.Cursor[tuple[Any, ...]]:
    """A statement past SQLAlchemy, in the same transaction: for the steps, of which each saved millisecond counts.

    Args:
        connection: the step's transaction.
        query: with places such as ``%(first)s``; repeated on one connection it is prepared.
        values: for its places, by their names or in their order.

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
