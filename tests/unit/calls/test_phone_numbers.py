"""Numbers become E.164 when they can be dialled from anywhere, and stay as they came otherwise."""

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.calls.rules.phone_numbers import Number, _by_the_library, _ordinary, normalize_number


@pytest.mark.parametrize(
    ("text", "e164"),
    [
        ("0820001234", "+27820001234"),
        ("27820001234", "+27820001234"),
        ("+27820001234", "+27820001234"),
        ("0027820001234", "+27820001234"),
        ("00442071838750", "+442071838750"),
        ("+44 20 7183 8750", "+442071838750"),
        ("082-000 1234", "+27820001234"),
        ("(082) 000.1234", "+27820001234"),
        (" 0820001234\n", "+27820001234"),
    ],
)
def test_forms_of_one_number(text: str, e164: str) -> None:
    """Every form the dialler uploads or sends becomes the same E.164 number; the original is kept."""
    assert normalize_number(text, "ZA") == Number(value=e164, original=text, is_e164=True)
    assert normalize_number(text, "ZA").digits == e164[1:]


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "anonymous", "Anonymous", "Unavailable", "private", "random", "tvc_name"),
        *("tvc_27820001234", "2001", "205", "112", "10111", "08200", "0", "00", "+", "+0", "++27820001234"),
        *("0820001234x5", "0820001234;ext=5", "sip:0820001234@host", "0800FLOWER", "27820001234567"),
        *("0820001234567", "+999123456789", "٠٨٢٠٠٠١٢٣٤", "0820001234\x00", "9" * 40, "9" * 4000),
    ],
)
def test_what_is_no_number_is_kept(text: str) -> None:
    """Short codes, names, withheld and impossible numbers are kept as they came, marked, with no digits."""
    assert normalize_number(text, "ZA") == Number(value=text, original=text, is_e164=False)
    assert not normalize_number(text, "ZA").digits


def test_the_region_decides_a_national_number() -> None:
    """The same national digits are different numbers in different countries."""
    assert normalize_number("02071838750", "GB").value == "+442071838750"
    assert normalize_number("2071838750", "US").value == "+12071838750"


def test_an_unknown_region_still_reads_international_numbers() -> None:
    """A region nobody knows spoils national numbers only, and raises nothing."""
    assert normalize_number("+27820001234", "??").is_e164
    assert not normalize_number("0820001234", "??").is_e164


@example("0000000")
@given(st.text(st.characters(exclude_categories=())) | st.from_regex(r"\+?[0-9]{0,20}", fullmatch=True))
@settings(deadline=None)
def test_any_text_is_a_number_or_kept(text: str) -> None:
    """No text is refused; E.164 is + and at most 15 digits, and normalizing it again changes nothing."""
    number = normalize_number(text, "ZA")
    assert number.original == text
    if number.is_e164:
        assert number.value[0] == "+"
        assert number.digits.isascii()
        assert number.digits.isdecimal()
        assert len(number.digits) <= 15
        assert normalize_number(number.value, "ZA").value == number.value
    else:
        assert number.value == text


def test_the_cache_is_bounded() -> None:
    """A million callers do not become a million entries."""
    assert _by_the_library.cache_info().maxsize == 65_536


_FORMS = st.tuples(
    st.sampled_from(
        ["", "+", "0", "00", "27", "+27", "0027", "27 ", "270", "+270", "00270", "44", "+44", "0044", "263"]
    ),
    st.text("0123456789", min_size=2, max_size=13),
).map("".join)


@given(_FORMS | st.from_regex(r"(\+|00)?27[1-9][0-9]{8,9}|0[1-9][0-9]{8,9}", fullmatch=True))
@settings(deadline=None, max_examples=3_000)
def test_an_ordinary_number_is_read_as_the_library_reads_it(text: str) -> None:
    """The short way and the library give the same number, whatever it looks like."""
    assert normalize_number(text, "ZA") == _by_the_library(text, "ZA")


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)), st.data())
@settings(deadline=None, max_examples=3_000)
def test_the_short_way_is_right_in_every_region(region: str, data: st.DataObject) -> None:
    """So it is in each region whose data it trusts, and in the others it is not taken."""
    code = str(phonenumbers.country_code_for_region(region))
    start = data.draw(st.sampled_from(["0", code, f"+{code}", f"00{code}", f"0{code}", f"{code}0"]))
    text = start + data.draw(st.text("0123456789", min_size=4, max_size=12))
    assert normalize_number(text, region) == _by_the_library(text, region)


def test_the_region_of_this_pipeline_has_the_short_way() -> None:
    """Half the time of a new number hangs on it."""
    ordinary = _ordinary("ZA")
    assert ordinary is not None
    assert ordinary.form("0820001234")
    assert not ordinary.form("10111")
    assert not ordinary.form("0820001234x5")
