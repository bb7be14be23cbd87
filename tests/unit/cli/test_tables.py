"""Tables: nothing in them is cut, however narrow the terminal, and a script gets tabs."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.output import Console
from pipeline.cli.tables import Table

REASON = "no rate for +27820001234 of campaign 'c' in tariff 'default': load a rate for its prefix"
ROWS = [
    ("1", "enigma", 1_050, Decimal("1234.50"), "a-rather-long-campaign-name-of-somebody", REASON),
    ("2", "north", 7, Decimal("-0.10"), "c", "short"),
]


def table(rows=ROWS, headings=("id", "source", "calls", "amount", "campaign", "reason")):
    made = Table(*headings)
    for row in rows:
        made.add_row(*row)
    return made


def shown(made, width, *, terminal=True):
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, color_system=None).print(made)
    return file.getvalue()


def test_a_wide_terminal_gets_a_line_a_row():
    """Figures to the right, with separators; everything else to the left."""
    heading, first, second = shown(table(), 300).rstrip().split("\n")
    assert heading.split() == ["id", "source", "calls", "amount", "campaign", "reason"]
    assert first.split()[:4] == ["1", "enigma", "1,050", "1,234.50"]
    assert REASON in first
    assert heading.index("calls") + len("calls") == first.index("1,050") + 5 == second.index("  7  ") + 3
    assert heading.index("reason") == first.index("no rate") == second.index("short")


def test_a_sentence_is_folded_where_the_terminal_is_narrower():
    """The names and figures beside it stand whole on one line, and no line is longer than the terminal."""
    lines = shown(table(), 110).rstrip().split("\n")
    assert len(lines) > 3
    assert all(len(line.rstrip()) <= 110 for line in lines)
    assert "a-rather-long-campaign-name-of-somebody" in lines[1]
    assert " ".join(line[lines[0].index("reason") :].strip() for line in lines[1:-1]) == REASON


def test_a_narrow_terminal_gets_a_record_a_row():
    """A value a line, each under its name; what is longer goes on below."""
    said = "\n".join(line.rstrip() for line in shown(table(), 40).split("\n"))
    assert "calls     1,050\namount    1,234.50\ncampaign  a-rather-long-campaign-name-of" in said
    assert "\n          -somebody\n" in said
    assert all(len(line.rstrip()) <= 40 for line in said.split("\n"))
    assert said.count("\n\n") == 1, "an empty line between two"


def test_a_pipe_gets_tabs_and_plain_figures():
    """Whatever width it says it has; a tab in a cell is not one between cells."""
    said = shown(table([*ROWS, ("3\t4", "x\ny", 0, None, None, "")]), 20, terminal=False)
    assert said.split("\n") == [
        "id\tsource\tcalls\tamount\tcampaign\treason",
        f"1\tenigma\t1050\t1234.50\ta-rather-long-campaign-name-of-somebody\t{REASON}",
        "2\tnorth\t7\t-0.10\tc\tshort",
        "3\\t4\tx\\ny\t0\t\t\t",
        "",
    ]


def test_csv_has_plain_figures_and_names():
    """Headings of two words become one name."""
    made = Table("campaign", "billable seconds")
    made.add_row("c, d", 1_050)
    assert list(csv.reader(made.as_csv())) == [["campaign", "billable_seconds"], ["c, d", "1050"]]


def test_no_rows():
    """The headings stay, for a script as for a person."""
    assert shown(table([]), 80).split() == shown(table([]), 80, terminal=False).split()
    assert shown(table([]), 10).strip() == ""


@given(
    st.integers(5, 200),
    st.lists(st.lists(st.text("ab 東é", max_size=60), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_nothing_is_cut(width, rows):
    """Every character of every cell is shown, whatever the width."""
    said = shown(table(rows, ("x", "y", "z")), width)
    assert sorted(said.translate({ord(each): None for each in " \nxyz"})) == sorted(
        "".join(cell for row in rows for cell in row).replace(" ", "")
    )


@pytest.mark.parametrize("width", [30, 120])
def test_names_and_values(width):
    """Two columns without headings, as `quote` and `explain` have them."""
    made = Table("", "", show_header=False)
    made.add_row("amount", "1,234.50 ZAR")
    made.add_row("reason", "word " * 30 + "end")
    said = shown(made, width)
    assert "amount  1,234.50 ZAR" in said
    assert said.split().count("word") == 30
