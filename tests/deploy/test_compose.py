"""deploy/compose.yaml: what must hold of it, whatever the schema says."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.deploy.places import DEPLOY, ROOT, compose, procfile, tool

SERVICES = compose()["services"]
LASTING = [name for name in procfile() if name != "release"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_kept_running_and_small(name):
    """It is restarted, gets time to stop, can gain no privilege, and says whether it is well."""
    service = SERVICES[name]
    assert service["restart"] == ("on-failure" if name == "release" else "unless-stopped")
    assert int(service["stop_grace_period"].removesuffix("s")) >= 30
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service


@pytest.mark.parametrize("name", procfile())
def test_a_process_may_do_nothing_it_need_not(name):
    """No capability, a file system it cannot write, and an init that reaps what it leaves."""
    service = SERVICES[name]
    assert service["init"] is service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert {"path": "env"} in service["env_file"]


def test_only_flower_and_the_api_are_reached_from_outside_and_only_from_this_machine():
    """No port of the database or the broker is published."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"flower": ["127.0.0.1:5555:5555"], "api": ["127.0.0.1:8080:8080"]}
    assert compose()["networks"]["inside"] == {"internal": True}
    assert [SERVICES[name]["networks"] for name in ("postgres", "broker")] == [["inside"], ["inside"]]


def test_the_broker_throws_nothing_away():
    """Queues are keys: an evicting broker would lose them."""
    command = " ".join(SERVICES["broker"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_no_secret_is_in_the_file():
    """Passwords come from files that are in no repository."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert not re.search(r"password|://[^ ]*:[^ ]*@", text, re.IGNORECASE)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/env", "/deploy/postgres.env"} <= set(ignored)


def test_every_volume_and_network_is_named():
    """What a service uses is declared below, and the other way round."""
    volumes = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert volumes == set(compose()["volumes"])
    assert {each for service in SERVICES.values() for each in service["networks"]} == set(compose()["networks"])


@pytest.mark.parametrize("name", LASTING)
def test_release_comes_first(name):
    """A process starts once the tables are up to date."""
    assert SERVICES[name]["depends_on"]["release"] == {"condition": "service_completed_successfully"}


def test_it_is_a_compose_file():
    """The schema of the specification agrees."""
    subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"], check=True
    )
