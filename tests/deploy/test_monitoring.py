"""deploy/monitoring: alerts and dashboard ask for metrics that exist, and each alert says what to do."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from pipeline.monitoring.gauges import QUERIES
from pipeline.monitoring.metrics import METRICS
from tests.deploy.places import DEPLOY, MONITORING, tool

[GROUP] = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
RUNBOOK = (DEPLOY / "README.md").read_text(encoding="utf-8")


def metrics() -> dict[str, set[str]]:
    """Every metric that a process serves, with its labels."""
    found = {metric.name: set(metric.labels) for metric in METRICS}
    for metric in METRICS:
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{part}": {*metric.labels, "le"} for part in ("bucket", "sum", "count")}
    found |= {metric.name: set(metric.labels) for query in QUERIES for metric in query.metrics}
    return found | {"cdr_state_query_failures_total": {"query"}}


def asked(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\bcdr_\w+", expression))


def labels_asked(expression: str) -> set[str]:
    """The labels that an expression selects or groups by."""
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    selected = re.findall(r"(\w+)=~?\"", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | set(selected)


EXPRESSIONS = {name: [rule["expr"]] for name, rule in ALERTS.items()} | {
    title: [target["expr"] for target in panel["targets"]] for title, panel in PANELS.items()
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_it_asks_for_exists(name):
    """Metrics and labels are those that the processes serve."""
    known = metrics()
    for expression in EXPRESSIONS[name]:
        names = asked(expression)
        assert names <= set(known)
        allowed = {"job", "instance"} | {label for metric in names for label in known[metric]}
        assert labels_asked(expression) <= allowed


def test_every_metric_is_shown_or_watched():
    """No process counts what nobody looks at."""
    looked_at = {name for each in EXPRESSIONS.values() for expression in each for name in asked(expression)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in looked_at}
    assert {name for name in metrics() if not re.search(r"_(bucket|sum|count)$", name)} <= bases | looked_at


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name):
    """It has a severity, a sentence, and a chapter of the runbook under its own name."""
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"deploy/README.md#{name.lower()}"
    chapter = re.search(rf"^### {name}\n\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert chapter
    assert len(chapter[1]) > 100


def test_no_other_alert_is_explained():
    """A chapter for an alert that is gone would mislead."""
    assert set(re.findall(r"^### (Cdr\w+)$", RUNBOOK, re.MULTILINE)) == set(ALERTS)


def test_panels_are_told_apart():
    """Ids and titles are unique, nothing overlaps, and the data source is the reader's choice."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len(PANELS) == sum(panel["type"] != "row" for panel in DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert {panel["datasource"]["uid"] for panel in PANELS.values()} == {"${datasource}"}


@pytest.mark.parametrize(
    "words",
    [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ],
    ids=lambda words: words[-1],
)
def test_promtool_has_no_objection(words):
    """Prometheus reads the rules, and they say what they should of the hours made up for them."""
    checked = subprocess.run([tool("promtool"), *words], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
