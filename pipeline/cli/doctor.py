"""``pipeline doctor``: what is wrong with the surroundings, and what to do about it."""

from __future__ import annotations

import typer
from rich.text import Text

from pipeline.cli.common import AsJson  # noqa: TC001 - typer reads the annotations
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, console, print_json
from pipeline.doctor.checks import run_checks
from pipeline.doctor.rules.verdict import Level, Verdict
from pipeline.logs.setup import configure_logging
from pipeline.settings import current_settings

STYLE = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red", Level.UNKNOWN: "dim"}


def doctor(*, as_json: AsJson = False) -> None:
    """Look at everything the pipeline needs, a line each, with what to do. Exit code 1 when there is a problem."""
    settings = current_settings()
    configure_logging(settings.pipeline_log_format, "critical")  # the lines below say it all
    verdicts = run_checks(settings)
    healthy = all(verdict.level is not Level.PROBLEM for verdict in verdicts)
    if as_json:
        print_json({"healthy": healthy, "checks": [verdict.as_dict() for verdict in verdicts]})
    else:
        for verdict in verdicts:
            console.print(line(verdict), soft_wrap=True)
    if not healthy:
        raise typer.Exit(FOUND)


def line(verdict: Verdict) -> Text:
    """A verdict on one line."""
    advice = f". {verdict.remedy}" if verdict.remedy else ""
    return Text.assemble(
        (f"{verdict.level.value:<8}", STYLE[verdict.level]),
        (f" {verdict.check}: ", "bold"),
        as_text(f"{verdict.says}{advice}"),
    )
