"""Signs of life in files, and what a supervisor reads from them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pipeline.monitoring import health as module
from pipeline.monitoring.health import Sign, health
from pipeline.settings import Settings


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_defaults_are_those_of_the_settings():
    """The quick way reads no settings, and must not differ from them."""
    assert Settings.model_fields["pipeline_run_dir"].default == module.RUN_DIR
    assert Settings.model_fields["enigma_source"].default == module.SOURCE


def test_a_process_lives_as_long_as_it_shows(run):
    """Never shown, just shown, long ago, from the future, gone."""
    sign = Sign(run, "worker")
    assert health("worker").says == f"worker is not running: there is no {run}/worker.alive"
    sign.alive()
    assert health("worker").well
    for seconds in (61, -61):
        age(run / "worker.alive", seconds)
        assert not health("worker").well
    assert health("worker", within_seconds=100).well
    sign.gone()
    assert not health("worker").well
    assert list(run.iterdir()) == []


def test_touching_is_rare(run, monkeypatch):
    """However often the loop turns, the file is touched once a second."""
    touched = []
    monkeypatch.setattr(module, "_touch", touched.append)
    sign = Sign(run, "ingestor-x")
    for _ in range(1_000):
        sign.alive()
    assert len(touched) == 1


def test_ready_is_more_than_alive(run):
    """It comes and goes with what the process needs."""
    sign = Sign(run, "worker")
    sign.alive()
    assert not health("worker", ready=True).well
    sign.ready(("a", "b"))
    assert health("worker", ready=True).well
    assert (run / "worker.ready").read_text().split() == ["a", "b"]
    sign.not_ready()
    assert not health("worker", ready=True).well
    assert health("worker").well


def test_the_ingestor_is_that_of_this_dialler(run, monkeypatch):
    """Several diallers' ingestors live on one machine."""
    Sign(run, "ingestor-north").alive()
    assert not health("ingestor").well
    assert health("ingestor-north").well
    monkeypatch.setenv("ENIGMA_SOURCE", "north")
    assert health("ingestor").well


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path):
    """The process works on, and looks dead."""
    (tmp_path / "file").write_text("")
    sign = Sign(tmp_path / "file" / "run", "worker")
    sign.alive()
    sign.ready()
    sign.finished()
    sign.gone()


def test_the_quick_way_loads_no_library(run):
    """Neither Celery nor SQLAlchemy nor typer: what a supervisor asks every few seconds starts at once."""
    Sign(run, "beat").alive()
    code = (
        "import sys; sys.argv = ['pipeline', 'health', 'beat']\n"
        "from pipeline.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "    assert not loaded & {'celery', 'sqlalchemy', 'typer', 'pydantic', 'structlog', 'redis'}, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("beat gave a sign of life")
