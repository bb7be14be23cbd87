"""A CDR in every form the dialler has had becomes one Cdr, and everything else a reason for an operator."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.calls.rules.cdr import PAYLOAD_FIELDS, Cdr, read_cdr
from pipeline.calls.rules.phone_numbers import Number
from pipeline.errors import DataError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIALED_AT = datetime(2020, 8, 10, 14, 10, 21, tzinfo=UTC)
GOOD = {
    "extension": "2001",
    "number": "0820001234",
    "dial_number": "27123456789",
    "recording_url": "/var/teleforge/recordings/dialer/2020/08/10/dialer-0820001234-2001-20200810-UUID.WAV",
    "call_ref": 845,
    "contact_ref": "account_1234",
    "dialed_at": 1597068621,
    "call_time": 79,
    "hold_time": 4,
    "end_reason": "agent_hungup",
    "end_code": "16",
    "call_dir": "outbound",
    "ref": "campaign001",
}


def envelope(payload: Any, **more: Any) -> bytes:
    return json.dumps({"type": "cdr", "payload": payload, **more}).encode()


def read(raw: bytes) -> Cdr:
    return read_cdr(raw, region="ZA", now=NOW)


def with_(**fields: Any) -> Cdr:
    return read(envelope({**GOOD, **fields}))


def without(*names: str) -> Cdr:
    return read(envelope({name: value for name, value in GOOD.items() if name not in names}))


def dialled(cdr: Cdr) -> str | None:
    return None if cdr.client_number is None else cdr.client_number.value


def refusal(read_it: Callable[..., object], *args: Any, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_it(*args, **fields)
    return str(caught.value)


def test_a_good_record() -> None:
    """The contract's example, field by field."""
    raw = envelope(GOOD)
    canonical = json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":")).encode()
    cdr = read(raw)
    assert msgspec.structs.asdict(cdr) == {
        "call_ref": "845",
        "campaign_ref": "campaign001",
        "contact_ref": "account_1234",
        "extension": "2001",
        "client_number": Number("+27820001234", "0820001234", is_e164=True),
        "dial_number": Number("+27123456789", "27123456789", is_e164=True),
        "direction": "outbound",
        "dialed_at": DIALED_AT,
        "talk_seconds": 79,
        "hold_seconds": 4,
        "end_reason": "agent_hungup",
        "end_code": 16,
        "recording_url": GOOD["recording_url"],
        "recording_url_sent": True,
        "extra": {},
        "content_hash": sha256(canonical).digest(),
        "kind": None,
    }
    assert cdr.dialed_at.tzinfo is UTC


