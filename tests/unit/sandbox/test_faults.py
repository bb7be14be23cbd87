from collections import Counter

from pipeline.sandbox.api import Faults


def test_no_fault_strikes_unless_ordered():
    assert {Faults().draw(chance / 100) for chance in range(100)} == {None}


def test_each_share_strikes_as_often_as_ordered():
    """The shares lie side by side, so that each is exact."""
    faults = Faults(unavailable_share=0.1, throttled_share=0.2, truncated_share=0.3, dropped_share=0.05)
    drawn = Counter(faults.draw((chance + 0.5) / 1000) for chance in range(1000))
    assert drawn == {"unavailable": 100, "throttled": 200, "truncated": 300, "dropped": 50, None: 350}


def test_down_strikes_always():
    assert Faults(down=True).draw(0.999) == "dropped"
