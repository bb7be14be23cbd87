"""The rules of the provider's side: which seconds, which tariff, which network; no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing.rules.assigned import AssignedTo, most_specific_first
from pipeline.billing.rules.ported_numbers import PortedFileError, PortedSpan, network_at, read_ported
from pipeline.billing.rules.pricing import Line, Unbilled, Uncharged, decide, why_unknown
from pipeline.billing.rules.rate_deck import RateDeck, overlaps
from pipeline.billing.rules.rating import DurationBasis, Rate
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.tariff_file import BadLine, TariffFileError, read_tariff, write_tariff
from pipeline.billing.rules.terms import AS_BEFORE, LoadedTariff, TariffSettings
from pipeline.calls.rules.disposition import Disposition
from pipeline.errors import DataError, NoRateError, NoSecondsError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RATE = Rate("27", Decimal("0.60"), id=7)


def call(**changes):
    usual = Unbilled(845, "spring", "+27821234567", True, "outbound", NOON, 60, "answered", source="north")
    return usual._replace(**changes)


def tariff(*rates, **changes):
    deck = RateDeck(rates or [RATE], "UTC")
    terms = AS_BEFORE.terms("ZAR", None, Side.PROVIDER)
    return LoadedTariff(3, "acme", 1, *terms, deck=deck)._replace(**changes)


class TestSeconds:
    @pytest.mark.parametrize(
        ("talk", "hold", "answered", "seconds"),
        [
            (60, 5, 70, 70),  # the API's word goes before all
            (60, 5, 0, 0),  # also when it says none
            (60, 5, None, 65),
            (60, None, None, 60),
            (0, 12, None, 12),  # abandoned in the queue
            (0, 0, None, None),  # picked up, and nothing says for how long
            (0, None, None, None),
        ],
    )
    def test_what_is_known_of_the_time_since_pick_up(self, talk, hold, answered, seconds):
        """The table of docs/billing.md."""
        assert DurationBasis.ANSWERED.seconds(talk, hold, answered) == seconds

    @pytest.mark.parametrize("disposition", [Disposition.VOICEMAIL, Disposition.ABANDONED, Disposition.ANSWERED])
    def test_unknown_seconds_are_never_nothing(self, disposition):
        """A call that was picked up is not free because nobody knows for how long it lasted."""
        with pytest.raises(NoSecondsError):
            decide(call(disposition=disposition.value, talk_seconds=0), tariff())

    def test_voicemail_costs_the_providers_minute(self):
        """The carrier bills from pick-up, whoever answered."""
        line = decide(call(disposition="voicemail", talk_seconds=0, answered_seconds=30), tariff())
        assert isinstance(line, Line)
        assert (line.rated_seconds, line.talk_seconds, line.amount) == (30, 0, Decimal("0.30"))

    def test_busy_calls_are_not_billed_and_need_no_seconds(self):
        """What nobody picked up has its usual reason."""
        busy = decide(call(disposition="busy", talk_seconds=0), tariff())
        assert busy == Uncharged(845, "a call that ended as busy is not billed")

    def test_answered_seconds_are_for_providers_tariffs(self):
        """A client's tariff never charges what the integrator was not told."""
        with pytest.raises(DataError, match="--side provider"):
            TariffSettings(duration_basis=DurationBasis.ANSWERED).terms("ZAR", None)


def test_why_it_is_not_known():
    """The reasons say what is missing, and where."""
    named = tariff()
    assert why_unknown(NoSecondsError(), named) == "no answered seconds are known"
    assert why_unknown(NoRateError("+27821234567", NOON), named) == "no rate for +27821234567 in tariff acme"
    assert why_unknown(NoRateError("", NOON), named) == "no rate for a withheld number in tariff acme"
    assert why_unknown(KeyError("x"), named) == "cannot be rated: KeyError: 'x'"


def test_the_most_specific_assignment_goes_first():
    """Dial number, campaign of the dialler, campaign, dialler, everything."""
    assert most_specific_first(call(dial_number="+27110001111")) == (
        AssignedTo(dial_number="+27110001111"),
        AssignedTo(campaign_ref="spring", source="north"),
        AssignedTo(campaign_ref="spring"),
        AssignedTo(source="north"),
        AssignedTo(),
    )
    assert AssignedTo(dial_number="") not in most_specific_first(call())[:1]


