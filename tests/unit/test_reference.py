"""docs/reference.md and its neighbours say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.accounts.rules.mapping import Columns, Constants, File, Formats, Skip, Totals
from pipeline.billing.rules.tariff_file import COLUMNS
from pipeline.calls.rules.cdr import PAYLOAD_FIELDS
from pipeline.calls.rules.disposition import CONSEQUENCES, Disposition
from pipeline.cli import app as commands
from pipeline.database.tables import failures, metadata
from pipeline.monitoring.gauges import QUERIES
from pipeline.monitoring.metrics import METRICS
from pipeline.recordings.rules.outcome import RecordingState
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
ENV_EXAMPLE = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]

# Celery reads its settings once a process, so it is asked in one of its own: tests to come set others.
ASK_CELERY = """
import json
from pipeline.celery import app
app.loader.import_default_modules()
tasks = {name: task.run.__code__ for name, task in app.tasks.items() if not name.startswith("celery.")}
print(json.dumps({
    "arguments": {name: code.co_varnames[: code.co_argcount] for name, code in tasks.items()},
    "routes": {name: app.conf.task_routes[name]["queue"] for name in tasks},
    "queues": [queue.name for queue in app.conf.task_queues],
}))
"""


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level = title.index(" ")
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{level}}} |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/reference.md has no {title!r}"
    return found[1]


def rows(title: str) -> dict[str, list[str]]:
    """The rows of a section's tables by what their first cell has in backticks; a cell may name several things."""
    found = {}
    for line in section(title).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|"):
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1:]))
    return found


def walk(command: Any, name: str) -> list[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    if not hasattr(command, "commands"):
        return [(name, command)]
    own = [(name, command)] if command.invoke_without_command else []
    return own + [found for word, below in command.commands.items() for found in walk(below, f"{name} {word}")]


def default_of(setting: str) -> str:
    """A default as an environment variable would say it."""
    default = Settings.model_fields[setting].default
    if default is None:
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


ALL_COMMANDS = dict(walk(typer.main.get_command(commands), "pipeline"))


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_a_setting_is_described_with_its_default(setting):
    """The row of a setting has the default that the code has."""
    described = rows("## Settings")[setting.upper()]
    assert described[0] == (f"`{default_of(setting)}`" if default_of(setting) else "empty")


def test_no_other_setting_is_described():
    """Every row of the settings is a setting that exists."""
    assert set(rows("## Settings")) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_a_setting_is_in_the_example(setting):
    """The example environment has every setting, and what it shows commented out is the default."""
    found = re.search(rf"^(#?){setting.upper()}=(.*)$", ENV_EXAMPLE, re.MULTILINE)
    assert found
    if found[1] and default_of(setting):
        assert found[2] == default_of(setting)


def test_the_example_is_a_valid_environment(monkeypatch):
    """The example's own values are accepted as they stand."""
    for name, value in re.findall(r"^([A-Z_]+)=(.*)$", ENV_EXAMPLE, re.MULTILINE):
        monkeypatch.setenv(name, value)
    assert Settings().enigma_redis_url == "redis://dialler:8001/0"


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_a_command_is_described_with_its_options(name):
    """A command has a section, whose table has each of its arguments and options, and no other."""
    described = set(rows(f"### `{name}`"))
    parameters = [each for each in ALL_COMMANDS[name].params if not getattr(each, "hidden", False)]
    assert described == {
        word
        for parameter in parameters
        for word in (parameter.opts if parameter.param_type_name == "option" else [parameter.name])
    }


def test_no_other_command_is_described():
    """Every section below the commands is a command that exists."""
    assert set(re.findall(r"^### `(.+)`$", section("## Commands"), re.MULTILINE)) == set(ALL_COMMANDS)


def test_every_process_is_described():
    """The processes are those of the Procfile."""
    procfile = (ROOT / "Procfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^([a-z]+):", procfile, re.MULTILINE)) <= set(rows("## Processes"))


