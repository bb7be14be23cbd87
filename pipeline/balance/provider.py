"""The provider's side of the balance sheet: is each of its charges what its call, its tariff and its seconds give?

Every line is looked at by itself, with its rate: there is no side to hold it against as quickly as the client's, as a
call need not be on it at all. Whether the seconds were those of the carrier is for the comparison with its file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from pipeline.balance.money import CHARGE_HOLDS, CHARGE_IS_NAMED
from pipeline.billing.ledger import sign_of
from pipeline.billing.rules.pricing import LineKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from sqlalchemy import Connection

_CHARGE, _REVERSAL = f"'{LineKind.CHARGE}'", f"'{LineKind.REVERSAL}'"

# Without a tariff of that side there is nothing to read, which costs a look at a small table.
_IS_THERE: Final = text("SELECT EXISTS (SELECT FROM tariffs WHERE side = 'provider')")

_LINES: Final = f"""
CREATE TEMPORARY TABLE balance_provider ON COMMIT DROP AS
SELECT l.call_id, l.kind, l.revision, l.currency, l.amount, l.unrounded, l.tariff_version_id, l.talk_seconds,
       l.billable_seconds, {sign_of("l.kind")} AS sign, v.billable_dispositions, t.side IS NOT DISTINCT FROM 'provider'
         AS of_provider, {CHARGE_IS_NAMED} AS is_named, ({CHARGE_HOLDS}) IS TRUE AS holds
FROM ledger AS l
LEFT JOIN tariff_versions AS v ON v.id = l.tariff_version_id
LEFT JOIN tariffs AS t ON t.id = v.tariff_id
LEFT JOIN rates AS r ON r.tariff_version_id = l.tariff_version_id AND r.line = l.rate_line
WHERE l.side = 'provider' AND l.call_id BETWEEN :first AND :last AND l.call_id >> 16 IN (SELECT id FROM balance_window)
"""
_NET: Final = """
CREATE TEMPORARY TABLE balance_provider_net ON COMMIT DROP AS
SELECT coalesce(l.call_id, u.call_id) AS call_id, coalesce(l.in_force, 0) AS in_force, u.call_id IS NOT NULL AS excused
FROM (SELECT call_id, sum(sign) AS in_force FROM balance_provider GROUP BY call_id) AS l
FULL JOIN (SELECT call_id FROM uncharged WHERE side = 'provider' AND call_id BETWEEN :first AND :last
           AND call_id >> 16 IN (SELECT id FROM balance_window)) AS u ON u.call_id = l.call_id
"""
_FIGURES: Final = text(
    """
SELECT (SELECT count(*) FROM balance_provider_net WHERE in_force > 0) AS charged,
       (SELECT count(*) FROM balance_provider_net WHERE excused) AS uncharged,
       (SELECT count(*) FROM calls JOIN balance_window AS w ON calls.id BETWEEN w.first AND w.last
        WHERE NOT EXISTS (SELECT FROM balance_provider_net AS n
                          WHERE n.call_id = calls.id AND (n.in_force > 0 OR n.excused))) AS not_on_it
"""
)
_CHARGED: Final = text("SELECT currency, sum(amount) AS amount FROM balance_provider GROUP BY 1")

_OF_CALLS: Final = """
balance_provider AS l JOIN balance_provider_net AS n ON n.call_id = l.call_id AND n.in_force = 1
LEFT JOIN calls AS c ON c.id = l.call_id LEFT JOIN dispositions AS d ON d.call_id = l.call_id
WHERE l.revision = (SELECT max(revision) FROM balance_provider AS last WHERE last.call_id = l.call_id)
"""
"""The charge in force of each call, and the call."""

RULES: Final = {
    "the provider charges a call more than once": """
        SELECT call_id FROM balance_provider_net WHERE in_force NOT IN (0, 1)""",
    "a call is both charged by the provider and said not to be": """
        SELECT call_id FROM balance_provider_net WHERE in_force > 0 AND excused""",
    "a reversal of the provider's side is not the exact opposite of a charge": f"""
        SELECT DISTINCT r.call_id FROM balance_provider AS r
        LEFT JOIN balance_provider AS l ON l.call_id = r.call_id AND l.revision = r.revision AND l.kind = {_CHARGE}
        WHERE r.kind = {_REVERSAL}
          AND (l.currency, l.amount, l.unrounded, l.tariff_version_id, l.talk_seconds, l.billable_seconds)
            IS DISTINCT FROM
              (r.currency, -r.amount, -r.unrounded, r.tariff_version_id, r.talk_seconds, r.billable_seconds)""",
    "a charge of the provider's side names no provider's tariff, or a rate that is not there": f"""
        SELECT DISTINCT call_id FROM balance_provider
        WHERE kind = {_CHARGE} AND (is_named AND of_provider) IS NOT TRUE""",
    "a charge of the provider's side is not what its rate, its seconds and its tariff's rounding give": f"""
        SELECT DISTINCT call_id FROM balance_provider WHERE kind = {_CHARGE} AND is_named AND NOT holds""",
    "a charge of the provider's side is for another call than its own": f"""
        SELECT l.call_id FROM {_OF_CALLS} AND c.talk_seconds IS DISTINCT FROM l.talk_seconds""",
    "the provider charges a call for its seconds, but its tariff does not bill what became of it": f"""
        SELECT l.call_id FROM {_OF_CALLS} AND l.billable_seconds > 0
          AND (d.disposition = ANY (l.billable_dispositions)) IS NOT TRUE""",
}
"""What must never be; each query names the calls that break its rule."""


@dataclass(frozen=True, slots=True)
class ProvidersSheet:
    """What the provider charges for the calls of a window."""

    charged: int
    """Calls that it charges."""
    uncharged: int
    """Calls that it does not charge, or of which that is not known: each has its reason."""
    not_on_it: int
    """Calls of which nothing is said on the provider's side, as no tariff of one was assigned to them when they were
    billed."""
    amounts: dict[str, Decimal] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` shows it; amounts are strings."""
        return {
            "charged": self.charged,
            "uncharged": self.uncharged,
            "not_on_it": self.not_on_it,
            "amounts": {currency: f"{amount:f}" for currency, amount in sorted(self.amounts.items())},
        }


def providers_sheet(connection: Connection, bounds: dict[str, Any]) -> ProvidersSheet | None:
    """The provider's side of the batches in ``balance_window``; None where no provider's tariff was ever loaded.

    Args:
        connection: the balance's, in its snapshot.
        bounds: the first and last record id of the window.
    """
    if not connection.scalar(_IS_THERE):
        return None
    connection.execute(text(_LINES), bounds)
    connection.execute(text(_NET), bounds)
    connection.execute(text("ANALYZE balance_provider, balance_provider_net"))
    figures = connection.execute(_FIGURES).one()
    amounts = {row.currency: row.amount for row in connection.execute(_CHARGED)}
    return ProvidersSheet(figures.charged, figures.uncharged, figures.not_on_it, amounts)


def broken_rules(connection: Connection) -> Iterator[tuple[str, list[int]]]:
    """Each rule of the side, and the calls that break it; after `providers_sheet` has found one."""
    for rule, query in RULES.items():
        yield rule, list(connection.execute(text(query)).scalars())
