"""``/v1/calls``: what is found, what is told, and to whom."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from sqlalchemy import text

from pipeline.lookup.history import history_of
from pipeline.lookup.rules.plain import plain
from pipeline.lookup.told import as_dict
from tests.integration.api.conftest import NUMBER

SINCE = {"since": "2026-01-01T00:00:00Z"}


def refs(answered):
    assert answered.status_code == 200, answered.text
    return [(each["source"], each["call_ref"]) for each in answered.json()["calls"]]


def test_a_call_is_told_as_explain_does(world):
    answered = world.get("/v1/calls/enigma/1")
    assert answered.status_code == 200
    told = answered.json()
    assert datetime.fromisoformat(told.pop("complete_through")).tzinfo is not None
    with world.owner.connect() as connection:
        expected = as_dict(history_of(connection, "1", "enigma"))
    assert told == json.loads(json.dumps(expected, default=plain))
    assert told["call"]["client_number"] == NUMBER
    assert told["net"] == {"ZAR": "0.81"}


def test_calls_are_found_a_page_at_a_time(world):
    """The newest dialled first, and each once; back again too."""
    first = world.get("/v1/calls", params=SINCE | {"limit": 3}).json()
    assert first["newer"] is None
    second = world.get("/v1/calls", params=SINCE | {"limit": 3, "after": first["older"]}).json()
    assert second["older"] is None
    found = [(each["source"], each["call_ref"]) for each in first["calls"] + second["calls"]]
    assert sorted(found) == [*(("enigma", str(ref)) for ref in range(1, 6)), ("north", "1")]
    back = world.get("/v1/calls", params=SINCE | {"limit": 3, "before": second["newer"]}).json()
    assert back["calls"] == first["calls"]
    assert "call_id" not in first["calls"][0]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"contact_ref": "c1"}, [("enigma", "1")]),
        ({"number": "083 000 5678"}, [("enigma", "3")]),
        ({"number_ends": "5678"}, [("enigma", "3")]),
        (SINCE | {"campaign": "autumn", "disposition": "no_answer"}, [("enigma", "4")]),
        (SINCE | {"recording": "stored"}, [("enigma", "1")]),
        ({"call_ref": "1", "source": "north"}, [("north", "1")]),
        ({"call_ref": "99"}, []),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else None,
)
def test_what_is_asked_for_is_found(world, asked, found):
    assert refs(world.get("/v1/calls", params=asked)) == found


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({}, "since"),
        (SINCE | {"limit": 1_001}, "limit"),
        (SINCE | {"limit": 0}, "limit"),
        (SINCE | {"limit": "many"}, "limit"),
        (SINCE | {"campain": "spring"}, "campain"),
        (SINCE | {"offset": 10}, "offset"),
        (SINCE | {"after": "x"}, "after"),
        (SINCE | {"disposition": "reached"}, "disposition"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"since": "9999-12-31T23:59:59-23:00"}, "since"),
        (SINCE | {"until": "2025-01-01T00:00:00Z"}, "until"),
        ({"number_ends": "123"}, "number_ends"),
        ({"contact_ref": "a\0"}, "contact_ref"),
        ([("call_ref", "1"), ("call_ref", "2")], "call_ref"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said(world, asked, parameter):
    answered = world.get("/v1/calls", params=asked)
    assert (answered.status_code, answered.headers["Content-Type"]) == (400, "application/problem+json")
    problem = answered.json()
    assert problem["type"] == "urn:enigma-cdr:problem:bad-parameter"
    assert [each["parameter"] for each in problem["errors"]] == [parameter]


def test_no_parameter_where_there_are_none(world):
    answered = world.get("/v1/calls/enigma/1?fields=call")
    assert (answered.status_code, answered.json()["errors"][0]["parameter"]) == (400, "fields")


@pytest.mark.parametrize("ending", ["", "/recording", "/recording?as=wav"])
def test_what_a_token_may_not_see_answers_like_what_is_not_there(world, ending):
    """To the byte, but for the date."""
    answers = [
        world.get(f"/v1/calls/{call}{ending}", token="spring")
        for call in ("enigma/4", "north/1", "enigma/99999", "nowhere/1", "enigma/1%00", "enigma/%F0%9F%93%9E")
    ]
    assert {answered.status_code for answered in answers} == {404}
    assert len({answered.content for answered in answers}) == 1
    assert len({tuple(sorted(answered.headers.items())) for answered in answers}) == 1
    assert world.get(f"/v1/calls/enigma/1{ending}", token="spring").status_code == 200


def test_a_token_finds_what_it_may_see_alone(world):
    assert sorted(refs(world.get("/v1/calls", token="spring", params=SINCE))) == [
        ("enigma", "1"),
        ("enigma", "2"),
        ("enigma", "3"),
    ]
    assert refs(world.get("/v1/calls", token="spring", params={"call_ref": "4"})) == []
    assert refs(world.get("/v1/calls", token="nothing-here", params=SINCE)) == []


@pytest.mark.parametrize("path", ["/v1/calls/enigma/1", "/v1/calls?call_ref=1"])
def test_without_the_scope_nothing_is_told(world, path):
    answered = world.get(path, token="listener")
    assert (answered.status_code, answered.json()["type"]) == (403, "urn:enigma-cdr:problem:missing-scope")


def test_looking_for_a_number_is_written_down(world):
    """Before it is looked for; by whom, and from where."""
    before = len(world.log())
    world.get("/v1/calls", params={"number": "0830005678"})
    world.get("/v1/calls", params={"number_ends": "5678"})
    world.get("/v1/calls", params={"contact_ref": "c2"})
    rows = world.log()[before:]
    assert [(row.who, row.via, row.action, row.detail, row.role) for row in rows] == [
        ("all", "api", "search", {"number": "0830005678"}, "cdr_api"),
        ("all", "api", "search", {"number_ends": "5678"}, "cdr_api"),
    ]
    assert rows[0].address == "127.0.0.1"


@pytest.fixture
def dropped(world):
    """Days of two diallers that are archived, and whose first call the database has no longer."""
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO archive_parts (source, month, name, day, first_record, last_record, rows, size_bytes, "
                "  sha256, written_at) "
                "SELECT source, '2026-02', 'part-' || day || '.parquet', date '2026-02-01' + day, 1, 2, 2, 9, 'x', "
                "  now() "
                "FROM unnest(array['enigma', 'north']) AS source, generate_series(1, 3) AS day"
            )
        )
    yield
    with world.owner.begin() as connection:
        connection.execute(text("DELETE FROM archive_parts"))


@pytest.mark.parametrize(
    ("token", "asked", "named"),
    [
        ("all", SINCE, ["enigma", "north"]),
        ("all", SINCE | {"source": "north"}, ["north"]),
        ("all", {"since": "2026-03-01T00:00:00Z"}, []),
        ("spring", SINCE, ["enigma"]),
        ("nothing-here", SINCE, []),
    ],
)
def test_days_that_are_in_the_archive_alone_are_named(world, dropped, token, asked, named):
    """Of the diallers that the token sees; neither how many calls, nor where."""
    days = {"month": "2026-02", "first_day": "2026-02-02", "last_day": "2026-02-04"}
    assert world.get("/v1/calls", token, params=asked).json()["archived"] == [{"source": each} | days for each in named]