ORIGINAL = "extension call_ref contact_ref dialed_at end_reason end_code call_time call_dir recording_url ref"
VARIANTS = {
    "A": ORIGINAL,
    "B": ORIGINAL,
    "C": f"{ORIGINAL} number hold_time",
    "D": f"{ORIGINAL} number hold_time dial_number",
    "E": f"{ORIGINAL} number dial_number",
    "F": f"{ORIGINAL} dial_number hold_time",
    "G": f"{ORIGINAL} number dial_number hold_time",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_payload(variant: str) -> None:
    """Each generation's fields are enough, and what it does not send is null."""
    fields = VARIANTS[variant].split()
    cdr = read(envelope({name: GOOD[name] for name in fields}))
    assert (cdr.client_number is None) == ("number" not in fields)
    assert (cdr.dial_number is None) == ("dial_number" not in fields)
    assert (cdr.hold_seconds is None) == ("hold_time" not in fields)


def test_the_fewest_fields() -> None:
    """Only what no call can do without is required; every other field may be missing."""
    needed = {"call_time", "dialed_at", "end_reason", "call_dir", "ref"}
    cdr = without(*(GOOD.keys() - needed))
    assert (cdr.extension, cdr.client_number, cdr.dial_number, cdr.contact_ref) == (None, None, None, None)
    assert (cdr.hold_seconds, cdr.end_code, cdr.recording_url) == (None, None, None)
    assert not cdr.recording_url_sent
    for name in needed:
        assert refusal(without, name) == f"payload.{name}: is missing"
        assert refusal(with_, **{name: None}) == f"payload.{name}: is required, got null"


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_optional_fields_may_be_null_or_empty(nothing: str | None) -> None:
    """Null, an empty text and blanks are the same nothing."""
    names = ["extension", "contact_ref", "recording_url"]
    cdr = with_(**dict.fromkeys([*names, "hold_time", "end_code", "call_ref"], nothing))
    assert (cdr.extension, cdr.contact_ref) == (None, None)
    assert (cdr.hold_seconds, cdr.end_code, cdr.recording_url) == (None, None, None)
    assert cdr.recording_url_sent
    assert cdr.call_ref.startswith("sha256:")


def test_a_withheld_number_is_kept_as_it_came() -> None:
    """An empty number says that the caller withheld it; null says nothing."""
    withheld = with_(number="", dial_number=None)
    assert withheld.client_number == Number(value="", original="", is_e164=False)
    assert withheld.dial_number is None


def test_a_missing_call_ref_is_replaced_by_the_payloads_hash() -> None:
    """The stand-in depends on the payload's content, not on the order of its keys or the envelope."""
    payload = {**GOOD, "call_ref": None}
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    backwards = dict(reversed(payload.items()))
    assert read(envelope(payload)).call_ref == "sha256:" + sha256(canonical).hexdigest()
    assert read(envelope(backwards, sent_by="x")).call_ref == read(envelope(payload)).call_ref
    assert with_(call_ref=None, call_time=80).call_ref != read(envelope(payload)).call_ref


def test_the_content_hash_is_that_of_the_content() -> None:
    """Blanks and the order of keys do not change it; any value does, one the pipeline ignores included."""
    base = read(envelope(GOOD)).content_hash
    spaced = json.dumps({"payload": dict(reversed(GOOD.items())), "type": "cdr"}, indent=2).encode()
    assert read(spaced).content_hash == base
    assert len({base, with_(x=1).content_hash, with_(call_time=80).content_hash}) == 3
    assert read(envelope(GOOD, sent_by="x")).content_hash != base


@pytest.mark.parametrize(
    ("field", "value", "attribute", "read_as"),
    [
        ("call_ref", "845", "call_ref", "845"),
        ("call_ref", " a-b ", "call_ref", "a-b"),
        ("call_ref", 0, "call_ref", "0"),
        ("call_ref", 2**63 - 1, "call_ref", str(2**63 - 1)),
        ("call_ref", "x" * 230, "call_ref", "x" * 230),
        ("ref", 12, "campaign_ref", "12"),
        ("contact_ref", 12, "contact_ref", "12"),
        ("contact_ref", "x" * 230, "contact_ref", "x" * 230),
        ("contact_ref", "x" * 231, "contact_ref", None),
        ("contact_ref", "x" * 231, "extra", {"contact_ref": "x" * 231}),
        ("contact_ref", "x" * 9_000, "contact_ref", None),
        ("extension", 2001, "extension", "2001"),
        ("extension", " 205 ", "extension", "205"),
        ("number", 27820001234, "client_number", Number("+27820001234", "27820001234", is_e164=True)),
        ("number", "anonymous", "client_number", Number("anonymous", "anonymous", is_e164=False)),
        ("dial_number", "tvc_name", "dial_number", Number("tvc_name", "tvc_name", is_e164=False)),
        ("call_dir", "INBOUND", "direction", "inbound"),
        ("call_dir", " Outbound ", "direction", "outbound"),
        ("call_time", 0, "talk_seconds", 0),
        ("call_time", "79", "talk_seconds", 79),
        ("call_time", " 79 ", "talk_seconds", 79),
        ("call_time", 79.0, "talk_seconds", 79),
        ("call_time", 604_800, "talk_seconds", 604_800),
        ("hold_time", "0", "hold_seconds", 0),
        ("end_code", 16, "end_code", 16),
        ("end_code", "016", "end_code", 16),
        ("end_code", 486, "end_code", 486),
        ("end_reason", " Made Up ", "end_reason", "Made Up"),
        ("dialed_at", "1597068621", "dialed_at", DIALED_AT),
        ("dialed_at", 1597068621.0, "dialed_at", DIALED_AT),
        ("dialed_at", "2020-08-10T14:10:21Z", "dialed_at", DIALED_AT),
        ("dialed_at", "2020-08-10T16:10:21+02:00", "dialed_at", DIALED_AT),
        ("dialed_at", "2020-08-10 14:10:21", "dialed_at", DIALED_AT),
        ("dialed_at", "2020-08-10T14:10:21.5Z", "dialed_at", DIALED_AT + timedelta(milliseconds=500)),
        ("dialed_at", 946_684_800, "dialed_at", datetime(2000, 1, 1, tzinfo=UTC)),
        ("dialed_at", "2026-03-02T12:00:00Z", "dialed_at", NOW + timedelta(days=1)),
        ("dialed_at", 1_772_452_800, "dialed_at", NOW + timedelta(days=1)),
    ],
)
def test_forms_of_a_value(field: str, value: Any, attribute: str, read_as: object) -> None:
    """Every form a field has been seen in, or may reasonably have, is read as the same thing."""
    assert getattr(with_(**{field: value}), attribute) == read_as


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("call_time", -3, "must not be negative, got -3"),
        ("call_time", "-3", "must not be negative, got -3"),
        ("call_time", 604_801, "must be at most 604800, got 604801"),
        ("call_time", 79.5, "must be a whole number, got 79.5"),
        ("call_time", 1e300, "must be at most 604800, got a number of more than 80 digits"),
        ("call_time", 10**4000, "must be at most 604800, got a number of more than 80 digits"),
        ("call_time", True, "must be a whole number, got true"),
        ("call_time", "", "must be a whole number, got ''"),
        ("call_time", "79.0", "must be a whole number, got '79.0'"),
        ("call_time", "7 9", "must be a whole number, got '7 9'"),
        ("call_time", "٧٩", "must be a whole number, got '٧٩'"),
        ("call_time", "1_0", "must be a whole number, got '1_0'"),
        ("call_time", "9" * 30, f"must be a whole number, got '{'9' * 30}'"),
        ("call_time", [79], "must be a whole number, got a list"),
        ("call_time", {}, "must be a whole number, got an object"),
        ("hold_time", -1, "must not be negative, got -1"),
        ("hold_time", False, "must be a whole number, got false"),
        ("end_code", 1_000, "must be at most 999, got 1000"),
        ("end_code", "NORMAL", "must be a whole number, got 'NORMAL'"),
        ("call_ref", -1, "must not be negative, got -1"),
        ("call_ref", 2**63, f"must be at most {2**63 - 1}, got {2**63}"),
        ("call_ref", 1.0, "must be a string or an integer, got 1.0"),
        ("call_ref", True, "must be a string or an integer, got true"),
        ("call_ref", ["x"], "must be a string or an integer, got a list"),
        ("call_ref", "x" * 231, f"must be at most 230 characters, got 231: '{'x' * 79}…'"),
        ("ref", "x" * 231, f"must be at most 230 characters, got 231: '{'x' * 79}…'"),
        ("ref", " ", "must not be empty"),
        ("extension", "2" * 65, f"must be at most 64 characters, got 65: '{'2' * 65}'"),
        ("number", {"x": 1}, "must be a string or an integer, got an object"),
        ("number", "0" * 65, f"must be at most 64 characters, got 65: '{'0' * 65}'"),
        ("client_number", False, "must be a string or an integer, got false"),
        ("recording_url", 1, "must be a string, got 1"),
        ("recording_url", "x" * 2001, f"must be at most 2000 characters, got 2001: '{'x' * 79}…'"),
        ("call_dir", "internal", "must be 'inbound' or 'outbound', got 'internal'"),
        ("call_dir", 1, "must be 'inbound' or 'outbound', got 1"),
        ("end_reason", " ", "must not be empty"),
        ("end_reason", 16, "must be a string, got 16"),
        ("end_reason", "x" * 65, f"must be at most 64 characters, got 65: '{'x' * 65}'"),
        ("dialed_at", 0, "is 0, which is no time: put in when the call was placed, and retry"),
        ("dialed_at", "0", "is 0, which is no time: put in when the call was placed, and retry"),
        ("dialed_at", 946_684_799, "must lie between 2000 and a day from now, got 946684799"),
        ("dialed_at", 1_772_452_801, "must lie between 2000 and a day from now, got 1772452801"),
        ("dialed_at", 1597068621000, "must lie between 2000 and a day from now, got 1597068621000"),
        (
            "dialed_at",
            10**400,
            "must lie between 2000 and a day from now, got a number of more than 80 digits",
        ),
        ("dialed_at", -1, "must lie between 2000 and a day from now, got -1"),
        ("dialed_at", 1597068621.5, "must be a whole number, got 1597068621.5"),
        ("dialed_at", "2026-03-02T12:00:01Z", "must lie between 2000 and a day from now, got '2026-03-0"),
        ("dialed_at", "1999-12-31T23:59:59Z", "must lie between 2000 and a day from now, got '1999-12-3"),
        ("dialed_at", "2020-08-10", "must be epoch seconds or an ISO-8601 date and time, got '2020-08-10'"),
        ("dialed_at", "yesterday at noon", "must be epoch seconds or an ISO-8601 date and time, got 'yest"),
        ("dialed_at", "0001-01-01T00:00:00+14:00", "must be epoch seconds or an ISO-8601 date and time"),
        ("dialed_at", "2020-02-30T00:00:00Z", "must be epoch seconds or an ISO-8601 date and time"),
        ("dialed_at", True, "must be a whole number, got true"),
    ],
)
def test_values_that_are_refused(field: str, value: Any, reason: str) -> None:
    """Each refusal names the field and says in one sentence what it must be and what came."""
    assert refusal(with_, **{field: value}).startswith(f"payload.{field}: {reason}")


