"""What is asked of the database: what something costs, counted and not timed."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from sqlalchemy.event import listen, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@contextlib.contextmanager
def statements(engine: Engine, about: str = "") -> Iterator[list[str]]:
    """The statements of this thread, as they come.

    Args:
        engine: the database.
        about: what stands in those that count.
    """
    asked: list[str] = []
    here = threading.get_ident()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if threading.get_ident() == here and about in statement:
            asked.append(statement)

    listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        remove(engine, "before_cursor_execute", note)
