"""The API's process: as honcho runs it, under its role, until it is told to end."""

from __future__ import annotations

import contextlib
import json
import socket

import httpx
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.database.roles import apply_roles
from tests.functional.conftest import eventually


def answers(stack):
    def ask():
        try:
            return httpx.get(f"{stack.api_url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    return ask


def requested(stack):
    """The endpoints that the log has answers of."""
    lines = [json.loads(line) for line in stack.log_of("api").read_text().splitlines()]
    return {each["path"] for each in lines if each["event"] == "api_request"}


def test_a_recording_is_heard_by_who_has_a_token(stack, dialler, engine):
    """From the dialler's call to PCM in a program: by the command, the process and its role in the database."""
    made = stack.run("pipeline", "token", "create", "crm", *["--scope", "calls:read", "--scope", "recordings:listen"],
                     "--source", "*", "--campaign", "*")  # fmt: skip
    assert made.returncode == 0, made.stderr
    token = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with engine.begin() as connection:
        apply_roles(connection)
        connection.execute(text("ALTER ROLE cdr_api LOGIN"))
    stack.start(["ingestor", "worker", "recordings", "beat"])
    owner = make_url(stack.env["DATABASE_URL"])
    stack.env["DATABASE_URL"] = owner.set(username="cdr_api").render_as_string(hide_password=False)
    stack.start(["api"])
    stack.env["DATABASE_URL"] = owner.render_as_string(hide_password=False)
    eventually(answers(stack), check=stack.check)
    assert stack.run("pipeline", "health", "api", "--ready").returncode == 0

    dialler.place_calls(20)
    with httpx.Client(base_url=stack.api_url, headers=token, timeout=60) as client:
        found = eventually(
            lambda: client.get("/v1/calls?since=2000-01-01T00:00:00Z&recording=stored").json()["calls"],
            seconds=90,
            check=stack.check,
        )
        call = f"/v1/calls/{found[0]['source']}/{found[0]['call_ref']}"
        told = client.get(call).json()
        assert (told["call"]["client_number"], told["recording"]["state"]) == ("***", "stored")
        heard = client.get(f"{call}/recording?as=wav", headers={"Range": "bytes=0-999"})
        assert (heard.status_code, heard.content[:4], len(heard.content)) == (206, b"RIFF", 1_000)
    with engine.connect() as connection:
        [row] = connection.execute(text("SELECT who, role, address, call_ref FROM access_log")).all()
    assert tuple(row) == ("crm", "cdr_api", "127.0.0.1", found[0]["call_ref"])
    eventually(lambda: {"/v1/calls/{source}/{call_ref}/recording", "/healthz"} <= requested(stack))
    assert "permission denied" not in stack.log_of("api").read_text()
    assert stack.stop(["api"])["api"] < 8
    assert stack.run("pipeline", "health", "api").returncode == 1


def test_nothing_that_is_no_request_ends_it(stack, engine):
    """Rubbish, a request that never ends, and one with a head as long as it likes."""
    stack.start(["api"])
    eventually(answers(stack), check=stack.check)
    port = int(stack.settings["PIPELINE_API_PORT"])
    open_ones = []
    for rubbish in (
        b"\x16\x03\x01\x00\xff",
        b"GET /v1/calls",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000,
        b"\0" * 70_000,
    ):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.settimeout(5)
        with contextlib.suppress(OSError):  # it hangs up on the long ones
            connection.sendall(rubbish)
        open_ones.append(connection)
    for path in ("/%", "/%ff", "//", "/v1/calls/enigma/%2e%2e%2f1", "/v1/calls?" + "a=1&" * 2_000):
        assert httpx.get(stack.api_url + path).status_code in {400, 401, 404}, path
    assert answers(stack)()
    for connection in open_ones:
        connection.close()
