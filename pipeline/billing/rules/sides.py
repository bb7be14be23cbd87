"""The two sides of the account: what the client is charged for a call, and what the provider charges for it."""

from __future__ import annotations

from enum import StrEnum


class Side(StrEnum):
    """Whose account a tariff, a line of the ledger or a reason for none stands in."""

    CLIENT = "client"
    PROVIDER = "provider"

    @property
    def whose(self) -> str:
        """As a sentence says it.

        >>> Side.PROVIDER.whose
        "a provider's"
        """
        return f"a {self.value}'s"
