"""Reading and writing tariff files."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import combinations
from time import process_time
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.billing.rules.rate_deck import overlaps
from pipeline.billing.rules.rating import SECONDS_LIMIT, Rate
from pipeline.billing.rules.tariff_clashes import RATES_OF_ONE_PREFIX
from pipeline.billing.rules.tariff_file import (
    COLUMNS,
    BadLine,
    TariffFile,
    TariffFileError,
    read_tariff,
    write_tariff,
)
from pipeline.errors import DataError

HEADER = "prefix,rate_per_minute"
NO_HEADER = "the first line must name the columns, at least prefix and rate_per_minute"
NO_SEPARATOR = "must have no thousands separator, and a point before the decimals, got"


def read(text, *, default_currency="ZAR", timezone="Africa/Johannesburg") -> TariffFile:
    return read_tariff(text, default_currency=default_currency, timezone=timezone)


def bad_lines(text, **kwargs) -> list[BadLine]:
    with pytest.raises(TariffFileError) as caught:
        read(text, **kwargs)
    return list(caught.value.bad_lines)


def rate_with(column, cell) -> Rate:
    """The rate of a file of one line with this cell."""
    quoted = '"' + cell.replace('"', '""') + '"'
    if column in {"prefix", "rate_per_minute"}:
        cells = {"prefix": "27", "rate_per_minute": "1", column: quoted}
        text = f"{HEADER}\n{cells['prefix']},{cells['rate_per_minute']}\n"
    else:
        text = f"{HEADER},{column}\n27,1,{quoted}\n"
    return read(text).rates[0]


def anonymous(rates) -> list[Rate]:
    return [msgspec.structs.replace(rate, id=None) for rate in rates]


class TestAGoodFile:
    def test_two_columns_are_enough(self):
        """A rate without more is per second, without fee, and always valid."""
        file = read("prefix,rate_per_minute\n27,0.60\n")
        assert file == TariffFile((Rate("27", Decimal("0.60"), id=2),), "ZAR")

    def test_every_column_is_read(self):
        """Each column ends in its field, and the id is the line."""
        text = (
            ",".join(COLUMNS) + "\n"
            '+2782,1.25,"Mobile, Vodacom",0.10,60,6,0.5,99,30,3,0.01,eur,2026-01-01,2026-07-01T00:00:00Z,'
            '08:00-20:00,"mon-fri",Vodacom\n'
        )
        assert read(text) == TariffFile(
            (
                Rate(
                    prefix="2782",
                    rate_per_minute=Decimal("1.25"),
                    description="Mobile, Vodacom",
                    connect_fee=Decimal("0.10"),
                    first_increment=60,
                    next_increment=6,
                    minimum_charge=Decimal("0.5"),
                    maximum_charge=Decimal(99),
                    minimum_seconds=30,
                    free_below_seconds=3,
                    attempt_fee=Decimal("0.01"),
                    valid_from=datetime(2025, 12, 31, 22, tzinfo=UTC),
                    valid_to=datetime(2026, 7, 1, tzinfo=UTC),
                    time_of_day=(time(8), time(20)),
                    weekdays=frozenset({1, 2, 3, 4, 5}),
                    network="Vodacom",
                    id=2,
                ),
            ),
            "EUR",
        )

    @pytest.mark.parametrize(
        "text",
        [
            "\ufeffprefix,rate_per_minute\r\n27,0.60\r\n",
            "Prefix ; Rate per minute\n27;0.60\n",
            "PREFIX\trate-per-minute\r\n27\t0.60",
            '"prefix","rate_per_minute"\n"27"," 0.60 "\n',
            "rate_per_minute , prefix\n 0.60 , +27 \n",
            "prefix,rate_per_minute,currency,valid_from,weekdays\n27,0.60,,,\n",
            "prefix,rate_per_minute\r27,0.60\r",
        ],
    )
    def test_what_spreadsheets_do_to_a_file_is_tolerated(self, text):
        """Byte order marks, delimiters, line ends, quotes, spaces and empty cells change nothing."""
        assert read(text) == TariffFile((Rate("27", Decimal("0.60"), id=2),), "ZAR")

    def test_lines_may_come_one_by_one(self):
        """An iterable of lines reads as their text does."""
        text = "prefix,rate_per_minute\n27,1\n44,2\n"
        assert read(text.splitlines(keepends=True)) == read(text)

    def test_blank_lines_count_and_say_nothing(self):
        """An id is the line an editor shows, blank lines and those of bare delimiters included."""
        file = read("\n\nprefix,rate_per_minute\n\n27,1\n,\n44,2\n\n")
        assert [(rate.prefix, rate.id) for rate in file.rates] == [("27", 5), ("44", 7)]

    def test_an_empty_prefix_is_the_default_rate(self):
        """The default rate is the one whose prefix is empty."""
        assert read(f"{HEADER}\n,5\n27,1\n").rates[0].prefix == ""

    def test_a_file_may_name_its_currency_in_some_lines_only_if_it_is_the_default(self):
        """An empty currency means the default one."""
        text = "prefix,rate_per_minute,currency\n27,1,ZAR\n44,1,\n"
        assert read(text).currency == "ZAR"
        assert bad_lines(text, default_currency="EUR") == [
            BadLine(3, "currency", "must be one for all lines, got EUR after ZAR on line 2")
        ]

    @pytest.mark.parametrize(
        ("cell", "days"),
        [
            ("1-5", {1, 2, 3, 4, 5}),
            ("mon-fri", {1, 2, 3, 4, 5}),
            ("1,2,6", {1, 2, 6}),
            ("Sat, Sunday", {6, 7}),
            ("fri - mon", {5, 6, 7, 1}),
            ("7", {7}),
            ("1 3", {1, 3}),
            ("1-7", {1, 2, 3, 4, 5, 6, 7}),
            ("mon-tue,6-7", {1, 2, 6, 7}),
        ],
    )
    def test_weekdays(self, cell, days):
        """Days are numbers or names, alone or in ranges that may go over the weekend."""
        assert rate_with("weekdays", cell).weekdays == days

    @pytest.mark.parametrize(
        ("cell", "window"),
        [
            ("08:00-20:00", (time(8), time(20))),
            ("8:00 - 20:30", (time(8), time(20, 30))),
            ("22:00-06:00", (time(22), time(6))),
            ("18:00-24:00", (time(18), time(0))),
            ("00:00:30-00:01:00", (time(0, 0, 30), time(0, 1))),
            ("00:00-24:00", None),
        ],
    )
    def test_time_of_day(self, cell, window):
        """A window may go over midnight; the whole day is no window."""
        assert rate_with("time_of_day", cell).time_of_day == window

    @pytest.mark.parametrize(
        ("zone", "cell", "instant"),
        [
            ("Africa/Johannesburg", "2026-07-01", "2026-06-30T22:00:00+00:00"),
            ("Africa/Johannesburg", "2026-07-01T08:30", "2026-07-01T06:30:00+00:00"),
            ("Africa/Johannesburg", "2026-07-01 08:30:15+05:30", "2026-07-01T03:00:15+00:00"),
            ("Europe/London", "2026-07-01", "2026-06-30T23:00:00+00:00"),
            ("Europe/London", "2026-12-01", "2026-12-01T00:00:00+00:00"),
            # The clocks go back at 02:00 and 01:30 comes twice: the first is meant.
            ("Europe/London", "2026-10-25T01:30", "2026-10-25T00:30:00+00:00"),
            # In Beirut midnight itself was skipped: the day begins at 01:00 summer time.
            ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00+00:00"),
        ],
    )
    def test_a_date_is_midnight_in_the_zone(self, zone, cell, instant):
        """Dates and times without an offset are local, whatever the clocks do."""
        file = read(f"{HEADER},valid_from\n27,1,{cell}\n", timezone=zone)
        assert file.rates[0].valid_from == datetime.fromisoformat(instant)

    def test_an_end_may_be_the_end_of_time(self):
        """9999-12-31, which many systems write for never, is a good end."""
        assert rate_with("valid_to", "9999-12-31").valid_to == datetime(9999, 12, 30, 22, tzinfo=UTC)

    def test_rates_one_after_the_other_do_not_overlap(self):
        """The end of a rate is the first instant that is no longer valid."""
        text = f"{HEADER},valid_from,valid_to\n27,1,,2026-07-01\n27,2,2026-07-01,2026-08-01\n27,3,2026-08-01,\n"
        assert len(read(text).rates) == 3

    def test_peak_and_off_peak_do_not_overlap(self):
        """Windows and weekdays that leave each instant one rate are a sound tariff."""
        lines = "27,3,08:00-20:00,mon-fri\n27,2,20:00-08:00,mon-fri\n27,1,,sat-sun\n"
        text = f"{HEADER},time_of_day,weekdays\n{lines}"
        assert len(read(text).rates) == 3


class TestABadCell:
    @pytest.mark.parametrize("column", ["rate_per_minute", "connect_fee", "minimum_charge", "attempt_fee"])
    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ("-0.10", "must not be negative, got '-0.10'"),
            ("\u22121", "must not be negative, got '\u22121'"),
            ("(1.00)", "must not be negative, got '(1.00)'"),
            ("1,234.50", f"{NO_SEPARATOR} '1,234.50'"),
            ("1 234,5", f"{NO_SEPARATOR} '1 234,5'"),
            (
                "1\u00a0234.5",
                f"{NO_SEPARATOR} '1\\xa0234.5'",
            ),
            ("1'234", f"{NO_SEPARATOR} '1'234'"),
            (
                "1.234.567",
                f"{NO_SEPARATOR} '1.234.567'",
            ),
            ("0,60", f"{NO_SEPARATOR} '0,60'"),
            ("NaN", "must be digits and a decimal point, such as 0.60, got 'NaN'"),
            ("Infinity", "must be digits and a decimal point, such as 0.60, got 'Infinity'"),
            ("1e3", "must be digits and a decimal point, such as 0.60, got '1e3'"),
            ("R1.00", "must be digits and a decimal point, such as 0.60, got 'R1.00'"),
            (".5", "must be digits and a decimal point, such as 0.60, got '.5'"),
            ("٣", "must be digits and a decimal point, such as 0.60, got '٣'"),
            ("0.12345678901", "must have at most 10 decimals, got '0.12345678901'"),
            ("1234567890", "must have at most 9 digits before the point, got '1234567890'"),
        ],
    )
    def test_amounts_are_never_guessed(self, column, cell, reason):
        """An amount is digits and at most one point; anything else is named and refused."""
        with pytest.raises(TariffFileError) as caught:
            rate_with(column, cell)
        assert caught.value.bad_lines == (BadLine(2, column, reason),)

    @pytest.mark.parametrize(
        ("column", "cell", "reason"),
        [
            ("rate_per_minute", "", "is missing"),
            ("prefix", "27x", "must be at most 15 digits"),
            ("prefix", "++27", "must be at most 15 digits"),
            ("prefix", "+", "must be at most 15 digits"),
            ("prefix", "2.78E+10", "must be at most 15 digits"),
            ("prefix", "1234567890123456", "must be at most 15 digits"),
            ("prefix", "27 82", "must be at most 15 digits"),
            ("prefix", "\uff12\uff17", "must be at most 15 digits"),
            ("first_increment", "0", "must be at least 1 second, got 0"),
            ("next_increment", "0", "must be at least 1 second, got 0"),
            ("next_increment", "-6", "must not be negative, got '-6'"),
            ("first_increment", "60/6", "must be whole seconds"),
            ("minimum_seconds", "1.5", "must be whole seconds"),
            ("free_below_seconds", "99999999", "must be whole seconds, at most 604800, got '99999999'"),
            ("currency", "ZZZ", "must be an ISO 4217 code such as ZAR, got 'ZZZ'"),
            ("currency", "R", "must be an ISO 4217 code"),
            ("valid_from", "01/07/2026", "must be a date such as 2026-07-01"),
            ("valid_from", "2026-02-30", "must be a date such as 2026-07-01"),
            ("valid_from", "0001-01-01", "must be in a year from 1900 to 9000"),
            ("valid_from", "9999-12-31", "must be in a year from 1900 to 9000"),
            ("valid_to", "9999-12-31T23:00-05:00", "must be before the end of the year 9999"),
            ("time_of_day", "8-20", "must be a window such as 08:00-20:00"),
            ("time_of_day", "08:00-25:00", "must be a window such as 08:00-20:00"),
            ("time_of_day", "08:00", "must be a window such as 08:00-20:00"),
            ("time_of_day", "08:00-08:00", "begins when it ends"),
            ("weekdays", "0", "must be days such as 1-5"),
            ("weekdays", "8", "must be days such as 1-5"),
            ("weekdays", "mo", "must be days such as 1-5"),
            ("weekdays", "1--5", "must be days such as 1-5"),
            ("weekdays", "1-5,", "must be days such as 1-5"),
            ("description", "two\nlines", "must be one line of printable text"),
            ("description", "nul \x00", "must be one line of printable text"),
            ("description", "x" * 501, "must be at most 500 characters, got 501"),
        ],
    )
    def test_each_is_named_with_its_reason(self, column, cell, reason):
        """A bad cell is reported by line, column and what it should have been."""
        with pytest.raises(TariffFileError) as caught:
            rate_with(column, cell)
        (bad,) = caught.value.bad_lines
        assert (bad.line, bad.column) == (2, column)
        assert bad.reason.startswith(reason)

    @pytest.mark.parametrize(
        ("columns", "cells", "column"),
        [
            ("valid_from,valid_to", "2026-07-01,2026-06-01", "valid_to"),
            ("valid_from,valid_to", "2026-07-01,2026-07-01", "valid_to"),
            ("minimum_charge,maximum_charge", "2,1", "maximum_charge"),
        ],
    )
    def test_cells_that_contradict_each_other(self, columns, cells, column):
        """Two cells that cannot both be meant are a bad line too."""
        (bad,) = bad_lines(f"{HEADER},{columns}\n27,1,{cells}\n")
        assert (bad.line, bad.column) == (2, column)

    def test_every_bad_line_is_listed_and_none_is_loaded(self):
        """The list has every mistake of every line, in the file's order."""
        text = (
            f"{HEADER},first_increment,currency\n"
            "27,-1,0,ZAR\n"
            "44,0.5,1,ZAR\n"
            "x,0.5,1,XXX\n"
            "1,0.5,1\n"
            "1,0.5,1,ZAR,\n"
            "44,0.7,1,ZAR\n"
            "33,1,1,EUR\n"
        )
        found = [(bad.line, bad.column) for bad in bad_lines(text)]
        assert found == [
            (2, "rate_per_minute"),
            (2, "first_increment"),
            (4, "prefix"),
            (4, "currency"),
            (5, None),
            (6, None),
            (7, "prefix"),
            (8, "currency"),
        ]

    def test_cells_missing_or_too_many(self):
        """A line whose cells do not fit the header says how many it has, and what may be the cause."""
        few, many = bad_lines(f"{HEADER},description\n27,1\n27,1,a,b\n")
        assert few == BadLine(2, None, "has 2 cells, but the header 3 columns; description is missing")
        assert many.reason.startswith("has 4 cells, but the header 3 columns; a cell that holds the delimiter")

    @pytest.mark.parametrize("line", ['27,"1', '27,"1"x', "27," + "9" * 200_000])
    def test_broken_quotes_are_one_bad_line(self, line):
        """What cannot be told apart into cells is reported, and the lines after it are still read."""
        found = bad_lines(f"{HEADER}\n{line}\n")
        assert [bad.line for bad in found] == [2]

    def test_lines_are_numbered_as_an_editor_does(self):
        """A cell that spans lines does not shift the numbers of those below it."""
        found = bad_lines(f'{HEADER},description\n27,1,"a\nb"\n\n44,-1,\n')
        assert [(bad.line, bad.column) for bad in found] == [(2, "description"), (5, "rate_per_minute")]


