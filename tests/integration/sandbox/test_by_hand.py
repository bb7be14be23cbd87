"""`python -m pipeline.sandbox place` and `put`: what a person has the running sandbox do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from pipeline.sandbox.by_hand import NoSandboxError
from pipeline.sandbox.demo import app, sandbox_env
from pipeline.sandbox.dialler import SimulatedDialler
from pipeline.sandbox.servers import free_port
from pipeline.settings import current_settings
from tests.conftest import LIST

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def dialler(servers, dialler_redis, settings_env, monkeypatch):
    """One that runs, and settings that name it."""
    with SimulatedDialler(servers.dialler_redis.url, ready_after=0, first_call_ref=501) as running:
        monkeypatch.setenv("ENIGMA_API_URL", running.api_url)
        current_settings.cache_clear()
        yield running


def run(*words: str) -> str:
    """What the command prints; its error is raised, as `main` would print it."""
    return CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False).output


def elements(client):
    return [json.loads(each)["payload"]["call_ref"] for each in client.lrange(LIST, 0, -1)]


def test_the_running_dialler_places_more_calls_and_serves_their_recordings(dialler, dialler_redis):
    """Each time the next ones; the call that is named has a recording."""
    assert "call_ref 501 to 540." in run("place", "40")
    said = run("place", "1")
    assert "Placed 1: call_ref 541." in said
    assert elements(dialler_redis) == [call.call_ref for call in dialler.calls] == list(range(501, 542))
    named = run("place", "40").split()[-1]
    served = httpx.get(f"{dialler.api_url}/calls/recording/{named}")
    assert (served.status_code, served.content[:4]) == (200, b"RIFF")


def test_a_record_is_put_as_it_is(dialler, dialler_redis):
    """Whatever it is."""
    run("put", "no call at all é")
    assert dialler_redis.lrange(LIST, 0, -1) == ["no call at all é".encode()]


@pytest.mark.parametrize("words", [("place", "3"), ("put", "x")])
def test_where_nothing_is_up_it_says_so(settings_env, monkeypatch, words):
    """And what to do, in one line."""
    monkeypatch.setenv("ENIGMA_API_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ENIGMA_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    current_settings.cache_clear()
    with pytest.raises(NoSandboxError, match="make up"):
        run(*words)


@pytest.mark.parametrize("query", ["", "?calls=0", "?calls=-1", "?calls=100001", "?calls=x"])
def test_a_wrong_number_places_nothing(dialler, query):
    """The simulated dialler answers as it does to any other wrong question."""
    assert httpx.post(f"{dialler.api_url}/sandbox/calls{query}").status_code == 400
    assert not dialler.calls
    assert httpx.post(f"{dialler.api_url}/calls/recording/1").status_code == 404


def test_the_file_of_settings_keeps_the_path_of_whoever_reads_it(tmp_path):
    """Ours comes before it; a value is taken as it is."""
    file = tmp_path / "sandbox.env"
    file.write_text(sandbox_env({"DATABASE_URL": "postgresql://a b'$c"}))
    shell = f'. {file}; printf \'%s\\n\' "$PATH" "$DATABASE_URL"; command -v pipeline'
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env={"PATH": "/my/own:/bin"}, capture_output=True, text=True, check=True
    )
    path, url, program = done.stdout.splitlines()
    assert path.endswith(":/my/own:/bin")
    assert url == "postgresql://a b'$c"
    assert Path(program).parent == Path(path.split(os.pathsep)[0])
