"""kombu's Redis transport, but that it passes over what is no message.

Whoever can write to the broker's Redis can put anything on its lists and channels. kombu unpacks that where no error is
expected: each such element ended the process that read it, be it a worker or Flower.
"""

from __future__ import annotations

import base64
import binascii
import functools
from typing import Any, Final

from kombu.transport import TRANSPORT_ALIASES, redis

from pipeline.logs.setup import get_logger
from pipeline.monitoring import metrics
from pipeline.worker.wire import UnreadableError, read_json

log = get_logger(__name__)

LARGEST_BYTES: Final = 16 * 1024 * 1024
"""Far more than the events of a moment, which are the largest that come."""

LONGEST_NAME: Final = 1_000
KOMBU_TYPE: Final = {"__type__", "__value__"}
READ_ERRORS: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def check_envelope(raw: str | bytes) -> None:
    """What stands on a list or came by a channel must be a message as kombu itself writes them.

    Raises:
        UnreadableError: it is none.
    """
    if len(raw) > LARGEST_BYTES:
        raise UnreadableError(f"it is larger than {LARGEST_BYTES} bytes")
    message = read_json(raw, object_hook=_plain)
    if not isinstance(message, dict):
        raise UnreadableError("it is no object")
    _check_headers(message.get("headers"))
    properties = message.get("properties")
    if not isinstance(properties, dict):
        raise UnreadableError("it has no properties")
    delivery = properties.get("delivery_info")
    if not isinstance(delivery, dict):
        raise UnreadableError("it does not say how it was delivered")
    for place, name in ((properties, "delivery_tag"), (delivery, "exchange"), (delivery, "routing_key")):
        if not _is_name(place.get(name)):
            raise UnreadableError(f"its {name} is no name")
    for name in ("content-type", "content-encoding"):
        if message.get(name) is not None and not _is_name(message[name]):
            raise UnreadableError(f"its {name} is no name")
    _check_body(message.get("body"), properties.get("body_encoding"))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and value.isascii() and value.isprintable()


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    if found.keys() == KOMBU_TYPE:
        raise UnreadableError("it holds an object of kombu's own types")
    return found


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, dict):
        raise UnreadableError("it has no headers")
    if headers.get("compression"):
        raise UnreadableError("it is compressed, and nothing of this project is")


def _check_body(body: Any, encoding: Any) -> None:
    if not isinstance(body, str):
        raise UnreadableError("it has no body")
    if encoding == "base64":
        try:
            base64.b64decode(body)
        except (binascii.Error, ValueError) as error:
            raise UnreadableError("its body is no base64") from error
    elif encoding not in (None, "utf-8"):
        raise UnreadableError("its body is encoded in no way that is known")


def _passes(raw: Any, place: Any) -> bool:
    try:
        check_envelope(raw)
    except UnreadableError as error:
        metrics.count(metrics.REFUSED, kind="envelope")
        log.warning("message_refused", kind="envelope", place=repr(place)[:200], reason=str(error), size_bytes=len(raw))
        return False
    return True


class Client(redis.PrefixedStrictRedis):  # type: ignore[misc]
    """A connection that never hands on an element of a list that is no message."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """An answer of Redis; as if the list had been empty when what came off it is no message."""
        answer = super().parse_response(connection, command_name, **options)
        if command_name == "BRPOP" and answer and not _passes(answer[1], answer[0]):
            return None
        return answer

    def pubsub(self, **options: Any) -> Any:
        """The connection that listens to channels."""
        return PubSub(self.connection_pool, global_keyprefix=self.global_keyprefix, **options)


class PubSub(redis.PrefixedRedisPubSub):  # type: ignore[misc]
    """A connection that never hands on what came by a channel and is no message."""

    def parse_response(self, *args: Any, **options: Any) -> Any:
        """An answer of Redis; nothing when it is no message."""
        answer = super().parse_response(*args, **options)
        is_message = isinstance(answer, list) and answer and answer[0] in {b"pmessage", b"message"}
        return None if is_message and not _passes(answer[-1], answer[-2]) else answer


class QoS(redis.QoS):  # type: ignore[misc]
    """What a killed worker held is put back, but for what is no message."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Put one message back; without this, one forged entry would keep all others from being put back."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except READ_ERRORS as error:
            metrics.count(metrics.REFUSED, kind="envelope")
            log.warning("message_refused", kind="envelope", place="unacked", reason=str(error)[:200])
            self._remove_from_indices(tag).execute()


class _Checked:
    """Makes of kombu's channels those that check."""

    QoS = QoS
    global_keyprefix = ""
    pool: Any
    _sender: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        """As kombu, but that it is made once for each pool of connections: making it costs as much as a message."""
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        if self._sender is None or self._sender.connection_pool is not self.pool:
            self._sender = super()._create_client()  # type: ignore[misc]
        return self._sender

    def _get_client(self) -> Any:
        return functools.partial(Client, global_keyprefix=self.global_keyprefix)


class Channel(_Checked, redis.Channel):  # type: ignore[misc]
    """A channel over Redis."""


class SentinelChannel(_Checked, redis.SentinelChannel):  # type: ignore[misc]
    """A channel over Redis behind Sentinel."""


class Transport(redis.Transport):  # type: ignore[misc]
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):  # type: ignore[misc]
    """``sentinel://``."""

    Channel = SentinelChannel


def check_what_redis_holds() -> None:
    """Have kombu use these transports; for this whole process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "pipeline.worker.transport:Transport"
    TRANSPORT_ALIASES["sentinel"] = "pipeline.worker.transport:SentinelTransport"