@pytest.fixture(scope="module")
def celery() -> dict[str, Any]:
    """The tasks' arguments and routes, and the queues."""
    done = subprocess.run([sys.executable, "-c", ASK_CELERY], cwd=ROOT, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_task_is_described(celery):
    """The table of tasks has every task, the queue it is routed to and the arguments it takes, and no other."""
    described = {
        name: (cells[0].strip("`"), re.findall(r"`(\w+)`", cells[1]))
        for name, cells in rows("## Queues and tasks").items()
    }
    assert described == {name: (celery["routes"][name], celery["arguments"][name]) for name in celery["arguments"]}


def test_every_queue_is_described(celery):
    """Every queue is named in the table of tasks."""
    assert {cells[0].strip("`") for cells in rows("## Queues and tasks").values()} == set(celery["queues"])


def test_every_metric_is_described():
    """The table has every metric, its kind, labels and meaning, and no other."""
    states = [metric for query in QUERIES for metric in query.metrics]
    described = rows("## Metrics")
    assert set(described) - {"cdr_state_query_failures_total"} == {metric.name for metric in (*METRICS, *states)}
    for metric in (*METRICS, *states):
        kind, labels, _, meaning = described[metric.name]
        assert (kind, meaning) == (getattr(metric, "kind", "gauge"), metric.help)
        assert tuple(re.findall(r"`(\w+)`", labels)) == metric.labels


@pytest.mark.parametrize("table", metadata.tables)
def test_a_table_is_described_with_its_columns(table):
    """A table has a section, whose rows are its columns in their order."""
    assert list(rows(f"### `{table}`")) == [column.name for column in metadata.tables[table].columns]


@pytest.mark.parametrize("disposition", Disposition)
def test_a_disposition_is_described_with_what_follows(disposition):
    """The row of a disposition has the consequences that the code has."""
    described = section("## Dispositions").partition("How the dialler's words decide")[0]
    row = re.search(rf"^\| `{disposition}` \| (.+) \|$", described, re.MULTILINE)
    assert row
    assert row[1].split(" | ")[:4] == ["yes" if follows else "no" for follows in CONSEQUENCES[disposition]]


def test_every_recording_state_is_described():
    """The states of a recording are those that the code has."""
    described = re.search(r"^\| state \|.*?\n\n", section("## Recordings"), re.MULTILINE | re.DOTALL)
    assert described
    assert set(re.findall(r"^\| `(\w+)`", described[0], re.MULTILINE)) == {state.value for state in RecordingState}


@pytest.mark.parametrize("column", ["failure_class", "state"])
def test_every_failure_word_is_described(column):
    """The classes and states of failures are those that the database accepts."""
    [constraint] = [str(each.sqltext) for each in failures.c[column].constraints if hasattr(each, "sqltext")]
    assert set(re.findall(r"'(\w+)'", constraint)) <= set(rows("## Failures"))


def test_every_field_of_a_record_is_described():
    """The fields of a payload are those that the code reads."""
    described = re.search(r"^\| field of `payload` \|.*?\n\n", section("## Records"), re.MULTILINE | re.DOTALL)
    assert described
    assert set(re.findall(r"^\| `(\w+)`", described[0], re.MULTILINE)) == PAYLOAD_FIELDS


def test_every_column_of_a_tariff_file_is_described():
    """The columns of a tariff file are those that the loader knows."""
    assert set(rows("## Tariff files")) == set(COLUMNS)


def test_every_key_of_a_mapping_is_described():
    """The keys of a provider's mapping are those that are read."""
    parts = {
        "file": File,
        "columns": Columns,
        "formats": Formats,
        "constants": Constants,
        "skip": Skip,
        "totals": Totals,
    }
    keys = {f"{name}.{field}" for name, part in parts.items() for field in part.__struct_encode_fields__}
    assert {name for name in rows("## Mappings") if "." in name} == keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every relative link of a page leads to a file, and to a heading of it where it names one."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]
    broken = [link for link in links if not _exists(page, link)]
    assert not broken


def _exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if target.is_file() else []
    return anchor in {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
