"""What the address of the tab asks for, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from pipeline.accounts.rules.classes import DISPUTES, ItemClass
from pipeline.billing.rules.months import month_in
from pipeline.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.accounts.reconcile_rows import Run

NAMES: Final = ("provider", "month", "class")
CLASSES: Final = tuple(each.value for each in ItemClass if each is not ItemClass.EQUAL)
"""Those that can be listed: what is equal is a matter of the file and the calls."""


class Asked(NamedTuple):
    """A provider, a month and a class; what is empty was not said."""

    provider: str
    month: str
    """Such as 2026-11."""
    item_class: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the list; all that can be disputed where none was said."""
        return (self.item_class,) if self.item_class else DISPUTES


def read_asked(given: Mapping[str, str], zone: str) -> tuple[Asked, dict[str, str]]:
    """What is asked for, and what is wrong with it by name.

    >>> read_asked({"provider": "acme", "month": "2026-13", "class": "rate"}, "UTC")[1]
    {'month': "must be a month such as 2026-11, got '2026-13'"}
    """
    problems = {}
    if given["month"]:
        try:
            month_in(given["month"], zone)
        except DataError as error:
            problems["month"] = error.reason
    if given["class"] and given["class"] not in CLASSES:
        problems["class"] = f"must be one of: {', '.join(CLASSES)}"
    if "\0" in given["provider"]:
        problems["provider"] = "must be a provider's name"
    return Asked(given["provider"], given["month"], given["class"]), problems


def as_query(asked: Asked, **others: object) -> str:
    """Its part of an address, with what else belongs into it.

    >>> as_query(Asked("acme", "2026-11", ""), after=50)
    'provider=acme&month=2026-11&after=50'
    """
    named = {name: value for name, value in zip(NAMES, asked, strict=True) if value}
    return urlencode({**named, **{name: value for name, value in others.items() if value is not None}})


def month_of(run: Run) -> str:
    """The month that a run is of, in its own zone."""
    return f"{run.since.astimezone(ZoneInfo(run.zone)):%Y-%m}"
