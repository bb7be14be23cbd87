"""Who heard a recording or looked for a number, and from where; written before they get it.

Nothing else writes ``access_log``. Nobody changes a row of it, and what is older than it is kept is deleted by one
function of the database; a trigger keeps all the rest, whoever would delete it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from pipeline.database.audit import record_action
from pipeline.database.engine import wait_for_locks
from pipeline.database.tables import access_log
from pipeline.errors import AwayError, PipelineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine

LISTEN: Final = "listen"
SEARCH: Final = "search"

API: Final = "api"
FLOWER: Final = "flower"

WAIT_SECONDS: Final = 3.0
"""How long somebody's lock on the table is waited for; whoever wants to listen waits as long."""

REASON_CHARACTERS: Final = 500

AT_ONCE: Final = 5_000
"""Entries deleted in one transaction."""


class NotLoggedError(AwayError):
    """It could not be written down, so it is not given out."""


class NoReasonError(PipelineError):
    """It has to be said why, and was not."""


class Visitor(NamedTuple):
    """Who asks for something that is written down."""

    who: str
    """A token's name, or a user's."""
    via: str
    """`API` or `FLOWER`."""
    address: str | None
    because: str | None = None

    def with_reason(self) -> Visitor:
        """The same, who has said why.

        Raises:
            NoReasonError: they have not.
        """
        if not (self.because or "").strip():
            raise NoReasonError("it has to be said why: say it as because")
        return self


def note_listening(
    engine: Engine, visitor: Visitor, *, call_id: int, source: str, call_ref: str, detail: Mapping[str, Any]
) -> None:
    """Write down, and commit, that somebody is about to hear a recording.

    Args:
        engine: the database.
        visitor: who.
        call_id: the call's.
        source: its dialler.
        call_ref: its reference there.
        detail: which bytes, and in which form.

    Raises:
        NotLoggedError: it could not be written.
    """
    _note(engine, visitor, action=LISTEN, call_id=call_id, source=source, call_ref=call_ref, detail=dict(detail))


def note_search(engine: Engine, visitor: Visitor, *, detail: Mapping[str, Any]) -> None:
    """Write down, and commit, that somebody is about to look for a number.

    Args:
        engine: the database.
        visitor: who.
        detail: what they look for.

    Raises:
        NotLoggedError: it could not be written.
    """
    _note(engine, visitor, action=SEARCH, detail=dict(detail))


def any_due(connection: Connection) -> bool:
    """Whether anything is older than it is kept."""
    kept_from = text("access_log_kept_from()")
    return bool(connection.scalar(select(select(access_log.c.id).where(access_log.c.at < kept_from).exists())))


def expire(engine: Engine) -> int:
    """Delete what is older than it is kept, but for what is about a call that is held; returns how much that was.

    Args:
        engine: the database; each part is a transaction of its own, so a run that is killed is gone on with.
    """
    deleted = 0
    while True:
        with engine.begin() as connection:
            part = int(connection.scalars(text("SELECT expire_access_log(:most)"), {"most": AT_ONCE}).one())
            if part:
                record_action(connection, "retention", "access log deleted", {"entries": part})
        deleted += part
        if part < AT_ONCE:
            return deleted


def _note(engine: Engine, visitor: Visitor, **said: Any) -> None:
    reason = None if visitor.because is None else visitor.because.strip()[:REASON_CHARACTERS] or None
    row = insert(access_log).values(who=visitor.who, via=visitor.via, address=visitor.address, reason=reason, **said)
    # No RETURNING: whoever writes here need not be able to read it.
    try:
        with engine.begin() as connection:
            wait_for_locks(connection, WAIT_SECONDS)
            connection.execute(row.inline())
    except SQLAlchemyError as error:
        raise NotLoggedError("it cannot be written down who asks at the moment, so nothing is given out") from error
