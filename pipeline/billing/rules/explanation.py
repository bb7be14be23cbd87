"""How a charge came about, in sentences: for whoever asks, for to say it costs more than to work it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.billing.rules.rating import ChargeReason, price_of

if TYPE_CHECKING:
    from pipeline.billing.rules.rating import DurationBasis, Rate, RatedCharge, Rounding


def steps_of(
    rate: Rate, seconds: int, charge: RatedCharge, *, rounding: Rounding, decimals: int, basis: DurationBasis
) -> tuple[str, ...]:
    """The steps of a charge, in the order of `rating`, each with its figures.

    Args:
        rate: the rate.
        seconds: the call's duration, on the tariff's basis.
        charge: what `rate_call` or `rate_attempt` made of them.
        rounding: which way the last digit went.
        decimals: of the amount.
        basis: how the sentences call those seconds.
    """
    steps = [] if charge.reason == ChargeReason.ATTEMPT else _usage(rate, seconds, charge, basis.spent)
    if rate.attempt_fee:
        steps.append(f"attempt fee {rate.attempt_fee:f}")
    return (*steps, f"rounded {rounding} to {decimals} decimals: {charge.amount:f}")


def _usage(rate: Rate, duration: int, charge: RatedCharge, spent: str) -> list[str]:
    if charge.reason == ChargeReason.ZERO_SECONDS:
        return [f"no seconds {spent}, so no usage is charged"]
    if charge.reason == ChargeReason.BELOW_FREE_SECONDS:
        return [f"{duration} s {spent}, and calls below {rate.free_below_seconds} s are free"]
    seconds = charge.billable_seconds
    steps = [f"{duration} s {spent}"]
    if rate.minimum_seconds > duration:
        steps.append(f"at least {rate.minimum_seconds} s are charged")
    steps.append(f"in increments of {rate.first_increment}/{rate.next_increment}: {seconds} s")
    usage = price_of(rate, seconds)
    fee = f"connect fee {rate.connect_fee:f} + " if rate.connect_fee else ""
    steps.append(f"{fee}{seconds} s * {rate.rate_per_minute:f} / 60 s = {usage:f}")
    if rate.minimum_charge is not None and usage < rate.minimum_charge:
        usage = rate.minimum_charge
        steps.append(f"raised to the minimum charge {usage:f}")
    if rate.maximum_charge is not None and usage > rate.maximum_charge:
        steps.append(f"lowered to the maximum charge {rate.maximum_charge:f}")
    return steps
