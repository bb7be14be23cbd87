"""A database with calls of two diallers and campaigns, tokens for it, and the API as its own role in the database."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
import uvicorn
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.access.rules.scopes import Scope
from pipeline.access.tokens import NewToken, create
from pipeline.api.app import make_app
from pipeline.api.means import Means
from pipeline.api.rate import Rate
from pipeline.database.engine import make_engine
from pipeline.database.roles import apply_roles
from pipeline.recordings.decoding import Decoder
from pipeline.recordings.file_store import RecordingStore
from pipeline.sandbox.audio import recording_body
from pipeline.sandbox.server import free_port
from tests.conftest import own_database
from tests.factories import make_record
from tests.integration.flow import load, receive, walk
from tests.patience import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

NUMBER = "+27820001234"
ALL = tuple(Scope)
TOKENS = {
    "all": (ALL, ["*"], ["*"]),
    "masked": ([each for each in ALL if each is not Scope.NUMBERS], ["*"], ["*"]),
    "spring": (ALL, ["enigma"], ["spring"]),
    "nothing-here": (ALL, ["elsewhere"], ["*"]),
    "calls-only": ([Scope.CALLS], ["*"], ["*"]),
    "listener": ([Scope.LISTEN], ["*"], ["*"]),
}
RECORDED = recording_body(1, 3)


class World(NamedTuple):
    """What a test asks in."""

    owner: Engine
    client: httpx.Client
    means: Means
    tokens: dict[str, str]
    folder: Path

    def get(self, path, token="all", **options):
        """What is answered to somebody with a token."""
        given = {"Authorization": f"Bearer {self.tokens[token]}"} if token else {}
        return self.client.get(path, headers=given | options.pop("headers", {}), **options)

    def log(self):
        """What was written down of those who listened or searched."""
        with self.owner.connect() as connection:
            return connection.execute(text("SELECT * FROM access_log ORDER BY id")).all()


def keep_recording(owner, folder, call_ref, content=RECORDED):
    """Have a call's recording stored."""
    path = f"enigma/{call_ref}.wav"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    with owner.begin() as connection:
        connection.execute(
            text(
                "UPDATE recordings SET state = 'stored', due_at = NULL, ended_at = now(), path = :path, "
                "size_bytes = :size, sha256 = :sha256 WHERE source = 'enigma' AND call_ref = :call_ref"
            ),
            {"path": path, "size": len(content), "sha256": hashlib.sha256(content).digest(), "call_ref": call_ref},
        )


@contextlib.contextmanager
def serving(app):
    """A client of the application, served as it is elsewhere; a proxy on this machine is believed."""
    port = free_port()
    config = uvicorn.Config(
        app, port=port, log_config=None, access_log=False, server_header=False, date_header=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def world(template, tmp_path_factory):
    """Calls 1 to 3 of the campaign spring and 4 of autumn, of `enigma`; 1 of spring of `north`."""
    folder = tmp_path_factory.mktemp("recordings")
    with own_database(template) as url:
        owner = make_engine(url, application="test")
        load(owner)
        of_spring = [make_record(call_ref=ref, ref="spring", contact_ref=f"c{ref}") for ref in (1, 2)]
        other = make_record(call_ref=3, ref="spring", number="0830005678", call_dir="inbound", unknown="0830005678")
        autumn = make_record(call_ref=4, ref="autumn", number="9999999999999", end_reason="no_answer", extension=None)
        walk(owner, receive(owner, *of_spring, other, autumn))
        walk(owner, receive(owner, make_record(call_ref=1, ref="spring"), source="north"))
        walk(owner, receive(owner, make_record(call_ref=1, ref="spring", number="0845556666")))  # a conflict
        keep_recording(owner, folder, "1")
        with owner.begin() as connection:
            apply_roles(connection)
            connection.execute(text("ALTER ROLE cdr_api LOGIN"))
            tokens = {
                name: create(connection, NewToken(name, scopes, sources, campaigns), who="test")
                for name, (scopes, sources, campaigns) in TOKENS.items()
            }
        role = make_url(url).set(username="cdr_api").render_as_string(hide_password=False)
        means = Means(
            engine=make_engine(role, application="cdr-api"),
            store=RecordingStore(folder.as_uri()),
            decoder=Decoder(),
            rate=Rate(10_000),
            region="ZA",
            reason_needed=False,
        )
        with serving(make_app(means)) as client:
            yield World(owner, client, means, tokens, folder)
        means.engine.dispose()
        owner.dispose()
