"""Signs of life in files, and what a supervisor reads from them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from pipeline.__main__ import quick_health
from pipeline.monitoring import health as module
from pipeline.monitoring.health import Sign, health, stuck_download
from pipeline.settings import Settings
from pipeline.worker import liveness as living


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


def test_progress_is_told_by_files_while_tasks_end(run):
    """Only where a worker finished nothing for so long is the broker asked, which takes a library."""
    sign = Sign(run, "worker")
    sign.alive()
    sign.ready(("cdr.bill",))
    asked = ["health", "worker", "--progress", "300"]
    assert quick_health(asked) is None
    sign.finished()
    (run / "worker.waiting").touch()
    assert quick_health(asked) == quick_health(["health", "worker", "--ready", "--progress", "300"])
    assert quick_health(asked).says.startswith("worker finished a task 0 s ago")
    assert not (run / "worker.waiting").exists()
    age(run / "worker.finished", 301)
    assert quick_health(asked) is None
    age(run / "worker.alive", 61)
    assert not quick_health(asked).well


def test_only_workers_have_queues(run):
    """A supervisor may ask all processes alike."""
    Sign(run, "beat").alive()
    assert quick_health(["health", "beat", "--progress", "1"]) == quick_health(["health", "beat"])
    assert quick_health(["health", "beat", "--within", "5"]) is None
    assert quick_health(["health"]) is quick_health(["health", "--help"]) is quick_health(["report", "x"]) is None


def test_a_download_that_has_stopped_moving_makes_its_worker_unwell(run, monkeypatch):
    """Others may finish meanwhile: one thread that stands still is lost to all that comes."""
    clock = [1_000.0]
    monkeypatch.setattr(living.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(living._Signs, "sign", Sign(run, "recordings"))
    living.tell_slowest()
    assert stuck_download("recordings", 0.0) is None
    with living.underway() as moved:
        clock[0] += 100
        living.tell_slowest()
        assert stuck_download("recordings", 101.0) is None
        found = stuck_download("recordings", 99.0)
        assert (found.well, found.says) == (False, "a download of recordings has not moved for 100 s")
        moved()
        living.tell_slowest()
        assert stuck_download("recordings", 5.0) is None
    living.tell_slowest()
    assert list(run.iterdir()) == []


def test_the_slowest_of_several_downloads_counts(run, monkeypatch):
    """Each thread has its own, and one that has ended is forgotten."""
    clock = [1_000.0]
    monkeypatch.setattr(living.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(living._Signs, "sign", Sign(run, "recordings"))
    release, began = threading.Event(), threading.Event()

    def stand_still():
        with living.underway():
            began.set()
            release.wait(10)

    thread = threading.Thread(target=stand_still)
    thread.start()
    assert began.wait(10)
    clock[0] += 50
    with living.underway():
        living.tell_slowest()
        assert stuck_download("recordings", 49.0) is not None
        release.set()
        thread.join(10)
        living.tell_slowest()
        assert stuck_download("recordings", 5.0) is None
