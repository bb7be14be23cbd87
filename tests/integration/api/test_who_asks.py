"""Tokens: what lets somebody in, what does not, and how often."""

from __future__ import annotations

import json
import logging

import pytest
from sqlalchemy import text

from pipeline.access.tokens import NewToken, create, revoke
from pipeline.api.rate import Rate
from tests.integration.api.test_listening import kind

PATH = "/v1/calls/enigma/1"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer x",
        "Basic eDp5",
        "Bearer ecdr_" + "A" * 43,
        "Bearer ecdr_" + "A" * 42 + "é",
        "Bearer " + "x" * 10_000,
    ],
    ids=["none", "no-token", "basic", "unknown", "not-ascii", "long"],
)
def test_nobody_without_a_token(world, header):
    given = {} if header is None else {"Authorization": header.encode("latin-1", "replace")}
    answered = world.client.get(PATH, headers=given)
    assert kind(answered) == (401, "no-token")
    assert answered.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "Authorization"])
def test_a_token_in_the_address_is_refused(world, name):
    """Beside a good one too; even where no token is needed; and by what it looks like."""
    for path in (PATH, "/v1/calls", f"{PATH}/recording", "/healthz"):
        assert kind(world.get(path, params={name: "x"})) == (400, "token-in-address")
        assert kind(world.get(path, params={"call_ref": world.tokens["all"]})) == (400, "token-in-address")


def test_a_revoked_or_expired_token_lets_nobody_in(world):
    with world.owner.begin() as connection:
        scopes = (["calls:read"], ["*"], ["*"])
        world.tokens["old"] = create(connection, NewToken("old", *scopes), who="test")
        world.tokens["late"] = create(connection, NewToken("late", *scopes), who="test")
        connection.execute(text("UPDATE api_tokens SET expires_at = now() + interval '1 hour' WHERE name = 'late'"))
    assert world.get(PATH, token="old").status_code == world.get(PATH, token="late").status_code == 200
    with world.owner.begin() as connection:
        revoke(connection, "old", who="test")
        connection.execute(text("UPDATE api_tokens SET expires_at = now() - interval '1 second' WHERE name = 'late'"))
    assert kind(world.get(PATH, token="old")) == kind(world.get(PATH, token="late")) == (401, "no-token")


def test_a_token_may_ask_so_often(world, monkeypatch):
    """Another one is not held up by it."""
    now = [0.0]
    monkeypatch.setattr(world.means, "rate", Rate(1, clock=lambda: now[0]))
    assert [world.get(PATH).status_code for _ in range(4)] == [200, 200, 200, 429]
    answered = world.get(PATH)
    assert kind(answered) == (429, "too-many-requests")
    assert answered.headers["Retry-After"] == "1"
    assert world.get(PATH, token="masked").status_code == 200
    now[0] = 1.0
    assert world.get(PATH).status_code == 200


def test_other_addresses_and_methods_are_problems_too(world):
    assert kind(world.get("/v1/call")) == (404, "not-found")
    assert kind(world.get("/v1/calls/")) == (404, "not-found")
    posted = world.client.post(PATH)
    assert kind(posted) == (405, "method-not-allowed")
    assert posted.headers["Allow"] == "GET"


def test_a_database_that_is_away_is_said_to_be(world, monkeypatch):
    with world.owner.begin() as connection:
        connection.execute(text("ALTER TABLE calls RENAME TO gone"))
    try:
        answered = world.get(PATH)
        assert kind(answered) == (503, "away")
        assert answered.headers["Retry-After"]
    finally:
        with world.owner.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO calls"))
    monkeypatch.setattr(world.means, "ready", False)
    assert kind(world.client.get("/healthz")) == (503, "away")


def test_a_fault_is_answered_and_logged(world, monkeypatch, caplog):
    """Without what was asked for, in the answer or the log."""

    def fails(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("pipeline.api.calls.as_dict", fails)
    with caplog.at_level(logging.INFO):
        assert kind(world.get(PATH)) == (500, "fault")
    assert "ZeroDivisionError" in caplog.text
    assert world.tokens["all"] not in caplog.text


def test_health_needs_no_token(world):
    answered = world.client.get("/healthz")
    assert (answered.status_code, answered.json()) == (200, {"status": "ok"})
    assert kind(world.client.get("/healthz?verbose=1")) == (400, "bad-parameter")


def test_the_document_is_served_as_it_is_committed(world, request):
    committed = json.loads((request.config.rootpath / "docs/openapi.json").read_text(encoding="utf-8"))
    assert world.client.get("/openapi.json").json() == committed
