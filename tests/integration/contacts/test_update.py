"""Contacts come to what their calls come to, whatever way these came."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from sqlalchemy import text

from pipeline.batches.progress import take_overdue
from pipeline.batches.reconcile import reconcile
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_all_steps
from pipeline.contacts import rows as contact_statements
from pipeline.contacts.reading import Key, contacts_named, contacts_of, inbound_of
from pipeline.contacts.rebuild import rebuild
from pipeline.contacts.rules.outcome import MOST_CALLS, Outcome
from pipeline.contacts.update import WithoutContact, update_contacts
from pipeline.failures.operator import accept
from tests.factories import DIALED_AT, make_record
from tests.integration.contact_rows import ENDS, by_the_rules, contact_rows
from tests.integration.flow import handing, load, receive, rows, walk, walk_overdue
from tests.integration.tuples import reading

SIX = (
    ("no_answer", "0820000001", 0),
    ("answered", "0820000002", 60),
    ("abandoned", "0820000001", 30),
    ("answered", "0820000003", 60),
    ("failed", "0820000002", 90),
    ("busy", "0820000003", 10),
)
"""Two calls are as good as each other and were dialled at one moment."""


def record(contact_ref, place):
    end, number, seconds = SIX[place]
    return make_record(
        call_ref=f"{contact_ref}-{place}",
        contact_ref=contact_ref,
        number=number,
        dialed_at=DIALED_AT + seconds,
        **ENDS[end],
    )


def compositions(count):
    """Every way to cut so many things into batches: in how many each is."""
    for cuts in itertools.product((False, True), repeat=count - 1):
        sizes = [1]
        for cut in cuts:
            if cut:
                sizes.append(1)
            else:
                sizes[-1] += 1
        yield sizes


def arrivals(chance):
    """Of each permutation a contact of its own: which of its six calls come in which batch, some of them twice."""
    cuts = list(compositions(len(SIX)))
    for nth, order in enumerate(itertools.permutations(range(len(SIX)))):
        left = iter(order)
        groups = [list(itertools.islice(left, size)) for size in cuts[nth % len(cuts)]]
        for _ in range(chance.randint(0, 2)):
            chance.choice(groups).append(chance.randrange(len(SIX)))
        yield f"p{nth:03}", groups


def test_every_order_and_batching_of_six_calls_comes_to_the_same(engine):
    """Duplicates included; 720 contacts, whose calls come in six batches."""
    load(engine)
    coming = dict(arrivals(random.Random(7)))
    for turn in range(len(SIX)):
        batch = [record(ref, place) for ref, groups in coming.items() for place in (groups[turn : turn + 1] or [[]])[0]]
        assert set(walk(engine, receive(engine, *batch))) == {"done"}
    found = contact_rows(engine)
    assert len(found) == 720
    assert found == by_the_rules(engine)
    refs = dict(rows(engine, "SELECT id, call_ref FROM calls"))
    assert {own._replace(best_call_id=None) for own in found.values()} == {
        Outcome(
            attempts=6,
            outcome="answered",
            final=True,
            first_at=min(own.first_at for own in found.values()),
            last_at=max(own.last_at for own in found.values()),
            reached_at=min(own.reached_at for own in found.values()),
            agent="2001",
            talk_seconds=122,
        )
    }
    assert {refs[own.best_call_id].partition("-")[2] for own in found.values()} == {"3"}
    again = rebuild(engine, check=True)
    assert (again.different, again.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_what_the_statements_count_is_what_the_rules_say(engine, seed):
    """Any calls of any contacts, in batches that go step by step or at once, in parts, some done twice."""
    chance = random.Random(seed)
    for _ in range(6):
        records = [
            make_record(
                call_ref=chance.randrange(40),
                contact_ref=chance.choice(("a", "B", "é", "aa", None, "", "x" * 231)),
                ref=chance.choice(("one", "two")),
                number=chance.choice(("0820000001", "0820000002", "")),
                dialed_at=DIALED_AT + chance.randrange(3),
                call_dir=chance.choice(("outbound", "outbound", "outbound", "inbound")),
                **ENDS[chance.choice(list(ENDS))],
            )
            for _ in range(chance.randint(1, 12))
        ]
        batch = receive(engine, *records, source=chance.choice(("north", "south")))
        if chance.random() < 0.5:
            assert run_all_steps(engine, batch.batch_id, handing(engine), at_most=200, resend_after_seconds=10)
        else:
            walk(engine, batch, worker_was_lost=chance.random() < 0.5)
        with engine.begin() as connection:
            update_contacts(connection, batch.span)
        assert contact_rows(engine) == by_the_rules(engine)
    assert contact_rows(engine)


def changes(engine):
    """The events of contacts: of a batch the calls it names, of one call the record that replaced it."""
    found = rows(
        engine, "SELECT batch_id, call_id, revision, named FROM feed WHERE kind = 'contact.changed' ORDER BY id"
    )
    return [(row.named if row.batch_id is not None else (row.call_id, row.revision)) for row in found]


def test_a_change_is_told_once_with_the_call_that_caused_it(engine):
    """The last call of a batch that names the contact; a batch that changes nothing tells nothing."""
    first = receive(
        engine,
        make_record(call_ref=1, contact_ref="a"),
        make_record(call_ref=2, contact_ref="b"),
        make_record(call_ref=3, contact_ref="a"),
        make_record(call_ref=4, contact_ref=None),
    )
    walk(engine, first)
    at = first.span.first
    assert changes(engine) == [[at + 1, at + 2]]
    with engine.begin() as connection:
        update_contacts(connection, first.span)
    walk(engine, receive(engine, make_record(call_ref=5, contact_ref=None)))
    assert changes(engine) == [[at + 1, at + 2]]
    second = receive(engine, make_record(call_ref=6, contact_ref="b"), make_record(call_ref=7, contact_ref="c"))
    walk(engine, second)
    assert changes(engine)[1:] == [[second.span.first, second.span.first + 1]]


def test_an_accepted_conflict_moves_a_call_from_one_contact_to_another(engine):
    """Both change, by that call; the one left without any is no contact, and says nothing when it is made anew."""
    load(engine)
    first = receive(engine, make_record(call_ref=1, contact_ref="a"), make_record(call_ref=2, contact_ref="b"))
    walk(engine, first)
    second = receive(engine, make_record(call_ref=1, contact_ref="b", end_reason="busy", extension=None))
    walk(engine, second)
    assert {key[0]: own.attempts for key, own in contact_rows(engine).items()} == {"a": 1, "b": 1}
    [(failure_id,)] = rows(engine, "SELECT id FROM failures WHERE class = 'conflict'")
    accept(engine, failure_id, who="test")
    assert walk_overdue(engine) == 1
    assert {key[0]: (own.attempts, own.outcome) for key, own in contact_rows(engine).items()} == {"b": (2, "answered")}
    assert contact_rows(engine) == by_the_rules(engine)
    call, replacing = first.span.first, second.span.first
    assert sorted(changes(engine)[1:], key=str) == [(call, replacing), [call]]
    again = rebuild(engine, check=False)
    assert (again.different, again.changed) == (0, 0)
    with engine.connect() as connection:
        assert contacts_named(connection, "a") == []


def test_who_has_no_contact_is_counted_and_goes_on(engine):
    load(engine)
    batch = receive(
        engine,
        make_record(contact_ref=None),
        make_record(contact_ref=""),
        make_record(contact_ref=" \u200b"),
        make_record(contact_ref="x" * 231),
        make_record(contact_ref="x" * 230),
        make_record(contact_ref=None, call_dir="inbound"),
    )
    walk(engine, batch)
    with engine.begin() as connection:
        assert update_contacts(connection, batch.span) == WithoutContact(none=3, too_long=1, inbound=1)
    assert [key[0] for key in contact_rows(engine)] == ["x" * 230]
    assert rows(engine, "SELECT count(*) FROM ledger") == [(5,)]
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    assert rows(engine, "SELECT extra ->> 'contact_ref' FROM calls WHERE extra IS NOT NULL") == [("x" * 231,)]


def test_a_reference_of_two_campaigns_is_two_contacts_and_says_so(engine):
    walk(engine, receive(engine, *(make_record(contact_ref="a", ref=ref) for ref in ("spring", "autumn"))))
    walk(engine, receive(engine, make_record(contact_ref="a", ref="spring"), source="other"))
    with engine.connect() as connection:
        found = contacts_named(connection, "a")
        only = contacts_named(connection, "a", source="enigma", campaign="spring")
    assert [(each.key.source, each.key.campaign_ref, each.also_in) for each in found] == [
        ("enigma", "autumn", ["spring"]),
        ("enigma", "spring", ["autumn"]),
        ("other", "spring", []),
    ]
    assert [each.key for each in only] == [Key("a", "spring", "enigma")]


def test_who_calls_in_is_only_inferred(engine):
    """By the number; a call that came in and names the contact is listed, and counts for nothing either."""
    came_in = {"call_dir": "inbound", "end_reason": "agent_hungup", "extension": "2002"}
    walk(
        engine,
        receive(
            engine,
            make_record(call_ref=1, contact_ref="a", number="0820000001", **ENDS["no_answer"]),
            make_record(call_ref=2, contact_ref=None, number="+27820000001", dialed_at=DIALED_AT + 60, **came_in),
            make_record(call_ref=3, contact_ref="a", number="0820000009", dialed_at=DIALED_AT + 30, **came_in),
            make_record(call_ref=4, contact_ref=None, number="0820000002", **came_in),
            make_record(call_ref=5, contact_ref=None, number="", **came_in),
        ),
    )
    with engine.connect() as connection:
        [found] = contacts_named(connection, "a")
        inbound = inbound_of(connection, found)
    assert (found.outcome.attempts, found.outcome.outcome, found.outcome.reached_at) == (1, "no_answer", None)
    assert [(each.call_ref, each.linked, each.disposition) for each in inbound] == [
        ("2", "inferred", "answered"),
        ("3", "named", "answered"),
    ]


def test_so_many_calls_are_nobodys(engine):
    """A reference that stands in for a missing one costs no more than the most calls a contact can have."""
    batch = receive(engine, *(make_record(call_ref=number, **ENDS["busy"]) for number in range(MOST_CALLS)))
    walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY, Step.UPDATE_CONTACTS))
    [own] = contact_rows(engine).values()
    assert (own.attempts, own.outcome) == (MOST_CALLS, "busy")
    walk(engine, receive(engine, make_record(), make_record()))
    assert list(contact_rows(engine).values()) == [Outcome(MOST_CALLS + 1)]
    walk(engine, receive(engine, make_record()))
    assert contact_rows(engine) == by_the_rules(engine)
    with engine.connect() as connection:
        [found] = contacts_named(connection, "account_1234")
    assert (found.is_crowd, found.numbers, found.attempts) == (True, [], [])


def test_no_statement_is_made_for_a_row(engine, monkeypatch):
    """New contacts, known ones, or both: as many statements for a hundred calls as for two."""
    made = []

    def counted(connection, query, values):
        made.append(query)
        return execute(connection, query, values)

    execute = contact_statements.execute
    counts = {}
    for size in (2, 100):
        for turn in ("new", "known and new"):
            refs = range(size) if turn == "new" else range(0, 2 * size, 2)
            batch = receive(engine, *(make_record(contact_ref=f"{size}-{ref}") for ref in refs))
            walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY))
            made.clear()
            with monkeypatch.context() as patched, engine.begin() as connection:
                patched.setattr(contact_statements, "execute", counted)
                update_contacts(connection, batch.span)
            counts[size, turn] = len(made)
    assert counts == {(2, "new"): 1, (2, "known and new"): 2, (100, "new"): 1, (100, "known and new"): 2}


def test_a_batch_reads_its_own_calls_whatever_the_planner_believes(engine):
    """It believed that no call names a contact, where none did for long: it read all that do, and each with each."""
    for _ in range(2):
        walk(engine, receive(engine, *(make_record(contact_ref=None) for _ in range(1_000))))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE calls, dispositions, batches"))
    for turn in range(8):
        known = [make_record(contact_ref="0-0"), make_record(contact_ref="0-1")]
        new = [make_record(contact_ref=f"{turn}-{ref}") for ref in range(98)]
        batch = receive(engine, *known, *new)
        walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY))
        with (
            engine.begin() as connection,
            reading(connection, "^calls_") as calls,
            reading(connection, "^dispositions_") as dispositions,
        ):
            update_contacts(connection, batch.span)
        # The span once for those that are new and once for those that were there, and the few calls of these.
        for [read] in (calls, dispositions):
            assert 0 < read.rows <= 2 * 100 + 50


def test_charges_are_those_of_now(engine):
    """Nothing of them is kept with the contact, so nothing of them can be old."""
    walk(engine, receive(engine, make_record(call_ref=1, contact_ref="a"), make_record(call_ref=2, contact_ref="a")))
    key = Key("a", "campaign001", "enigma")
    with engine.connect() as connection:
        assert contacts_of(connection, [key])[key].charges == {}
    load(engine)
    walk_overdue(engine)
    with engine.connect() as connection:
        found = contacts_of(connection, [key])[key]
    assert json.dumps(found.charges, default=str) == '{"ZAR": "1.62"}'
    assert found.outcome.attempts == 2


FINISHED_WITHOUT = (
    "UPDATE batches SET contacts_updated_at = NULL, due_at = now() - interval '1 minute' "
    "WHERE id = :id AND finished_at IS NOT NULL"
)
"""What the version before leaves behind: it finished the batch and does not know the step."""

REOPENED_WITHOUT = (
    "UPDATE batches SET classified_at = clock_timestamp(), due_at = now() - interval '1 minute' WHERE id = :id"
)
"""It opened the batch again from classify on, and finished it: the mark is older than what it was made of."""


@pytest.mark.parametrize("left", [FINISHED_WITHOUT, REOPENED_WITHOUT], ids=["never done", "done too early"])
def test_a_batch_that_a_version_before_left_without_the_step_is_sent_for_it(engine, left):
    """It stays finished, and nobody is told a second time that it is."""
    load(engine)
    batch = receive(engine, make_record(contact_ref="a"))
    walk(engine, batch)
    finished = rows(engine, "SELECT finished_at FROM batches")
    with engine.begin() as connection:
        connection.execute(text("UPDATE contacts SET attempts = 0, outcome = NULL"))
        connection.execute(text(left), {"id": batch.batch_id})
    [progress] = reconcile(engine, limit=10, resend_after_seconds=10).overdue
    assert reconcile(engine, limit=10, resend_after_seconds=10).overdue == []
    assert (progress.batch, progress.next_steps()) == (batch, (Step.UPDATE_CONTACTS,))
    assert walk(engine, batch, progress.next_steps()) == ["done"]
    assert contact_rows(engine) == by_the_rules(engine)
    assert rows(engine, "SELECT finished_at FROM batches") == finished
    assert rows(engine, "SELECT count(*) FROM feed WHERE kind = 'call.finished'") == [(1,)]
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET due_at = now()"))
        assert take_overdue(connection, limit=10, resend_after_seconds=10) == []


def test_a_contact_is_whole_while_a_version_before_leaves_batches(engine):
    """A new call of it comes before the step has come to the old ones: all of them count at once."""
    old = receive(engine, make_record(call_ref=1, contact_ref="a"))
    walk(engine, old, (Step.NORMALIZE, Step.CLASSIFY, Step.BILL, Step.SCHEDULE_RECORDINGS))
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET finished_at = now()"))
    walk(engine, receive(engine, make_record(call_ref=2, contact_ref="a")))
    assert [own.attempts for own in contact_rows(engine).values()] == [2]
