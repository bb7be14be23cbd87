"""How the commands speak: tables for people, JSON for scripts, complaints on standard error.

Whatever comes from outside is shown as text (`logs/rules/visible.py`): no markup is read in it, and no terminal
obeys it.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import rich.console
from rich.segment import Segment
from rich.text import Text

from pipeline.cli.tables import Format
from pipeline.logs.rules.visible import visible, visible_lines
from pipeline.lookup.rules.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from rich.console import ConsoleOptions, RenderableType
    from rich.style import Style

    from pipeline.cli.tables import Table


class Console(rich.console.Console):
    """A console that reads no markup, and on which a string is one line of text, whatever is in it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; what goes to a pipe or a file is not folded at a width that nobody has."""
        if not self.is_terminal:
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Anything else as it is laid out, with nothing harmful left in it: the net below `as_text`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)


console = Console()
errors = Console(stderr=True, soft_wrap=True)


def as_text(value: Any, style: str | Style = "") -> Text:
    """A value as one line of text."""
    return Text(visible(str(value)), style)


def as_lines(value: str) -> Text:
    """A text of several lines, as text."""
    return Text(visible_lines(value))


def remark(text: str) -> None:
    """Say something about the rows that were printed; where those go into a pipe, on standard error."""
    (console if console.is_terminal else errors).print(as_text(text))


def print_rows(table: Table, format_: Format, json_: Any = None) -> None:
    """Write rows as they were asked for.

    Args:
        table: for people, and for CSV.
        format_: which of the three.
        json_: what JSON has, which may be more than the rows.
    """
    if format_ is Format.JSON:
        print_json(json_)
    elif format_ is Format.CSV:
        print_csv(table.as_csv())
    else:
        console.print(table)


def print_heading(title: str) -> None:
    """Begin a part of what is shown."""
    console.print()
    console.print(as_text(title, "bold"))


def complain(what: str, remedy: str = "") -> None:
    """Say what went wrong, and what to do about it, on standard error."""
    errors.print(Text.assemble(("Error:", "bold red"), " ", as_text(what)))
    if remedy:
        errors.print(as_lines(remedy))


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write what Python writes of an error nobody expected; it often quotes a record."""
    errors.print(as_lines("".join(traceback.format_exception(kind, error, trace))))


def print_json(value: Any) -> None:
    """Write a value as JSON: amounts as strings, instants as ISO-8601 in UTC, what acts or hides as escapes."""
    print(visible_lines(json.dumps(value, default=plain, indent=2, ensure_ascii=False)))  # noqa: T201 - for scripts


def print_csv(lines: Iterable[str]) -> None:
    """Write lines of CSV: as they are for a file or a script, as a person may see them in a terminal."""
    sys.stdout.writelines(map(visible_lines, lines) if sys.stdout.isatty() else lines)


def operator_name() -> str:
    """Who is at the keyboard, for the record of what people did."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
