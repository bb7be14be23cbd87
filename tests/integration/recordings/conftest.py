"""A dialler, keys and a store of the test's own, for recordings that are encrypted."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.dialler.http_api import DiallerApi
from pipeline.recordings import download as steps
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.outcome import RetryPolicy
from pipeline.sandbox.api import RecordingsApi
from tests.integration.recording_rows import scheduled, simulated


@pytest.fixture
def dialler():
    with RecordingsApi() as server:
        yield server


@pytest.fixture
def api(dialler):
    with DiallerApi(dialler.url, source="enigma", read_seconds=5) as client:
        yield client


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return RecordingKeys(folder.as_uri())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recordings"


@pytest.fixture
def store(folder, keys):
    return RecordingStore(folder.as_uri(), keys=keys)


@pytest.fixture
def fetch(engine, dialler, api, store):
    """Have recordings downloaded; returns their calls' ids."""

    def run(*call_refs, into=store, batch=7):
        dialler.add(simulated(ref) for ref in call_refs)
        ids = scheduled(engine, *call_refs, batch=batch)
        for call_id in ids:
            done = steps.download(engine, call_id, api=api, store=into, policy=RetryPolicy())
            assert done.state == "stored", done
        return ids

    return run


@pytest.fixture
def run(settings_env, monkeypatch, tmp_path):
    """Runs `pipeline recordings …` with the keys of the test."""
    monkeypatch.setenv("RECORDINGS_KEYS_URL", (tmp_path / "keys").as_uri())
    return lambda *words: CliRunner().invoke(app, ["recordings", *map(str, words)], catch_exceptions=False)
