"""``pipeline token``: made once, listed without the token, revoked for good."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from sqlalchemy import text

from pipeline.access.tokens import grant_of
from tests.commands import call

NEEDED = ("--scope", "calls:read", "--source", "*", "--campaign", "*")


@pytest.fixture
def run(settings_env, monkeypatch):
    import os  # noqa: PLC0415 - the environment that the fixture has set

    return lambda *words: call("token", *words, env=dict(os.environ))


def test_a_token_is_shown_once_and_kept_as_its_hash(run, engine):
    made = run(
        "create", "crm", "--scope", "calls:read", "--scope", "calls:numbers", "--source", "enigma", "--campaign", "a"
    )
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM api_tokens")).one()
        everything = connection.execute(
            text("SELECT string_agg(t::text, '') || (SELECT string_agg(a::text, '') FROM actions a) FROM api_tokens t")
        ).scalar_one()
        grant = grant_of(connection, token)
    assert row.token_hash == sha256(token.encode()).digest()
    assert token not in everything
    assert token.removeprefix("ecdr_") not in everything
    assert grant is not None
    assert (grant.name, grant.only_sources, grant.only_campaigns) == ("crm", ("enigma",), ("a",))
    assert sorted(grant.scopes) == ["calls:numbers", "calls:read"]
    listed = run("list", "--json")
    assert token not in listed.stdout
    assert [(each["name"], each["state"]) for each in json.loads(listed.stdout)] == [("crm", "active")]


def test_revoked_is_revoked(run, engine):
    token = run("create", "crm", *NEEDED).stdout.strip()
    assert run("revoke", "crm", "--because", "lost").returncode == 0
    with engine.connect() as connection:
        assert grant_of(connection, token) is None
        detail = connection.scalar(text("SELECT detail FROM actions WHERE action = 'token revoked'"))
    assert detail == {"name": "crm", "reason": "lost"}
    assert run("revoke", "crm").returncode == 1
    assert run("revoke", "nobody").returncode == 1
    again = run("create", "crm", *NEEDED)
    assert again.returncode == 2
    assert "never used again" in again.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("CRM", *NEEDED), "small letters"),
        (("crm", "--scope", "calls:write", "--source", "*", "--campaign", "*"), "no scope 'calls:write'"),
        (("crm", "--scope", "calls:read", "--campaign", "*"), "at least one source"),
        (("crm", "--scope", "calls:read", "--source", "*"), "at least one campaign"),
        (("crm", "--source", "*", "--campaign", "*"), "at least one scope"),
        (("crm", *NEEDED, "--campaign", "a"), "or * alone"),
        (("crm", *NEEDED[:-1], "a*"), "whole name"),
    ],
    ids=["name", "scope", "source", "campaign", "nothing", "all-and-one", "pattern"],
)
def test_what_cannot_be_meant_is_said_and_nothing_made(run, engine, words, says):
    made = run("create", *words)
    assert (made.returncode, made.stdout) == (2, "")
    assert says in made.stderr.replace("\n", " ")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM api_tokens")) == 0


def test_an_expired_one_is_listed_as_such(run):
    run("create", "crm", *NEEDED, "--expires", "2020-01-01")
    assert json.loads(run("list", "--json").stdout)[0]["state"] == "expired"
    assert "expired" in run("list").stdout