class TestABadHeader:
    @pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
    def test_an_empty_file(self, text):
        """A file of nothing is an error."""
        assert bad_lines(text) == [BadLine(1, None, "the file is empty")]

    @pytest.mark.parametrize("text", [HEADER, f"{HEADER}\n", f"{HEADER}\n,\n\n"])
    def test_no_rates(self, text):
        """A header alone is an error: it would leave every call without a rate."""
        assert bad_lines(text) == [BadLine(1, None, "there is no rate below the header")]

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("27,0.60", [BadLine(1, None, NO_HEADER)]),
            ("prefix,rate", [
                BadLine(1, "rate", "is not a column of a tariff; did you mean rate_per_minute?"),
                BadLine(1, "rate_per_minute", "is missing in the header"),
            ]),
            (f"{HEADER},Prefix", [BadLine(1, "prefix", "stands in the header twice")]),
            (f"{HEADER},", [BadLine(1, None, "column 3 has no name")]),
            ("rate_per_minute", [BadLine(1, "prefix", "is missing in the header")]),
        ],
    )  # fmt: skip
    def test_the_header_is_checked_first(self, header, expected):
        """A header that is wrong is all that is reported, for the lines cannot be read without it."""
        assert bad_lines(f"{header}\nx,y,z\n") == expected

    def test_an_unknown_column_like_no_other(self):
        """A column that resembles none is answered with the columns there are."""
        (bad,) = bad_lines(f"{HEADER},qqq\n")
        assert bad.reason == f"is not a column of a tariff; known are {', '.join(COLUMNS)}"

    def test_an_unknown_default_currency(self):
        """A default currency that is none is an error of the settings, not of the file."""
        with pytest.raises(DataError, match="ISO 4217"):
            read(f"{HEADER}\n27,1\n", default_currency="XXX")


