"""Bytes become one storable JSON object, or a reason an operator understands."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.calls.rules.raw_record import MAX_DEPTH, decode_record
from pipeline.errors import DataError

ROOM = 65_536


def refusal(raw: bytes, max_bytes: int = ROOM) -> str:
    with pytest.raises(DataError) as caught:
        decode_record(raw, max_bytes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "record: is not JSON: Expecting value at character 0, near the end"),
        (b"{", "record: is not JSON: Expecting property name enclosed in double quotes at character 1"),
        (b'{"a":1', "record: is not JSON: Expecting ',' delimiter at character 6, near the end"),
        (b"{'a':1}", "record: is not JSON: Expecting property name enclosed in double quotes"),
        (b'{"a":1}x', "record: is not JSON: Extra data at character 7, near 'x'"),
        (b'{"a":"\x00"}', "record: is not JSON: Invalid control character at character 6"),
        (b'\xef\xbb\xbf{"a":1}', "record: is not JSON: "),
        (b'{"a":"\xff"}', "record: is not UTF-8: byte 0xff at position 6"),
        (b'{"a":"\xed\xa0\x80"}', "record: is not UTF-8: byte 0xed at position 6"),
        ('{"a":1}'.encode("utf-16"), "record: is not UTF-8: byte 0xff at position 0"),
        (b"[]", "record: must be a JSON object, got a list"),
        (b"null", "record: must be a JSON object, got null"),
        (b"17", "record: must be a JSON object, got 17"),
        (b'"x"', "record: must be a JSON object, got 'x'"),
        (b"true", "record: must be a JSON object, got true"),
        (b"NaN", "record: must be a finite number, got NaN"),
    ],
)
def test_what_is_no_record(raw: bytes, sentence: str) -> None:
    """The whole element is at fault, and the sentence says where to look."""
    assert refusal(raw).startswith(sentence)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b'{"payload":{"call_time":NaN}}', "payload.call_time: must be a finite number, got NaN"),
        (b'{"payload":{"x":[1,-Infinity]}}', "payload.x[1]: must be a finite number, got -Infinity"),
        (b'{"payload":{"x":1e999}}', "payload.x: must be a number below 1.8e308, got 1e999"),
        (b'{"n":%s}' % (b"1" * 4301), "n: must be a number of at most 4300 characters, got 4301"),
        (b'{"n":-%s}' % (b"1" * 9999), "n: must be a number of at most 4300 characters, got 10000"),
        (b'{"payload":{"ref":"a\\u0000b"}}', "payload.ref: must not contain a NUL character, got 'a\\x00b'"),
        (b'{"payload":{"x":[{"y":"\\u0000"}]}}', "payload.x[0].y: must not contain a NUL character"),
        (b'{"a\\u0000":1}', "a\\x00: its name must not contain a NUL character"),
        (b'{"p":{"a\\u0000":1}}', "p.a\\x00: its name must not contain a NUL character"),
        (b'{"p":"\\ud800"}', "p: must not contain half of a surrogate pair, got '\\ud800'"),
        (b'{"p":["\\udc00\\ud800"]}', "p[0]: must not contain half of a surrogate pair"),
        (b'{"p":"\\ud800 and on"}', "p: must not contain half of a surrogate pair"),
        (b'{"\\udc00":1}', "\\udc00: its name must not contain half of a surrogate pair"),
        (b'["\\ud800"]', "record[0]: must not contain half of a surrogate pair"),
    ],
)
def test_what_cannot_be_stored(raw: bytes, sentence: str) -> None:
    """A value that PostgreSQL or JSON itself does not take is named by its path."""
    assert refusal(raw).startswith(sentence)


def test_the_first_fault_is_named() -> None:
    """Of several faults the first in the text is reported."""
    assert refusal(b'{"a":{"b":NaN},"c":NaN}').startswith("a.b: ")


def test_an_escaped_backslash_is_not_a_nul() -> None:
    r"""The six characters \u0000, themselves escaped, are a text like any other."""
    assert decode_record(rb'{"a":"\\u0000"}', ROOM) == {"a": r"\u0000"}


def test_a_surrogate_pair_is_a_character() -> None:
    """Two halves in the right order are one character, escaped or not."""
    assert decode_record(b'{"a":"\\ud83d\\ude00"}', ROOM) == decode_record('{"a":"😀"}'.encode(), ROOM)


def test_the_size_limit_counts_bytes() -> None:
    """An element of just the limit is read, one byte more is refused before it is looked at."""
    raw = b'{"a":"' + b"x" * 92 + b'"}'
    assert len(raw) == 100
    assert decode_record(raw, 100)
    assert refusal(raw + b" ", 100) == "record: must be at most 100 bytes, got 101"


@pytest.mark.parametrize("bomb", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("levels", [65, 400, 1_000, 10_000, 100_000])
@pytest.mark.parametrize("closed", [True, False])
def test_a_depth_bomb_is_refused(bomb: bytes, levels: int, closed: object) -> None:
    """However deep the brackets go, and whether they close or not, the answer is one sentence."""
    end = b"".join({"[": b"]", "{": b"}"}[c] for c in reversed(bomb.decode()) if c in "[{")
    raw = bomb * levels + (b"1" + end * levels if closed else b"")
    assert refusal(raw, 2**30) == f"record: must not be nested more than {MAX_DEPTH} levels deep"


def test_depth_up_to_the_limit_is_read() -> None:
    """The deepest record allowed is read, and brackets inside a text do not count."""
    raw = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert json.loads(raw) == decode_record(raw, ROOM)
    wider = raw[:-1] + b',"b":[[],{}]}'
    assert json.loads(wider) == decode_record(wider, ROOM)
    text = b'{"a":"' + b'[\\"{' * 200 + b'"}'
    assert json.loads(text) == decode_record(text, ROOM)


def test_the_longest_whole_number_goes_both_ways() -> None:
    """A number of 4,300 digits is read, and can be written again."""
    raw = b'{"n":%s}' % (b"7" * 4300)
    assert json.dumps(decode_record(raw, ROOM), separators=(",", ":")).encode() == raw


def test_the_last_of_two_equal_keys_counts() -> None:
    """A repeated key has its last value, as in jsonb."""
    assert decode_record(b'{"a":1,"a":2}', ROOM) == {"a": 2}


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)


def unstorable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value or any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, float):
        return value != value or value in {float("inf"), float("-inf")}  # noqa: PLR0124 - NaN
    if isinstance(value, dict):
        return any(unstorable(key) or unstorable(inner) for key, inner in value.items())
    return isinstance(value, list) and any(unstorable(inner) for inner in value)


@given(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=5))
@settings(max_examples=300, deadline=None)
def test_an_object_is_read_exactly_when_it_can_be_stored(record: Any) -> None:
    """Any object comes back as it was, unless it holds a NUL, a lone surrogate or a number without end."""
    raw = json.dumps(record).encode()
    joined = json.loads(raw)  # two escaped halves side by side are one character
    if unstorable(joined):
        sentence = refusal(raw)
        assert sentence.isprintable()
        assert not sentence.startswith("record: is not JSON")
    else:
        assert decode_record(raw, ROOM) == joined


@given(st.binary() | st.text('{}[]",:\\u0dc189ab e.+-NIntfy', max_size=60).map(str.encode))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_record_or_a_data_error(raw: bytes) -> None:
    """No bytes whatever raise anything but a DataError, whose sentence is short and printable."""
    try:
        record = decode_record(raw, ROOM)
    except DataError as error:
        field, sentence = error.field, str(error)
    else:
        assert record == json.loads(raw)
        assert not unstorable(record)
        return
    assert field
    assert sentence.startswith(f"{field}: ")
    assert sentence.isprintable()
    assert len(sentence) < 400
