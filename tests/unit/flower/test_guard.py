"""Who is let into Flower, and what Flower is told: decided without a server."""

from __future__ import annotations

import base64

import pytest
from celery.events.state import State
from flower import urls
from flower.api import BaseApiHandler
from hypothesis import given
from hypothesis import strategies as st

from pipeline.flower import extension
from pipeline.flower.events import MOST_NAMES, Seen, well_formed
from pipeline.flower.guard import SwitchedOffHandler, credentials, is_own_name, only_looking
from pipeline.flower.wrong_logins import ADDRESSES, AT_ONCE, SECONDS_EACH, WrongLogins


def test_an_address_that_guesses_is_slowed_and_no_other():
    """Thirty at once, then one each six seconds, however many are tried; nobody else waits."""
    wrong = WrongLogins()
    for _ in range(AT_ONCE):
        assert wrong.wait_seconds("10.0.0.7", 100.0) == 0
        wrong.add("10.0.0.7", 100.0)
    assert wrong.wait_seconds("10.0.0.7", 100.0) == SECONDS_EACH
    assert wrong.wait_seconds("10.0.0.8", 100.0) == 0
    assert wrong.wait_seconds("10.0.0.7", 100.0 + SECONDS_EACH) == 0
    wrong.add("10.0.0.7", 100.0 + SECONDS_EACH)
    assert wrong.wait_seconds("10.0.0.7", 100.0 + SECONDS_EACH) == SECONDS_EACH
    assert wrong.wait_seconds("10.0.0.7", 1_000.0) == 0


def test_more_addresses_than_are_remembered_push_out_the_oldest():
    """Memory is bounded, and one address cannot hide behind many in a network of its own."""
    wrong = WrongLogins()
    for number in range(ADDRESSES + 10):
        wrong.add(f"a{number}", 1.0)
    assert len(vars(wrong)["_forgiven_at"]) == ADDRESSES
    for number in range(AT_ONCE + 1):
        wrong.add(f"2001:db8::{number:x}", 1.0)
    assert wrong.wait_seconds("2001:db8::ffff", 1.0) > 0


@given(st.binary())
def test_a_login_may_be_of_any_bytes(login):
    """And is read as what was sent."""
    assert credentials("Basic " + base64.b64encode(login).decode()) == login


@given(st.text())
def test_no_header_raises(header):
    """What is no login is an empty one."""
    assert credentials(header) == b"" or header.strip().lower().startswith("basic")


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "0x7f.1"])
def test_a_name_somebody_else_may_have_made_is_not_ours(name):
    """Nor is one that only looks like an address."""
    assert not is_own_name(name, "127.0.0.1")


def test_nothing_of_flowers_api_that_acts_is_left():
    """Whatever answers POST there, in this Flower; what answers GET stays."""
    handlers = [only_looking(each) for each in urls.handlers if each not in extension.HANDLERS]
    targets = [each[1] if isinstance(each, tuple) else each.handler_class for each in handlers]
    api = [each for each in targets if issubclass(each, BaseApiHandler)]
    off = [each for each in api if each is SwitchedOffHandler]
    assert len(off) == 14
    assert {each.__name__ for each in api if each is not SwitchedOffHandler} == {
        "ListWorkers", "ListTasks", "ListTaskTypes", "GetQueueLengths", "TaskInfo", "TaskResult"
    }  # fmt: skip


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)
NAMES = st.sampled_from(
    [
        *("type", "hostname", "timestamp", "clock", "utcoffset", "pid", "freq", "active", "processed", "loadavg"),
        *("uuid", "name", "args", "runtime", "eta", "retries", "heartbeats", "event", "alive", "state", "worker"),
        *("children", "parent_id", "root_id", "result", "traceback"),
    ]
)
TYPES = st.sampled_from(["worker-online", "worker-heartbeat", "task-sent", "task-received", "task-succeeded", "task-x"])
GOOD = {"hostname": "worker@a", "timestamp": 1.5, "uuid": "u", "pid": 1}


@given(st.lists(st.tuples(TYPES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=6))
def test_what_is_handed_on_can_be_shown(events):
    """Whatever was said, Celery's own state takes it, and what Flower's pages make of it does not raise."""
    state = State()
    for kind, changes in events:
        known = well_formed({**GOOD, "type": kind, **changes})
        if known is not None:
            state.event({**known, "clock": 1, "local_received": 2.0})
    for worker in state.workers.values():
        assert worker.alive in (True, False)
        assert int(worker.active or 0) >= 0
        assert worker.hostname.isprintable()
    for task in state.tasks.values():
        assert task.as_dict()["uuid"] == task.uuid
        assert float(task.runtime or 0) >= 0
        assert sorted([task.name or "", "x"])


@given(VALUES)
def test_anything_may_be_said(said):
    """And is no event."""
    assert well_formed(said) is None


def test_names_without_end_are_not_counted():
    """Flower forgets no worker; whoever is silent for an hour gives up its place."""
    seen = Seen()
    assert all(seen.admits(f"w{number}", 0.0) for number in range(MOST_NAMES))
    assert not seen.admits("one more", 60.0)
    assert seen.admits("w1", 4_000.0)
    assert seen.admits("one more", 4_000.0)
