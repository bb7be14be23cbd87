"""Settings of Celery that a mistake would go unnoticed in."""

from __future__ import annotations

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
