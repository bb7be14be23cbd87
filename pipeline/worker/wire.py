"""What any process of ours reads off the broker: plain JSON as it came, never unpacked, no number without end.

kombu would do more for whoever sends it: inflate a kilobyte to gigabytes before anybody looks at it, and make objects
of what has ``__type__`` in it. Nothing this project sends needs either.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from kombu import compression, serialization
from kombu.clocks import LamportClock
from kombu.utils import json as kombu_json

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable

INTEGER_DIGITS: Final = 19
"""More is no 64-bit number, and Python needs the square of the digits to read one."""

CLOCK_LIMIT: Final = 2**62

JSON_TYPE: Final = "application/json"


class UnreadableError(PipelineError, ValueError):
    """What came is not what this project sends; to kombu, which calls the reader, a value that is wrong."""


def read_json(data: str | bytes | bytearray | memoryview, *, object_hook: Callable[[Any], Any] | None = None) -> Any:
    """Plain JSON.

    Args:
        data: as text or as its bytes.
        object_hook: is given each object, as in ``json.loads``.

    Raises:
        UnreadableError: it is none, or nests too deep, or holds a number beyond 64 bits.
    """
    try:
        text = data if isinstance(data, str) else bytes(data).decode()
        return _decoder(object_hook).decode(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"it is no JSON that can be read: {str(error)[:200]}") from None


@functools.cache
def _decoder(object_hook: Callable[[Any], Any] | None) -> json.JSONDecoder:
    """Made once: `json.loads` makes one for each text that is to be read otherwise than usual."""
    return json.JSONDecoder(parse_int=_integer, parse_constant=_no_number, object_hook=object_hook)


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > INTEGER_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def read_plain_messages() -> None:
    """Have kombu read JSON as ``read_json`` does, and open nothing compressed; for this whole process."""
    serialization.register("json", kombu_json.dumps, read_json, content_type=JSON_TYPE, content_encoding="utf-8")
    for content_type in compression.encoders():
        encoder, _ = compression.get_encoder(content_type)
        compression.register(encoder, _refuse, content_type)


def _refuse(_: bytes) -> NoReturn:
    raise UnreadableError("it is compressed, and nothing of this project is")


class Clock(LamportClock):  # type: ignore[misc]
    """Celery's logical clock; no message can set it so far ahead that its own next message cannot be written."""

    def adjust(self, other: Any) -> int:
        """Be later than another's clock, when that is one."""
        reached = other if isinstance(other, int) and 0 <= other < CLOCK_LIMIT else 0
        later: int = super().adjust(reached)
        return later
