"""The order of calls, in which searches walk: when they were dialled, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import tuple_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement

    from pipeline.lookup.rules.call_filter import Cursor


def in_order(dialed_at: Any, call_id: Any, *, newer: bool) -> tuple[Any, Any]:
    """From the newest call on; towards newer ones, from the oldest on."""
    return (dialed_at, call_id) if newer else (dialed_at.desc(), call_id.desc())


def behind(place: Cursor | None, at: tuple[Any, Any], *, newer: bool) -> Iterator[ColumnElement[bool]]:
    """That calls come behind a place in this order; None: all do."""
    if place is not None:
        key, here = tuple_(*at), tuple_(*place)
        yield key > here if newer else key < here
