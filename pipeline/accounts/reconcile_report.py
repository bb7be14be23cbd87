"""What a run came to, as it is told: the same bytes for the same inputs, without a clock or the number of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.accounts.rules.classes import ItemClass
from pipeline.accounts.rules.offset import signed
from pipeline.billing.rules.currencies import MINOR_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.accounts.reconcile_rows import Run

USUAL_DECIMALS: Final = 2
FIGURES: Final = ("lines", "calls", "seconds_there", "seconds_here", "money_there", "money_here")


class ClassLine(NamedTuple):
    """A class in one currency; a class of two has a line for each, and its counts in the first."""

    item_class: str
    lines: int | None
    calls: int | None
    seconds_there: int | None
    seconds_here: int | None
    money_there: Decimal | None
    money_here: Decimal | None
    currency: str
    share: float
    """Of all lines and calls."""


def as_dict(run: Run) -> dict[str, Any]:
    """A run for JSON."""
    files = [{name: value for name, value in each.items() if name != "id"} for each in run.inputs["files"]]
    return {
        "provider": run.provider,
        "since": run.since,
        "until": run.until,
        "zone": run.zone,
        "state": run.state,
        "problems": run.problems,
        "files": files,
        "ours_sha256": run.inputs["ours_sha256"],
        "offset": run.offsets | {"said": offset_said(run)},
        "rules": run.rules,
        "inputs": {name: run.inputs[name] for name in FIGURES},
        "classes": [{"class": each.value, **run.totals[each]} for each in ItemClass],
    }


def offset_said(run: Run) -> str:
    """How far the files' clock is ahead of ours, in words."""
    parts = run.offsets["parts"]
    said = signed(parts[0]["seconds"])
    if len(parts) > 1:
        said += f", from {_instant(parts[1]['since'])} by the file's clock on {signed(parts[1]['seconds'])}"
    if run.offsets["given"]:
        return f"{said}, as it was given"
    if not run.offsets["compared"]:
        return "not known: no line has a call to its number within 26 hours"
    said += f": {run.offsets['agreeing']:,} of {run.offsets['compared']:,} lines agree"
    if run.offsets["runner_up"] is not None:
        said += f"; next {signed(run.offsets['runner_up'])} with {run.offsets['runner_up_agreeing']:,}"
    return said


def _instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def class_lines(run: Run) -> list[ClassLine]:
    """The classes that have anything, in their order, and one for each currency of it."""
    whole = sum(each["lines"] + each["calls"] for each in run.totals.values()) or 1
    return [
        line
        for each in ItemClass
        if (of := run.totals[each])["lines"] or of["calls"]
        for line in _lines(each.value, of, (of["lines"] + of["calls"]) / whole)
    ]


def sum_lines(run: Run) -> list[ClassLine]:
    """Both inputs, a line a currency: what the classes add up to."""
    return list(_lines("all", run.inputs, 1.0))


def _lines(name: str, of: Mapping[str, Any], share: float) -> Iterable[ClassLine]:
    currencies = sorted({*of["money_there"], *of["money_here"]}) or [""]
    for place, currency in enumerate(currencies):
        there, here = of["money_there"].get(currency), of["money_here"].get(currency)
        lines, calls, seconds_there, seconds_here = (None if place else of[figure] for figure in FIGURES[:4])
        yield ClassLine(
            name,
            lines,
            calls,
            seconds_there,
            seconds_here,
            None if there is None else amount_in(currency, there),
            None if here is None else amount_in(currency, here),
            currency,
            share,
        )


def amount_in(currency: str, amount: str) -> Decimal:
    """An amount with at least the decimals of its currency; a run keeps it without zeros at its end.

    >>> str(amount_in("ZAR", "0.6")), str(amount_in("JPY", "6")), str(amount_in("USD", "0.0125"))
    ('0.60', '6', '0.0125')
    """
    found, decimals = Decimal(amount), MINOR_UNITS.get(currency, USUAL_DECIMALS)
    return found if -int(found.as_tuple().exponent) >= decimals else found.quantize(Decimal(1).scaleb(-decimals))


def causes(run: Run, most: int = 3) -> list[tuple[str, str, int]]:
    """The commonest causes of each class: its name, the cause, and how many have it."""
    return [
        (each.value, cause["cause"], cause["items"])
        for each in ItemClass
        for cause in run.totals[each]["causes"][:most]
    ]
