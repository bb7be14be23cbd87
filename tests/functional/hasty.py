"""Runs a process of the pipeline by a faster clock: what it does every so often it does sooner, and as often as that.

    python -m tests.functional.hasty -- celery -A pipeline flower …

The production code knows nothing of this: what says how long is changed from outside, before the process starts. What a
test looks at is the same, and it waits a tenth of the time for it.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import celeryconfig
from tests.outside import run_program, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from pipeline.sandbox.stack import Stack

TIMES = 10
BEAT_TIMES = 30
SHORTEST = timedelta(seconds=2)
"""Between ticks of beat: none comes sooner than the one of the reconciler."""

PAGE_TIMES = """{
  const [timeout, interval] = [window.setTimeout, window.setInterval];
  const sooner = (after) => after >= 1000 ? after / %d : after;
  window.setTimeout = (work, after, ...more) => timeout(work, sooner(after), ...more);
  window.setInterval = (work, after, ...more) => interval(work, sooner(after), ...more);
}"""


def hasten(stack: Stack, *names: str) -> None:
    """Have processes of a stack started like this."""
    for name in names:
        program = stack.commands[name]
        stack.commands[name] = f"{sys.executable} -m tests.functional.hasty -- {program}"


def hasten_page(page: Page) -> None:
    """Have all pages that are opened from now on ask for what is new sooner."""
    page.add_init_script(PAGE_TIMES % TIMES)


def main() -> None:
    """Change what says how long, then become the command."""
    schedule: dict[str, Any] = celeryconfig.beat_schedule
    for entry in schedule.values():
        entry["schedule"] = max(SHORTEST, entry["schedule"] / BEAT_TIMES)
    wrap("pipeline.flower.figures", "SharedAnswer.__init__", good_for_less)
    run_program(sys.argv[sys.argv.index("--") + 1 :])


def good_for_less(begin: Callable[[Any, float], None]) -> Callable[[Any, float], None]:
    """What makes an answer of Flower that several share good for a part of the time."""

    def begin_shorter(answer: Any, seconds: float) -> None:
        begin(answer, seconds / TIMES)

    return begin_shorter


if __name__ == "__main__":
    main()
