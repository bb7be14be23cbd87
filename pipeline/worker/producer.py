"""How messages leave: as kombu sends them, but that a queue is asked for once a connection."""

from __future__ import annotations

from typing import Any

from kombu.messaging import Producer as KombuProducer


class Producer(KombuProducer):  # type: ignore[misc]
    """A producer that knows what it has declared.

    kombu knows it too, but copies the queue and both its exchanges before it looks, for each message.
    """

    def maybe_declare(self, entity: Any, *args: Any, **options: Any) -> Any:
        """Declare a queue or an exchange, unless that was done on this connection."""
        transport = self.channel.connection  # None once the channel was closed
        if transport and entity and entity.can_cache_declaration and hash(entity) in transport.client.declared_entities:
            return False
        return super().maybe_declare(entity, *args, **options)
