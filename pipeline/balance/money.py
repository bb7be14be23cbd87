"""The SQL of the balance sheet that looks at money: is each call charged what its seconds and its tariff give?

Every charge is worked out again where it is counted: from its own rate, fee and seconds, the increments and rounding
of its version. Where that does not do, because a tariff has more to it or the charge is false, its batch is looked at
with the rates themselves. Whether charges fit their calls is seen by checksums, as in ``queries``; batches that
do not agree, and those with reversals, are looked at line by line.

Whether a rate was the right one for the number and the time is not asked: `pipeline rerate --dry-run` is for that.
"""

from __future__ import annotations

from typing import Final

from pipeline.billing.ledger import sign_of
from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.rating import ChargeReason, Rounding
from pipeline.calls.rules.disposition import INBOUND_NOT_BILLED, Disposition, not_billed

_CHARGE, _REVERSAL = f"'{LineKind.CHARGE}'", f"'{LineKind.REVERSAL}'"


def with_seconds(call_id: str) -> str:
    """A hash of a call and its talk seconds; that of the call alone where it has none."""
    return f"hashint8({call_id} # (talk_seconds::bigint << 32))"


EXCUSES: Final = ", ".join(
    f"'{reason}'" for reason in (ChargeReason.ZERO_SECONDS, ChargeReason.BELOW_FREE_SECONDS, INBOUND_NOT_BILLED)
)
"""The reasons for which a call is not charged though its disposition is billed."""

# What must hold of a charge `l`, its version `v` and its rate `r`, as billing/rules/rating.py has it. A sixtieth is
# periodic, so amounts are compared sixtyfold or to more places than any rate has. A line older than `rate_line` names
# no rate: only its version, its currency and its rounding are known.
_UNIT = "10::numeric ^ -v.decimals"
_CUT = "trunc(l.unrounded, v.decimals)"
_ROUNDED = f"""CASE v.rounding
    WHEN '{Rounding.HALF_UP}' THEN round(l.unrounded, v.decimals)
    WHEN '{Rounding.DOWN}' THEN {_CUT}
    WHEN '{Rounding.UP}' THEN {_CUT} + CASE WHEN {_CUT} < l.unrounded THEN {_UNIT} ELSE 0 END
    WHEN '{Rounding.HALF_EVEN}' THEN
        CASE WHEN (l.unrounded - {_CUT}) * 2 = {_UNIT} AND {_CUT} / ({_UNIT}) % 2 = 0
             THEN {_CUT} ELSE round(l.unrounded, v.decimals) END
    END"""
_SIXTYFOLD = "l.connect_fee * 60 + l.rate_per_minute * l.billable_seconds"
_EXACT_TO = "1e-12"
_UNROUNDED_HOLDS = f"""CASE
    WHEN l.billable_seconds = 0 THEN l.unrounded = r.attempt_fee
    WHEN r.attempt_fee = 0 AND r.minimum_charge IS NULL AND r.maximum_charge IS NULL
    THEN abs(l.unrounded * 60 - ({_SIXTYFOLD})) < {_EXACT_TO}
    ELSE abs(l.unrounded - r.attempt_fee
             - least(greatest(({_SIXTYFOLD}) * 1.000000000000000000000000 / 60, r.minimum_charge), r.maximum_charge))
         < {_EXACT_TO}
    END"""
_RATED = "coalesce(l.rated_seconds, l.talk_seconds)"
_SECONDS_HOLD = f"""CASE v.duration_basis WHEN 'call_time' THEN {_RATED} = l.talk_seconds
                     WHEN 'answered' THEN {_RATED} >= 0 ELSE {_RATED} >= l.talk_seconds END
    AND (l.billable_seconds = 0 OR l.billable_seconds = r.first_increment
         + (greatest(0, {_RATED} - r.first_increment, r.minimum_seconds - r.first_increment) + r.next_increment - 1)
         / r.next_increment * r.next_increment)"""
CHARGE_IS_NAMED: Final = "v.id IS NOT NULL AND (l.rate_line IS NULL OR r.line IS NOT NULL)"
CHARGE_HOLDS: Final = f"""l.currency = v.currency AND l.amount = {_ROUNDED}
    AND (l.rate_line IS NULL OR
         (l.rate_per_minute = r.rate_per_minute AND l.connect_fee = r.connect_fee AND l.prefix = r.prefix
          AND {_SECONDS_HOLD} AND {_UNROUNDED_HOLDS}))"""

