"""What Flower hears of a message that is sent."""

from __future__ import annotations

import base64
import json

import pytest

from tests.integration.tasks.test_recordings import ask

pytestmark = pytest.mark.usefixtures("settings_env")


@pytest.mark.parametrize(("told", "heard"), [(True, ["cdr.normalize"]), (False, [])])
def test_flower_hears_that_a_message_was_sent_unless_a_worker_has_it_at_once(broker, told, heard):
    """Then it hears of it from the worker; the message is the same."""
    with broker.pubsub() as listening:
        listening.psubscribe("cdr:/*")
        assert listening.get_message(timeout=5)["type"] == "psubscribe"
        assert ask(f"flow.send_step(flow.Step.NORMALIZE, flow.Batch(7, 'enigma', 1), told={told})") is True
        heard_of = iter(lambda: listening.get_message(timeout=0.3), None)
        events = [json.loads(base64.b64decode(json.loads(each["data"])["body"])) for each in heard_of]
    assert [event["name"] for event in events if event["type"] == "task-sent"] == heard
    assert broker.llen("cdr:cdr.normalize") == 1