def test_reasons_of_the_whole_element() -> None:
    """What is wrong with the envelope is said of the envelope."""
    assert refusal(read, b"{}") == "type: must be 'cdr', is missing"
    assert refusal(read, b'{"type":"status"}') == "type: must be 'cdr', got 'status'"
    assert refusal(read, b'{"type":["cdr"]}') == "type: must be 'cdr', got a list"
    assert refusal(read, b'{"type":"cdr"}') == "payload: must be an object, is missing"
    assert refusal(read, b'{"type":"cdr","payload":[]}') == "payload: must be an object, got a list"
    assert refusal(read, b"not json").startswith("record: is not JSON: ")
    assert refusal(read, b"x" * 65_537) == "record: must be at most 65536 bytes, got 65537"


def test_the_size_limit_is_an_argument() -> None:
    """A site may allow less, or more, than 64 KiB."""
    raw = envelope(GOOD)
    assert read_cdr(raw, region="ZA", now=NOW, max_bytes=len(raw)) == read(raw)
    assert refusal(read_cdr, raw, region="ZA", now=NOW, max_bytes=100).startswith("record: must be at most 100")


def test_the_clients_number_has_two_names() -> None:
    """`client_number` is an alias of `number`; where both differ, the second is kept as extra."""
    payload = {name: value for name, value in GOOD.items() if name != "number"}
    alias = read(envelope({**payload, "client_number": "0830005678"}))
    assert dialled(alias) == "+27830005678"
    assert alias.extra == {}
    both = with_(client_number="0830005678")
    assert dialled(both) == "+27820001234"
    assert both.extra == {"client_number": "0830005678"}
    assert with_(client_number=GOOD["number"]).extra == {}
    assert dialled(with_(number="", client_number="0830005678")) == "+27830005678"


