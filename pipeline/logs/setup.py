"""Structured logs: one static event name a line, the data as fields, JSON outside a terminal."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import structlog

from pipeline.logs.rules.masking import mask_fields
from pipeline.logs.rules.visible import visible, visible_lines

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor

Logger = structlog.typing.FilteringBoundLogger


class _Lines:
    """Where our own lines go, once they are text.

    Not through `logging`, whose record, filters, formatter and locks cost a process that has just woken as much as all
    that makes the line. One write a line, without a lock of ours that a child might be forked with.

    Args:
        name: the module's.
        stream: where to; None: nowhere, as in a process that was started without.
    """

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self.name = name
        self._stream = stream

    def write(self, line: str) -> None:
        """Write it; a log that cannot be written stops nothing."""
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = write


# long: the list of what every line goes through
def configure_logging(log_format: str = "auto", level: str = "info", *, show_numbers: bool = False) -> None:
    """Set up structlog and, through it, the log lines of libraries. Called once a process, by its entry point.

    Args:
        log_format: ``json``, ``console``, or ``auto``: console in a terminal, JSON elsewhere.
        level: the least severe level written.
        show_numbers: write phone numbers in full.
    """

    def mask(_: Any, __: str, fields: EventDict) -> EventDict:
        return mask_fields(fields, numbers=not show_numbers)

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    _Chosen.json = not console
    # Tracebacks become text before numbers are masked: what raised often quotes the record.
    renderers: list[Any] = [
        structlog.processors.format_exc_info,
        mask,
        *(
            (_as_text, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
            if console
            else (structlog.processors.JSONRenderer(serializer=_as_json),)
        ),
    ]
    stream = sys.stderr
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name: _Lines(name, stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(BrokerChatter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in (
        "httpx",
        "httpcore",
        "fsspec",
        "alembic.runtime.plugins",
        "celery.beat",  # a line a tick: twenty megabytes a day
        "celery.worker.strategy",
        "celery.app.trace",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Chosen:
    """What this process writes."""

    json = False


def writes_json() -> bool:
    """Whether lines are JSON, as ``configure_logging`` was told or chose."""
    return _Chosen.json


_OF_SEVERAL_LINES = ("exception", "stack")


def _as_text(_: Any, __: str, fields: EventDict) -> EventDict:
    """A line's fields such that nothing from outside acts on a terminal or begins a line; tracebacks are indented."""
    shown: EventDict = {}
    for name, value in fields.items():
        said = value if isinstance(value, str) else repr(value)
        if name in _OF_SEVERAL_LINES:
            shown[name] = "  " + visible_lines(said).replace("\n", "\n  ")
        else:
            shown[visible(name)] = visible(said)
    return shown


def _as_json(fields: Any, **options: Any) -> str:
    """A line as JSON, in ASCII."""
    return visible(json.dumps(fields, **options))


def get_logger(name: str) -> Logger:
    """A logger; ``name`` is the module's."""
    logger: Logger = structlog.get_logger(name)
    return logger


class BrokerChatter(logging.Filter):
    """Lets through Celery's first line of a broker outage and the line of its end, and none of the tries between.

    Celery, kombu and Flower tell of each try to reconnect, from several places, for as long as it takes.
    """

    LOGGERS = ("celery.worker.consumer", "celery.beat", "celery.worker.control", "kombu.", "celery.worker.pidbox")
    NOT_MEANT = ("celery.app.base", "Direct exchanges are not supported with native delayed delivery")
    """Of a message whose worker was killed, sent again a second later: the worker that takes it waits, as is meant."""
    OUTAGE = ("Cannot connect", "Connection to broker lost", "Connection error", "connection error")
    FLOWERS = ("Failed to capture events", "Failed to enable events", "Inspect method")
    FLOWERS_QUIET_SECONDS = 60.0
    """Flower says nothing when it is back; it tries every five seconds, so after this silence it is a new outage."""

    def __init__(self) -> None:
        super().__init__()
        self._away = False
        self._flowers_last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the line."""
        if record.name.startswith("flower.") and record.getMessage().startswith(self.FLOWERS):
            since, self._flowers_last = record.created - self._flowers_last, record.created
            return since > self.FLOWERS_QUIET_SECONDS
        if not record.name.startswith(self.LOGGERS):
            return not (record.name == self.NOT_MEANT[0] and record.getMessage().startswith(self.NOT_MEANT[1]))
        text = record.getMessage()
        if text.startswith("Connected to "):
            self._away = False
            return True
        if not any(phrase in text for phrase in self.OUTAGE):
            return True
        record.exc_info = None
        first, self._away = not self._away, True
        return first


class OutageLog:
    """One line when something goes away and one when it is back, however often both are noticed."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._away: dict[str, float] = {}

    def away(self, what: str, error: BaseException) -> None:
        """``what`` could not be reached."""
        if what not in self._away:
            self._away[what] = time.monotonic()
            self._log.error("outage_began", what=what, error=f"{type(error).__name__}: {error}"[:300])

    def back(self, what: str) -> None:
        """``what`` was reached."""
        if self._away and what in self._away:
            seconds = time.monotonic() - self._away.pop(what)
            self._log.warning("outage_ended", what=what, seconds=round(seconds, 1))
