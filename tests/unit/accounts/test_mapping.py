"""The mapping of a provider's file: checked as a whole, and each mistake names its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.accounts.rules.mapping import MappingError
from pipeline.accounts.rules.mapping_file import check_mapping, check_name, read_mapping

MAPPING = """
[file]
numbers = "1.234,56"
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


def test_what_is_left_out_has_its_usual_value():
    mapping = read_mapping(MAPPING)
    assert (mapping.file.delimiter, mapping.file.quote, mapping.file.encoding) == (",", '"', "utf-8")
    assert (mapping.formats.seconds, mapping.formats.number, mapping.formats.repeated_hour) == (
        "seconds", "international", "first"
    )  # fmt: skip


def test_its_content_makes_it_again_and_comments_make_no_other():
    mapping = read_mapping(MAPPING)
    assert check_mapping(mapping.content) == mapping
    assert read_mapping(f"# another day\n{MAPPING}").sha256 == mapping.sha256
    assert read_mapping(MAPPING.replace("EUR", "ZAR")).sha256 != mapping.sha256


def test_the_mapping_on_the_accountants_page_is_one():
    page = (Path(__file__).parents[3] / "docs/accounting.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert read_mapping(block).columns.started_at == ["Datum", "Uhrzeit"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('number = "to"', 'nummer = "to"', "columns.nummer: is no key; there are number, started_at"),
        ('number = "to"', "", "columns.number: is missing"),
        ("[constants]", "[konstanten]", "konstanten: is no key; there are file, columns"),
        ("[file]", "[file]\nzone = 2", "file.zone: must be a text in quotes, not a whole number"),
        ('"1.234,56"', '"1,23"', "file.numbers: must be one of 1234.56, 1234,56"),
        ("[file]", '[file]\ndelimiter = "x"', "file.delimiter: must be one of"),
        ("[file]", '[file]\nquote = "xx"', "file.quote: must be one of"),
        ("[file]", '[file]\nencoding = "klingon"', "file.encoding: must be one of"),
        ("[file]", '[file]\nencoding = "rot13"', "file.encoding: must be one of"),
        ("[file]", '[file]\nencoding = "a\\u0000"', "file.encoding: must be one of"),
        ("[file]", '[file]\nzone = "Mars/Base"', "file.zone: must be a zone"),
        ("[file]", '[file]\nzone = "../../etc"', "file.zone: must be a zone"),
        ("[file]", '[file]\nregion = "XX"', "file.region: must be a region"),
        ("[file]", "[file]\nlines_before = -1", "file.lines_before: must be from 0"),
        ("[file]", "[file]\nheading = false", "columns.number: must be a position, for file.heading is false"),
        ('"iso"', '"%d.%m.%Y"', "formats.started_at: must have the day and the time"),
        ('"iso"', '"iso"\nseconds = "hours"', "formats.seconds: must be one of seconds, minutes"),
        ('"iso"', '"iso"\nnumber = "local"', "formats.number: must be one of international, dialled"),
        ('"iso"', '"iso"\nrepeated_hour = "both"', "formats.repeated_hour: must be one of first, second, refuse"),
        ('"EUR"', '"XTS"', "constants.currency: must be a currency"),
        ('currency = "EUR"', "", "currency: must be one of columns.currency and constants.currency"),
        ('amount = "cost"', 'amount = "cost"\ncurrency = "c"', "currency: must be one of columns.currency and"),
        ('amount = "cost"', "amount = 0", "columns.amount: must be a position from 1"),
        ('amount = "cost"', 'amount = " "', "columns.amount: must be a heading"),
        ('"at"', '["at", "a", "b"]', "columns.started_at: must be one column or two"),
        ("[constants]", '[[skip]]\ncolumn = "t"\n[constants]', "skip: must have one of is and is_not"),
        ("[constants]", '[[skip]]\ncolumn = "t"\nwas = []\n[constants]', "skip.was: is no key"),
        ("[constants]", '[totals]\ncolumn = "t"\nbegins = " "\n[constants]', "totals.begins: must not be empty"),
        ("[file]", "[file", "is no TOML"),
        ("[file]", "file = 1\n[more]", "more: is no key"),
    ],
)
def test_a_mistake_names_its_key(old, new, said):
    with pytest.raises(MappingError) as caught:
        read_mapping(MAPPING.replace(old, new, 1))
    assert any(mistake.startswith(said) for mistake in caught.value.mistakes), caught.value.mistakes


def test_several_mistakes_are_told_at_once():
    with pytest.raises(MappingError) as caught:
        read_mapping(MAPPING.replace('"iso"', '"x"').replace("EUR", "???").replace("1.234,56", "1"))
    assert [mistake.split(":")[0] for mistake in caught.value.mistakes] == [
        "file.numbers", "formats.started_at", "constants.currency"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", [{}, {"file": []}, {"file": {"numbers": {}}}, {"skip": [1]}, {"columns": {"number": 1.5}}]
)
def test_whatever_it_holds_the_mistake_is_a_sentence(content):
    with pytest.raises(MappingError):
        check_mapping(content)


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "a" * 65, "-x"])
def test_a_provider_has_a_plain_name(name):
    with pytest.raises(MappingError, match=r"^provider: "):
        check_name(name)