class TestNetworks:
    RATES = (RATE, Rate("", Decimal("0.90"), network="Blue", id=8), Rate("2782", Decimal("0.80"), network="Blue", id=9))

    def test_the_network_beats_the_prefix(self):
        """Of a ported number; within the network the longest prefix wins as ever."""
        deck = RateDeck(self.RATES, "UTC")
        assert [deck.find("27821234567", NOON, network) for network in ("", "Blue", "Red")] == [
            RATE,
            self.RATES[2],
            RATE,
        ]
        assert deck.find("4420", NOON, "Blue") == self.RATES[1]
        assert (len(deck), deck.has_networks, RateDeck([RATE], "UTC").has_networks) == (3, True, False)

    def test_rates_of_other_networks_do_not_clash(self):
        """One prefix may have a rate by itself and one for each network, and not two of one."""
        assert overlaps([RATE, Rate("27", Decimal(1), network="Blue"), Rate("27", Decimal(1), network="Red")]) == []
        assert len(overlaps([Rate("27", Decimal(1), network="Blue"), Rate("27", Decimal(2), network="Blue")])) == 1
        text = "prefix,rate_per_minute,network\n27,1,Blue\n27,2,Blue\n27,3,\n"
        with pytest.raises(TariffFileError) as caught:
            read_tariff(text, default_currency="ZAR", timezone="UTC")
        assert [line.line for line in caught.value.bad_lines] == [3]

    def test_a_file_with_networks_reads_as_it_was_written(self):
        """The column is written where there is a network, and the client's files stay as they were."""
        rates = tuple(Rate(r.prefix, r.rate_per_minute, network=r.network, id=n) for n, r in enumerate(self.RATES, 2))
        text = "".join(write_tariff(rates, currency="ZAR", timezone="UTC", networks=True))
        assert read_tariff(text, default_currency="ZAR", timezone="UTC").rates == rates
        assert "network" not in next(write_tariff([RATE], currency="ZAR", timezone="UTC"))


INSTANTS = st.integers(0, 1_000).map(lambda minutes: NOON + timedelta(minutes=minutes))


@st.composite
def histories(draw):
    """The spans of one number, none of which overlap; the last may have no end."""
    ends = sorted(draw(st.sets(INSTANTS, min_size=2, max_size=8)))
    spans = [PortedSpan("27", f"n{n}", *pair) for n, pair in enumerate(pairwise(ends))]
    kept = [span for span in spans if draw(st.booleans())]
    if kept and draw(st.booleans()):
        kept[-1] = kept[-1]._replace(valid_to=None)
    return draw(st.permutations(kept))


@given(histories(), INSTANTS)
def test_a_number_is_in_one_network_at_most_and_ends_are_open(spans, at):
    """The first instant of a span is in it, the one it ends at is not; between spans there is no network."""
    holding = [span for span in spans if span.valid_from <= at and (span.valid_to is None or at < span.valid_to)]
    assert len(holding) <= 1
    assert network_at(spans, at) == (holding[0].network if holding else "")
    for span in spans:
        assert network_at(spans, span.valid_from) == span.network
        if span.valid_to is not None:
            assert network_at(spans, span.valid_to) != span.network
            assert network_at(spans, span.valid_to - timedelta(microseconds=1)) == span.network


class TestPortedFile:
    def read(self, text):
        return list(read_ported(text.splitlines(keepends=True), timezone="Africa/Johannesburg"))

    def test_what_a_line_says(self):
        """Columns in any order, dates in the zone, an empty end."""
        assert self.read("\ufeffnetwork;number;to;from\nBlue;+27821234567;;2026-11-01\n\n") == [
            (2, PortedSpan("27821234567", "Blue", datetime(2026, 10, 31, 22, tzinfo=UTC), None))
        ]

    @pytest.mark.parametrize(
        ("line", "column", "reason"),
        [
            ("0821234567,Blue,2026-11-01,", "number", "E.164"),
            ("27821234567,,2026-11-01,", "network", "a network's name"),
            ("27821234567,Blue,yesterday,", "from", "must be a date"),
            ("27821234567,Blue,2026-11-02,2026-11-02", "to", "must be after from"),
            ("27821234567,Blue,2026-11-02", None, "3 cells"),
        ],
    )
    def test_a_bad_line_says_what_is_wrong(self, line, column, reason):
        """With its number, its column and the reason."""
        [(number, [bad])] = self.read(f"number,network,from,to\n{line}\n")
        assert (number, bad.line, bad.column) == (2, 2, column)
        assert reason in bad.reason

    @pytest.mark.parametrize(
        ("text", "bad"),
        [
            ("", BadLine(1, None, "the file is empty")),
            ("number,from\n", BadLine(1, "network", "is missing in the header")),
        ],
    )
    def test_a_file_without_its_columns_is_refused(self, text, bad):
        """Before anything of it is read."""
        with pytest.raises(PortedFileError) as caught:
            self.read(text)
        assert caught.value.bad_lines == (bad,)
