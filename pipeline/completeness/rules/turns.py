"""When a dialler's workers are asked to look again."""

from __future__ import annotations

from typing import Final

PATIENCE_SECONDS: Final = 600.0


def may_ask(asked: float | None, answered: float | None) -> bool:
    """Whether to send another message: not while the last one waits, so that none pile up where nobody reads them.

    Args:
        asked: seconds since they were asked; None: never.
        answered: seconds since they answered; None: never.

    >>> may_ask(None, None), may_ask(60, 59), may_ask(60, 300), may_ask(601, 900), may_ask(601, 86_400)
    (True, True, False, True, False)
    """
    if asked is None or (answered is not None and answered <= asked):
        return True
    silent = PATIENCE_SECONDS if answered is None else answered - asked
    return asked > max(PATIENCE_SECONDS, silent)
