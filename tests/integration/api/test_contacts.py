"""``/v1/contacts``: what contacts came to, for whom they are."""

from __future__ import annotations

import pytest

from pipeline.contacts.listing import place_text
from pipeline.contacts.reading import Key
from tests.integration.api.conftest import NUMBER
from tests.integration.api.test_listening import kind


def keys(answered):
    assert answered.status_code == 200, answered.text
    return [(each["source"], each["campaign_ref"], each["contact_ref"]) for each in answered.json()["contacts"]]


def test_contacts_are_found_a_page_at_a_time(world):
    whole = world.get("/v1/contacts").json()
    assert whole["next"] is None
    found, after = [], {}
    for _ in whole["contacts"]:
        page = world.get("/v1/contacts", params={"limit": 1} | after).json()
        found += page["contacts"]
        after = {"after": page["next"]}
    assert page["next"] is None
    assert found == whole["contacts"]
    assert len(found) >= 3


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"contact_ref": "c1"}, [("enigma", "spring", "c1")]),
        ({"campaign": "autumn"}, [("enigma", "autumn", "account_1234"), ("enigma", "autumn", "c2")]),
        ({"source": "north"}, [("north", "spring", "account_1234")]),
        ({"outcome": "no_answer"}, [("enigma", "autumn", "account_1234")]),
        ({"final": "true", "contact_ref": "c1"}, [("enigma", "spring", "c1")]),
        ({"final": "false", "contact_ref": "c1"}, []),
        ({"contact_ref": "nobody"}, []),
    ],
    ids=str,
)
def test_what_is_asked_for_is_found(world, asked, found):
    assert keys(world.get("/v1/contacts", params=asked)) == found


def test_a_contact_is_told_with_its_calls(world):
    told = world.get("/v1/contacts/enigma/c1").json()
    [contact] = told["contacts"]
    assert (contact["outcome"], contact["final"], contact["best_call"]) == ("answered", True, "1")
    assert [each["number"] for each in contact["numbers"]] == [NUMBER]
    assert [each["call_ref"] for each in contact["calls"]] == ["1"]
    assert told["complete_through"]


def test_other_campaigns_are_told_to_who_may_see_them(world):
    """Not even their names to others."""
    both = world.get("/v1/contacts/enigma/c2").json()["contacts"]
    assert [(each["campaign_ref"], each["also_in"]) for each in both] == [
        ("autumn", ["spring"]),
        ("spring", ["autumn"]),
    ]
    [one] = world.get("/v1/contacts/enigma/c2", token="spring").json()["contacts"]
    assert (one["campaign_ref"], one["also_in"]) == ("spring", [])
    assert "autumn" not in world.get("/v1/contacts?contact_ref=c2", token="spring").text


def test_what_a_token_may_not_see_is_not_there(world):
    answers = [
        world.get(f"/v1/contacts/{each}", token="spring")
        for each in ("enigma/account_1234", "north/account_1234", "enigma/nobody", "enigma/a%00")
    ]
    assert {kind(answered) for answered in answers} == {(404, "not-found")}
    assert len({answered.content for answered in answers}) == 1
    assert keys(world.get("/v1/contacts", token="spring")) == [("enigma", "spring", "c1"), ("enigma", "spring", "c2")]
    assert kind(world.get("/v1/contacts", token="calls-only")) == (403, "missing-scope")


def test_no_number_is_told_to_who_may_see_none(world):
    for path in ("/v1/contacts", "/v1/contacts/enigma/c1"):
        told = world.get(path, token="masked").text
        assert NUMBER[-6:] not in told
        assert '"number": "***"' in told


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"after": "x"}, "after"),
        ({"after": place_text(Key("a\0", "b", "c"))}, "after"),
        ({"limit": 1001}, "limit"),
        ({"number": NUMBER}, "number"),
        ({"contact_ref": "a\0"}, "contact_ref"),
        ({"outcome": "reached"}, "outcome"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said(world, asked, parameter):
    answered = world.get("/v1/contacts", params=asked)
    assert kind(answered) == (400, "bad-parameter")
    assert answered.json()["errors"][0]["parameter"] == parameter
