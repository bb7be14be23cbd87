"""What integration tests of several rooms start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.sandbox.servers import Servers


@pytest.fixture
def broker(servers: Servers) -> Iterator[redis.Redis]:
    """The broker's Redis, empty before and after."""
    client = redis.Redis.from_url(servers.broker.url)
    client.flushall()
    yield client
    client.flushall()
    client.close()


@pytest.fixture
def crm(broker: redis.Redis) -> redis.Redis:
    """An integrator's Redis: the same server, under the name that tests of sinks give it."""
    return broker
