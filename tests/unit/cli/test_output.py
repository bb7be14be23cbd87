"""What the commands print: text as text, on whatever terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.text import Text

from pipeline.cli.output import Console, complain, print_csv, show_traceback
from pipeline.cli.tables import Table
from pipeline.errors import PipelineError

HOSTILE = "[/]\x1b[2J\u202e:smile:\n\r"
SHOWN = r"[/]\u001b[2J\u202e:smile:\n\r"


class Terminal(io.StringIO):
    """A terminal that remembers what it was told."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_a_terminal_gets_colours_of_ours_and_text_of_others(terminal):
    """As a string, as rich's own text, and in a cell; the only escapes are those of a style we chose."""
    console = Console(file=terminal, width=200)
    console.print(HOSTILE, style="red", highlight=False)
    console.print(Text(HOSTILE, "red"))
    table = Table("one", "two", box=None)
    table.add_row(HOSTILE, Text(HOSTILE, "red"))
    console.print(table)
    said = terminal.getvalue()
    assert "\x1b[31m" in said
    for escape in ("\x1b[31m", "\x1b[0m", "\x1b[1m"):
        said = said.replace(escape, "")
    assert all(line.isprintable() for line in said.split("\n"))
    assert said.count(SHOWN) == 2  # and rich leaves a control character out of a text of its own
    assert "[/]" in said


def test_columns_are_as_wide_as_what_is_shown(terminal):
    """A character of no width is six wide when it is shown."""
    console = Console(file=terminal, width=200)
    table = Table("a", "b", box=None, pad_edge=False, header_style="")
    table.add_row("\u200b\u200b", "1")
    table.add_row("x", "2")
    console.print(table)
    first, second = terminal.getvalue().splitlines()[-2:]
    assert first.index("1") == second.index("2")


def test_csv_is_as_it_is_but_in_a_terminal(terminal, monkeypatch, capsys):
    """A file or a script gets what there is."""
    print_csv(["a\x1b,1\n"])
    assert capsys.readouterr().out == "a\x1b,1\n"
    monkeypatch.setattr(sys, "stdout", terminal)
    print_csv(["a\x1b,1\n"])
    assert terminal.getvalue() == "a\\u001b,1\n"


def test_complaints_and_tracebacks_are_text(capsys):
    """Errors quote what they met."""
    complain(f"no call {HOSTILE}")
    error = PipelineError(HOSTILE)
    show_traceback(type(error), error, None)
    said = capsys.readouterr().err
    assert said.startswith(f"Error: no call {SHOWN}\npipeline.errors.PipelineError: [/]\\u001b[2J")
    assert said.replace("\n", "").isprintable()
