"""What JSON has no type for, as everything of ours writes it: ``explain --json`` and the feed alike."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """An amount, an id and bytes as text, an instant or a day as ISO-8601; for ``json.dumps(default=...)``.

    Raises:
        TypeError: it is of another type.

    >>> plain(Decimal("1.50")), plain(b"A")
    ('1.50', '41')
    """
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, date):  # an instant too
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    raise TypeError(f"no JSON for {type(value).__name__}")
