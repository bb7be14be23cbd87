"""Which bytes a request asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recordings.rules.byte_range import Bytes, bytes_wanted

ETAG = '"a"'


@pytest.mark.parametrize(
    ("range_", "answered"),
    [
        (None, Bytes(200, 0, 10)),
        ("bytes=0-", Bytes(206, 0, 10)),
        ("bytes=0-9", Bytes(206, 0, 10)),
        ("bytes=3-100", Bytes(206, 3, 7)),
        ("Bytes=9-9", Bytes(206, 9, 1)),
        ("bytes=-3", Bytes(206, 7, 3)),
        ("bytes=-30", Bytes(206, 0, 10)),
        ("bytes=10-", Bytes(416, 0, 0)),
        ("bytes=-0", Bytes(416, 0, 0)),
        ("bytes=5-4", Bytes(200, 0, 10)),
        ("bytes=0-1,3-4", Bytes(200, 0, 10)),
        ("bytes=-", Bytes(200, 0, 10)),
        ("items=0-1", Bytes(200, 0, 10)),
        ("bytes=0x1-2", Bytes(200, 0, 10)),
        ("bytes=٣-٤", Bytes(200, 0, 10)),
    ],
)
def test_a_range(range_, answered):
    assert bytes_wanted(10, ETAG, range_=range_) == answered


@pytest.mark.parametrize("if_range", ['"b"', 'W/"a"', "Tue, 01 Dec 2026 00:00:00 GMT", ""])
def test_a_range_of_another_body_is_answered_with_all_of_this_one(if_range):
    assert bytes_wanted(10, ETAG, range_="bytes=1-2", if_range=if_range).status == 200


def test_of_nothing_there_is_no_part():
    assert bytes_wanted(0, ETAG, range_=None) == Bytes(200, 0, 0)
    assert bytes_wanted(0, ETAG, range_="bytes=0-").status == 416


@given(st.integers(0, 1_000), st.text("bytes=-,0123456789 ", max_size=20))
def test_whatever_is_asked_the_answer_lies_within(size, range_):
    answered = bytes_wanted(size, ETAG, range_=range_)
    assert answered.first >= 0
    assert answered.first + answered.length <= size
    if answered.status == 206:
        assert answered.length > 0
