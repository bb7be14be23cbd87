"""All the ways in which one number is written: E.164, as dialled, with a zero in brackets, with signs between."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import phonenumbers

from pipeline.calls.rules.erased import GONE_DIGITS
from pipeline.calls.rules.phone_numbers import normalize_number
from pipeline.errors import PipelineError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_BETWEEN: Final = r"[ \t\u00a0()./-]{0,4}"
_ANYTHING_BETWEEN: Final = "[^0-9]{0,12}"
_NO_DIGIT: Final = re.compile("[^0-9]")
_RUN: Final = re.compile(rf"(?<![0-9])\+?[0-9](?:{_BETWEEN}[0-9]){{5,18}}(?![0-9])")
_ESCAPED: Final = re.compile(r"\\u00([2-7][0-9a-fA-F])")
"""As JSON may write what is ASCII."""
_FEWEST_DIGITS: Final = GONE_DIGITS + 2


class NoNumberError(PipelineError):
    """What was given is no telephone number."""


class Spelled(NamedTuple):
    """One number, and how it is found wherever it is written."""

    number: str
    """E.164."""
    region: str
    """Where it is read as somebody there would dial it."""
    ending: str
    """Its last digits, which are looked for first."""
    found: re.Pattern[str]
    sql: str
    """For PostgreSQL's ``~``: whatever it leaves out holds the number nowhere."""

    def replaced(self, text: str, name: str) -> str:
        """The text with something else in each place where the number was.

        >>> spell("082 000 1234", "ZA").replaced("no rate for +27820001234 at 10:00", "somebody")
        'no rate for somebody at 10:00'
        """
        if self.ending not in _NO_DIGIT.sub("", text):
            return text
        if normalize_number(text.strip(), self.region).value == self.number:
            return name
        return self.found.sub(name, text)

    def is_in(self, text: str) -> bool:
        """Whether a text holds the number."""
        return self.replaced(text, "") != text


@lru_cache(maxsize=1_024)
def spell(text: str, region: str) -> Spelled:
    """A number as somebody typed it.

    Args:
        text: E.164 or as dialled in the region.
        region: such as ``ZA``.

    Raises:
        NoNumberError: it is no whole number that somebody can have.
    """
    number = normalize_number(text.strip(), region)
    if not number.is_e164 or len(number.value) <= _FEWEST_DIGITS:
        raise NoNumberError(
            f"{shown(text)} is no telephone number: give it whole, as +27820001234 or as it is dialled in {region}"
        )
    parsed = phonenumbers.parse(number.value)
    own = phonenumbers.national_significant_number(parsed)
    return Spelled(
        number.value,
        region,
        own[-GONE_DIGITS:],
        re.compile(_pattern(str(parsed.country_code), own, _trunk_prefix(parsed))),
        _ANYTHING_BETWEEN.join(own),
    )


def _pattern(country: str, own: str, trunk: str) -> str:
    digits, code = _BETWEEN.join(own), _BETWEEN.join(country)
    national = f"|{trunk}{_BETWEEN}" if trunk else ""
    abroad = rf"(?:\+|0{_BETWEEN}0)?{_BETWEEN}{code}{_BETWEEN}(?:{trunk or '0'}{_BETWEEN})?"
    return rf"(?<![0-9])(?:{abroad}{national})?{digits}(?![0-9])"


def _trunk_prefix(parsed: phonenumbers.PhoneNumber) -> str:
    """What is dialled before a number within its country, as the library has it; empty: nothing."""
    region = phonenumbers.region_code_for_number(parsed)
    metadata = region and phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    return (metadata and metadata.national_prefix) or ""


def numbers_in(text: str, region: str) -> Iterator[str]:
    """Each E.164 number that a text may hold, as somebody in the region would read it.

    >>> list(numbers_in('{"number": "082 000 1234", "call_ref": 845}', "ZA"))
    ['+27820001234']
    """
    for match in _RUN.finditer(_ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text)):
        number = normalize_number(match[0].strip(), region)
        if number.is_e164:
            yield number.value
