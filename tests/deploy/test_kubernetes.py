"""deploy/kubernetes: what must hold of the manifests, whatever the schema says."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from sqlalchemy import text

from pipeline.database.tables import metadata
from tests.deploy.places import KUBERNETES, manifests, pods, procfile, tool

PODS = pods()
WORKER = "enigma-cdr-worker"
LASTING = [name for name in procfile() if name != "release"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_held_to_the_restricted_standard(name):
    """Not root, no capability, no writable image, no token, the profile of the runtime."""
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", PODS)
def test_settings_come_from_secrets(name):
    """One for all processes, then one of the process's own if there is one."""
    [container] = PODS[name]["containers"]
    named = [(each["secretRef"]["name"], each["secretRef"].get("optional", False)) for each in container["envFrom"]]
    assert named == [("enigma-cdr-env", False), (f"enigma-cdr-env-{name}", True)]
    assert PODS[name]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", LASTING)
def test_memory_is_bounded_and_volumes_exist(name):
    """A leak ends one pod, not a node; what is mounted is there."""
    [container] = PODS[name]["containers"]
    assert "memory" in container["resources"]["limits"]
    assert "memory" in container["resources"]["requests"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in PODS[name]["volumes"]}


def test_selectors_find_their_pods():
    """Whatever selects pods by name selects some that exist."""
    labels = {f"enigma-cdr-{name}" for name in PODS}
    for each in manifests():
        spec = each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        selected = selector.get("matchLabels", selector).get("app.kubernetes.io/name")
        wanted = [value for rule in selector.get("matchExpressions", []) for value in rule["values"]]
        assert labels >= ({selected} if selected else set()) | set(wanted), each["metadata"]["name"]


def test_every_process_that_must_not_go_at_once_has_a_budget():
    """A drained node takes none of the processes that do the work away as a whole."""
    budgets = {
        each["metadata"]["name"].removeprefix("enigma-cdr-")
        for each in manifests()
        if each["kind"] == "PodDisruptionBudget"
    }
    assert budgets == {"ingestor", "worker", "recordings"}


def test_workers_are_scaled_by_what_the_database_says():
    """The query names tables and columns that exist, and scales the workers."""
    [scaled] = [each for each in manifests("keda") if each["kind"] == "ScaledObject"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "enigma-cdr-worker"
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    query = str(text(trigger["metadata"]["query"]))
    assert {"records", "finished_at", "received_at"} <= set(metadata.tables["batches"].columns.keys())
    assert "FROM batches WHERE finished_at IS NULL AND received_at <" in query


def built(folder):
    """What kustomize makes of a folder."""
    done = subprocess.run(
        [tool("kubectl"), "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("folder", ["base", "keda"])
def test_kustomize_puts_it_together(folder):
    """Every file is found and every patch applies; with KEDA nobody else says how many workers there are."""
    objects = built(folder)
    assert {each["metadata"].get("namespace", "enigma-cdr") for each in objects} == {"enigma-cdr"}
    [worker] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Deployment", WORKER)]
    assert ("replicas" in worker["spec"]) == (folder == "base")


@pytest.mark.parametrize("folder", ["base", "keda"])
def test_the_schemas_of_kubernetes_agree(folder, tmp_path):
    """All but KEDA's own objects, whose schema is nowhere offline."""
    validate = tool("kubernetes-validate")
    whole = tmp_path / "whole.yaml"
    whole.write_text(yaml.safe_dump_all(each for each in built(folder) if "keda.sh" not in each["apiVersion"]))
    subprocess.run([validate, "--strict", "--quiet", whole], check=True)