VERSIONS = """
SELECT v.id, v.currency, v.decimals, r.first_increment, r.next_increment,
       v.rounding = 'half_up' AND v.duration_basis = 'call_time' AND coalesce(r.alike, false) AS usual
FROM tariff_versions AS v LEFT JOIN (
    SELECT tariff_version_id, min(first_increment) AS first_increment, min(next_increment) AS next_increment,
           min(first_increment) = max(first_increment) AND min(next_increment) = max(next_increment)
             AND max(minimum_seconds) = 0 AND max(attempt_fee) = 0
             AND count(minimum_charge) = 0 AND count(maximum_charge) = 0 AS alike
    FROM rates GROUP BY 1) AS r ON r.tariff_version_id = v.id
"""
"""The versions of tariffs; one is usual where its lines can be worked out without a look at their rates."""

VERSION_COLUMNS: Final = {
    "id": "bigint",
    "currency": "text",
    "decimals": "integer",
    "first_increment": "integer",
    "next_increment": "integer",
    "usual": "boolean",
}
"""What ``VERSIONS`` gives, each column handed to ``LEDGER`` as an array: no parallel worker reads a temporary table."""

_VERSIONS = f"""(
    SELECT * FROM unnest({", ".join(f"cast(:v_{name} AS {kind}[])" for name, kind in VERSION_COLUMNS.items())})
    AS v({", ".join(VERSION_COLUMNS)}))"""

_PLAIN = f"""v.usual AND l.currency = v.currency AND {_RATED} = l.talk_seconds
    AND l.billable_seconds = v.first_increment
      + (greatest(0, l.talk_seconds - v.first_increment) + v.next_increment - 1) / v.next_increment * v.next_increment
    AND l.amount = round(l.unrounded, v.decimals)
    AND abs((l.unrounded - l.connect_fee) * 60 - l.rate_per_minute * l.billable_seconds) < {_EXACT_TO}"""

LEDGER = f"""
CREATE TEMPORARY TABLE balance_ledger ON COMMIT DROP AS
SELECT l.call_id >> 16 AS batch, l.currency, l.kind, {sign_of("l.kind")} AS sign,
       count(*) AS n, sum(hashint8(l.call_id)) AS h, sum(l.amount) AS amount,
       sum({with_seconds("l.call_id")}) AS with_seconds,
       sum(CASE WHEN l.billable_seconds > 0 THEN hashint8(l.call_id) END) AS rated_h,
       sum(CASE WHEN l.billable_seconds = 0 AND l.talk_seconds > 0 THEN 1 END) AS unpaid,
       sum(CASE WHEN ({_PLAIN}) IS NOT TRUE THEN 1 END) AS unusual
FROM ledger AS l LEFT JOIN {_VERSIONS} AS v ON v.id = l.tariff_version_id
WHERE l.call_id BETWEEN :first AND :last AND l.side = 'client'
GROUP BY 1, 2, 3
"""
"""The client's side of the ledger by batch, currency and kind, each charge worked out again."""

LEDGER_NET = f"""
SELECT batch, sum(sign * n) AS n, sum(sign * h) AS h, sum(sign * with_seconds) AS with_seconds,
       sum(sign * rated_h) AS rated_h, sum(unpaid) AS unpaid,
       bool_or(unusual IS NOT NULL) FILTER (WHERE kind = {_CHARGE}) AS unusual, bool_or(kind = {_REVERSAL}) AS reversals
FROM balance_ledger GROUP BY 1
"""
"""The same by batch, reversals taken off."""

FALSE_CHARGES = f"""
CREATE TEMPORARY TABLE balance_false ON COMMIT DROP AS
SELECT DISTINCT l.call_id, {CHARGE_IS_NAMED} AS is_named
FROM balance_batches AS b JOIN ledger AS l ON l.call_id BETWEEN b.first AND b.last
LEFT JOIN tariff_versions AS v ON v.id = l.tariff_version_id
LEFT JOIN rates AS r ON r.tariff_version_id = l.tariff_version_id AND r.line = l.rate_line
WHERE b.unusual AND l.side = 'client' AND l.kind = {_CHARGE} AND ({CHARGE_IS_NAMED} AND {CHARGE_HOLDS}) IS NOT TRUE
"""
"""The charges that do not hold, looked for with their rates in the batches that have an unusual one."""

