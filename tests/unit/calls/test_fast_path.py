"""A record written as usual is read in one pass, and comes to the same as field by field."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.calls.rules.cdr import Cdr, read_any_cdr, read_cdr
from pipeline.calls.rules.fast_path import decode_usual
from pipeline.errors import DataError
from pipeline.sandbox.calls import CallGenerator
from tests.unit.calls.test_cdr import GOOD, NOW, envelope

ODD: tuple[Any, ...] = (
    *(
        None,
        "",
        " ",
        "x",
        " 16 ",
        "16",
        "-1",
        "1e3",
        "٣",
        0,
        1,
        -1,
        16,
        999,
        1_000,
        5.0,
        5.5,
        True,
        [],
        {},
        [1],
        {"a": 1},
    ),
    *(2**63 - 1, 2**63, 10**30, 1_597_068_621, "1597068621", "2020-08-10T14:10:21Z", 4_000_000_000, "a" * 64, "a" * 65),
    *(
        "b" * 230,
        "b" * 231,
        "0820001234",
        "27820001234",
        " 0820001234 ",
        "inbound",
        "INBOUND",
        "\0",
        "\ud800",
        "hungup",
    ),
    *("u" * 2_000, "u" * 2_001, 604_800, 604_801),
    *("\u200b", " \u2066\u2069 ", "\u3164", "\x7f", "\x1b", "a\u200b", "\u200ba", "é", "\ufe0f" * 231),
)
FIELDS = (*GOOD, "client_number", "more")


def outcome(read: Any, raw: bytes) -> Cdr | str:
    try:
        cdr: Cdr = read(raw, region="ZA", now=NOW)
    except DataError as error:
        return str(error)
    return cdr


@given(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(ODD), max_size=3), st.sets(st.sampled_from(FIELDS)))
@settings(deadline=None, max_examples=3_000)
def test_both_readings_agree(changed: dict[str, Any], missing: set[str]) -> None:
    """On good records and on bad ones, to the byte of the content's hash and the word of the reason."""
    missing = set(sorted(missing)[:2])
    raw = envelope({name: value for name, value in {**GOOD, **changed}.items() if name not in missing})
    assert outcome(read_cdr, raw) == outcome(read_any_cdr, raw)


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_both_readings_agree_on_anything(raw: bytes) -> None:
    """Also on what is no record."""
    assert outcome(read_cdr, raw) == outcome(read_any_cdr, raw)


INVISIBLE = st.text(st.sampled_from("\x01\x1b\x7f\x9b \xa0\xad\u200b\u202e\u2066\u2800\u3164\ufe0f\ufeff\U000e0041"))
REFERENCES = ("call_ref", "ref", "contact_ref", "extension", "number", "dial_number", "end_reason", "recording_url")


def unescaped(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False)


@given(st.sampled_from(REFERENCES), INVISIBLE, st.sampled_from([json.dumps, unescaped]))
@settings(deadline=None, max_examples=300)
def test_a_text_in_which_nothing_shows_is_an_empty_one(name: str, nothing: str, write: Any) -> None:
    """In every field and by both ways of reading, however the characters are written: no call without a name."""
    raw = write({"type": "cdr", "payload": {**GOOD, name: nothing[:60]}}).encode()
    empty = envelope({**GOOD, name: ""})
    for read in (read_cdr, read_any_cdr):
        assert alike(outcome(read, raw)) == alike(outcome(read, empty))


def alike(read: Cdr | str) -> object:
    """Without what is made of the bytes themselves."""
    if isinstance(read, str):
        return read
    named = not read.call_ref.startswith("sha256:")
    return msgspec.structs.replace(read, content_hash=b"", call_ref=read.call_ref if named else "")


@given(
    st.text("aZ09-é東\N{COMBINING ACUTE ACCENT}", min_size=1, max_size=60),
    INVISIBLE.map(lambda text: f"\u200b{text[:9]}\u200b"),
)
def test_a_text_in_which_something_shows_is_kept(shown: str, nothing: str) -> None:
    """What does not show beside it included: two references are one only where they are the same."""
    for reference in (shown, shown + nothing, nothing + shown):
        for read in (read_cdr, read_any_cdr):
            cdr = read(envelope({**GOOD, "call_ref": reference}), region="ZA", now=NOW)
            assert cdr.call_ref == reference


def test_what_the_dialler_sends_is_usual() -> None:
    """Every call it makes up is read the short way, in the forms of its newer versions, and alike."""
    now = datetime.now(UTC)
    for call in CallGenerator(1, datetime(2026, 1, 1, tzinfo=UTC)).take(2_000):
        for raw in (call.element("eng"), call.element("current")):
            assert decode_usual(raw, 65_536) is not None
            assert read_cdr(raw, region="ZA", now=now) == read_any_cdr(raw, region="ZA", now=now)


def test_keys_in_any_order_have_one_hash() -> None:
    """A replay is recognised by its content, however it is written."""
    backwards = envelope(dict(reversed(GOOD.items())))
    assert decode_usual(backwards, 65_536) is not None
    assert read_cdr(backwards, region="ZA", now=NOW) == read_cdr(envelope(GOOD), region="ZA", now=NOW)
