"""Every process of the Procfile under its own role in the database, as deploy/README.md sets them up."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.database.roles import ROLES, apply_roles
from tests.factories import make_record
from tests.functional.conftest import balance, eventually

ROLE_OF = {
    "ingestor": "cdr_ingest",
    "worker": "cdr_work",
    "recordings": "cdr_work",
    "beat": "cdr_read",
    "flower": "cdr_flower",
    "api": "cdr_api",
}


@pytest.fixture
def everything(stack, engine):
    """All processes up, each as its role."""
    with engine.begin() as connection:
        apply_roles(connection)
        for role in ROLES:
            connection.execute(text(f"ALTER ROLE {role} LOGIN"))
    owner = make_url(stack.env["DATABASE_URL"])
    for process, role in ROLE_OF.items():
        stack.env["DATABASE_URL"] = owner.set(username=role).render_as_string(hide_password=False)
        stack.start([process])
    stack.env["DATABASE_URL"] = owner.render_as_string(hide_password=False)
    return stack


def test_the_whole_way_under_least_privilege(everything, dialler, push, engine):
    """Calls, a recording, a conflict accepted and bad records discarded in Flower: no process is refused anything."""
    with httpx.Client(base_url=everything.flower_url, auth=("operator", "sandbox"), timeout=20) as flower:

        def value(query):
            with engine.connect() as connection:
                return connection.scalar(text(query))

        def answers():
            try:
                return flower.get("/healthcheck").status_code == 200
            except httpx.TransportError:
                return False

        expected = len(dialler.place_calls(20))
        eventually(lambda: value("SELECT count(*) FROM dispositions") == expected, check=everything.check)
        eventually(
            lambda: value("SELECT count(*) FROM recordings WHERE state = 'stored'"), seconds=60, check=everything.check
        )
        push(make_record(call_ref=9_000_001, call_time=61))
        eventually(lambda: value("SELECT count(*) FROM calls WHERE call_ref = '9000001'"), check=everything.check)
        push(make_record(call_ref=9_000_001, call_time=121), b"no call", b"no call either")
        eventually(lambda: value("SELECT count(*) FROM failures WHERE state = 'open'") == 3, check=everything.check)
        eventually(answers, check=everything.check)

        for page in (
            "/failed-calls",
            "/failed-calls/1",
            "/pipeline",
            "/pipeline/figures",
            "/pipeline/figures?balance=all",
        ):
            assert flower.get(page).status_code == 200, page
        conflict = value("SELECT id FROM failures WHERE class = 'conflict'")
        assert flower.post(f"/failed-calls/{conflict}/accept").status_code == 302
        done = flower.post("/failed-calls/bulk", data={"action": "discard", "reason": "noise", "class": "data"})
        assert done.status_code == 302
        eventually(lambda: not value("SELECT count(*) FROM failures WHERE state <> 'discarded' AND class = 'data'"))
        eventually(lambda: value("SELECT count(*) FROM ledger WHERE kind = 'reversal'") == 1)

    sheet = eventually(lambda: (found := balance(everything))["pending"]["records"] == 0 and found)
    assert (sheet["closes"], sheet["discarded"]["records"], sheet["processed"]["records"]) == (True, 2, expected + 1)
    for process in ROLE_OF:
        assert "permission denied" not in everything.log_of(process).read_text(), process
