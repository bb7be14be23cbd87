"""The mapping's file, in TOML: checked as a whole before anything is read by it, and every mistake names its key."""

from __future__ import annotations

import codecs
import re
import tomllib
from typing import Any, Final, NoReturn
from zoneinfo import ZoneInfo

import msgspec
import phonenumbers

from pipeline.accounts.rules import durations, figures, moments, numbers
from pipeline.accounts.rules.mapping import (
    Columns,
    Constants,
    File,
    Formats,
    Mapping,
    MappingError,
    Skip,
    Totals,
    named_columns,
)
from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.errors import shown

DELIMITERS: Final = (",", ";", "\t", "|", ":")
QUOTES: Final = ('"', "'", "")
ENCODINGS: Final = (
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "iso8859-1",
    "iso8859-15",
    "cp1252",
    "cp1250",
    "mac-roman",
)
"""As Python calls them; `latin-1` and other names of the same are taken, too."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MOST_COLUMNS: Final = 1_000


_WORDS: Final = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number with a point",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""What the library calls a kind of value, in TOML's words."""

_PARTS: Final[dict[str, type[msgspec.Struct]]] = {
    "file": File, "columns": Columns, "formats": Formats, "constants": Constants, "skip": Skip, "totals": Totals,
}  # fmt: skip


def read_mapping(text: str) -> Mapping:
    """A mapping from its file.

    Args:
        text: TOML.

    Raises:
        MappingError: with every mistake that can be told at once.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _refuse(f"is no TOML: {error}")
    if unknown := list(_unknown(content)):
        _refuse(*unknown)
    return check_mapping(content)


def check_mapping(content: dict[str, Any]) -> Mapping:
    """A mapping from its content, as `Mapping.content` has it.

    Raises:
        MappingError: with every mistake that can be told at once.
    """
    try:
        mapping = msgspec.convert(content, Mapping)
    except msgspec.ValidationError as error:
        _refuse(_said(str(error)))
    if mistakes := _mistakes(mapping):
        _refuse(*mistakes)
    return mapping


def check_name(provider: str) -> None:
    """Whether a provider may be called so.

    Raises:
        MappingError: it may not.
    """
    if _NAME.fullmatch(provider) is None:
        _refuse(f"provider: must be 1 to 64 letters, digits, dots, _ or -, got {shown(provider)}")


def zone_fault(name: str) -> str | None:
    """What is wrong with the name of a zone; None: nothing."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # it may name a folder, or leave it
        return f"must be a zone such as Europe/Berlin, got {shown(name)}"
    return None


def _refuse(*mistakes: str) -> NoReturn:
    raise MappingError(list(mistakes))


def _unknown(content: dict[str, Any]) -> list[str]:
    found = [f"{key}: is no key; there are {', '.join(_PARTS)}" for key in content if key not in _PARTS]
    for name, part in _PARTS.items():
        fields = msgspec.structs.fields(part)
        known = [field.encode_name for field in fields]
        given = content.get(name)
        for table in given if isinstance(given, list) else [given]:
            if isinstance(table, dict):
                found += [f"{name}.{key}: is no key; there are {', '.join(known)}" for key in table if key not in known]
    return found


def _said(error: str) -> str:
    """What the library says of a value, with its key first.

    >>> _said("Object missing required field `numbers` - at `$.file`")
    'file.numbers: is missing'
    >>> _said("Expected `str`, got `int` - at `$.file.zone`")
    'file.zone: must be a text in quotes, not a whole number'
    """
    what, _, where = error.partition(" - at ")
    path = where.strip("`").removeprefix("$").removeprefix(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        return f"{path}.{missing[1]}: is missing".removeprefix(".")
    if wrong := re.fullmatch(r"Expected `([^`]+)`, got `(\w+)`", what):
        wanted = " or ".join(_WORDS.get(each, each) for each in wrong[1].split(" | ") if each != "null")
        return f"{path}: must be {wanted}, not {_WORDS.get(wrong[2], wrong[2])}"
    return f"{path}: {what}"


def _mistakes(mapping: Mapping) -> list[str]:
    return [*_mistakes_of_file(mapping.file), *_mistakes_of_cells(mapping), *_mistakes_of_columns(mapping)]


def _mistakes_of_file(file: File) -> list[str]:
    found = []
    if file.numbers not in figures.FORMS:
        found.append(f"file.numbers: must be one of {', '.join(figures.FORMS)}, got {shown(file.numbers)}")
    if file.delimiter not in DELIMITERS:
        found.append(f"file.delimiter: must be one of {', '.join(map(repr, DELIMITERS))}, got {shown(file.delimiter)}")
    if file.quote not in QUOTES:
        found.append(f"file.quote: must be one of {', '.join(map(repr, QUOTES))}, got {shown(file.quote)}")
    if _codec(file.encoding) not in ENCODINGS:
        found.append(f"file.encoding: must be one of {', '.join(ENCODINGS)}, got {shown(file.encoding)}")
    if not 0 <= file.lines_before <= _MOST_COLUMNS:
        found.append(f"file.lines_before: must be from 0 to {_MOST_COLUMNS}, got {file.lines_before}")
    if file.zone is not None and (fault := zone_fault(file.zone)):
        found.append(f"file.zone: {fault}")
    if file.region is not None and file.region not in phonenumbers.SUPPORTED_REGIONS:
        found.append(f"file.region: must be a region such as DE or ZA, got {shown(file.region)}")
    return found


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        return ""


def _mistakes_of_cells(mapping: Mapping) -> list[str]:
    formats, currency = mapping.formats, mapping.constants.currency
    found = []
    if formats.started_at not in {moments.ISO, moments.EXCEL, moments.UNIX} and (
        fault := moments.format_fault(formats.started_at)
    ):
        found.append(f"formats.started_at: {fault}")
    for name, value, forms in (
        ("seconds", formats.seconds, durations.FORMS),
        ("billed_seconds", formats.billed_seconds, (None, *durations.FORMS)),
        ("number", formats.number, numbers.FORMS),
        ("repeated_hour", formats.repeated_hour, moments.REPEATED),
    ):
        if value not in forms:
            there = ", ".join(form for form in forms if form)
            found.append(f"formats.{name}: must be one of {there}, got {shown(value)}")
    if currency is not None and currency not in MINOR_UNITS:
        found.append(f"constants.currency: must be a currency of ISO 4217 such as EUR, got {shown(currency)}")
    if (currency is None) is (mapping.columns.currency is None):
        found.append("currency: must be one of columns.currency and constants.currency")
    if any((each.is_ is None) is (each.is_not is None) for each in mapping.skip):
        found.append("skip: must have one of is and is_not")
    if mapping.totals is not None and not mapping.totals.begins.strip():
        found.append("totals.begins: must not be empty")
    return found


def _mistakes_of_columns(mapping: Mapping) -> list[str]:
    found = []
    for key, column in named_columns(mapping):
        if isinstance(column, int):
            if not 1 <= column <= _MOST_COLUMNS:
                found.append(f"{key}: must be a position from 1 to {_MOST_COLUMNS}, got {column}")
        elif not mapping.file.heading:
            found.append(f"{key}: must be a position, for file.heading is false, got {shown(column)}")
        elif not column.strip():
            found.append(f"{key}: must be a heading, got {shown(column)}")
    started = mapping.columns.started_at
    if isinstance(started, list) and len(started) != 2:
        found.append(f"columns.started_at: must be one column or two, the day's and the time's, got {len(started)}")
    return found
