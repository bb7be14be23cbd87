"""Contacts found: every filter against all contacts looked at one by one, pages, and how much a page reads."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlalchemy import insert, text

from pipeline.contacts import listing
from pipeline.contacts.listing import ContactFilter, list_contacts
from pipeline.contacts.reading import Key
from pipeline.contacts.rules.outcome import MOST_CALLS
from pipeline.database.tables import contacts
from tests.integration.tuples import reading

EVERYTHING = ContactFilter()


def row(chance, ref):
    """A contact, or what is left of one."""
    outcome = chance.choice(["answered", "busy", "no_answer"])
    return {
        "contact_ref": ref,
        "campaign_ref": chance.choice(["spring", "autumn", "winter"]),
        "source": chance.choice(["enigma", "south"]),
        "attempts": chance.choice([0, 1, 2, 3]),
        "outcome": outcome,
        "final": outcome == "answered",
    }


def store(engine, rows):
    with engine.begin() as connection:
        connection.execute(insert(contacts), rows)


@pytest.fixture
def named(engine):
    """Contacts of two diallers and three campaigns, which share references."""
    chance = random.Random(7)
    unlike = {(one["contact_ref"], one["campaign_ref"], one["source"]): one
              for one in (row(chance, f"c{chance.randrange(60)}") for _ in range(160))}  # fmt: skip
    store(engine, list(unlike.values()))
    return sorted((one for one in unlike.values() if one["attempts"]), key=key_of)


def key_of(one):
    return Key(one["contact_ref"], one["campaign_ref"], one["source"])


def page(engine, wanted, after=None, **options):
    with engine.connect() as connection:
        return list_contacts(connection, wanted, limit=options.pop("limit", 1_000), after=after, **options)


def pages(engine, wanted, **options):
    """All of them, one after the other."""
    after = None
    while True:
        found = page(engine, wanted, after, **options)
        yield [each.key for each in found.contacts]
        after = found.next
        if after is None:
            return


def matches(one, wanted):
    """Whether a contact should be found."""
    return (
        wanted.contact_ref in (None, one["contact_ref"])
        and wanted.campaign in (None, one["campaign_ref"])
        and wanted.source in (None, one["source"])
        and wanted.outcome in (None, one["outcome"])
        and wanted.final in (None, one["final"])
        and (wanted.sources is None or one["source"] in wanted.sources)
        and (wanted.campaigns is None or one["campaign_ref"] in wanted.campaigns)
    )


FIELDS = {
    "contact_ref": ["c1", "nobody"],
    "campaign": ["spring", "none"],
    "source": ["south"],
    "outcome": ["busy", "failed"],
    "final": [True, False],
    "sources": [{"south"}, frozenset()],
    "campaigns": [{"spring", "winter"}, {"none"}],
}


@pytest.fixture
def small_slices(monkeypatch):
    monkeypatch.setattr(listing, "_FIRST_SLICE", 3)
    monkeypatch.setattr(listing, "_LARGEST_SLICE", 7)


@pytest.mark.parametrize("seconds", [0, 60], ids=["time is up", "time enough"])
def test_every_filter_finds_what_it_should_in_order_and_nothing_twice(engine, named, small_slices, seconds):
    """Alone and together with others, however small the slices, and wherever pages end."""
    for names in [(), *((name,) for name in FIELDS), *itertools.combinations(FIELDS, 2)]:
        for values in itertools.product(*(FIELDS[name] for name in names)):
            wanted = ContactFilter(**dict(zip(names, values, strict=True)))
            found = list(pages(engine, wanted, limit=5, seconds=seconds))
            assert list(itertools.chain(*found)) == [key_of(one) for one in named if matches(one, wanted)], wanted
            assert all(len(each) <= 5 for each in found)
            assert seconds == 0 or all(len(each) == 5 for each in found[:-1])


def test_a_page_whose_time_is_up_says_where_to_go_on(engine, named, small_slices):
    """Where few of many match it may be empty, and more follow."""
    found = list(pages(engine, ContactFilter(outcome="failed"), limit=2, seconds=0))
    assert len(found) > 10
    assert not any(found)


def test_no_statement_reads_all_contacts_for_a_few(engine, monkeypatch):
    """Whatever is asked for: what matches stands at the very end, or nowhere."""
    many, size = 3_000, 100
    like = {"campaign_ref": "spring", "source": "enigma", "attempts": 1, "outcome": "answered", "final": True}
    other = {"campaign_ref": "winter", "source": "south", "attempts": 1, "outcome": "busy", "final": False}
    store(engine, [like | {"contact_ref": f"c{n:05}"} for n in range(many)] + [other | {"contact_ref": "d"}])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE contacts"))
    monkeypatch.setattr(listing, "_FIRST_SLICE", size)
    monkeypatch.setattr(listing, "_LARGEST_SLICE", size)
    asked = [
        ContactFilter(campaign="winter"),
        ContactFilter(source="south"),
        ContactFilter(outcome="busy"),
        ContactFilter(final=False),
        ContactFilter(campaigns={"winter"}, sources={"south"}),
        ContactFilter(campaign="winter", outcome="busy", final=False),
        ContactFilter(outcome="failed"),
    ]
    for wanted in asked:
        with engine.connect() as connection, reading(connection, "^contacts") as read:
            found = list_contacts(connection, wanted, limit=10, after=None, seconds=0)
        assert (found.contacts, found.next) == ([], Key(f"c{size - 1:05}", "spring", "enigma")), wanted
        assert max(read[0]) <= 2 * size, wanted
    assert [each.key.contact_ref for each in page(engine, asked[-2]).contacts] == ["d"]


def test_a_reference_is_looked_up_among_its_own_alone(engine, named, small_slices):
    """However many others there are, and though time is up."""
    wanted = ContactFilter(contact_ref=named[-1]["contact_ref"])
    found = page(engine, wanted, seconds=0)
    assert [each.key for each in found.contacts] == [key_of(one) for one in named if matches(one, wanted)]
    assert found.next is None


def test_a_page_ends_before_too_many_calls_are_read(engine, monkeypatch):
    """A contact alone is told whatever it has; of a crowd no calls are read."""
    monkeypatch.setattr(listing, "MOST_READ", 10)
    of = {"campaign_ref": "spring", "source": "enigma"}
    attempts = [4, 6, 1, 40, MOST_CALLS + 1, MOST_CALLS + 1, 10, 1]
    store(engine, [of | {"contact_ref": f"c{n}", "attempts": many} for n, many in enumerate(attempts)])
    told = [[int(key.contact_ref[1:]) for key in found] for found in pages(engine, EVERYTHING)]
    assert told == [[0, 1], [2], [3], [4, 5, 6], [7]]
