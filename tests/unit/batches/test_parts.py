"""A batch in parts: every record is done once or found out, and parts go down to one record and grow again."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.batches.rules.parts import (
    DEATHS_ALONE,
    PARTS,
    SHRINK,
    SMALLEST_FIRST,
    Part,
    after_death,
    after_error,
    after_success,
    first_part,
)

LARGEST_BATCH = 20_000

SIZES = st.integers(1, LARGEST_BATCH)
ANY_PART = st.builds(
    Part,
    place=st.integers(0, LARGEST_BATCH),
    size=SIZES,
    until=st.integers(0, LARGEST_BATCH),
    deaths=st.integers(0, 9),
    alone=st.integers(0, DEATHS_ALONE - 1),
)


class Walk(NamedTuple):
    """How a batch was done."""

    done: list[int]
    blamed: list[int]
    sizes: list[int]
    """Of the parts that went well."""
    deaths: int


def fitted(part: Part, records: int) -> Part:
    """No larger than what is left, as whoever takes a part in hand does it."""
    return part._replace(size=max(1, min(part.size, records - part.place)))


def walk(records: int, fatal: set[int], wrong: set[int], killed: Iterator[bool]) -> Walk:
    """Do a batch in which some records kill their worker, some end in an error, and some workers are killed."""
    done: list[int] = []
    blamed: list[int] = []
    sizes: list[int] = []
    deaths = 0
    part = first_part(records)
    while part.place < records:
        part = fitted(part, records)
        span = range(part.place, part.place + part.size)
        culprit = None
        died = bool(fatal.intersection(span)) or next(killed, False)
        if died:
            deaths += 1
            part, culprit = after_death(part)
        elif wrong.intersection(span):
            part, culprit = after_error(part)
        else:
            done += span
            sizes.append(len(span))
            part = after_success(part)
        if culprit is not None:
            blamed.append(culprit)
    assert part.deaths == deaths
    return Walk(done, blamed, sizes, deaths)


@given(st.data(), st.integers(1, 3_000), st.lists(st.booleans(), max_size=30))
def test_every_record_is_done_or_found_out_exactly_once(data: st.DataObject, records: int, killed: list[bool]) -> None:
    """Whatever dies, errs or is killed from outside, no record is left out and none is done twice."""
    places = st.sets(st.integers(0, records - 1), max_size=5)
    fatal, wrong = data.draw(places), data.draw(places)
    way = walk(records, fatal, wrong, iter(killed))
    assert sorted(way.done + way.blamed) == list(range(records))
    assert fatal | wrong <= set(way.blamed)


@given(st.data(), st.integers(1, 3_000))
def test_only_the_records_to_blame_are_blamed(data: st.DataObject, records: int) -> None:
    """Where no worker is killed from outside, none but the bad records are set aside."""
    places = st.sets(st.integers(0, records - 1), max_size=5)
    fatal, wrong = data.draw(places), data.draw(places)
    assert set(walk(records, fatal, wrong, iter(())).blamed) == fatal | wrong


@given(SIZES, st.data())
def test_a_record_that_kills_costs_few_workers(records: int, data: st.DataObject) -> None:
    """A part shrinks eightfold with each death: even the largest batch finds its one culprit in a handful."""
    culprit = data.draw(st.integers(0, records - 1))
    way = walk(records, {culprit}, set(), iter(()))
    assert way.blamed == [culprit]
    assert way.deaths <= 8


@given(SIZES)
def test_a_wrong_suspicion_costs_few_parts(records: int) -> None:
    """Parts double, so a batch with nothing wrong in it is done in at most half a dozen."""
    sizes = walk(records, set(), set(), iter(())).sizes
    assert len(sizes) <= 6
    assert all(later == 2 * sooner for sooner, later in itertools.pairwise(sizes[:-1]))


def test_parts_grow_again_behind_the_record_that_was_to_blame() -> None:
    """Up to the end of the part that died they stay small, then they double."""
    way = walk(2_000, {130}, set(), iter(()))
    # The first 125 go well. 125 to 374 die, then 125 to 155; 125 to 127 go well; 128 to 130 die; 128 and 129 go well.
    assert way.sizes[:4] == [125, 3, 1, 1]
    assert way.blamed == [130]
    assert way.sizes[-1] > 500


@pytest.mark.parametrize(
    ("records", "size"),
    [
        (1, 1),
        (31, 31),
        (SMALLEST_FIRST, SMALLEST_FIRST),
        (33, 32),
        (SMALLEST_FIRST * PARTS, 32),
        (PARTS * 33, 33),
        (20_000, 1_250),
    ],
)
def test_the_first_part(records: int, size: int) -> None:
    """A sixteenth of the batch, but at least 32 records, and never more than there are."""
    assert first_part(records) == Part(0, size)


@given(ANY_PART)
def test_after_a_success_the_next_part_begins_where_this_one_ended(part: Part) -> None:
    """It is twice as large past the suspected records, and ends no later than they do before."""
    following = after_success(part)
    assert following.place == part.place + part.size
    if following.place >= part.until:
        assert following.size == part.size * 2
    else:
        assert 1 <= following.size <= part.size
        assert following.place + following.size <= part.until
    assert (following.until, following.deaths, following.alone) == (part.until, part.deaths, 0)


@given(ANY_PART.filter(lambda part: part.size > 1))
def test_a_part_of_several_is_taken_up_smaller(part: Part) -> None:
    """After an error or a death alike it begins at the same record and blames none; its end is remembered."""
    for (following, culprit), deaths in ((after_error(part), 0), (after_death(part), 1)):
        assert culprit is None
        assert (following.place, following.until) == (part.place, part.place + part.size)
        assert following.size == max(1, part.size // SHRINK) < part.size
        assert (following.deaths, following.alone) == (part.deaths + deaths, 0)


@given(ANY_PART)
def test_an_error_with_one_record_in_hand_is_that_records(part: Part) -> None:
    """The next part is one record as well, and no death is counted."""
    following, culprit = after_error(part._replace(size=1))
    assert culprit == part.place
    assert (following.place, following.size, following.deaths) == (part.place + 1, 1, part.deaths)


@given(ANY_PART)
def test_one_death_alone_is_no_proof(part: Part) -> None:
    """A worker may have been killed from outside: the record is tried once more, then it is to blame."""
    again, culprit = after_death(part._replace(size=1, alone=0))
    assert culprit is None
    assert again == part._replace(size=1, alone=1, deaths=part.deaths + 1)
    following, culprit = after_death(again)
    assert culprit == part.place
    assert (following.place, following.size, following.alone) == (part.place + 1, 1, 0)
    assert following.deaths == part.deaths + 2


def test_deaths_alone_are_counted_in_a_row() -> None:
    """A success in between clears the record: the count belongs to the record in hand."""
    once, _ = after_death(Part(7, 1, until=9))
    assert once.alone == 1
    assert after_success(once).alone == 0
