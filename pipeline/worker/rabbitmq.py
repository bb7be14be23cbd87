"""kombu's transport to RabbitMQ, but that a refused login is an outage like any other: said once, and tried again.

Its own error for it is none of those that are waited for, so a worker began anew every second, with a traceback each.
"""

from __future__ import annotations

from typing import Any

import amqp
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from pipeline.worker.rules.refusals import advice


class LoginRefusedError(amqp.RecoverableConnectionError):  # type: ignore[misc]
    """RabbitMQ does not let us in; somebody may mend that at any time."""


class Connection(pyamqp.Connection):  # type: ignore[misc]
    """A connection to RabbitMQ."""

    def connect(self, callback: Any = None) -> Any:
        """Connect.

        Raises:
            LoginRefusedError: with what RabbitMQ said and what to do; no part of the address.
        """
        try:
            return super().connect(callback)
        except (amqp.AccessRefused, amqp.NotAllowed) as error:
            self.collect()
            said = str(error.reply_text).rstrip(".")
            raise LoginRefusedError(f"RabbitMQ refuses us: {said}. {advice(said)}") from error


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """``amqp://``."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):  # type: ignore[misc]
    """``amqps://``."""

    Connection = Connection


def wait_for_login() -> None:
    """Have kombu use these transports; for this whole process."""
    TRANSPORT_ALIASES["amqp"] = "pipeline.worker.rabbitmq:Transport"
    TRANSPORT_ALIASES["amqps"] = "pipeline.worker.rabbitmq:SSLTransport"