def test_unknown_fields_are_kept() -> None:
    """What later versions add is kept, the envelope's under its own name, and neither hides the other."""
    payload = {**GOOD, "mos": 4.1, "tags": ["a", {"b": None}], "envelope.sent": "payload's"}
    cdr = read(envelope(payload, sent="envelope's", version=2))
    assert cdr.extra == {
        "mos": 4.1,
        "tags": ["a", {"b": None}],
        "envelope.sent": "payload's",
        "envelope.envelope.sent": "envelope's",
        "envelope.version": 2,
    }


def test_a_nul_anywhere_is_refused() -> None:
    """A field of the contract, an unknown one and the envelope are all searched."""
    assert refusal(with_, ref="a\0").startswith("payload.ref: must not contain a NUL character")
    assert refusal(with_, mos={"x\0": 1}).startswith("payload.mos.x\\x00: its name must not contain a NUL")
    assert refusal(read, envelope(GOOD, sent=["\0"])).startswith("sent[0]: must not contain a NUL character")


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
ODD = st.sampled_from([0, -1, 2**63, 10**30, 1e308, -0.0, 79.0, "0", "-1", "1e5", "Infinity", " ", "\0", "busy"])
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | ODD | st.datetimes().map(str)
ANY_JSON = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
ANY_PAYLOAD = st.dictionaries(st.sampled_from(sorted(PAYLOAD_FIELDS)) | ANY_TEXT, ANY_JSON, max_size=14)
MUTATED = st.tuples(st.sampled_from(sorted(PAYLOAD_FIELDS)), ANY_JSON).map(
    lambda change: {**GOOD, change[0]: change[1]}
)


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


