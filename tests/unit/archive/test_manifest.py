"""A manifest says what is there, or it is not believed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.rules.manifest import (
    SCHEMA_VERSION,
    Look,
    Part,
    empty_manifest,
    read_manifest,
    with_state,
    written,
)
from pipeline.archive.rules.places import Place, month_of, next_number, part_name, part_number, place_of, span_of
from pipeline.archive.rules.refused import BrokenArchiveError
from pipeline.archive.rules.sums import SideSums, Sums, differences, total
from pipeline.errors import DataError

NOW = datetime(2026, 11, 2, 3, tzinfo=UTC)
PLACE = Place("enigma", "2026-10")


def sums(rows=2, money="1.19"):
    charged = SideSums(charged=rows, billable_seconds=84 * rows, money={"ZAR": Decimal(money)})
    return Sums(rows, 79 * rows, charged, SideSums(waiting=rows))


def part(day, number, **changes):
    of = {
        "day": date(2026, 10, day),
        "name": part_name(number),
        "first_record": day * 100,
        "last_record": day * 100 + 1,
        "size_bytes": 4_096,
        "sha256": "ab" * 32,
        "state": "2.1f",
        "written_at": NOW,
        "sums": sums(),
    }
    return Part(**(of | changes))


@pytest.fixture
def manifest():
    """Of three days."""
    made = empty_manifest(PLACE, NOW)
    for day, number in ((3, 1), (1, 2), (2, 3)):
        made = made.with_part(date(2026, 10, day), part(day, number), now=NOW)
    return made.complete(NOW, now=NOW)


def test_what_was_written_is_read(manifest):
    assert read_manifest(written(manifest), PLACE) == manifest
    assert [each.day.day for each in manifest.parts] == [1, 2, 3]
    assert manifest.sums == total([sums()] * 3)
    assert json.loads(written(manifest))["sums"]["client"]["money"] == {"ZAR": "3.57"}


def test_a_day_that_is_written_anew_takes_the_others_place(manifest):
    anew = manifest.with_part(date(2026, 10, 2), part(2, 4, sums=sums(3, "2.00")), now=NOW)
    assert [each.name for each in anew.parts] == ["part-2.parquet", "part-4.parquet", "part-1.parquet"]
    assert (anew.sums.rows, anew.sums.client.money, anew.last_number) == (7, {"ZAR": Decimal("4.38")}, 4)
    gone = anew.with_part(date(2026, 10, 2), None, now=NOW)
    assert (gone.sums.rows, gone.last_number) == (4, 4), "its number is not given again"
    assert gone.part_of(date(2026, 10, 2)) is None


def test_a_look_that_was_stopped_is_gone_on_with_once(manifest):
    stopped = manifest.stopped(Look(9, NOW), now=NOW)
    assert read_manifest(written(stopped), PLACE).unfinished == Look(9, NOW)
    assert stopped.complete(NOW, now=NOW).unfinished is None


LIES = {
    "rows": lambda of: of["sums"].update(rows=7),
    "talk": lambda of: of["parts"][0]["sums"].update(talk_seconds=7),
    "money": lambda of: of["parts"][1]["sums"]["client"]["money"].update(ZAR="1.18"),
    "a currency": lambda of: of["sums"]["client"]["money"].update(USD="1"),
    "a side": lambda of: [each["client"].update(charged=0) for each in (of["sums"], of["parts"][0]["sums"])],
    "a dialler": lambda of: of.update(source="other"),
    "a month": lambda of: of.update(month="2026-09"),
    "a day of another month": lambda of: of["parts"][0].update(day="2026-09-30"),
    "a day twice": lambda of: of["parts"][0].update(day="2026-10-02"),
    "days in no order": lambda of: of["parts"].reverse(),
    "a name twice": lambda of: of["parts"][0].update(name="part-3.parquet"),
    "a name that leads elsewhere": lambda of: of["parts"][0].update(name="../part-1.parquet"),
    "a number above the last": lambda of: of.update(last_number=1),
    "a look beyond the month": lambda of: of.update(unfinished={"day": 40, "through": "2026-10-02T00:00:00Z"}),
    "an unknown word": lambda of: of.update(extra=1),
    "a missing word": lambda of: of.pop("parts"),
    "a day that is none": lambda of: of["parts"][0].update(day="2026-10-32"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_manifest_that_lies_is_not_believed(manifest, name):
    told = json.loads(written(manifest))
    LIES[name](told)
    with pytest.raises(BrokenArchiveError, match=r"the manifest of 2026-10 of enigma cannot be (true|read): "):
        read_manifest(json.dumps(told).encode(), PLACE)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"schema_version": "1"}', b"PAR1"])
def test_rubbish_is_no_manifest(raw):
    with pytest.raises(BrokenArchiveError, match="cannot be read"):
        read_manifest(raw, PLACE)


def test_an_unknown_version_is_called_so(manifest):
    """Whatever else is in it."""
    newer = json.loads(written(manifest)) | {"schema_version": SCHEMA_VERSION + 1, "parts": "elsewhere"}
    with pytest.raises(BrokenArchiveError, match=f"is of schema version {SCHEMA_VERSION + 1}, and this version reads"):
        read_manifest(json.dumps(newer).encode(), PLACE)


@given(st.text(min_size=1), st.dates(min_value=date(1900, 1, 1), max_value=date(2999, 12, 31)))
def test_any_dialler_has_a_folder_of_its_own(source, day):
    """No text leads out of the archive, and the folder says whose it is."""
    try:
        place = Place(source, f"{day:%Y-%m}")
        folder = place.folder
    except UnicodeEncodeError:
        return  # half of a character; no text of a database holds one
    assert folder.count("/") == 1
    assert place_of(folder) == place
    assert place.span.since <= span_of(day).since < span_of(day).until <= place.until
    assert day in place.days


@given(st.sets(st.integers(1, 999_999_999)))
def test_no_name_comes_twice(numbers):
    names = [part_name(number) for number in numbers]
    assert [part_number(name) for name in names] == list(numbers)
    assert part_name(next_number([*names, "manifest.json", ".partial"])) not in names


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-1", "October", "2026-10-01", "../2026-10"])
def test_a_month_that_is_none_is_refused(text):
    with pytest.raises(DataError, match="must be a month such as 2026-11"):
        month_of(text)


money = st.decimals(min_value=0, max_value=10**12, places=12)
sides = st.builds(
    SideSums,
    charged=st.integers(0, 9),
    not_charged=st.integers(0, 9),
    waiting=st.integers(0, 9),
    billable_seconds=st.integers(0, 10**9),
    money=st.dictionaries(st.sampled_from(["ZAR", "USD", "EUR"]), money),
)
any_sums = st.builds(Sums, rows=st.integers(0, 99), talk_seconds=st.integers(0, 10**9), client=sides, provider=sides)


@given(st.lists(any_sums, max_size=6), st.integers(0, 6))
def test_parts_add_up_wherever_they_are_cut(parts, at):
    """To the last digit, and nothing differs from itself."""
    whole = total(parts)
    assert total([total(parts[:at]), total(parts[at:])]) == whole
    assert list(differences(whole, whole)) == []
    zar = sum((each.client.money.get("ZAR", Decimal(0)) for each in parts), Decimal(0))
    assert whole.client.money.get("ZAR", Decimal(0)) == zar


@given(any_sums, any_sums)
def test_sums_that_differ_say_in_what(one, other):
    said = list(differences(one, other))
    same_money = all(
        getattr(one, side).money.get(currency, 0) == getattr(other, side).money.get(currency, 0)
        for side in ("client", "provider")
        for currency in ("ZAR", "USD", "EUR")
    )
    counts = [
        [each.rows, each.talk_seconds]
        + [
            getattr(getattr(each, side), name)
            for side in ("client", "provider")
            for name in ("charged", "not_charged", "waiting", "billable_seconds")
        ]
        for each in (one, other)
    ]
    assert bool(said) == (counts[0] != counts[1] or not same_money)


def test_a_state_is_all_that_changes_when_the_database_lets_go():
    before = part(1, 1)
    assert with_state(before, "0") != before
    assert with_state(with_state(before, "0"), before.state) == before