class TestOverlaps:
    @pytest.mark.parametrize(
        ("columns", "one", "other"),
        [
            ("description", "", "again"),
            ("valid_from,valid_to", ",", "2026-07-01,"),
            ("valid_from,valid_to", "2026-01-01,2026-07-01", "2026-06-30,2026-12-01"),
            ("time_of_day,weekdays", "08:00-20:00,", ",mon"),
            ("time_of_day,weekdays", "22:00-08:00,", "07:59-22:00,"),
        ],
    )
    def test_two_rates_for_one_instant(self, columns, one, other):
        """The later line is bad, and names the earlier, in whatever order they begin."""
        for first, second in ((one, other), (other, one)):
            (bad,) = bad_lines(f"{HEADER},{columns}\n27,1,{first}\n271,1,{first}\n27,2,{second}\n")
            assert bad == BadLine(4, "prefix", "is the same as on line 2, and at some time both would hold")

    def test_a_plus_makes_no_other_prefix(self):
        """+27 and 27 are the same prefix."""
        assert [bad.line for bad in bad_lines(f"{HEADER}\n27,1\n+27,2\n")] == [3]

    def test_an_empty_column_is_reported_in_a_moment(self):
        """Lines that all overlap are not compared each with each."""
        started = process_time()
        found = bad_lines(f"{HEADER}\n" + ",1\n" * 50_000)
        assert [bad.line for bad in found] == list(range(3, 50_002))
        assert process_time() - started < 10

    def test_a_history_without_ends_is_reported_in_a_moment(self):
        """Rates of which each would replace the one before need an end."""
        dates = [f"20{year:02}-{month:02}-{day:02}" for year in range(60) for month in range(1, 13) for day in (1, 9)]
        lines = "".join(f"27,1,{date},mon-fri\n" for date in dates)
        found = bad_lines(f"{HEADER},valid_from,weekdays\n{lines}")
        assert [bad.line for bad in found] == list(range(3, len(dates) + 2))

    def test_a_prefix_has_a_limit(self):
        """So many windows for one prefix are a mistake."""
        lines = "".join(
            f"27,1,{day + 1},{hour:02}:{minute:02}:00-{hour:02}:{minute:02}:30\n"
            for day in range(7)
            for hour in range(24)
            for minute in range(0, 60, 5)
        )
        (bad,) = bad_lines(f"{HEADER},weekdays,time_of_day\n{lines}")
        assert bad == BadLine(RATES_OF_ONE_PREFIX + 2, "prefix", f"'27' has more than {RATES_OF_ONE_PREFIX} rates")


