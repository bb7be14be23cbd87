"""Calls that came without a reference: what was made of their record names them, and has to be made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

# SQL: one statement a table; nearly always there is nothing to do.
_RENAMED = {
    table: text(
        f"UPDATE {table} SET call_ref = renamed.new "
        "FROM unnest(cast(:olds AS text[]), cast(:news AS text[])) AS renamed (old, new) "
        f"WHERE {table}.call_ref = renamed.old"
    )
    for table in ("call_keys", "recordings", "failures", "feed_refusals", "replay_refusals", "access_log")
}


def rename(connection: Connection, references: Mapping[str, str]) -> None:
    """Have all that names a call whose reference was made of its record name it by the new one."""
    if references:
        values: dict[str, Sequence[str]] = {"olds": list(references), "news": list(references.values())}
        for statement in _RENAMED.values():
            connection.execute(statement, values)
