"""Waiting for what takes a moment: a test that looks once passes on an idle machine and fails on a busy one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY_SECONDS = 0.05
LOOKS_SHARE = 0.25
"""The most of the time that looking takes: what is waited for needs the processor too."""


def eventually(condition: Callable[[], Any], *, seconds: float = 30.0, check: Callable[[], None] = lambda: None) -> Any:
    """What ``condition`` returns once it is true; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        check()
        if result := condition():
            return result
        ended = time.monotonic()
        assert ended < deadline, f"not true after {seconds} s: {condition}"
        time.sleep(min(1.0, max(LOOK_EVERY_SECONDS, (ended - began) * (1 / LOOKS_SHARE - 1))))
