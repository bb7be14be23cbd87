"""The options that choose failures: the same ones for every command that takes them."""

from __future__ import annotations

import functools
import inspect
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.common import Campaign, Reason, Source, time_option
from pipeline.failures.listing import FailureFilter

if TYPE_CHECKING:
    from collections.abc import Callable

FailedClass = Literal["data", "conflict", "reference", "bug", "delivery"]
FailedStep = Literal["normalize", "classify", "bill", "schedule_recordings", "deliver"]

OPTIONS: dict[str, Any] = {
    "failure_class": Annotated[FailedClass | None, typer.Option("--class", help="Those of one class.")],
    "step": Annotated[FailedStep | None, typer.Option("--step", help="Those of one step.")],
    "source": Source,
    "campaign": Campaign,
    "call_ref": Annotated[str | None, typer.Option(help="One call.")],
    "reason": Reason,
    "about": Annotated[str | None, typer.Option(help="Those about one field or kind of error, as `stats` names it.")],
    "subscriber": Annotated[str | None, typer.Option(help="Events that one subscriber refused.")],
    "since": Annotated[datetime | None, time_option("Those that failed last at this time or later.")],
    "until": Annotated[datetime | None, time_option("Those that failed last before this time.")],
}


def chooses_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose failures; it gets what they say as its argument ``wanted``."""
    own = inspect.signature(command, eval_str=True).parameters
    options = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in OPTIONS.items()
    }
    others = [parameter for name, parameter in own.items() if name != "wanted"]
    positional = [each for each in others if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    keyword_only = [each for each in others if each.kind is inspect.Parameter.KEYWORD_ONLY]
    parameters = [*positional, *options.values(), *keyword_only]

    @functools.wraps(command)
    def choosing(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in OPTIONS}
        command(**given, wanted=_filter(chosen))

    choosing.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    choosing.__annotations__ = {each.name: each.annotation for each in parameters}
    # Whoever looks for the signature must not find the command's own behind it.
    del choosing.__wrapped__
    return choosing


def _filter(chosen: dict[str, Any]) -> FailureFilter:
    return FailureFilter(
        failure_class=chosen["failure_class"],
        step=chosen["step"],
        states=None,
        source=chosen["source"],
        call_ref=chosen["call_ref"],
        campaign_ref=chosen["campaign"],
        contains=chosen["reason"],
        about=chosen["about"],
        subscriber=chosen["subscriber"],
        since=chosen["since"],
        until=chosen["until"],
    )
