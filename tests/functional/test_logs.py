"""What the running processes write: JSON, a line a task, no number."""

from __future__ import annotations

import json

import pytest

from pipeline.batches.rules.steps import TASK
from tests.factories import make_record
from tests.functional.conftest import balance, eventually, load_tariff


@pytest.fixture(autouse=True)
def _started_as_the_procfile_says(stack):
    """And not forked where all is imported."""
    stack.warm = False


def lines_of(stack, name):
    """Every line, the first and the last ones included; one that is not JSON fails the test."""
    return [json.loads(line) for line in stack.log_of(name).read_text().splitlines()]


def test_each_task_ends_with_one_line_and_no_line_has_a_number(stack, push):
    """Who, which batch, how it ended, how long; records and what was set aside; quiet ticks are not told."""
    load_tariff(stack, "prefix,rate_per_minute\n27,0.60\n")
    push(*(make_record(number="0829998877") for _ in range(20)), make_record(number="0829998877", call_time=-1))
    push(make_record(number="0829998877", dialed_at="+27829998877"))
    push(make_record(number="0012129998877"))  # for which there is no rate
    stack.start(["ingestor", "worker", "beat"])
    eventually(lambda: balance(stack)["failed"]["records"] == 1, check=stack.check)
    eventually(lambda: balance(stack)["processed"]["records"] == 20, check=stack.check)
    eventually(lambda: any("cdr.update_contacts" in line.get("outcome", "") for line in lines_of(stack, "worker")))
    stack.stop()
    text = "".join(stack.log_of(name).read_text() for name in ("ingestor", "worker", "beat"))
    assert "29998877" not in text
    ended = [line for line in lines_of(stack, "worker") if line["event"] == "task_ended"]
    assert len({line["task_id"] for line in ended}) == len(ended)
    steps = [line for line in ended if line["task"].startswith("cdr.")]
    assert set(TASK.values()) == {task for line in steps for task in TASK.values() if task in str(line)}
    for line in steps:
        assert {"task_id", "batch_id", "source", "records", "outcome", "seconds", "set_aside", "timestamp"} <= set(line)
        assert (line["level"], line["ended"], line["source"]) == ("info", "done", "enigma")
    aside = {task: sum(line["set_aside"] for line in steps if line["task"] == task) for task in TASK.values()}
    assert {task: some for task, some in aside.items() if some} == {"cdr.normalize": 2, "cdr.bill": 1}
    assert {line["task"] for line in steps} == {"cdr.normalize", "cdr.bill"}
    ticks = [line for line in ended if line["task"] == "pipeline.reconcile"]
    assert all(line["resent"] or line["released"] for line in ticks)
    settled = [line for line in lines_of(stack, "ingestor") if line["event"] == "batch_settled"]
    assert sum(line["records"] for line in settled) == 23
    assert all(line["source"] == "enigma" for line in settled)


def test_every_line_of_every_process_is_json_from_the_first_to_the_last(stack, dialler):
    """No banner and no farewell; beat does not tell of its ticks; a worker of threads ends once its tasks have."""
    stack.env |= {"PIPELINE_STOP_SECONDS": "60"}
    released = stack.run("/bin/sh", "-c", stack.commands["release"])
    assert [json.loads(line)["event"] for line in released.stderr.splitlines()][-1] == "released"
    assert not released.stdout
    dialler.faults.latency_seconds = 2.0
    dialler.place_calls(40)
    names = ["ingestor", "worker", "recordings", "beat", "flower"]
    stack.start(names)
    eventually(lambda: sum(dialler.api.requests.values()), check=stack.check, seconds=60)
    took = stack.stop(["recordings"], within=45)["recordings"]
    stack.stop()
    for name in names:
        events = [line["event"] for line in lines_of(stack, name)]
        assert not [event for event in events if "Sending due task" in event]
        assert events, f"{name} says nothing"
    started = {line["event"]: line for name in ("worker", "beat") for line in lines_of(stack, name)}
    assert started["worker_started"]["queues"][0] == "cdr.bill"
    assert "beat_started" in started
    said = [line["event"] for line in lines_of(stack, "recordings")]
    assert "worker_waits_for_tasks" in said
    assert said[-1] == "worker: Cold shutdown (MainProcess)"
    assert took < 45, "it was not killed, and did not take its minute"
