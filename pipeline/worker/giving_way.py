"""The feed's process gives way: integrators get what the processor has left while calls wait to be billed."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GIVES_WAY: Final = {"feed"}
"""The queues whose processes do, those that serve another one as well excepted."""

NICENESS: Final = 10
"""A tenth of the share that a process has otherwise; all of it where nobody else wants any."""

TURN_SECONDS: Final = 0.0005
"""How long one of its threads keeps the interpreter from the others, of which most only wait for somebody's answer: by
Python's own 5 ms each of the few reads and writes of a small request is that late while any other thread computes."""

_AUTOGROUP: Final = Path("/proc/self/autogroup")


class _Here:
    gives_way = False


def give_way_by_queues(options: Mapping[str, Any], **_: Any) -> None:
    """A worker is about to be: before any thread is there, for each inherits it from who starts it.

    Args:
        options: that Celery starts it with; its queues decide.
    """
    queues: Iterable[str] | str = options.get("queues") or ()
    named = set(queues.split(",") if isinstance(queues, str) else queues)
    if named and named <= GIVES_WAY:
        give_way()
        sys.setswitchinterval(TURN_SECONDS)
        _Here.gives_way = True


def gives_way() -> bool:
    """Whether this is a process that does: in another one whoever rests would keep calls waiting."""
    return _Here.gives_way


def give_way() -> None:
    """Be nice, for good: an ordinary user cannot take it back."""
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    # Linux shares processors among sessions first, and niceness counts within one. A session of others is left alone.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(NICENESS), encoding="ascii")
