"""What deploy/ holds, read: the same processes, as each kind of supervisor is told to run them."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import flower.options  # noqa: F401 - defines Flower's options
import pytest
import yaml
from honcho.environ import parse_procfile
from tornado.options import options

from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SYSTEMD = DEPLOY / "systemd"
KUBERNETES = DEPLOY / "kubernetes"
MONITORING = DEPLOY / "monitoring"

# Read by the processes themselves, by Celery or by Python; not settings of this project.
OTHER_VARIABLES = {"REMAP_SIGTERM", "PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def tool(name: str) -> str:
    """A program that validates more than we do here; its test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH")
    return found


def words_of(command: str) -> list[str]:
    """A command as a supervisor runs it: without the variables before it and the folder it is in."""
    words = shlex.split(command)
    if words[0] == "env":
        words = [word for word in words[1:] if not re.match(r"[A-Z_]+=", word)]
    return [PurePosixPath(words[0]).name, *words[1:]]


def procfile() -> dict[str, str]:
    """The processes as honcho runs them."""
    processes: dict[str, str] = parse_procfile((ROOT / "Procfile").read_text(encoding="utf-8")).processes
    return processes


def compose() -> dict[str, Any]:
    """The compose file."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return content


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """A unit file with what is common to all: section, key, values in their order."""
    sections: dict[str, dict[str, list[str]]] = {}
    for path in (SYSTEMD / name, *sorted((SYSTEMD / "enigma-cdr-.service.d").glob("*.conf"))):
        section = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                key, _, value = line.partition("=")
                sections.setdefault(section, {}).setdefault(key, []).append(value)
    return sections


def manifests(folder: str = "base") -> list[dict[str, Any]]:
    """Every object of a kustomization, as it stands in the files."""
    kustomization = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text(encoding="utf-8"))
    files = [KUBERNETES / folder / name for name in kustomization["resources"] if name.endswith(".yaml")]
    return [each for path in files for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    """The pod of each process."""
    return {
        each["metadata"]["name"].removeprefix("enigma-cdr-"): each["spec"]["template"]["spec"]
        for each in manifests()
        if each["kind"] in {"Deployment", "Job"}
    }


def known_variables() -> set[str]:
    """Every environment variable that something reads."""
    known = {name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    known |= {f"FLOWER_{name.upper().replace('-', '_')}" for name in options}
    return known
