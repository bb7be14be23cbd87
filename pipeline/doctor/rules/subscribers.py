"""What the rows of the feed's subscribers say: one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.doctor.rules.verdict import ok, problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.doctor.rules.verdict import Verdict

PAUSED_LONG_SECONDS: Final = 86_400.0
LATE_SECONDS: Final = 600.0
"""How old what waits may be before somebody should look."""


class Standing(NamedTuple):
    """One subscriber, as far as it matters here."""

    name: str
    state: str
    state_reason: str | None
    state_seconds: float
    """How long it has been in that state."""
    misses: int
    last_error: str | None
    behind_seconds: float
    """How old the oldest is that waits for it."""
    refused: int


def judge_subscribers(subscribers: Sequence[Standing]) -> Iterator[Verdict]:
    """Whether each gets what it subscribed to; the calls themselves are billed whatever becomes of it."""
    for each in subscribers:
        name = f"subscriber {each.name}"
        resume = f"`pipeline subscriber resume {each.name}`"
        if each.state == "expired":
            yield problem(name, f"expired: {each.state_reason}", f"{resume} --skip-hole goes on behind them.")
        elif each.state == "disabled":
            yield problem(name, f"disabled: {each.state_reason}", f"Ask its integrator; then {resume}.")
        elif each.state == "paused" and each.state_seconds > PAUSED_LONG_SECONDS:
            hours = each.state_seconds / 3_600
            yield problem(name, f"paused for {hours:.0f} hours {each.state_reason}", f"{resume}, before it expires.")
        elif each.misses:
            yield problem(name, f"took nothing {each.misses} times: {each.last_error}", "It is tried again by itself.")
        elif each.state == "active" and each.behind_seconds > LATE_SECONDS:
            yield problem(
                name, f"{each.behind_seconds:.0f} s behind", "Is a feed process up? See `pipeline subscriber show`."
            )
        else:
            refused = f", {each.refused} events were refused" if each.refused else ""
            yield ok(name, f"{each.state}, {each.behind_seconds:.0f} s behind{refused}")
