"""The project's errors, a name and a sentence each; what they know is kept as attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

SHOWN_CHARACTERS = 80


class PipelineError(Exception):
    """The root of every error of this project: its text is a sentence for a person.

    Only what Flower answers a browser with is tornado's own (`pipeline.flower.handlers.RefusalError`): whoever catches
    a refusal of ours there must not catch the answer itself.
    """


class AwayError(PipelineError):
    """Something outside that the work needs is away, or does not do what it should: try again later."""


class DataError(PipelineError):
    """A record or a row breaks a rule that only a person can mend.

    >>> str(DataError("payload.call_time", "must not be negative, got -3"))
    'payload.call_time: must not be negative, got -3'
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)  # both as args, so that the error survives pickling
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class NoRateError(PipelineError):
    """A call cannot be priced until somebody loads a rate for it."""

    def __init__(self, number: str, at: datetime, campaign: str | None = None, tariff: str | None = None) -> None:
        super().__init__(number, at, campaign, tariff)
        self.number = number
        self.at = at
        self.campaign = campaign
        self.tariff = tariff

    def __str__(self) -> str:
        number = cut(self.number) or "a withheld number"
        whose = f" of campaign {shown(self.campaign)}" if self.campaign is not None else ""
        when = f"{self.at:%Y-%m-%d %H:%M:%S%z}"
        if self.tariff is None:
            return f"no tariff for {number}{whose} at {when}: load one that is valid then"
        return (
            f"no rate for {number}{whose} at {when} in tariff {shown(self.tariff)}: "
            "load a rate for its prefix, or one with an empty prefix, that is valid then"
        )


class NoSecondsError(PipelineError):
    """A call cannot be priced by the seconds that its tariff counts: nobody has told how many those were."""

    def __str__(self) -> str:
        return "no answered seconds are known"


def cut(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """The text on one line, printable, and no longer than a reason should be.

    >>> cut("a" * 100, 5)
    'aaaa…'
    """
    printable = repr(text[: limit + 1])[1:-1] if not text.isprintable() else text
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def shown(value: Any) -> str:
    """A JSON value as a reason quotes it: short, printable, and safe whatever it holds.

    >>> shown("busy"), shown(None), shown(True), shown([1])
    ("'busy'", 'null', 'true', 'a list')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{cut(value)}'"
    if isinstance(value, int) and abs(value) >= 10**SHOWN_CHARACTERS:
        return f"a number of more than {SHOWN_CHARACTERS} digits"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else cut(str(value))
