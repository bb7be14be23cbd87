"""Messages to a topic exchange of RabbitMQ, or whatever else speaks AMQP 0-9-1, through kombu.

What it guarantees: every event at least once, in order, in every queue that was bound to its key, and in one at least.
Messages are persistent, and each is confirmed by the broker before the next is sent; one that no queue wants is given
back, and waits. One whose confirmation was lost is sent again under the same ``message_id``.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import amqp
import kombu

from pipeline.errors import cut
from pipeline.feed.rules.routing import routing_key
from pipeline.feed.rules.shape import RAW_TYPE
from pipeline.feed.sinks.base import RefusedError, SettingError, SinkAwayError
from pipeline.logs.rules.secrets import mask, secrets_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.feed.rules.event import Event
    from pipeline.feed.sinks.base import Ours

KNOWN: Final = {"url", "exchange"}
LONGEST_NAME_BYTES: Final = 127
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 15
"""How long a confirmation is waited for; a broker that is short of memory or disk gives none."""


def check(settings: Mapping[str, Any], ours: Ours) -> None:
    """Whether these settings can be.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    del ours
    if strange := sorted(set(settings) - KNOWN):
        raise SettingError(f"amqp has no setting {strange[0]}: it has {', '.join(sorted(KNOWN))}")
    try:
        parts = urlsplit(str(settings.get("url", "")))
        is_one = parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingError("url must be a URL such as amqp://user:password@host:5672/vhost, or amqps://")
    exchange = settings.get("exchange")
    if not isinstance(exchange, str) or not 0 < len(exchange.encode()) <= LONGEST_NAME_BYTES:
        raise SettingError(f"exchange must be the name of a topic exchange, of at most {LONGEST_NAME_BYTES} bytes")


class Amqp:
    """An exchange as a sink; it is made where there is none.

    Args:
        settings: ``url`` and ``exchange``; checked.
        subscriber: not needed.
        ours: not needed.
    """

    most_events = 500

    def __init__(self, settings: Mapping[str, Any], *, subscriber: str, ours: Ours) -> None:
        del subscriber, ours
        url = settings["url"]
        self._name = settings["exchange"]
        self._hidden = secrets_of(url)
        host = urlsplit(url).hostname
        self._connection = kombu.Connection(
            url,
            connect_timeout=CONNECT_SECONDS,
            ssl={"server_hostname": host, "cert_reqs": ssl.CERT_REQUIRED} if url.startswith("amqps:") else False,
            transport_options={
                "confirm_publish": True,
                "read_timeout": ANSWER_SECONDS,
                "write_timeout": ANSWER_SECONDS,
            },
        )
        self._producer: Any = None
        self._returned: list[str] = []
        self._confirmed = (-1, -1)

    def deliver(self, events: Sequence[Event]) -> None:
        """Publish those that were not confirmed to this sink already.

        Raises:
            RefusedError: the broker will not have this message: it is too large.
            SinkAwayError: the broker is away, or does not take it this time, or no queue wants it.
        """
        for event in events:
            if (event.position, event.place) > self._confirmed or not event.position:
                self._publish(event)
                self._confirmed = max(self._confirmed, (event.position, event.place))

    def _publish(self, event: Event) -> None:
        try:
            producer = self._producer = self._producer or self._opened()
            self._returned.clear()
            producer.publish(event.body, retry=False, mandatory=True, **_properties(event), **_TIMES)
        except amqp.PreconditionFailed as error:
            is_ours = self._producer is not None
            self._begin_anew()
            if is_ours:
                raise RefusedError(f"exchange {self._name} refuses it: {self._said(error)}") from None
            raise SinkAwayError(f"{self._name} is another kind of exchange: {self._said(error)}") from None
        except amqp.exceptions.MessageNacked:
            raise SinkAwayError(
                f"exchange {self._name} did not take it: a queue bound to {routing_key(event)} is full, or failed"
            ) from None
        except (
            *self._connection.connection_errors,
            *self._connection.channel_errors,
            kombu.exceptions.KombuError,
        ) as error:
            self._begin_anew()
            raise SinkAwayError(f"exchange {self._name} cannot be published to: {self._said(error)}") from None
        if self._returned:
            raise SinkAwayError(
                f"no queue is bound to exchange {self._name} for {routing_key(event)}: bind one, or subscribe to less"
            )

    def _opened(self) -> Any:
        exchange = kombu.Exchange(self._name, type="topic", durable=True, delivery_mode="persistent")
        channel = self._connection.channel()
        exchange(channel).declare()
        return kombu.Producer(channel, exchange=exchange, auto_declare=False, on_return=self._given_back)

    def _given_back(self, *_: Any) -> None:
        self._returned.append("")

    def _begin_anew(self) -> None:
        """A channel that had an error is closed, and what else is on the connection is of no use."""
        self._producer = None
        self._connection.collect(socket_timeout=1)

    def _said(self, error: Exception) -> str:
        said = str(getattr(error, "reply_text", "") or error) or type(error).__name__
        return cut(mask(said, self._hidden), 200)

    def delivered(self) -> None:
        """Nobody but the broker's queues know."""

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.release()


_TIMES: Final = {"timeout": ANSWER_SECONDS, "confirm_timeout": ANSWER_SECONDS}


def _properties(event: Event) -> dict[str, Any]:
    return {
        "routing_key": routing_key(event),
        "message_id": str(event.event_id),
        "type": event.kind,
        "timestamp": int(event.at.timestamp()),
        "app_id": "enigma-cdr-pipeline",
        "content_type": event.content_type,
        "content_encoding": "binary" if event.content_type == RAW_TYPE else "utf-8",
        "headers": {
            "source": event.source,
            "campaign": event.campaign or "",
            "call_ref": event.call_ref,
            "position": event.position,
            "place": event.place,
        },
    }
