"""How many messages wait in a queue, by whichever broker."""

from __future__ import annotations

from typing import Any


def count_messages(connection: Any, queue: str) -> int:
    """How many messages are in a queue; 0 when there is no such queue.

    Args:
        connection: kombu's, to the broker.
        queue: its name.
    """
    channel = connection.default_channel
    if hasattr(channel, "_size"):  # Redis; its passive declaration looks without the prefix of our keys
        return int(channel._size(queue))  # noqa: SLF001
    try:
        with connection.channel() as passing:  # its own: asking an AMQP broker for a queue that is not there closes it
            return int(passing.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0
