"""What Flower remembers, and what it keeps on disk."""

from __future__ import annotations

import asyncio
import time

import pytest
from flower.events import EventsState
from flower.options import options  # noqa: F401 - Flower's metrics read theirs

from pipeline.flower import memory
from pipeline.flower.memory import BYTES_A_TASK, BoundedEvents, Snapshot


def fill(state, tasks):
    for number in range(tasks):
        about = {"uuid": str(number), "hostname": "worker@host", "pid": 1, "clock": number, "utcoffset": 0}
        now = time.time()
        for kind in ("task-received", "task-succeeded"):
            state.event({"type": kind, "name": "cdr.bill", "timestamp": now, "local_received": now, **about})
    state.event({"type": "worker-heartbeat", "timestamp": now, "local_received": now, **about})


def events(tmp_path, most=100):
    return BoundedEvents(
        None, None, db=str(tmp_path / "flower.db"), persistent=True, state_save_interval=1_000, max_tasks_in_memory=most
    )


def test_it_remembers_only_so_many_and_knows_them_again(tmp_path):
    """Saved beside the loop, loaded as Flower loads its own."""
    first = events(tmp_path)
    fill(first.state, 150)
    assert len(first.state.tasks) == 100
    asyncio.run(first._save_beside())
    again = events(tmp_path)
    assert sorted(again.state.tasks) == sorted(str(number) for number in range(50, 150))
    assert again.state.tasks["149"].state == "SUCCESS"
    assert again.state.counter["worker@host"]["task-succeeded"] == 150
    assert list(again.state.workers) == ["worker@host"]


def test_what_comes_while_it_is_saved_is_not_in_the_way(tmp_path):
    """The snapshot stands still, and the state goes on."""
    keeps = events(tmp_path)
    fill(keeps.state, 10)
    snapshot = Snapshot(keeps.state)
    fill(keeps.state, 100)
    keeps._write(snapshot)
    assert len(events(tmp_path).state.tasks) == 10
    keeps.save_state()
    assert len(events(tmp_path).state.tasks) == 100


def test_a_state_too_large_to_load_is_set_aside(tmp_path):
    """Flower would be killed at each start, before it could forget anything."""
    keeps = events(tmp_path)
    fill(keeps.state, 100)
    keeps.save_state()
    file = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes() + bytes(100 * BYTES_A_TASK))
    assert isinstance(events(tmp_path).state, EventsState)
    assert len(events(tmp_path).state.tasks) == 0
    assert (tmp_path / f"{file.name}.too-large").exists()


def test_flower_is_built_with_it(monkeypatch):
    """Flower takes the class by its name in its own module."""
    monkeypatch.setattr("flower.app.Events", None)
    memory.install()
    from flower.app import Events  # noqa: PLC0415

    assert Events is BoundedEvents
    with pytest.raises(TypeError):
        Events(None, None)
