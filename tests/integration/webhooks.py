"""What tests of webhooks have in common."""

from __future__ import annotations

import base64

from pipeline.feed.sinks.base import Ours
from tests.receiver import Receiver

__all__ = ["ALLOWED", "SECRET", "Receiver"]

SECRET = "whsec_" + base64.b64encode(bytes([1]) * 32).decode()
ALLOWED = Ours(allowed_hosts=frozenset({"127.0.0.1", "localhost"}))
