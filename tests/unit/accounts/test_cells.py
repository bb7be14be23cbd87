"""The cells of a provider's file: every form reads back what it says, and nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accounts.rules import durations, figures, moments, numbers
from pipeline.calls.rules.phone_numbers import normalize_number

MARKS = {
    "1234.56": (".", ""), "1234,56": (",", ""), "1,234.56": (".", ","), "1.234,56": (",", "."),
    "1 234,56": (",", "\u00a0"), "1 234.56": (".", " "), "1'234.56": (".", "\u2019"),
}  # fmt: skip
AMOUNTS = st.decimals(min_value=-(10**11), max_value=10**11, places=4, allow_nan=False, allow_infinity=False)
SIGNED = ["-{}", "({})", "{}-", "\u2212{}", "-\u20ac{}", "\u20ac ({})", "({} EUR)", "EUR -{}", "{}- EUR", "- {} \u20ac"]
PLAIN = ["{}", "+{}", "\u20ac{}", "{} EUR", "EUR {}", "\u00a0{} ", "{}\u202f\u20ac"]
LOCAL = st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30))  # noqa: DTZ001 - local
PLAIN_FIGURE = figures.figure_reader("1234.56")


def written(amount: Decimal, form: str) -> str:
    mark, thousands = MARKS[form]
    return f"{abs(amount):,f}".replace(",", "T").replace(".", mark).replace("T", thousands)


def test_every_form_is_its_own_example():
    assert set(MARKS) == set(figures.FORMS)
    for form in figures.FORMS:
        assert figures.figure_reader(form)(form).value == Decimal("1234.56")


@given(AMOUNTS, st.sampled_from(sorted(MARKS)), st.data())
def test_an_amount_reads_back_however_it_is_signed(amount, form, data):
    around = data.draw(st.sampled_from(SIGNED if amount < 0 else PLAIN))
    assert figures.figure_reader(form)(around.format(written(amount, form))).value == amount


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("1,234.56", "1.234,56"), ("1.234,56", "1,234.56"), ("1.234,56", "12.34"), ("1234.56", "1,234.56"),
        ("1234.56", "1 234"), ("1.234,56", "1.23.456"), ("1234.56", "12.3.4"), ("1234.56", ""), ("1234.56", "free"),
        ("1234.56", "--1"), ("1234.56", "(1"), ("1234.56", "1)"), ("1234.56", "(-1)"), ("1234.56", "-1-"),
        ("1234.56", "EUR 1 EUR"), ("1234.56", "XXX 1"), ("1234.56", "5\u00a2"), ("1234.56", "1e5"), ("1234.56", "NaN"),
        ("1234.56", "\u0661"), ("1234.56", "9" * 13), ("1234.56", "0." + "1" * 21), ("1234.56", "1" * 100_000),
        ("1234.56", "."), ("1234.56", "=1+1"), ("1 234,56", "12 34,00"),
    ],
)  # fmt: skip
def test_what_is_written_otherwise_is_refused(form, cell):
    with pytest.raises(ValueError, match=r"^(must|is missing)"):
        figures.figure_reader(form)(cell)


def test_the_currency_beside_an_amount_is_told_where_it_is_certain():
    said = {cell: PLAIN_FIGURE(cell).currency for cell in ("1", "\u20ac1", "1 USD", "$1", "R 1", "1 \u20b9")}
    assert said == {"1": None, "\u20ac1": "EUR", "1 USD": "USD", "$1": None, "R 1": "ZAR", "1 \u20b9": "INR"}


@given(st.integers(0, durations.MOST_SECONDS))
def test_a_duration_reads_back_in_every_form(seconds):
    minutes, hours = divmod(seconds, 60), divmod(seconds, 3600)
    cells = {
        "seconds": f"{seconds}",
        "mm:ss": f"{minutes[0]:02}:{minutes[1]:02}",
        "h:mm:ss": f"{hours[0]}:{hours[1] // 60:02}:{hours[1] % 60:02}",
        "minutes": f"{(Decimal(seconds) / 60).quantize(Decimal('0.0001'), ROUND_HALF_UP):f}",
        "days": f"{(Decimal(seconds) / 86_400).quantize(Decimal('1e-15')):f}",
    }
    assert set(cells) == set(durations.FORMS)
    for form, cell in cells.items():
        assert durations.duration_reader(form, PLAIN_FIGURE)(cell) == seconds


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("seconds", "-1"), ("seconds", "1:00"), ("seconds", "EUR 5"), ("seconds", ""), ("seconds", "604801"),
        ("mm:ss", "61"), ("mm:ss", "1:60"), ("mm:ss", "1:2"), ("mm:ss", "0:01:01"), ("h:mm:ss", "1:01"),
        ("h:mm:ss", "1:60:00"), ("h:mm:ss", "999999999:00:00"), ("minutes", "1,5"), ("days", "8"), ("mm:ss", "-1:00"),
    ],
)  # fmt: skip
def test_a_duration_written_otherwise_is_refused(form, cell):
    with pytest.raises(ValueError, match=r"^(must|is missing)"):
        durations.duration_reader(form, PLAIN_FIGURE)(cell)


def test_a_fraction_of_a_second_is_rounded_half_up():
    assert durations.duration_reader("seconds", PLAIN_FIGURE)("60.5") == 61
    assert durations.duration_reader("minutes", PLAIN_FIGURE)("1.0167") == 61


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Johannesburg", "America/New_York", "Australia/Lord_Howe"])
@given(LOCAL.map(lambda at: at.replace(microsecond=0)))
def test_a_moment_reads_back_in_every_form(zone, local):
    there = ZoneInfo(zone)
    expected = local.replace(tzinfo=there).astimezone(UTC)
    forms = {
        "%d.%m.%Y %H:%M:%S": f"{local:%d.%m.%Y %H:%M:%S}",
        "%m/%d/%Y %I:%M:%S %p": f"{local:%m/%d/%Y %I:%M:%S %p}",
        "%Y%m%d%H%M%S": f"{local:%Y%m%d%H%M%S}",
        "iso": local.isoformat(" "),
        "excel": f"{Decimal((local - datetime(1899, 12, 30)) // timedelta(seconds=1)) / 86_400:.10f}",  # noqa: DTZ001
    }
    for form, cell in forms.items():
        read = moments.moment_reader(form, there, "first", PLAIN_FIGURE)
        if expected.astimezone(there).replace(tzinfo=None) != local:
            with pytest.raises(ValueError, match="the clocks skip it"):
                read([cell])
        else:
            assert read([cell]) == expected
    with_offset = moments.moment_reader("iso", ZoneInfo("UTC"), "first", PLAIN_FIGURE)
    assert with_offset([expected.astimezone(there).isoformat()]) == expected
    assert moments.moment_reader("unix", there, "first", PLAIN_FIGURE)([f"{expected.timestamp():.0f}"]) == expected


FORMATS = ["%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%Y-%m-%dT%H:%M:%S"]


@given(
    st.text("0123456789./-: T", max_size=20) | LOCAL.flatmap(lambda at: st.sampled_from([f"{at:{f}}" for f in FORMATS]))
)
def test_times_of_digits_are_what_strptime_says(text):
    """The short way of the ordinary formats takes and refuses the same."""
    for form in FORMATS:
        read = moments.moment_reader(form, ZoneInfo("UTC"), "first", PLAIN_FIGURE)
        try:
            expected = datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            expected = None
        if expected is not None and not 1990 <= expected.year <= 2099:
            expected = None
        try:
            found = read([text])
        except ValueError:
            found = None
        assert found == expected


def test_an_hour_that_is_there_twice_is_what_the_mapping_says():
    """On 25 October 2026 Berlin's clocks go from 3:00 back to 2:00."""
    read = {
        repeated: moments.moment_reader("iso", ZoneInfo("Europe/Berlin"), repeated, PLAIN_FIGURE)
        for repeated in moments.REPEATED
    }
    cell = ["2026-10-25 02:30:00"]
    assert read["first"](cell) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert read["second"](cell) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="is there twice in Europe/Berlin"):
        read["refuse"](cell)
    with pytest.raises(ValueError, match="is no time in Europe/Berlin, where the clocks skip it"):
        read["first"](["2026-03-29 02:30:00"])


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        ("iso", "2026-11-24"), ("iso", "yesterday"), ("excel", "99999999999"), ("excel", "0"), ("unix", "-1"),
        ("unix", "999999999999"), ("%d.%m.%Y %H:%M:%S", "31.02.2026 10:00:00"), ("%d.%m.%Y %H:%M:%S", "1.1.1 1:1:1"),
        ("%d.%m.%Y %H:%M:%S", "24.11.2026"), ("iso", "0001-01-01 00:00"), ("iso", "9999-12-31 23:59:59-12:00"),
        ("iso", ""),
    ],
)  # fmt: skip
def test_a_moment_that_is_none_is_refused(form, cell):
    with pytest.raises(ValueError, match=r"^(must|is missing)"):
        moments.moment_reader(form, ZoneInfo("Europe/Berlin"), "first", PLAIN_FIGURE)([cell])