OUTCOMES = f"""
CREATE TEMPORARY TABLE balance_outcomes ON COMMIT DROP AS
SELECT x.* FROM balance_batches AS b
JOIN LATERAL (
    SELECT c.id, c.talk_seconds, c.direction, d.disposition, u.reason AS excuse, l.talk_seconds AS charged_seconds,
           l.billable_seconds, l.reason AS charge_reason, l.tariff_version_id
    FROM calls AS c
    JOIN dispositions AS d ON d.call_id = c.id AND d.call_id BETWEEN b.first AND b.last
    LEFT JOIN uncharged AS u ON u.call_id = c.id AND u.side = 'client' AND u.call_id BETWEEN b.first AND b.last
    LEFT JOIN ledger AS l ON l.call_id = c.id AND l.side = 'client' AND l.call_id BETWEEN b.first AND b.last
      AND l.kind = {_CHARGE}
      AND NOT EXISTS (SELECT FROM ledger AS back WHERE back.call_id = l.call_id AND back.side = 'client'
                        AND back.kind = {_REVERSAL} AND back.revision = l.revision)
    WHERE c.id BETWEEN b.first AND b.last AND (l.call_id IS NOT NULL OR u.call_id IS NOT NULL)
) AS x ON true
WHERE NOT b.paid
"""
"""What each call came to, in batches where charges and calls do not agree at a glance."""

CLOSER_LOOK: Final = (FALSE_CHARGES, OUTCOMES)

UNBILLED = """
SELECT disposition, count(*) AS records, sum(talk_seconds)::bigint AS talk_seconds FROM balance_outcomes
WHERE talk_seconds > 0 AND (billable_seconds IS NULL OR billable_seconds = 0)
GROUP BY disposition
"""
"""Talk seconds that were decided to cost nothing, or an attempt fee alone."""

_IS_EXCUSED = f"""CASE o.excuse
    WHEN '{ChargeReason.ZERO_SECONDS}' THEN o.talk_seconds = 0
    WHEN '{ChargeReason.BELOW_FREE_SECONDS}' THEN o.talk_seconds < (SELECT max(free_below_seconds) FROM rates)
    WHEN '{INBOUND_NOT_BILLED}' THEN o.direction = 'inbound'
    WHEN replace('{not_billed("?")}', '?', o.disposition) THEN o.disposition <> '{Disposition.ANSWERED}'
        OR EXISTS (SELECT FROM tariff_versions AS v WHERE o.disposition <> ALL (v.billable_dispositions))
    ELSE false END"""

RULES: Final = {
    "a reversal is not the exact opposite of a charge": f"""
        SELECT DISTINCT r.call_id FROM balance_batches AS b
        JOIN ledger AS r ON r.call_id BETWEEN b.first AND b.last AND r.side = 'client' AND r.kind = {_REVERSAL}
        LEFT JOIN ledger AS l ON l.call_id = r.call_id AND l.revision = r.revision AND l.kind = {_CHARGE}
          AND l.side = 'client' AND l.call_id BETWEEN b.first AND b.last
        WHERE b.corrected
          AND (l.currency, l.amount, l.unrounded, l.tariff_version_id, l.talk_seconds, l.billable_seconds)
            IS DISTINCT FROM
              (r.currency, -r.amount, -r.unrounded, r.tariff_version_id, r.talk_seconds, r.billable_seconds)""",
    "a charge names a tariff version, or a rate, that is not there": """
        SELECT DISTINCT call_id FROM balance_false WHERE NOT is_named""",
    "a charge is not what its rate, its seconds and its tariff's rounding give": """
        SELECT DISTINCT call_id FROM balance_false WHERE is_named""",
    "a charge is for other seconds than its call has": """
        SELECT DISTINCT id FROM balance_outcomes WHERE charged_seconds <> talk_seconds""",
    "a call is charged for its seconds, but its tariff does not bill what became of it": """
        SELECT DISTINCT o.id FROM balance_outcomes AS o JOIN tariff_versions AS v ON v.id = o.tariff_version_id
        WHERE o.billable_seconds > 0 AND o.disposition <> ALL (v.billable_dispositions)""",
    "a call is charged for the attempt alone, but its tariff bills what became of it": f"""
        SELECT DISTINCT o.id FROM balance_outcomes AS o JOIN tariff_versions AS v ON v.id = o.tariff_version_id
        WHERE o.charge_reason = '{ChargeReason.ATTEMPT}' AND o.disposition = ANY (v.billable_dispositions)""",
    "a call is not charged, for a reason that does not hold": f"""
        SELECT o.id FROM balance_outcomes AS o
        WHERE o.excuse IS NOT NULL AND (o.talk_seconds > 0 OR o.disposition = '{Disposition.ANSWERED}')
          AND ({_IS_EXCUSED}) IS NOT TRUE""",
}
"""What must never be; each query names the calls that break its rule."""
