"""deploy/Dockerfile and what goes into the image."""

from __future__ import annotations

import re
import subprocess
import tomllib

from packaging.requirements import Requirement

from tests.deploy.places import DEPLOY, ROOT, tool

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
INSTALL = (DEPLOY / "install").read_text(encoding="utf-8")
BUILD, RUN = DOCKERFILE.split("\nFROM ")[1:]


def lines_of(lock: str) -> dict[str, str]:
    """The stanzas of a lock file, with their hashes, by the name of the package."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {found[1]: found[0] for found in re.finditer(r"^([\w.-]+)==(?:.*\\\n)+.*", text, re.MULTILINE)}


def test_it_does_not_run_as_root():
    """The user is a number, so that Kubernetes can check it, and the same everywhere."""
    assert re.findall(r"^USER (.+)$", RUN, re.MULTILINE) == ["10001:10001"]
    assert "USER" not in RUN.partition("\nUSER 10001:10001\n")[2]


def test_nothing_that_builds_is_in_it():
    """The second stage takes the finished environment, installs nothing, and drops pip."""
    assert not re.search(r"pip install|apt-get|gcc|--from=build /build", RUN)
    assert "pip uninstall" in RUN
    assert "pip uninstall" in BUILD
    assert re.search(r"^\$pip uninstall .*setuptools", INSTALL, re.MULTILINE)


def test_everything_is_installed_by_its_hash():
    """No package enters by its name alone."""
    installs = re.findall(r"^\$pip install .*", INSTALL, re.MULTILINE)
    assert len(installs) == 2
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert "pip install" not in BUILD


def test_what_is_copied_is_let_in():
    """The ignore file begins with everything and lets in what the image is built from, no more."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        copied |= set(sources.split())
    assert let_in == copied
    assert all((ROOT / name).exists() for name in let_in)


def test_its_lock_is_the_part_of_ours_that_runs():
    """Same versions and hashes as those that are tested, what the project needs, and no address of an index."""
    ours, runs = lines_of("requirements.lock"), lines_of("deploy/requirements.lock")
    assert runs.items() <= ours.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {Requirement(each).name for each in project["dependencies"]} <= set(runs)
    assert "setuptools" in runs, "deploy/install makes the package with it"
    development = {Requirement(each).name for each in project["optional-dependencies"]["dev"]}
    assert not development & set(runs)
    for lock in ("requirements.lock", "deploy/requirements.lock"):
        assert "://" not in (ROOT / lock).read_text(encoding="utf-8")


def test_hadolint_has_no_objection():
    """The linter of Dockerfiles agrees."""
    subprocess.run([tool("hadolint"), DEPLOY / "Dockerfile"], check=True)
