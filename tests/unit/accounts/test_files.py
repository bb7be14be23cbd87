"""Whole files of a provider: the examples, and all kinds of rubbish."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.accounts.provider_file import ProviderFile
from pipeline.accounts.rules.entries import FileRefusedError
from pipeline.accounts.rules.mapping import MappingError
from pipeline.accounts.rules.mapping_file import read_mapping
from pipeline.accounts.rules.rows import LINES_OF_A_ROW, LONGEST_LINE, NotRowsError
from pipeline.errors import PipelineError

EXAMPLES = Path(__file__).parents[3] / "deploy/examples/provider-mappings"

MAPPING = """
[file]
numbers = "1,234.56"
zone = "UTC"
[columns]
number = "to"
started_at = "at"
seconds = "for"
amount = "cost"
[formats]
started_at = "iso"
[constants]
currency = "EUR"
"""
HEADING = "to,at,for,cost,note"
GOOD = "27820001234,2026-11-02 10:00:00,60,0.50,ok"


@pytest.fixture
def read(tmp_path):
    """What a file comes to: its entries, its sums, what it states."""

    def reading(content, mapping=MAPPING):
        path = tmp_path / "file.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with ProviderFile(path) as file:
            opened = file.opened(read_mapping(mapping), zone="UTC", region="ZA")
            entries = list(opened.entries)
            assert opened.sha256() == file.sha256()
            return entries, opened.entries.sums, opened.entries.stated()

    return reading


def bad(entries):
    return {entry.line: entry.bad for entry in entries if entry.bad}


@pytest.mark.parametrize(
    ("name", "read_lines", "seconds", "money", "left_out"),
    [
        ("semicolons-latin1", 4, 3804, {"EUR": "1246.2240"}, 3),
        ("plain-us", 3, 1360, {"USD": "0.4685"}, 1),
        ("excel-days", 3, 361, {"ZAR": "2401.65"}, 4),
    ],
)
def test_an_example_is_read_by_its_mapping(name, read_lines, seconds, money, left_out):
    mapping = read_mapping((EXAMPLES / f"{name}.toml").read_text())
    with ProviderFile(EXAMPLES / f"{name}.csv") as file:
        entries = file.opened(mapping, zone=mapping.file.zone, region="ZA").entries
        found = list(entries)
    sums = entries.sums
    assert (sums.read, sums.bad, sums.left_out, sums.seconds) == (read_lines, 0, left_out, seconds)
    assert sums.money == {currency: Decimal(amount) for currency, amount in money.items()}
    assert sums.differences(entries.stated()) == []
    assert len(found) == read_lines + left_out


def test_every_line_is_kept_as_it_came(read):
    lines = [HEADING, GOOD, "", '"27820001235",2026-11-02 10:00:00,60,"1,000.50","two\nlines"', "rubbish", GOOD]
    entries, sums, _ = read("\r\n".join(lines) + "\r\n")
    assert [entry.raw for entry in entries] == lines
    assert [entry.line for entry in entries] == [1, 2, 3, 4, 6, 7]
    assert (sums.lines, sums.read, sums.bad, sums.left_out) == (4, 3, 1, 2)
    assert sums.money["EUR"] == Decimal("1001.50")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("27820001234,2026-11-02 10:00:00", "has 2 cells, and 4 are needed"),
        (f"{GOOD},one,more", "has 7 cells, and the heading has 5"),
        ("nobody,2026-11-02 10:00:00,60,0.50,", "number: must be a number with its country code, got 'nobody'"),
        ("27820001234,noon,60,0.50,", "started_at: must be a time such as 2026-11-24 21:34:56, got 'noon'"),
        ("27820001234,2026-11-02 10:00:00,2 GB,0.50,", "seconds: must be a figure such as 1,234.56, got '2 GB'"),
        ("27820001234,2026-11-02 10:00:00,2147483648,0.50,", "seconds: must be at most 604800 seconds"),
        ("27820001234,2026-11-02 10:00:00,60,,", "amount: is missing"),
        ("27820001234,2026-11-02 10:00:00,60,USD 1,", "amount: is in USD, and the line in EUR"),
        ("2782000\0,2026-11-02 10:00:00,60,0.50,", "has a NUL byte in it"),
        ('"27820001234,2026-11-02 10:00:00,60,0.50,', "has a quote that is not closed"),
        ('"27820001234"x,2026-11-02 10:00:00,60,0.50,', "has a quote in the wrong place"),
    ],
)
def test_a_bad_line_costs_itself_and_says_why(read, line, said):
    entries, sums, _ = read("\n".join([HEADING, GOOD, line, *[GOOD] * (LINES_OF_A_ROW + 3)]))
    assert list(bad(entries)) == [3]
    assert bad(entries)[3].startswith(said)
    assert sums.read == LINES_OF_A_ROW + 4


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", "utf-8"), ("utf-8-sig", "latin-1"), ("latin-1", "latin-1"), ("utf-16", "utf-8"),
     ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("utf-32", "utf-8"), ("cp1252", "cp1252")],
)  # fmt: skip
def test_its_encoding_is_by_its_mark_or_as_it_is_said(read, encoding, said):
    content = f"{HEADING}\n{GOOD.replace('ok', 'Köln')}\n".encode(encoding)
    entries, sums, _ = read(content, MAPPING.replace("[file]", f'[file]\nencoding = "{said}"'))
    assert (sums.read, entries[1].raw) == (1, GOOD.replace("ok", "Köln"))


def test_a_line_of_another_encoding_is_bad_and_kept_as_escapes(read):
    entries, sums, _ = read(f"{HEADING}\n{GOOD}\n".encode() + GOOD.replace("ok", "Köln").encode("latin-1"))
    assert bad(entries) == {3: "is not utf-8 (byte 0xF6): say the encoding of the file in file.encoding"}
    assert entries[2].raw == GOOD.replace("ok", r"K\xf6ln")
    assert sums.read == 1


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (f"{HEADING}\n{GOOD}\n".encode("utf-16-le"), FileRefusedError, "is it UTF-16"),
        (f"{HEADING}\n{GOOD}".encode("utf-16")[:-1], FileRefusedError, "is no text in utf-16"),
        (b"x" * (LONGEST_LINE + 1), NotRowsError, "line 1 has more than"),
        (f"{HEADING}\n".encode() + b"x" * 2 * LONGEST_LINE, NotRowsError, "line 2 has more than"),
        ("to,at,for\n", MappingError, "columns.amount: the file has no column 'cost'"),
        ("to,to,at,for,cost\n", MappingError, "columns.number: the file has several columns 'to'"),
        (GOOD, MappingError, "the columns of the file are '27820001234'"),
        (f'"{HEADING}', FileRefusedError, "line 1, which should name the columns, has a quote that is not closed"),
        (b"%PDF-1.7\n\xff\xfe\n", MappingError, "columns.number"),
    ],
)
def test_what_is_no_such_file_is_refused(read, content, error, said):
    with pytest.raises(error) as caught:
        read(content)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n", HEADING, f"{HEADING}\n", "\ufeff", f"\ufeff{HEADING}\n,,,,\n"])
def test_a_file_without_calls_has_none(read, content):
    _, sums, _ = read(content)
    assert (sums.lines, sums.read) == (0, 0)


WITH_TOTALS = f'{MAPPING}[totals]\ncolumn = "to"\nbegins = "total"\nlines = "at"\nseconds = "for"\namount = "cost"\n'


def test_its_own_totals_are_no_call_and_are_compared(read):
    entries, sums, stated = read(f"{HEADING}\n{GOOD}\n{GOOD}\nTOTAL,2,120,EUR 1.00\n", WITH_TOTALS)
    assert (stated.lines, stated.seconds, stated.money) == (2, 120, {"EUR": Decimal("1.00")})
    assert sums.differences(stated) == []
    assert entries[-1].left_out == "the totals"
    _, sums, stated = read(f"{HEADING}\n{GOOD}\n{GOOD}\nTotal,3,121,1.01\n", WITH_TOTALS)
    assert sums.differences(stated) == [
        "lines: 3 are stated, the lines come to 2, -1",
        "seconds: 121 are stated, the lines come to 120, -1",
        "amount: EUR 1.01 is stated, the lines come to EUR 1.00, -0.01",
    ]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("", "no line begins with 'total' in the column totals.column: the file is cut off"),
        ("total,1,60,0.50\ntotal,1,60,0.50", "lines 3 and 4 both have the totals"),
        ("total,1,60,a lot", "line 3: totals.amount: must be a figure"),
        ("total,1", "line 3: totals.seconds: is missing"),
        ("total,99999999999999999999,60,1", "line 3: totals.lines: must have at most"),
    ],
)
def test_totals_that_cannot_be_are_refused(read, last, said):
    with pytest.raises(FileRefusedError) as caught:
        read(f"{HEADING}\n{GOOD}\n{last}", WITH_TOTALS)
    assert str(caught.value).startswith(said)


def test_lines_that_are_no_calls_are_left_out(read):
    mapping = MAPPING.replace("[constants]", '[[skip]]\ncolumn = "note"\nis = ["SMS", "data"]\n[constants]')
    entries, sums, _ = read(f"{HEADING}\n{GOOD}\n,,,,sms\n,,,,Data \n,,,,voice", mapping)
    assert [entry.left_out for entry in entries[2:]] == ["skipped by the mapping", "skipped by the mapping", None]
    assert (sums.read, sums.bad, sums.left_out) == (1, 1, 3)


def test_columns_may_be_told_by_their_positions(read):
    by_position = MAPPING.replace("[file]", "[file]\nheading = false\nlines_before = 1")
    for position, name in enumerate(HEADING.split(",")[:4], 1):
        by_position = by_position.replace(f' = "{name}"', f" = {position}")
    entries, sums, _ = read(f"whatever\n{GOOD}\n", by_position)
    assert (entries[0].left_out, sums.read) == ("before the first call", 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.binary(max_size=300) | st.text('",;\n\r\0aé027.-:', max_size=200).map(lambda text: f"{HEADING}\n{text}".encode())
)
def test_any_bytes_end_in_lines_or_a_sentence(read, content):
    """And every line is one thing: read, bad or left out."""
    try:
        entries, sums, _ = read(content)
    except PipelineError:
        return
    assert all(sum(each is not None for each in entry[2:]) == 1 for entry in entries)
    assert len(entries) == sums.lines + sums.left_out
    assert not any("\0" in entry.raw for entry in entries)
    for entry in entries:
        entry.raw.encode()


def test_a_folder_or_a_device_is_no_file(tmp_path):
    with pytest.raises(OSError, match="directory"):
        ProviderFile(tmp_path)
    with pytest.raises(FileRefusedError, match="it is no file"):
        ProviderFile(Path("/dev/null"))
