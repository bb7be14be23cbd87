"""Whose process gives way, seen from inside a process of its own: niceness cannot be taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INSIDE = """
import json, os, sys, threading
from celery import signals
import pipeline.celery
os.nice(int(sys.argv[2]))
signals.celeryd_init.send(sender="x@y", instance=None, conf=None, options={"queues": json.loads(sys.argv[1])})
found = []
thread = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
thread.start(), thread.join()
try:
    words = open("/proc/self/autogroup").read().split()  # none where the session has no group of its own
except OSError:
    words = []
found.append(words[-1] if words else None)
from pipeline.worker.giving_way import gives_way
found.append(gives_way())
print(json.dumps(found))
"""
OURS = os.getpriority(os.PRIO_PROCESS, 0)
HAS_AUTOGROUPS = Path("/proc/self/autogroup").exists()


def inside(queues, *, already=0, leads=True):
    command = [sys.executable, "-c", INSIDE, json.dumps(queues), str(already)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=leads)
    return json.loads(done.stdout)


@pytest.mark.parametrize("queues", [["feed"], "feed"])
def test_the_feeds_process_gives_way_with_all_its_threads_and_its_session(queues):
    assert inside(queues) == [max(10, OURS), "10" if HAS_AUTOGROUPS else None, True]


@pytest.mark.parametrize("queues", [["steps", "pipeline"], ["feed", "steps"], [], None])
def test_one_that_does_the_steps_does_not(queues):
    niceness, _, gives_way = inside(queues)
    assert (niceness, gives_way) == (OURS, False)


def test_who_was_nicer_already_stays_so():
    assert inside(["feed"], already=15)[0] == min(OURS + 15, 19)


def test_a_session_of_others_is_left_alone():
    """A process manager may have everything in its own."""
    niceness, of_the_session, _ = inside(["feed"], leads=False)
    assert niceness == max(10, OURS)
    assert of_the_session != "10"
