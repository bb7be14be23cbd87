"""Conditions that narrow: what was not asked for is not in the statement, so that the indexes are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import ARRAY, any_, func, literal, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import BindParameter, ColumnElement

    Conditions = Mapping[str, Callable[[Any], ColumnElement[bool]]]
    """The condition of each field of a filter."""

T = TypeVar("T")

FEW: Final = 1_000
"""As many values are a list to the server; more are rows."""


def narrow(wanted: Mapping[str, Any], conditions: Conditions) -> Iterator[ColumnElement[bool]]:
    """The conditions of a filter's fields that are not None.

    Args:
        wanted: a filter's fields by name.
        conditions: what each of them asks for, given its value.

    Raises:
        KeyError: a field has no condition, and would narrow nothing.
    """
    return (conditions[name](value) for name, value in wanted.items() if value is not None)


def narrow_sql(wanted: Mapping[str, Any], conditions: Mapping[str, str]) -> str:
    """The same for a statement that stays SQL: what its WHERE goes on with, ``AND`` included.

    Args:
        wanted: a filter's fields by name.
        conditions: what each of them asks for, as SQL in which ``:name`` is its value.

    Raises:
        KeyError: a field has no condition, and would narrow nothing.
    """
    return "".join(f" AND {conditions[name]}" for name, value in wanted.items() if value is not None)


def among(column: ColumnElement[T], values: Sequence[T]) -> ColumnElement[bool]:
    """A column holds one of these: one parameter, however many they are.

    Of a table in ranges the server works out for each element of a list where it can be, at two kilobytes each. Many
    are rows for it, then.
    """
    listed = literal(list(values), ARRAY(column.type))
    if len(values) > FEW:
        return column.in_(select(func.unnest(listed).column_valued("one")))
    return column == any_(listed)


def is_set(column: ColumnElement[Any], wanted: bool) -> ColumnElement[bool]:  # noqa: FBT001 - a value to compare with
    """A column holds something, or nothing."""
    return column.is_not(None) if wanted else column.is_(None)


def word(value: str) -> BindParameter[str]:
    """A word that stands in the statement itself: a partial index is used by a plan that knows no parameters, too."""
    return literal(value, literal_execute=True)
