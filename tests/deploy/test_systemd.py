"""deploy/systemd: units that systemd reads as they are meant."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.deploy.places import DEPLOY, SYSTEMD, procfile, tool, unit

LASTING = [name for name in procfile() if name != "release"]


@pytest.mark.parametrize("name", LASTING)
def test_a_process_is_restarted_whenever_it_ends(name):
    """Always, without ever giving up; and its children are not signalled behind its back."""
    service = unit(f"enigma-cdr-{name}.service")
    assert service["Service"]["Restart"] == ["always"]
    assert service["Service"]["KillMode"] == ["mixed"]
    assert service["Unit"]["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("name", LASTING)
def test_its_signs_of_life_are_its_own(name):
    """The folder of the signs is the unit's own, and whoever looks after it looks there."""
    service = unit(f"enigma-cdr-{name}.service")["Service"]
    assert service["RuntimeDirectory"] == ["%N"]
    assert "PIPELINE_RUN_DIR=%t/%N" in service["Environment"]
    [asks] = unit("enigma-cdr-health@.service")["Service"]["ExecStart"]
    assert "PIPELINE_RUN_DIR=%t/enigma-cdr-%i " in asks


def test_the_environment_file_is_one_for_all():
    """Settings come from /etc/enigma-cdr/env, then from a file of the unit's own if there is one."""
    assert unit("enigma-cdr-worker.service")["Service"]["EnvironmentFile"] == [
        "/etc/enigma-cdr/env",
        "-/etc/enigma-cdr/%N.env",
    ]


def test_the_example_environment_can_be_read_by_systemd():
    """No quotes, no export, no comment behind a value."""
    for line in (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[A-Z_]+=[^ '\"]*", line)


@pytest.fixture
def installed(tmp_path):
    """The units as they would be installed, with programs that exist."""
    units = tmp_path / "units"
    shutil.copytree(SYSTEMD, units)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("pipeline", "celery"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for path in units.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text(encoding="utf-8").replace("/opt/enigma-cdr", str(tmp_path)))
    return units


def _analyze(units, *words) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}
    command = [tool("systemd-analyze"), *words]
    return subprocess.run(command, cwd=units, env=env, capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_wrong(installed):
    """It knows every key and value, and complains of nothing."""
    names = sorted(path.name for path in installed.iterdir() if path.is_file())
    names += ["enigma-cdr-health@worker.service", "enigma-cdr-health@worker.timer", "cdr-restart@worker.service"]
    verified = _analyze(installed, "verify", "--man=no", *names)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("name", [*procfile(), "health@worker"])
def test_systemd_finds_it_hardened(installed, name):
    """Its own measure of exposure, 0 to 10, is below 2; drop-ins for all units reach each of them."""
    measured = _analyze(
        installed, "security", "--offline=yes", "--no-pager", "--threshold=20", f"enigma-cdr-{name}.service"
    )
    if "unrecognized option" in measured.stderr:
        pytest.skip("this systemd measures running units only")
    assert measured.returncode == 0, measured.stdout
