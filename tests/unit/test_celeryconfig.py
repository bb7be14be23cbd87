"""Settings of Celery that a mistake would go unnoticed in."""

from __future__ import annotations

import ast
import re
from datetime import timedelta
from pathlib import Path

import pytest

import celeryconfig


def test_a_message_comes_again_only_when_its_task_must_have_ended():
    """With less, Redis gives a task that is still running to a second worker; both places say the same."""
    options = celeryconfig.broker_transport_options
    assert options["visibility_timeout"] == celeryconfig.visibility_timeout
    assert options["visibility_timeout"] >= 2 * celeryconfig.task_time_limit + 60


def test_no_tick_expires_and_each_has_its_queue():
    """An absolute time is another one where a clock is wrong; and beat counts what waits in that queue."""
    for entry in celeryconfig.beat_schedule.values():
        assert "expires" not in entry.get("options", {})
        assert celeryconfig.task_routes[entry["task"]]["queue"] == "pipeline"


def test_each_dialler_is_looked_at_by_its_other_witnesses_every_minute():
    """As docs say; the test of its processes has a faster beat."""
    (entry,) = [each for each in celeryconfig.beat_schedule.values() if each["task"] == "completeness.watch"]
    assert entry["schedule"] == timedelta(minutes=1)


def _assigned():
    """The names that celeryconfig.py gives to Celery, those for one kind of broker included."""
    found = set()
    for node in ast.walk(ast.parse(Path(celeryconfig.__file__).read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {each.id for each in targets if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    return {name for name in found if not name.startswith("_")} - {"name", "row"}  # of comprehensions


def _options():
    """The keys of the transport's options, whatever the broker."""
    found = set()
    for node in ast.walk(ast.parse(Path(celeryconfig.__file__).read_text())):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "broker_transport_options":
            found |= {key.value for each in ast.walk(node) if isinstance(each, ast.Dict) for key in each.keys}
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            found.add(node.targets[0].slice.value)
    return found


def _table(head):
    """A table of the page that begins with this word: what stands in each row beside its name."""
    page = (Path(celeryconfig.__file__).parent / "docs" / "decisions.md").read_text()
    (rows,) = re.findall(rf"^\| {head} \| value \| why \|\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    assert all(len(each) == 3 for each in cells)
    return {name.strip("`"): (value, why) for name, value, why in cells}


def test_the_page_gives_the_reason_for_every_setting():
    """As the first line of celeryconfig.py says."""
    table = _table("setting")
    assert set(table) == _assigned()
    assert all(why for name, (_, why) in table.items() if name != "broker_transport_options")


def test_the_page_gives_the_reason_for_every_option_of_the_transport():
    table = _table("option")
    assert set(table) == _options()
    assert all(why for _, why in table.values())


@pytest.mark.parametrize(
    ("head", "values"), [("setting", vars(celeryconfig)), ("option", celeryconfig.broker_transport_options)]
)
def test_the_values_on_the_page_are_those_that_hold(head, values):
    """Those that are written as Python; what comes of the environment is named in words."""
    written = {name: ast.literal_eval(value.strip("`")) for name, (value, _) in _table(head).items() if _plain(value)}
    assert len(written) >= 10
    there = written.keys() & values.keys()  # the others are for another kind of broker
    assert {name: values[name] for name in there} == {name: written[name] for name in there}


def _plain(value):
    return re.fullmatch(r"`(True|False|None|[\d.]+|\".*\"|\[.*\])`", value)
