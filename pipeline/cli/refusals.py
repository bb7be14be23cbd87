"""What PostgreSQL refuses, said to a person: which role lacks what, and what to do about it."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Final

from sqlalchemy.engine import make_url

from pipeline.database.engine import lacks_right
from pipeline.database.roles import ROLES

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
DISK_FULL: Final = "53100"
GRANTS: Final = "deploy/README.md, Roles in the database, has which role may do what."


def why_refused(error: DBAPIError, database_url: str) -> tuple[str, str]:
    """What went wrong with the database, and what to do about it.

    Args:
        error: an outage (`database.engine.is_outage`): the work is right, and cannot be done now or by this role.
        database_url: the setting, for the role's name; its password is in neither sentence.
    """
    state = getattr(error.orig, "sqlstate", None)
    said = str(error.orig).strip().splitlines()[0].rstrip(".")
    if lacks_right(error):
        role = _role(database_url)
        verb = (error.statement or "").lstrip().partition(" ")[0].upper()
        needs = f" ({verb})" if verb in RIGHTS else ""  # of a statement that begins otherwise it would be a guess
        return f"role {role} lacks a right in the database: {said}{needs}", _remedy(role, said)
    if state == DISK_FULL:
        return f"the database's disk is full: {said}", "Free or enlarge the disk of its server; nothing was changed."
    if "does not exist" in said and "relation" in said:
        return f"the database cannot be used: {said}", "Run `pipeline db upgrade` first."
    return f"the database cannot be used: {said}", "Check DATABASE_URL, and that the server is up."


def _role(database_url: str) -> str:
    """Who we are there: as the client library chooses it where the address does not say."""
    return make_url(database_url).username or os.environ.get("PGUSER") or getpass.getuser()


def _remedy(role: str, said: str) -> str:
    if "create role" in said:
        return (
            f"Have a superuser of the server run what `pipeline db roles` prints, or say ALTER ROLE {role} CREATEROLE."
        )
    if "advisory" in said:
        function = said.rpartition(" ")[2]
        return f"A superuser has closed the locks of steps to it. Run this as the owner of the tables ({function})."
    if "for schema" in said or "for database" in said:
        return f"Run this as the owner of the database, or make {role} that: ALTER DATABASE … OWNER TO {role}."
    if role in ROLES:
        return (
            f"{role} has the rights of one process only. Run this with the DATABASE_URL of the owner of the tables; "
            f"what only reads also runs as cdr_read. {GRANTS}"
        )
    return f"Run this with the DATABASE_URL of the owner of the tables, or have the owner GRANT it. {GRANTS}"