INSTANTS = st.datetimes(datetime(1900, 1, 2), datetime(8999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
MONEY = st.decimals(0, 999_999_999, places=10) | st.decimals(0, 5, places=2)
SECONDS = st.integers(0, SECONDS_LIMIT)
TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=60
) | st.sampled_from(["=1+1", "'=1", "+27", "-", "@x", '"', ",;\t".strip(), "''"])  # fmt: skip
TIMES = st.builds(time, st.integers(0, 23), st.integers(0, 59), st.just(0) | st.integers(0, 59))


@st.composite
def any_rates(draw) -> list[Rate]:
    """Rates of distinct prefixes with anything a file can say."""
    prefixes = draw(st.lists(st.from_regex(r"[0-9]{0,15}", fullmatch=True), min_size=1, max_size=6, unique=True))
    return [_any_rate(draw, prefix, line) for line, prefix in enumerate(prefixes, 2)]


def _any_rate(draw, prefix, line) -> Rate:
    valid = sorted(draw(st.sets(INSTANTS, min_size=2, max_size=2)))
    window = draw(st.none() | st.lists(TIMES, min_size=2, max_size=2, unique=True))
    charges = sorted([draw(MONEY), draw(MONEY)])
    return Rate(
        prefix=prefix,
        rate_per_minute=draw(MONEY),
        connect_fee=draw(MONEY),
        first_increment=draw(st.integers(1, SECONDS_LIMIT)),
        next_increment=draw(st.integers(1, SECONDS_LIMIT)),
        description=draw(TEXT).strip(),
        minimum_charge=draw(st.sampled_from([None, charges[0]])),
        maximum_charge=draw(st.sampled_from([None, charges[1]])),
        minimum_seconds=draw(SECONDS),
        free_below_seconds=draw(SECONDS),
        attempt_fee=draw(MONEY),
        valid_from=draw(st.sampled_from([None, valid[0]])),
        valid_to=draw(st.sampled_from([None, valid[1]])),
        time_of_day=None if window is None else (window[0], window[1]),
        weekdays=draw(st.none() | st.frozensets(st.integers(1, 7), min_size=1)),
        id=line,
    )


class TestRoundTrip:
    @settings(deadline=None)
    @given(
        any_rates(),
        st.sampled_from(sorted(MINOR_UNITS)),
        st.sampled_from(["UTC", "Africa/Johannesburg", "Europe/London", "America/Sao_Paulo", "Pacific/Apia"]),
    )
    def test_what_is_written_reads_the_same(self, rates, currency, timezone):
        """Writing rates and reading them back, in any zone, gives the same rates and lines."""
        text = "".join(write_tariff(rates, currency=currency, timezone=timezone))
        assert read(text, timezone=timezone) == TariffFile(tuple(rates), currency)

    def test_amounts_keep_their_zeros(self):
        """0.60 is not written as 0.6."""
        rates = read(f"{HEADER}\n27,0.60\n").rates
        assert list(write_tariff(rates, currency="ZAR", timezone="UTC"))[1].startswith("27,0.60,,0,1,1,")

    def test_a_description_never_runs_as_a_formula(self):
        """A spreadsheet that opens an export sees text, and loading the export sees the description."""
        rates = [Rate("27", Decimal(1), description='=HYPERLINK("http://x")')]
        written = list(write_tariff(rates, currency="ZAR", timezone="UTC"))
        assert "\"'=HYPERLINK" in written[1]
        assert anonymous(read("".join(written)).rates) == rates

    def test_midnights_are_written_as_dates(self):
        """What was a date is a date again."""
        rates = read(f"{HEADER},valid_from\n27,1,2026-07-01\n").rates
        assert "2026-07-01," in list(write_tariff(rates, currency="ZAR", timezone="Africa/Johannesburg"))[1]
        zone = ZoneInfo("Africa/Johannesburg")
        assert rates[0].valid_from == datetime(2026, 7, 1, tzinfo=zone)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "2026-01-01", "2026-01-05", "2026-02-01"]),
            st.sampled_from(["", "2026-02-01", "2026-02-10", "2026-06-01"]),
            st.sampled_from(["", "08:00-20:00", "20:00-08:00", "19:00-21:00"]),
            st.sampled_from(["", "1-5", "6-7", "5-6"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_file_is_refused_exactly_when_rates_overlap(rows):
    """The short cuts for long files find what comparing each pair finds."""
    lines = [row for row in rows if not (row[0] and row[1] and row[0] >= row[1])]
    if not lines:
        return
    zone = "Europe/London"
    columns = f"{HEADER},valid_from,valid_to,time_of_day,weekdays"
    singles = [read(f"{columns}\n27,1,{','.join(row)}\n", timezone=zone).rates[0] for row in lines]
    numbered = [msgspec.structs.replace(rate, id=line) for line, rate in enumerate(singles, 2)]
    expected = {later.id for earlier, later in combinations(numbered, 2) if overlaps([earlier, later], zone)}
    text = f"{columns}\n" + "".join(f"27,1,{','.join(row)}\n" for row in lines)
    try:
        read(text, timezone=zone)
        found: set[int | None] = set()
    except TariffFileError as error:
        found = {bad.line for bad in error.bad_lines}
    assert found == expected


def test_the_error_says_the_first_line_and_survives_pickling():
    """The error is one sentence, and the same on the other side of a process."""
    with pytest.raises(TariffFileError) as caught:
        read(f"{HEADER}\n27,-1\n,x\n")
    assert str(caught.value) == "line 2: rate_per_minute: must not be negative, got '-1', and 1 more"
    assert pickle.loads(pickle.dumps(caught.value)).bad_lines == caught.value.bad_lines


def test_two_hundred_thousand_lines_are_read_in_seconds():
    """A whole A-Z tariff is no trouble."""
    text = f"{HEADER},description,connect_fee,first_increment,next_increment,valid_from\n" + "".join(
        f"{number},{number % 997}.{number % 9973},Place {number % 3000},0.10,60,6,2026-01-01\n"
        for number in range(100_000, 300_000)
    )
    started = process_time()
    assert len(read(text).rates) == 200_000
    assert process_time() - started < 20
