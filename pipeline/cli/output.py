"""How the commands speak: tables for people, JSON for scripts, complaints on standard error."""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console

console = Console()
errors = Console(stderr=True, soft_wrap=True)


def complain(what: str, remedy: str = "") -> None:
    """Say what went wrong, and what to do about it, on standard error."""
    errors.print(f"[bold red]Error:[/] {_literal(what)}", highlight=False)
    if remedy:
        errors.print(_literal(remedy), highlight=False)


def print_json(value: Any) -> None:
    """Write a value as JSON: amounts as strings, instants as ISO-8601 in UTC."""
    print(json.dumps(value, default=plain, indent=2, ensure_ascii=False))  # noqa: T201 - for scripts, as it is


def plain(value: Any) -> Any:
    """What JSON has no type for."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    raise TypeError(f"no JSON for {type(value).__name__}")


INSTANTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
"""How an instant may be written on the command line; without an offset it is UTC."""


def aware(instant: datetime | None) -> datetime | None:
    """An instant from the command line with its offset, UTC where none was given."""
    if instant is None:
        return None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def operator_name() -> str:
    """Who is at the keyboard, for the record of what people did."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def _literal(text: str) -> str:
    return text.replace("[", r"\[")