def reads_or_refuses(raw: bytes) -> None:
    """Read twice: the same Cdr, which can be stored, or the same printable reason."""
    outcomes: list[Cdr | tuple[str, str]] = []
    for _ in range(2):
        try:
            outcomes.append(read(raw))
        except DataError as error:
            outcomes.append((error.field, error.reason))
    assert outcomes[0] == outcomes[1]
    if isinstance(outcomes[0], tuple):
        field, reason = outcomes[0]
        assert field
        assert f"{field}{reason}".isprintable()
        assert len(field) <= 200
        assert len(reason) <= 300
        return
    cdr = outcomes[0]
    assert cdr.dialed_at.utcoffset() == timedelta(0)
    assert datetime(2000, 1, 1, tzinfo=UTC) <= cdr.dialed_at <= NOW + timedelta(days=1)
    assert 0 <= cdr.talk_seconds <= 604_800
    assert cdr.hold_seconds is None or 0 <= cdr.hold_seconds <= 604_800
    assert cdr.end_code is None or 0 <= cdr.end_code <= 999
    assert cdr.direction in {"inbound", "outbound"}
    assert cdr.campaign_ref
    assert cdr.end_reason
    assert 1 <= len(cdr.call_ref) <= 230
    assert "" not in {cdr.contact_ref, cdr.extension, cdr.recording_url}
    assert len(cdr.content_hash) == 32
    stored = msgspec.to_builtins(cdr, builtin_types=(datetime, bytes))
    for text in texts(stored):
        assert "\0" not in text
        text.encode()
    assert json.loads(json.dumps(cdr.extra, allow_nan=False)) == cdr.extra


@given(MUTATED)
@settings(max_examples=500, deadline=None)
def test_one_field_of_anything(payload: Any) -> None:
    """A good record with any value whatever in one field is a Cdr or a DataError."""
    reads_or_refuses(envelope(payload))


@given(ANY_PAYLOAD | ANY_JSON)
@settings(max_examples=300, deadline=None)
def test_any_payload(payload: Any) -> None:
    """Any JSON as the payload is a Cdr or a DataError."""
    reads_or_refuses(envelope(payload))


@given(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4), st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_extra_fields(more: Any, beside: Any) -> None:
    """Unknown fields in the payload and beside it are kept or refused, and never get in the way."""
    reads_or_refuses(json.dumps({**beside, "type": "cdr", "payload": {**more, **GOOD}}).encode())


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=300, deadline=None)
def test_any_bytes(raw: bytes) -> None:
    """Any bytes, JSON or not, are a Cdr or a DataError."""
    reads_or_refuses(raw)


@given(st.integers(0, 500), st.integers(0, 255), st.sampled_from(["change", "insert", "cut"]))
@settings(max_examples=500, deadline=None)
def test_a_damaged_record(position: int, byte: int, damage: str) -> None:
    """A good record with a byte changed, added, or its end torn off is a Cdr or a DataError."""
    raw = envelope(GOOD)
    position %= len(raw)
    rest = {"change": raw[position + 1 :], "insert": raw[position:], "cut": b""}[damage]
    reads_or_refuses(raw[:position] + bytes([byte]) + rest)
