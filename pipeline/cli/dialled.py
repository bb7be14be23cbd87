"""Which calls a report counts: those dialled in a month or a window, as its options say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import typer

from pipeline.billing.billed_calls import Selection
from pipeline.billing.rules.months import month_in
from pipeline.cli.common import check_window, time_option
from pipeline.errors import DataError

Month = Annotated[str | None, typer.Option(help="Calls dialled in a month, such as 2026-11.")]
Since = Annotated[datetime | None, time_option("Calls dialled at this time or later.")]
Until = Annotated[datetime | None, time_option("Calls dialled before this time; left out, until now.")]
Direction = Annotated[
    Literal["outbound", "inbound"] | None, typer.Option(help="Calls of one direction; both when left out.")
]

LONGEST: Final = timedelta(days=366)


def dialled_in(month: str | None, since: datetime | None, until: datetime | None, timezone: str) -> Selection:
    """The calls dialled in a month or a window.

    Args:
        month: such as 2026-11, of a zone.
        since: or from when on, aware.
        until: up to before when; None: now.
        timezone: that of the month.

    Raises:
        typer.BadParameter: it is neither or both, or there is no time in it.
    """
    if (month is None) is (since is None) or (month is not None and until is not None):
        raise typer.BadParameter("say --month, or --since with or without --until")
    if month is not None:
        try:
            days = month_in(month, timezone)
        except DataError as error:
            raise typer.BadParameter(error.reason, param_hint="'--month'") from None
        return Selection(days.since, days.until)
    assert since is not None
    now = datetime.now(tz=UTC)
    if until is None and since >= now:
        raise typer.BadParameter("is still to come: nothing was dialled since then", param_hint="'--since'")
    check_window(since, until)
    return Selection(since, until or now)


def check_length(selection: Selection) -> None:
    """Whether a window is no longer than what is counted at one go; ends the command when it is."""
    if selection.until - selection.since > LONGEST:
        raise typer.BadParameter(
            f"must be within {LONGEST.days} days of --since: all calls between them are counted at one go",
            param_hint="'--until'",
        )
