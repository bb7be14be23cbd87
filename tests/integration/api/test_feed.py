"""``/v1/feed``: what happened, to whom it may be told."""

from __future__ import annotations

import json

import pytest

from tests.integration.api.conftest import NUMBER
from tests.integration.api.test_listening import kind
from tests.integration.api.test_masked import PARTS


def told(world, token="all", **asked):
    """All events, asked for a few at a time."""
    events, after = [], {}
    while True:
        answered = world.get("/v1/feed", token=token, params={"limit": 3} | asked | after)
        assert answered.status_code == 200, answered.text
        part = answered.json()
        assert part["hole"] is None
        events += part["events"]
        after = {"after": part["next"]}
        if not part["more"]:
            return events


def test_all_that_happened_in_its_order(world):
    events = told(world)
    places = [(each["position"], each["place"]) for each in events]
    assert places == sorted(places)
    assert len({each["id"] for each in events}) == len(events)
    assert {"call.received", "call.finished", "contact.changed"} <= {each["type"] for each in events}
    [finished] = [
        e for e in events if (e["type"], e["source"], e["subject"]) == ("call.finished", "/enigma-cdr/enigma", "1")
    ]
    assert finished["data"]["call"]["client_number"] == NUMBER


def test_nothing_is_behind_the_end(world):
    end = world.get("/v1/feed", params={"limit": 500}).json()
    again = world.get("/v1/feed", params={"after": end["next"]}).json()
    assert (again["events"], again["more"], again["next"]) == ([], False, end["next"])


def test_what_is_behind_the_wall_is_not_told(world):
    events = told(world, token="spring")
    assert {each["source"] for each in events} == {"/enigma-cdr/enigma"}
    assert "autumn" not in json.dumps(events)
    assert told(world, token="spring", campaign="autumn") == []
    assert told(world, token="spring", source="north") == []
    assert told(world, token="nothing-here") == []
    assert told(world, campaign="*") == []
    assert {each["data"]["call"]["campaign_ref"] for each in told(world, kind="call.finished", campaign="autumn")} == {
        "autumn"
    }


def test_no_number_is_told_to_who_may_see_none(world):
    """Nor what a record says, by its id."""
    events = told(world, token="masked")
    assert {each["type"] for each in events} >= {"call.finished", "contact.changed"}
    assert "call.received" not in {each["type"] for each in events}
    assert not [part for part in PARTS if part in json.dumps(events)]
    assert kind(world.get("/v1/feed?kind=call.received", token="masked")) == (403, "missing-scope")


def test_scopes(world):
    assert kind(world.get("/v1/feed", token="calls-only")) == (403, "missing-scope")
    assert {each["type"] for each in told(world, shape="thin", kind="call.finished")} == {"call.finished"}


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"after": "x"}, "after"),
        ({"after": "999999"}, "after"),
        ({"limit": 501}, "limit"),
        ({"kind": "call.lost"}, "kind"),
        ({"shape": "raw"}, "shape"),
        ({"source": "\0"}, "source"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said(world, asked, parameter):
    answered = world.get("/v1/feed", params=asked)
    assert kind(answered) == (400, "bad-parameter")
    assert answered.json()["errors"][0]["parameter"] == parameter
