"""Telephone numbers of a provider's file: E.164, as `calls.client_number` is."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import phonenumbers

from pipeline.calls.rules.phone_numbers import E164_DIGITS, normalize_number
from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable

INTERNATIONAL: Final = "international"
DIALLED: Final = "dialled"
FORMS: Final = (INTERNATIONAL, DIALLED)

_WORLD: Final = "001"
_FULL: Final = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})", re.ASCII).fullmatch
_PUNCTUATED: Final = re.compile(r"(\+|00)?([0-9 ()./\-\u00a0]{7,40})", re.ASCII).fullmatch


def number_reader(form: str, region: str) -> Callable[[str], str]:
    """What reads numbers.

    >>> number_reader("international", "DE")("27820001234")
    '+27820001234'
    >>> number_reader("dialled", "ZA")("082 000 1234")
    '+27820001234'

    Args:
        form: `INTERNATIONAL`: each begins with its country code, with or without + or 00 before it; `DIALLED`: as
            somebody in the region would dial it.
        region: of two letters.

    Returns:
        A function of a cell's text that gives E.164 with +. It raises ValueError with a sentence that begins with
        "must" or "is".
    """
    read = _international if form == INTERNATIONAL else lambda cell: _dialled(cell, region)

    def number(cell: str) -> str:
        found = read(cell)
        if found is None:
            wanted = "a number with its country code" if form == INTERNATIONAL else f"a number as dialled in {region}"
            raise ValueError(f"must be {wanted}, got {shown(cell)}" if cell.strip() else "is missing")
        return found

    return number


def _dialled(cell: str, region: str) -> str | None:
    if cell.startswith("+"):
        return _international(cell)
    found = normalize_number(cell.strip(), region)
    return found.value if found.is_e164 else None


def _international(cell: str) -> str | None:
    """The number; None: it is none.

    The library takes 30 us for what most numbers need none of it for: the country's own data says that a number of this
    length is whole, and that nothing is taken off its beginning. A test compares both over many numbers.
    """
    full = _FULL(cell)
    if full is not None:
        digits = full[1]
        plan = _plan(digits[:3])
        if plan is not None:
            national = digits[plan.code_digits :]
            if len(national) in plan.lengths and national[0] != "0" and not (plan.prefix and plan.prefix(national)):
                return f"+{digits}"
        return _by_the_library(f"+{digits}")
    punctuated = _PUNCTUATED(cell.strip())
    return None if punctuated is None else _by_the_library("+" + punctuated[2].replace("\u00a0", " ").lstrip())


@lru_cache(maxsize=65_536)
def _by_the_library(text: str) -> str | None:
    found = normalize_number(text, "ZZ")
    return found.value if found.is_e164 else None


class _Plan(NamedTuple):
    """What the library's data says of a country code."""

    code_digits: int
    lengths: frozenset[int]
    """Of whole national numbers."""
    prefix: Callable[[str], re.Match[str] | None] | None
    """What may be taken off a number's beginning."""


@lru_cache(maxsize=1_024)
def _plan(beginning: str) -> _Plan | None:
    """The plan of the country code that some digits begin with; None where there is none."""
    for length in (1, 2, 3):
        code = int(beginning[:length])
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code)
        if regions is None:
            continue
        metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, regions[0])
        if metadata is None or metadata.general_desc is None:
            return None
        whole = {each for each in metadata.general_desc.possible_length if length + each <= E164_DIGITS}
        whole -= set(metadata.general_desc.possible_length_local_only)
        prefix = metadata.national_prefix_for_parsing
        return _Plan(length, frozenset(whole), re.compile(prefix, re.ASCII).match if prefix else None)
    return None
