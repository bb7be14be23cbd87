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
    return {label.strip() for group in grouped for label in group.split(",") if label} | set(selected)


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
        allowed = {"job", "instance", "fstype"} | {label for metric in names for label in known[metric]}
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


BEGINS = {
    row["name"]: (row["severity"], int(row["minutes"]))
    for row in re.finditer(
        r"^\| \[(?P<name>Cdr\w+)\]\(#(?P<anchor>cdr\w+)\) \| (?P<severity>\w+) \| (?P<minutes>\d+) minutes? \|$",
        RUNBOOK,
        re.MULTILINE,
    )
    if row["anchor"] == row["name"].lower()
}


def test_the_runbook_lists_every_alert_once_in_the_order_of_the_rules():
    """With the severity it has."""
    assert {name: severity for name, (severity, _) in BEGINS.items()} == {
        name: rule["labels"]["severity"] for name, rule in ALERTS.items()
    }
    assert list(BEGINS) == list(ALERTS)


HEALTHY = 45
"""Minutes of health before a fault: more than the longest window. Made-up hours begin on a Thursday at 0:00 UTC."""
HOUR = {"CdrDiallerQuiet": 8 * 60}
"""The minute of the first of its hours."""
NORTH = 'source="north"'

# What a process serves, minute by minute: as it should be until the fault, and then with it.
FAULTS: dict[str, dict[str, str]] = {
    "CdrProcessDown": {'up{job="enigma-cdr"}': "1 0"},
    "CdrNobodyLeads": {f"cdr_ingestor_leads{{{NORTH}}}": "1 0"},
    "CdrIngestorSilent": {f'cdr_heartbeat_age_seconds{{name="ingestor", {NORTH}}}': "2 0+60"},
    "CdrReconcilerSilent": {'cdr_heartbeat_age_seconds{name="reconciler", source=""}': "2 0+60"},
    "CdrIngestorStopped": {f'cdr_standing_stops{{{NORTH}, kind="fuse"}}': "0 1"},
    "CdrListNotDrained": {f"cdr_list_records{{{NORTH}}}": "0 5", f"cdr_list_oldest_age_seconds{{{NORTH}}}": "0 0+60"},
    "CdrClaimStays": {f"cdr_oldest_claim_age_seconds{{{NORTH}}}": "0 0+60"},
    "CdrBatchStandsStill": {f"cdr_oldest_unfinished_seconds{{{NORTH}}}": "0 0+60"},
    "CdrNothingCharged": {
        f"cdr_received_records_total{{{NORTH}}}": "+600 +600",
        f'cdr_processed_records_total{{{NORTH}, step="bill"}}': "+600 +0",
    },
    "CdrChargesLate": {
        f'cdr_receipt_to_charge_seconds_bucket{{{NORTH}, le="60"}}': "+60 +0",
        f'cdr_receipt_to_charge_seconds_bucket{{{NORTH}, le="300"}}': "+60 +60",
        f'cdr_receipt_to_charge_seconds_bucket{{{NORTH}, le="+Inf"}}': "+60 +60",
    },
    "CdrManyQuarantined": {
        f"cdr_received_records_total{{{NORTH}}}": "+600 +600",
        f"cdr_quarantined_records_total{{{NORTH}}}": "+0 +600",
    },
    "CdrManyDuplicates": {
        f"cdr_received_records_total{{{NORTH}}}": "+600 +600",
        f"cdr_duplicate_records_total{{{NORTH}}}": "+0 +600",
    },
    "CdrRateMissing": {f'cdr_open_failures{{{NORTH}, step="bill", class="reference"}}': "0 3"},
    "CdrBug": {f'cdr_open_failures{{{NORTH}, step="bill", class="bug"}}': "0 3"},
    "CdrFailuresWait": {f'cdr_open_failures{{{NORTH}, step="normalize", class="data"}}': "0 3"},
    "CdrTasksFail": {'cdr_tasks_total{task="cdr.bill", outcome="failed"}': "+0 +1"},
    "CdrMessagesRefused": {'cdr_refused_messages_total{kind="body"}': "+0 +1"},
    "CdrMessagesLost": {f"cdr_resent_batches_total{{{NORTH}}}": "+0 +60"},
    "CdrRecordingsPaused": {f'cdr_recordings_paused{{{NORTH}, kind="refused"}}': "0 1"},
    "CdrRecordingsLate": {f"cdr_oldest_due_recording_seconds{{{NORTH}}}": "0 0+60"},
    "CdrRecordingsLost": {f'cdr_recording_tries_total{{{NORTH}, state="failed"}}': "+0 +11"},
    "CdrRecordingsDiffer": {f'cdr_recordings_differ{{{NORTH}, state="stored"}}': "0 1"},
    "CdrRecordingsDiskFull": {f"cdr_store_free_share{{{NORTH}}}": "0.5 0.09"},
    "CdrCallsMissing": {'cdr_missing_calls{source="enigma", kind="missing"}': "0 7+0"},
    "CdrNumberFallen": {"cdr_dial_numbers_fallen": "0 2"},
    "CdrRangeDropStopped": {"cdr_ranges_stopped": "0 1"},
    "CdrSubscriberBehind": {'cdr_subscriber_behind_seconds{subscriber="crm", state="active"}': "0 0+60"},
    "CdrEventsRefused": {'cdr_open_refusals{subscriber="crm"}': "0 3"},
    "CdrDiskFull": {
        'node_filesystem_avail_bytes{job="enigma-cdr-machines", mountpoint="/", fstype="ext4"}': "50 9",
        'node_filesystem_size_bytes{job="enigma-cdr-machines", mountpoint="/", fstype="ext4"}': "100 100",
    },
    "CdrDiallerQuiet": {f"cdr_received_age_seconds{{{NORTH}}}": "20 0+60"},
    "CdrDatabaseNotRead": {'cdr_state_query_failures_total{query="charges"}': "+0 +6"},
}


def values(written: str, healthy: int, left: int) -> str:
    """A series as promtool takes it: `1 0` is 1 in health and 0 with the fault, `+5` grows by that a minute."""
    before, after = written.split()
    if before.startswith("+"):
        # A counter: the last of the healthy values is where the fault goes on from, and shows a minute later.
        reached = float(before) * (healthy + 1)
        return f"0{before}x{healthy + 1} {reached + float(after):g}{after}x{left - 1}"
    start, _, growth = after.partition("+")
    return f"{before}x{healthy} {start}+{growth or 0}x{left}"


def case(name: str, minutes: int) -> dict[str, Any]:
    """Nothing in the last minute before it begins, something in the first one after."""
    healthy = HOUR.get(name, HEALTHY)
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values(written, healthy, minutes + 3)}
            for series, written in FAULTS[name].items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
                "eval_time": f"{healthy + 1 + minutes + late}m",
                "exp_samples": samples,
            }
            for late, samples in ((-1, []), (1, [{"labels": "{}", "value": 1}]))
        ],
    }


def test_each_alert_begins_when_the_runbook_says(tmp_path):
    """Prometheus itself evaluates each rule over hours that were made up: health, and then what the alert is for."""
    assert set(FAULTS) == set(ALERTS)
    content = {
        "rule_files": [str(MONITORING / "alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [case(name, BEGINS[name][1]) for name in ALERTS],
    }
    file = tmp_path / "begins.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    checked = subprocess.run([tool("promtool"), "test", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


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
