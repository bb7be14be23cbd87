"""How much a minute brings, by what was seen."""

from __future__ import annotations

from pipeline.flower.integrators import Rates


def test_the_rate_is_of_what_was_seen_in_the_last_minute():
    """None before it was seen twice; what happened longer ago is no part of it."""
    rates = Rates()
    rates.see({"crm": 1_000}, now=0.0)
    assert rates.a_minute("crm") is None
    rates.see({"crm": 1_020}, now=10.0)
    assert rates.a_minute("crm") == 120
    for second in range(11, 100):
        rates.see({"crm": 1_020}, now=float(second))
    assert rates.a_minute("crm") == 0


def test_a_count_that_falls_or_was_long_not_seen_begins_anew():
    """Of one that was removed and added again; and of a page that was opened again."""
    rates = Rates()
    rates.see({"crm": 1_000}, now=0.0)
    rates.see({"crm": 10}, now=30.0)
    assert rates.a_minute("crm") is None
    rates.see({"crm": 20}, now=40.0)
    assert rates.a_minute("crm") == 60
    rates.see({"crm": 9_020}, now=400.0)
    assert rates.a_minute("crm") is None
    rates.see({}, now=401.0)
    assert rates.a_minute("crm") is None
