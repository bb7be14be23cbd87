"""What the commands end with; scripts and supervisors go by it, and docs/reference.md promises it."""

from __future__ import annotations

from typing import Final

FOUND: Final = 1
"""Looked, and it is not as hoped: something was found or done in part, or what was asked for is not there."""
WRONG: Final = 2
"""The command line or a setting is wrong, so that nothing was looked at. Typer ends with the same for an option."""
AWAY: Final = 3
"""Could not look: the database or a store is away, not upgraded or refuses a right; or this program has a fault."""
