"""The call that a person means by its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls
from pipeline.errors import PipelineError, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection


class NotOneCallError(PipelineError):
    """No call has this reference, or several diallers have one."""


class Found(NamedTuple):
    """A call."""

    id: int
    source: str
    call_ref: str


def one_call(connection: Connection, call_ref: str, source: str | None) -> Found:
    """The call of a reference.

    Args:
        connection: the database.
        call_ref: the dialler's own reference.
        source: the dialler; None: whichever has it.

    Raises:
        NotOneCallError: saying which diallers have it, or that none has.
    """
    of = calls.c
    conditions = {"call_ref": lambda value: of.call_ref == value, "source": lambda value: of.source == value}
    wanted = narrow({"call_ref": call_ref, "source": source}, conditions)
    found = connection.execute(select(of.id, of.source, of.call_ref).where(*wanted).order_by(of.source)).all()
    if len(found) == 1:
        return Found(*found[0])
    if found:
        raise NotOneCallError(
            f"{len(found)} diallers have a call {shown(call_ref)}: add --source, one of "
            f"{', '.join(row.source for row in found)}"
        )
    where = f" of {shown(source)}" if source is not None else ""
    raise NotOneCallError(
        f"there is no call{where} with the reference {shown(call_ref)} in the database; one that only the archive has "
        "is brought back first: pipeline explain says where it is"
    )
