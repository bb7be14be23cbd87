"""Telephone numbers: E.164 where that is possible, as they came where it is not."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec
import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, ValidationResult

E164_DIGITS = 15

# phonenumbers would find the digits in `tvc_27820001234` or drop the extension of `0820001234x5`. A name
# is not a number, so whatever holds more than digits and their punctuation is kept as it came.
_DIALLABLE = re.compile(r"\+?[0-9 ()./\-]{2,40}")


class Number(msgspec.Struct, frozen=True):
    """A telephone number: `value` is E.164 when `is_e164`, else the text as it came."""

    value: str
    original: str
    is_e164: bool

    @property
    def digits(self) -> str:
        """What a rate deck is asked for: the digits of an E.164 number, nothing for any other."""
        return self.value[1:] if self.is_e164 else ""


@lru_cache(maxsize=65_536)
def normalize_number(text: str, region: str) -> Number:
    """Read a number as somebody in the region would dial it; never refuses one.

    >>> normalize_number("082 000 1234", "ZA").value
    '+27820001234'
    >>> normalize_number("2001", "ZA")
    Number(value='2001', original='2001', is_e164=False)
    """
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
    return e164 if len(e164) <= 1 + E164_DIGITS else None


def _is_short_code(number: PhoneNumber, region: str) -> bool:
    """Whether it is dialled only inside the region, as 10111 is, though its length would do for a number."""
    return phonenumbers.is_possible_short_number_for_region(number, region) and not phonenumbers.is_valid_number(number)
