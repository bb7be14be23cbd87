"""How a message becomes a task: only one that this project sends does; all else is thrown away, and stops nobody.

Celery unpacks what a message says where no error is expected. Such an error ends the worker, the message goes back to
its queue, and the next worker ends as well. So everything is looked at before Celery does, and Celery is given only
what was looked at.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_type_hints

from celery.exceptions import InvalidTaskError
from celery.utils.saferepr import saferepr
from celery.worker.strategy import default

from pipeline.errors import PipelineError
from pipeline.worker.wire import JSON_TYPE, UnreadableError, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What comes of words where numbers, lists or nothing at all were expected."""

LARGEST_BYTES: Final = 64 * 1024
"""A message names a row; its body has a few hundred bytes."""

LONGEST_ID: Final = 255
LONGEST_TEXT: Final = 1_024
MOST_RETRIES: Final = 10
ETA_SECONDS: Final = 60.0
"""How far ahead a message may ask to be run. Ours ask for one second, after a worker process was lost; each that waits
takes a place in the worker's memory, of which there are few."""

LARGEST_INTEGER: Final = 2**63 - 1
EMBEDDED: Final = {"callbacks", "errbacks", "chain", "chord"}


class RefusedError(PipelineError):
    """A message is none of ours.

    Args:
        kind: one of few words, for the metric.
        reason: a sentence for the log.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Parameters(NamedTuple):
    """What a task may be given: the type of each argument, all of them needed."""

    types: Mapping[str, type]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Parameters:
        """As the function declares them."""
        hints = get_type_hints(function)
        return cls({name: hints[name] for name in inspect.signature(function).parameters})


def parameters_of(tasks: Mapping[str, Any]) -> dict[str, Parameters]:
    """The tasks that a message may name: ours, none of those Celery brings along."""
    return {name: Parameters.of(task.run) for name, task in tasks.items() if not name.startswith("celery.")}


def check_message(message: Any, known: Mapping[str, Parameters], *, now: datetime | None = None) -> None:
    """Refuse what is no message of a known task; of what is one, keep only what this project says in a message.

    Args:
        message: kombu's message; its headers are replaced by those that were looked at.
        known: the tasks there are.
        now: the time; that of this machine by default.

    Raises:
        RefusedError: with why.
    """
    headers = _known_headers(message.headers)
    if headers["task"] not in known:
        raise RefusedError("task", f"there is no task {headers['task']!r}")
    kwargs = _arguments(message)
    _check_arguments(kwargs, known[headers["task"]])
    _check_times(headers, now or datetime.now(tz=UTC))
    # What Flower shows is what runs, not what the message says of it.
    headers["argsrepr"], headers["kwargsrepr"] = "()", repr(kwargs)
    message.headers = headers


def _is_text(value: Any, longest: int = LONGEST_ID) -> bool:
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


def _is_id(value: Any) -> bool:
    return _is_text(value) and bool(value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_nothing(value: Any) -> bool:
    return not value


def _is_retries(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= MOST_RETRIES


def _is_limits(value: Any) -> bool:
    """Celery puts in what celeryconfig says; that is what holds, whatever the message says."""
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_limit, value)))


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 < value <= 86_400)


def _is_anything(_: Any) -> bool:
    return True


HEADERS: Final[dict[str, Callable[[Any], bool]]] = {
    "task": _is_id,
    "id": _is_id,
    "lang": _is_text_or_none,
    "root_id": _is_text_or_none,
    "parent_id": _is_text_or_none,
    "origin": _is_text_or_none,
    "retries": _is_retries,
    "eta": _is_text_or_none,
    "expires": _is_text_or_none,
    "timelimit": _is_limits,
    "ignore_result": lambda value: value is None or isinstance(value, bool),
    # What only the parts of Celery have that this project does not use.
    "shadow": _is_nothing,
    "group": _is_nothing,
    "group_index": _is_nothing,
    "replaced_task_nesting": _is_nothing,
    "stamped_headers": _is_nothing,
    "stamps": _is_nothing,
    "compression": _is_nothing,
    **dict.fromkeys(sorted(EMBEDDED), _is_nothing),
}
"""What each header may be. Others, such as those that a broker or tracing adds, are not handed on."""

HANDED_ON: Final = (
    *("task", "id", "lang", "root_id", "parent_id", "origin"),
    *("retries", "eta", "expires", "ignore_result"),
)


def _known_headers(headers: Any) -> dict[str, Any]:
    if not isinstance(headers, dict):
        raise RefusedError("headers", "it has no headers")
    for name, is_well_formed in HEADERS.items():
        if name in headers and not is_well_formed(headers[name]):
            raise RefusedError("headers", f"its header {name} is {saferepr(headers[name], 100)}")
    if "task" not in headers or "id" not in headers:
        raise RefusedError("headers", "it does not say which task it is")
    return {name: headers[name] for name in HANDED_ON if name in headers}


def _arguments(message: Any) -> dict[str, Any]:
    """The keyword arguments of the body, which holds nothing else."""
    if message.content_type != JSON_TYPE or message.content_encoding != "utf-8":
        raise RefusedError("body", f"its body is {message.content_type!r}, and only JSON is read")
    for name in ("reply_to", "correlation_id"):
        if not _is_text_or_none(message.properties.get(name)):
            raise RefusedError("headers", f"its {name} is no name")
    if not message.body or len(message.body) > LARGEST_BYTES:
        raise RefusedError("body", f"its body has {len(message.body or '')} bytes")
    try:
        body = read_json(message.body)
    except UnreadableError as error:
        raise RefusedError("body", str(error)) from error
    if not isinstance(body, list) or len(body) != 3:
        raise RefusedError("body", "its body is no task's")
    args, kwargs, embedded = body
    if args != [] or not isinstance(kwargs, dict):
        raise RefusedError("arguments", "its arguments are not named")
    if not isinstance(embedded, dict) or embedded.keys() - EMBEDDED or any(embedded.values()):
        raise RefusedError("body", "it would have something else done afterwards: a callback, a chain, a chord")
    return kwargs


def _check_arguments(kwargs: dict[str, Any], parameters: Parameters) -> None:
    if kwargs.keys() != parameters.types.keys():
        raise RefusedError("arguments", f"it has the arguments {saferepr(sorted(kwargs), 200)}")
    for name, kind in parameters.types.items():
        value = kwargs[name]
        well_formed = _is_number(value) if kind is int else _is_encodable(value)
        if not well_formed:
            raise RefusedError("arguments", f"its argument {name} is {saferepr(value, 100)}")


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_INTEGER


def _is_encodable(value: Any) -> bool:
    """Half a surrogate pair is text for JSON, and for nobody else."""
    return (
        isinstance(value, str)
        and len(value) <= LONGEST_TEXT
        and (value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value))
    )


def _check_times(headers: dict[str, Any], now: datetime) -> None:
    """Neither a time in another century nor one that nobody can count with; a time to begin that has passed is none."""
    times = {name: _time(name, headers.get(name)) for name in ("eta", "expires")}
    eta, expires = times["eta"], times["expires"]
    if eta is not None and eta - now > timedelta(seconds=ETA_SECONDS):
        raise RefusedError("eta", f"it is to be run at {eta.isoformat()}, and at most {ETA_SECONDS:.0f} s are waited")
    if expires is not None and expires <= now:
        raise RefusedError("expired", f"it was to be begun by {expires.isoformat()}; is this machine's clock right?")
    headers["eta"] = eta.isoformat() if eta is not None and eta > now else None
    headers["expires"] = expires.isoformat() if expires is not None else None


def _time(name: str, value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RefusedError(name, f"its header {name} is {saferepr(value, 100)}, which is no time with its zone") from None


def strategy(*about: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own way of receiving a task, but what cannot be understood is an invalid task, which it rejects."""
    receive: Callable[..., Any] = default(*about, **options)

    def receive_or_reject(*message: Any, **parts: Any) -> Any:
        try:
            return receive(*message, **parts)
        except MALFORMED as error:
            raise InvalidTaskError(f"the message cannot be read: {error}") from error

    return receive_or_reject
