"""Honcho, compose, systemd and Kubernetes run the same processes, with variables that something reads."""

from __future__ import annotations

import re

import pytest
import typer

from pipeline.cli import app
from pipeline.settings import Settings
from tests.deploy.places import (
    DEPLOY,
    SYSTEMD,
    compose,
    known_variables,
    pods,
    procfile,
    unit,
    words_of,
)

PROCESSES = procfile()
LASTING = [name for name in PROCESSES if name != "release"]
WORKERS = ["worker", "recordings"]


@pytest.mark.parametrize("name", PROCESSES)
def test_compose_runs_it_alike(name):
    """A service of the process's name has the Procfile's command."""
    assert compose()["services"][name]["command"] == words_of(PROCESSES[name])


@pytest.mark.parametrize("name", PROCESSES)
def test_systemd_runs_it_alike(name):
    """A unit of the process's name has the Procfile's command; systemd reads %% as %."""
    [command] = unit(f"enigma-cdr-{name}.service")["Service"]["ExecStart"]
    assert words_of(command.replace("%%", "%")) == words_of(PROCESSES[name])


@pytest.mark.parametrize("name", PROCESSES)
def test_kubernetes_runs_it_alike(name):
    """A deployment or job of the process's name has the Procfile's command."""
    [container] = pods()[name]["containers"]
    assert container["command"] == words_of(PROCESSES[name])


def test_nothing_else_is_run():
    """No supervisor knows a process that the Procfile does not have."""
    services = set(compose()["services"]) - {"postgres", "broker"}
    units = {path.stem.removeprefix("enigma-cdr-") for path in SYSTEMD.glob("enigma-cdr-*.service")} - {"health@"}
    assert services == units == set(pods()) == set(PROCESSES)


def test_the_target_starts_every_process():
    """`systemctl start enigma-cdr.target` starts them all, and what looks after them."""
    target = (SYSTEMD / "enigma-cdr.target").read_text(encoding="utf-8")
    wanted = set(" ".join(re.findall(r"^Wants=(.*)$", target, re.MULTILINE)).split())
    assert wanted == {f"enigma-cdr-{name}.service" for name in PROCESSES} | {
        f"enigma-cdr-health@{name}.timer" for name in LASTING
    }


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_does_not_wait_for_its_tasks_without_limit(name):
    """SIGTERM means the soft shutdown everywhere, as in the Procfile."""
    assert "REMAP_SIGTERM=SIGQUIT" in PROCESSES[name]
    assert compose()["services"][name]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert "REMAP_SIGTERM=SIGQUIT" in unit(f"enigma-cdr-{name}.service")["Service"]["Environment"]
    [container] = pods()[name]["containers"]
    assert {"name": "REMAP_SIGTERM", "value": "SIGQUIT"} in container["env"]


@pytest.mark.parametrize("name", LASTING)
def test_it_is_asked_for_its_own_health(name):
    """Every supervisor asks each process for its health by its own name."""
    progress = {"worker": ["--progress", "600"], "recordings": ["--progress", "900"]}.get(name, [])
    asked = ["pipeline", "health", name]
    assert compose()["services"][name]["healthcheck"]["test"] == ["CMD", *asked, *progress]
    [container] = pods()[name]["containers"]
    assert container["livenessProbe"]["exec"]["command"] == [*asked, *progress]
    assert container["readinessProbe"]["exec"]["command"] == [*asked, "--ready", *progress]
    assert unit("enigma-cdr-health@.service")["Service"]["ExecStart"][0].endswith(" health %i --progress 900")


def test_that_command_exists():
    """What the supervisors ask is a command."""
    assert "health" in typer.main.get_command(app).commands


@pytest.mark.parametrize("name", LASTING)
def test_there_is_time_to_stop(name):
    """Each supervisor waits longer than the running tasks get, or it would kill what is being put away."""
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"PIPELINE_STOP_SECONDS=(\d+)", image)
    assert found
    stop = int(found[1])
    assert stop > Settings.model_fields["pipeline_stop_seconds"].default
    service = unit(f"enigma-cdr-{name}.service")["Service"]
    assert f"PIPELINE_STOP_SECONDS={stop}" in service["Environment"]
    waits = [compose()["services"][name]["stop_grace_period"].removesuffix("s"), service["TimeoutStopSec"][-1]]
    assert all(int(wait) >= stop + 5 for wait in [*waits, pods()[name]["terminationGracePeriodSeconds"]])


def _named() -> dict[str, set[str]]:
    """Every environment variable that a file of deploy/ sets, by the file."""
    named = {
        f"compose {name}": set(service.get("environment", {}))
        for name, service in compose()["services"].items()
        if name in PROCESSES
    }
    for name in PROCESSES:
        named[f"systemd {name}"] = {
            value.partition("=")[0] for value in unit(f"enigma-cdr-{name}.service")["Service"].get("Environment", [])
        }
        [container] = pods()[name]["containers"]
        named[f"kubernetes {name}"] = {each["name"] for each in container.get("env", [])}
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    named["image"] = set(re.findall(r"(?:^ENV |^ {4})([A-Z_]+)=", image, re.MULTILINE))
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    named["env.example"] = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    return named


@pytest.mark.parametrize(("where", "names"), _named().items(), ids=_named())
def test_every_variable_is_read_by_something(where, names):
    """A misspelt variable would be set, and nobody would read it."""
    assert names <= known_variables(), where
