"""A number is taken out however it is written, and all else stays byte by byte."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls.rules.rewriting import rewrite_record
from pipeline.calls.rules.rewriting_values import rewrite_call, rewrite_json
from pipeline.calls.rules.spellings import NoNumberError, numbers_in, spell
from tests.factories import make_record

SPELLED = spell("+27831234567", "ZA")
NAME = "erased:27831:abcdefghijklmnop"
SPELLINGS = (
    *("+27831234567", "27831234567", "0027831234567", "0831234567", "831234567", "083 123 4567", "(083) 123-4567"),
    *("+27 (0)83 123 4567", "+27.83.123.4567", "083-123-4567", "+27 83\u00a0123\u00a04567", "00 27 83 123 4567"),
)


@pytest.mark.parametrize("text", SPELLINGS)
def test_it_is_found_in_every_spelling(text):
    """Alone, within a sentence, and beside letters."""
    assert SPELLED.replaced(text, NAME) == NAME
    assert "1234567" not in re.sub(r"\D", "", SPELLED.replaced(f"no rate for {text} at 10:00", NAME).split(NAME)[-1])
    assert SPELLED.replaced(f"tvc_{text}_x", NAME).startswith("tvc_")
    assert SPELLED.is_in(f"a{text}b")


@pytest.mark.parametrize(
    "text", ["08312345670", "1831234567", "+2783123456", "27831234568", "", "083 123", "7654321380"]
)
def test_another_number_stays(text):
    """One digit more or less is another's."""
    assert SPELLED.replaced(text, NAME) == text


@pytest.mark.parametrize("text", ["", "2001", "10111", "abc", "0831234567x", "1" * 40, "+", "\0"])
def test_what_is_no_number_is_refused(text):
    """With what to give."""
    with pytest.raises(NoNumberError, match="is no telephone number"):
        spell(text, "ZA")


def test_a_number_abroad_has_its_own_prefix():
    """What is dialled before it there."""
    hungarian = spell("+36 20 123 4567", "ZA")
    assert hungarian.replaced("06 20 123 4567", "N") == "N"
    assert hungarian.replaced("+36201234567", "N") == "N"


PLACES = ("number", "client_number", "note", "dial_number")
TEXTS = st.text(st.characters(exclude_categories=("Nd", "Cs")), max_size=20)
OTHERS = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS | st.lists(TEXTS), max_size=4)


@given(OTHERS, st.dictionaries(st.sampled_from(PLACES), st.sampled_from([*SPELLINGS, 27831234567]), min_size=1))
def test_json_stays_the_same_but_for_the_number(others, numbers):
    """Whatever is beside it; and a second time changes nothing."""
    record = {"type": "cdr", "payload": {"call_ref": 831234567, "contact_ref": "a", **others, **numbers}}
    for ensure_ascii in (True, False):
        raw = json.dumps(record, ensure_ascii=ensure_ascii).encode()
        new = rewrite_record(raw, SPELLED, NAME)
        payload = json.loads(new)["payload"]
        assert payload == record["payload"] | dict.fromkeys(numbers, NAME) | {"contact_ref": None}
        assert rewrite_record(new, SPELLED, "another") == new


@given(OTHERS)
def test_what_does_not_hold_it_stays_byte_by_byte(others):
    """Blanks, escapes and the order of keys included."""
    raw = json.dumps({"payload": {**others, "contact_ref": "a", "number": "0821112222"}}, indent=1).encode()
    assert rewrite_record(raw, SPELLED, NAME) == raw


@given(st.binary(max_size=60), st.sampled_from(SPELLINGS), st.binary(max_size=60))
def test_it_is_gone_from_any_bytes(before, text, after):
    """What is no JSON is text."""
    raw = before + b" " + text.encode() + b" " + after
    new = rewrite_record(raw, SPELLED, NAME)
    assert not SPELLED.is_in(new.decode("utf-8", "surrogateescape"))


@given(st.lists(st.booleans(), min_size=10, max_size=10))
def test_escapes_hide_nothing(escaped):
    """JSON may write any digit as an escape."""
    digits = "".join(f"\\u{ord(d):04x}" if hide else d for d, hide in zip("0831234567", escaped, strict=True))
    new = rewrite_record(f'{{"payload": {{"number": "{digits}"}}}}'.encode(), SPELLED, NAME)
    assert json.loads(new) == {"payload": {"number": NAME}}


def test_a_key_given_twice_hides_nothing():
    """The last one counts, and the first lies there all the same."""
    new = rewrite_record(b'{"payload": {"number": "0831234567", "number": "0821112222"}}', SPELLED, NAME)
    assert b"31234567" not in new
    assert b"0821112222" in new


def test_what_a_call_is_known_and_charged_by_is_no_number():
    """However it looks."""
    raw = make_record(call_ref=831234567, number="0831234567", dialed_at=1_790_000_000, ref="0831234567")
    payload = json.loads(rewrite_record(raw, SPELLED, NAME))["payload"]
    assert (payload["call_ref"], payload["ref"], payload["number"]) == (831234567, "0831234567", NAME)


def test_other_json_is_rewritten_at_any_depth():
    """Numbers in lists and keys, too; a boolean and null stay."""
    value = {"a": [{"0831234567": 27831234567, "contact_ref": "x"}, None, True, 1.5], "call_ref": "0831234567"}
    assert rewrite_json(value, SPELLED, NAME) == {
        "a": [{NAME: NAME, "contact_ref": None}, None, True, 1.5],
        "call_ref": "0831234567",
    }


def test_a_call_says_that_its_number_is_none_any_more():
    """And keeps the dialler's own."""
    call = {
        "client_number": "+27831234567",
        "client_number_original": "083 123 4567",
        "client_number_is_e164": True,
        "dial_number": "+27123456789",
        "dial_number_original": "27123456789",
        "dial_number_is_e164": True,
        "contact_ref": "a",
        "talk_seconds": 61,
    }
    new = rewrite_call(call, SPELLED, NAME)
    assert (new["client_number"], new["client_number_original"], new["client_number_is_e164"]) == (NAME, NAME, False)
    assert (new["dial_number"], new["dial_number_is_e164"], new["contact_ref"]) == ("+27123456789", True, None)


def test_candidates_are_found_in_any_text():
    """By these a record is told that nobody could read."""
    assert "+27831234567" in list(numbers_in('oops "083 123 4567", 845, 2026-11-23', "ZA"))
    assert list(numbers_in('{"number": "\\u0030831234567"}', "ZA")) == ["+27831234567"]
