"""Telephone numbers: E.164 where that is possible, as they came where it is not."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, ValidationResult

if TYPE_CHECKING:
    from collections.abc import Callable

E164_DIGITS = 15

# phonenumbers would find the digits in `tvc_27820001234` or drop the extension of `0820001234x5`. A name
# is not a number, so whatever holds more than digits and their punctuation is kept as it came.
_DIALLABLE = re.compile(r"\+?[0-9 ()./\-]{2,40}")


class Number(msgspec.Struct, frozen=True, gc=False):
    """A telephone number: `value` is E.164 when `is_e164`, else the text as it came."""

    value: str
    original: str
    is_e164: bool

    @property
    def digits(self) -> str:
        """What a rate deck is asked for: the digits of an E.164 number, nothing for any other."""
        return self.value[1:] if self.is_e164 else ""


def normalize_number(text: str, region: str) -> Number:
    """Read a number as somebody in the region would dial it; never refuses one.

    >>> normalize_number("082 000 1234", "ZA").value
    '+27820001234'
    >>> normalize_number("2001", "ZA")
    Number(value='2001', original='2001', is_e164=False)
    """
    ordinary = _ordinary(region)
    if ordinary is not None and (match := ordinary.form(text)):
        return Number(ordinary.prefix + match[1], text, is_e164=True)
    return _by_the_library(text, region)


class _Ordinary(NamedTuple):
    """The region's own numbers in the forms whose reading needs no library."""

    form: Callable[[str], re.Match[str] | None]
    prefix: str
    """Of E.164: + and the country code."""


@lru_cache(maxsize=512)
def _ordinary(region: str) -> _Ordinary | None:
    """What the library's own data says of a region, where that is simple; None where it is not.

    A campaign dials numbers nobody dialled before, so a cache does not help, and the library takes 20 us for what one
    expression can tell in 1 us: `0`, `27`, `0027` or `+27` and then nine digits that the region has. The data has to
    say that 0 is the national prefix and nothing but that; that 00 is the international one; that the country code is
    the region's own; and of the length that it is one of a whole number, never of a short code, and too long with the
    country code before it for that to be anything else. A test compares both readings over many numbers.
    """
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    short = phonenumbers.PhoneMetadata.short_metadata_for_region(region, None)
    if metadata is None or metadata.general_desc is None or short is None or short.general_desc is None:
        return None
    code = str(metadata.country_code)
    if phonenumbers.region_code_for_country_code(int(code)) != region or (
        *(metadata.national_prefix, metadata.national_prefix_for_parsing, metadata.national_prefix_transform_rule),
        metadata.international_prefix,
    ) != ("0", "0", None, "00"):
        return None
    whole = set(metadata.general_desc.possible_length)
    lengths = {length for length in whole if len(code) + length > max(whole) and len(code) + length <= E164_DIGITS}
    lengths -= {*metadata.general_desc.possible_length_local_only, *short.general_desc.possible_length}
    if not lengths:
        return None
    any_length = "|".join(f"[1-9][0-9]{{{length - 1}}}" for length in sorted(lengths))
    # The pattern's digits are ASCII here, as the library's own are not, and so are those of the text it is tried on.
    national = f"(?=(?:{any_length})\\Z)({metadata.general_desc.national_number_pattern})"
    form = re.compile(f"(?:(?:\\+|00)?{code}|0){national}", re.ASCII)
    return None if form.groups != 1 else _Ordinary(form.fullmatch, f"+{code}")


@lru_cache(maxsize=65_536)
def _by_the_library(text: str, region: str) -> Number:
    stripped = text.strip()
    e164 = _e164(stripped, region) if _DIALLABLE.fullmatch(stripped) else None
    return Number(value=e164 or text, original=text, is_e164=e164 is not None)


def _e164(text: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return None
    if not text.startswith("+") and _is_short_code(number, region):
        return None
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    # Italy's numbers begin with a zero. Elsewhere it may be a prefix once more, and every reading would take one off.
    if number.italian_leading_zero and phonenumbers.parse(e164, region) != number:
        return None
    return e164 if len(e164) <= 1 + E164_DIGITS else None


def _is_short_code(number: PhoneNumber, region: str) -> bool:
    """Whether it is dialled only inside the region, as 10111 is, though its length would do for a number."""
    return phonenumbers.is_possible_short_number_for_region(number, region) and not phonenumbers.is_valid_number(number)