@pytest.mark.parametrize("form", ["", "%d.%m.%Y", "%H:%M", "%d.%m.%Y %I:%M", "%d %d %m %Y %H:%M", "%", "%Q", "words"])
def test_a_format_without_a_whole_moment_is_refused(form):
    assert moments.format_fault(form) is not None


CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@given(st.sampled_from(CODES), st.text("0123456789", min_size=6, max_size=13))
def test_international_numbers_are_what_the_library_says(code, rest):
    """The short way past the library gives what the calls' own reading gives."""
    text = f"{code}{rest}"
    expected = normalize_number(f"+{text}", "ZZ")
    read = numbers.number_reader("international", "ZA")
    for cell in (text, f"+{text}", f"00{text}"):
        try:
            found = read(cell)
        except ValueError:
            found = None
        assert found == (expected.value if expected.is_e164 else None)


@pytest.mark.parametrize(
    "cell", ["", "anonymous", "110", "+", "0", "1" * 40, "49 30 x 123", "\u0661\u0662\u0663\u0664\u0665\u0666\u0667"]
)
def test_what_is_no_number_is_refused(cell):
    for form in numbers.FORMS:
        with pytest.raises(ValueError, match=r"^(must|is missing)"):
            numbers.number_reader(form, "DE")(cell)


def test_a_number_as_dialled_is_what_the_calls_have():
    read = numbers.number_reader("dialled", "ZA")
    assert {read(cell) for cell in ("0820001234", "+27 82 000 1234", "0027820001234", "27820001234")} == {
        "+27820001234"
    }
