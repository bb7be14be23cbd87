"""A Redis of an integrator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def crm(servers) -> Iterator[redis.Redis]:
    """An integrator's Redis, empty."""
    client = redis.Redis.from_url(servers.broker.url)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()
