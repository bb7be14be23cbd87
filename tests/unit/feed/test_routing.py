"""The keys by which queues are bound to an exchange."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.feed.rules.event import KINDS
from pipeline.feed.rules.routing import routing_key
from tests.integration.feed_events import event


@pytest.mark.parametrize(
    ("source", "campaign", "key"),
    [
        ("enigma", "sales", "enigma.sales.call.finished"),
        ("enigma.za", "sales #1.*", "enigma_za.sales__1__.call.finished"),
        ("enigma", None, "enigma._.call.finished"),
        ("enigma", "", "enigma._.call.finished"),
    ],
)
def test_a_key_has_four_words(source, campaign, key):
    assert routing_key(event(source=source, campaign=campaign)) == key


@given(source=st.text(), campaign=st.none() | st.text(), kind=st.sampled_from(KINDS))
def test_no_name_makes_another_word_or_one_too_long(source, campaign, kind):
    key = routing_key(event()._replace(source=source, campaign=campaign, kind=kind))
    assert key.count(".") == 3
    assert not set("*# \n\0") & set(key)
    assert len(key.encode()) <= 255
    assert all(key.split("."))
