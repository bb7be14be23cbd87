"""The runbook's own commands, in a place that has nothing of ours: the one copy that runs is the installed one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.deploy.places import DEPLOY, ROOT, unit

TREE = ("pipeline", "deploy")
FILES = ("pyproject.toml", "README.md", "LICENSE", "celeryconfig.py")
WHERE_FROM = """
import contextlib, io, sys
from celery.__main__ import main
sys.argv = ["celery", "-A", "pipeline", "report"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
import celeryconfig, pipeline
print(pipeline.__file__, celeryconfig.__file__)
"""


def runbook(checkout, target):
    """The commands that the runbook installs with, for other folders than its own."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    block = next(each for each in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "useradd" in each)
    commands = [line for line in block.splitlines() if line.startswith(("umask", "cd ", "deploy/install"))]
    assert len(commands) == 3
    script = "\n".join(commands)
    assert "/usr/local/src/enigma-cdr" in script
    return script.replace("/usr/local/src/enigma-cdr", str(checkout)).replace("/opt/enigma-cdr", str(target))


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def checkout(tmp_path):
    """This version, with what an older one left behind of a build."""
    folder = tmp_path / "src"
    for name in TREE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    (folder / "build" / "lib" / "pipeline").mkdir(parents=True)
    (folder / "build" / "lib" / "pipeline" / "of_another_version.py").write_text("")
    return folder


@pytest.fixture
def env():
    """No environment of ours is active; nothing is compiled that runs once."""
    return {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}} | {
        "PYTHON": sys.executable,
        "PIP_NO_COMPILE": "1",
    }


@pytest.mark.timeout(900)  # seventy packages come from an index
def test_what_is_installed_is_the_one_copy_that_runs(checkout, env, tmp_path):
    """By the commands and by Celery, in the folder the units run in; whatever happens to the checkout meanwhile."""
    lock = (checkout / "deploy" / "requirements.lock").read_text(encoding="utf-8")
    (version,) = re.findall(r"^setuptools==(\S+)", lock, re.MULTILINE)
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path / "index")]
    if run([*asked, f"setuptools=={version}"], env=env).returncode:
        pytest.skip("no package index can be reached from here")
    target = tmp_path / "opt"
    installed = run(["sh", "-euc", runbook(checkout, target)], env=env)
    assert installed.returncode == 0, installed.stderr
    with (checkout / "pipeline" / "__init__.py").open("a") as file:
        file.write("raise SystemExit('the checkout is on another version now')\n")

    (folder,) = unit("enigma-cdr-worker.service")["Service"]["WorkingDirectory"]
    folder = folder.replace("/opt/enigma-cdr", str(target))
    python = target / ".venv" / "bin" / "python"
    found = run([python, "-c", WHERE_FROM], env=env, cwd=folder)
    assert found.returncode == 0, found.stderr
    packages = python.parent.parent / "lib"
    assert [path.startswith(str(packages)) for path in found.stdout.split()] == [True, True], found.stdout
    helped = run([python.parent / "pipeline", "failures", "--help"], env=env, cwd=folder)
    assert helped.returncode == 0, helped.stderr
    (flower,) = unit("enigma-cdr-flower.service")["Service"]["ExecStart"]
    conf = target / flower.rpartition("--conf=")[2]
    assert conf.read_bytes() == (DEPLOY / "flowerconfig.py").read_bytes()
    assert not [*target.rglob("of_another_version.py")]
    assert not [*packages.glob("*/site-packages/setuptools")]


def test_a_checkout_is_no_place_to_install_into(checkout, env):
    """There Celery would run the checkout's code, and the commands what is installed."""
    refused = run([checkout / "deploy" / "install", checkout], env=env)
    assert refused.returncode == 1
    assert "is a checkout" in refused.stderr
    assert not (checkout / ".venv").exists()
