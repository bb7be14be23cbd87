"""What is forked where all is imported is a process like any other."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from pipeline.sandbox.process import children
from tests.patience import eventually
from tests.warm import warm

BEAT = ("celery", "-A", "pipeline", "beat", "--pidfile=")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def test_its_output_and_its_exit_code_are_its_own(log):
    """Of one that ends by itself, well and not."""
    log.write_text("from before\n")
    assert warm().start("pipeline", "--help", env=os.environ, log=log).wait(30) == 0
    assert log.read_text().startswith("from before\n")
    assert "Usage: pipeline" in log.read_text()
    assert warm().start("pipeline", "no-such-command", env=os.environ, log=log).wait(30) == 2
    assert "no-such-command" in log.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0)], ids=["killed", "told to end"])
def test_it_lasts_until_it_is_told_to_end(settings_env, log, number, code):
    """In a session of its own, with the environment that it was given."""
    beat = warm().start(*BEAT, env=os.environ | {"PIPELINE_RUN_DIR": str(log.parent)}, log=log)
    eventually(lambda: beat.poll() is not None or (log.parent / "beat.alive").exists())
    assert beat.poll() is None, log.read_text()
    assert os.getsid(beat.pid) == beat.pid
    assert children(beat.pid) == []
    with pytest.raises(subprocess.TimeoutExpired):
        beat.wait(0)
    beat.send_signal(number)
    assert (beat.wait(30), beat.returncode) == (code, code)
    beat.send_signal(number)
