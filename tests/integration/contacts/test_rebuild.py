"""Making contacts anew changes nothing, unless something was wrong."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.batches.rules.steps import Step
from pipeline.cli import app
from pipeline.contacts import rebuild as rebuilding
from pipeline.contacts.rebuild import rebuild
from tests.factories import make_record
from tests.integration.contact_rows import by_the_rules, contact_rows
from tests.integration.flow import receive, rows, walk

WRONG = {
    "another outcome": "UPDATE contacts SET outcome = 'busy' WHERE contact_ref = 'c3'",
    "a call too many": "UPDATE contacts SET attempts = attempts + 1 WHERE contact_ref = 'c3'",
    "another best call": "UPDATE contacts SET best_call_id = 1 WHERE contact_ref = 'c3'",
    "no row": "DELETE FROM contacts WHERE contact_ref = 'c3'",
    "no calls": "INSERT INTO contacts (contact_ref, campaign_ref, source, attempts) VALUES ('zz', 'x', 'y', 1)",
}


@pytest.fixture
def stored(engine):
    """Twelve contacts of three calls each, in two batches."""
    for _ in range(2):
        walk(engine, receive(engine, *(make_record(contact_ref=f"c{number % 12}") for number in range(18))))
    return engine


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found_and_mended(stored, wrong, monkeypatch):
    """In parts of a few references; what is only looked at stays as it is."""
    monkeypatch.setattr(rebuilding, "CALLS_AT_ONCE", 5)
    assert rebuild(stored, check=True).different == 0
    with stored.begin() as connection:
        connection.execute(text(wrong))
    looked = rebuild(stored, check=True)
    assert (looked.different, looked.changed, len(looked.examples)) == (1, 0, 1)
    assert contact_rows(stored) != by_the_rules(stored)
    mended = rebuild(stored, check=False)
    assert (mended.different, mended.changed) == (1, 1)
    assert contact_rows(stored) == by_the_rules(stored)
    assert rebuild(stored, check=True).different == 0


def test_a_call_on_its_way_is_no_difference(stored):
    walk(stored, receive(stored, make_record(contact_ref="c1")), (Step.NORMALIZE, Step.CLASSIFY))
    looked = rebuild(stored, check=True)
    assert (looked.different, looked.waiting) == (0, 1)


def test_calls_from_before_an_upgrade_get_their_contacts(stored):
    """Their batches owe the step: that is no difference, and they owe it no longer."""
    before = contact_rows(stored)
    with stored.begin() as connection:
        connection.execute(text("DELETE FROM contacts"))
        connection.execute(text("UPDATE batches SET contacts_updated_at = NULL"))
    looked = rebuild(stored, check=True)
    assert (looked.different, looked.waiting) == (0, 12)
    made = rebuild(stored, check=False)
    assert (made.different, made.waiting, made.changed) == (0, 12, 12)
    assert contact_rows(stored) == before
    assert rows(stored, "SELECT count(*) FROM batches WHERE contacts_updated_at IS NULL") == [(0,)]
    assert rebuild(stored, check=False).changed == 0


def test_what_a_rebuild_changes_is_told_with_its_last_call(stored):
    with stored.begin() as connection:
        connection.execute(text(WRONG["another outcome"]))
        connection.execute(text("DELETE FROM feed"))
    rebuild(stored, check=False)
    [told] = rows(stored, "SELECT named, revision FROM feed WHERE kind = 'contact.changed'")
    assert told.named == [rows(stored, "SELECT max(id) FROM calls WHERE contact_ref = 'c3'")[0][0]]
    assert told.revision > 1_700_000_000_000


def run(*words):
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_the_command_ends_with_one_where_something_was_wrong(stored, settings_env):
    assert run("contacts", "rebuild", "--check").exit_code == 0
    with stored.begin() as connection:
        connection.execute(text(WRONG["another outcome"]))
    looked = run("contacts", "rebuild", "--check")
    assert looked.exit_code == 1
    assert "busy → answered" in looked.stdout
    assert rows(stored, "SELECT count(*) FROM actions") == [(0,)]
    mended = run("contacts", "rebuild", "--json")
    assert mended.exit_code == 1
    assert json.loads(mended.stdout)["changed"] == 1
    assert rows(stored, "SELECT action FROM actions") == [("contacts rebuilt",)]
    again = run("contacts", "rebuild")
    assert again.exit_code == 0
    assert "0 contacts said something else" in again.stdout
