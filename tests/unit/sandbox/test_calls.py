import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any

import phonenumbers
import pytest

from pipeline.sandbox.calls import CallGenerator, SimulatedCall, Variant

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
VARIANTS: tuple[Variant, ...] = ("early", "wiki", "current", "iso")
COLUMN_E = [
    "extension",
    "number",
    "dial_number",
    "recording_url",
    "call_ref",
    "contact_ref",
    "dialed_at",
    "call_time",
    "end_reason",
    "end_code",
    "call_dir",
    "ref",
]


@pytest.fixture(scope="module")
def calls():
    return CallGenerator(1, START).take(10_000)


def payload(call: SimulatedCall, variant: Variant = "eng") -> dict[str, Any]:
    envelope = json.loads(call.element(variant))
    assert list(envelope) == ["type", "payload"]
    assert envelope["type"] == "cdr"
    fields: dict[str, Any] = envelope["payload"]
    return fields


def test_same_seed_and_start_give_the_same_bytes():
    """Nothing but the arguments decides what comes out."""
    first, second = (CallGenerator(7, START).take(500) for _ in range(2))
    assert [call.element() for call in first] == [call.element() for call in second]
    assert [call.element() for call in CallGenerator(8, START).take(500)] != [call.element() for call in first]


def test_taking_in_parts_gives_the_same_calls():
    """How many are asked for at once does not matter."""
    parts = CallGenerator(7, START)
    assert parts.take(3) + parts.take(200) == CallGenerator(7, START).take(203)


def test_call_ref_goes_up_by_one_from_the_first():
    assert [call.call_ref for call in CallGenerator(1, START, first_call_ref=900).take(50)] == list(range(900, 950))


def test_an_element_is_column_e_of_the_contract(calls):
    """Names, order and types of the producer's own source."""
    for call in calls:
        fields = payload(call)
        assert list(fields) == COLUMN_E
        assert isinstance(fields["call_ref"], int)
        assert isinstance(fields["dialed_at"], int)
        assert isinstance(fields["call_time"], int)
        assert isinstance(fields["end_code"], str | None)
        assert isinstance(fields["extension"], str | None)
        assert fields["call_dir"] in {"inbound", "outbound"}


def test_every_disposition_comes_with_its_codes(calls):
    """Section 4, in shares that a day's work could have."""
    codes = defaultdict(set)
    for call in calls:
        codes[call.end_reason].add(call.end_code)
    assert codes["callee_hungup"] == codes["agent_hungup"] == codes["voicemail"] == {"0", "16"}
    assert codes["busy"] == {"17"}
    assert codes["reject"] == {"19", "21", "22"}
    assert codes["timeout"] == {"18", "102"}
    assert codes["error"] >= {"34", "42", "28", "1"}
    assert codes["failed"] == {None}
    shares = Counter(call.end_reason for call in calls)
    assert all(shares[reason] >= 100 for reason in codes)
    assert 0.3 < sum(call.has_recording for call in calls) / len(calls) < 0.6


def test_only_a_call_with_an_agent_has_talk_time_and_a_recording(calls):
    for call in calls:
        fields = payload(call)
        assert (fields["extension"] is None) == (fields["call_time"] == 0) == (fields["recording_url"] is None)
        if call.has_recording:
            assert call.end_reason in {"callee_hungup", "agent_hungup"}
            assert fields["recording_url"].startswith("/var/teleforge/recordings/dialer/2026/03/02/dialer-")


def test_talk_times_are_skewed_and_bounded(calls):
    talks = [call.talk_seconds for call in calls if call.talk_seconds]
    assert min(talks) >= 5
    assert max(talks) <= 1800
    assert 60 < median(talks) < 90
    assert sum(talks) / len(talks) > 1.3 * median(talks)


def test_some_give_up_in_the_queue(calls):
    """Without an agent, yet `callee_hungup`."""
    waiting = [call for call in calls if call.end_reason == "callee_hungup" and call.extension is None]
    assert waiting
    assert all(call.hold_seconds for call in waiting)


def test_a_callee_is_not_dialled_again_once_reached(calls):
    """One to three numbers, one call each, one after the other, and none after the one that was reached."""
    attempts = defaultdict(list)
    for call in calls:
        if call.contact_ref:
            attempts[call.contact_ref].append(call)
    assert {len(tried) for tried in attempts.values()} == {1, 2, 3}
    for tried in attempts.values():
        assert len({call.number for call in tried}) == len(tried)
        for one, other in pairwise(tried):
            assert one.end_reason not in {"callee_hungup", "agent_hungup"}
            assert other.dialed_at > one.ended_at


def test_inbound_calls_have_no_contact_and_may_withhold_their_number(calls):
    inbound = [call for call in calls if call.direction == "inbound"]
    assert 100 < len(inbound) < 600
    assert {call.contact_ref for call in inbound} == {None}
    assert "" in {call.number for call in inbound}
    assert all(call.number and call.contact_ref for call in calls if call.direction == "outbound")


def test_numbers_are_real_ones_in_the_contract_s_forms(calls):
    """Section 6: 10 digits from 0, 11 from 27, 13 to 16 from 00."""
    forms: Counter[str] = Counter()
    for number in {call.number for call in calls} - {""}:
        form = "00" if number.startswith("00") else "0" if number.startswith("0") else "27"
        forms[form] += 1
        assert len(number) in {"0": {10}, "27": {11}, "00": {13, 14, 15, 16}}[form]
        international = f"+{number}" if form == "27" else number
        parsed = phonenumbers.parse(international, "ZA")
        assert phonenumbers.is_possible_number(parsed), number
        if number.startswith("0027") or form != "00":
            assert phonenumbers.is_valid_number(parsed), number
    assert min(forms.values()) > 500


def test_the_start_decides_when_calls_were_dialled():
    """The first at the start, and at 200 callees a second most follow within seconds."""
    calls = CallGenerator(1, START).take(2000)
    assert calls[0].dialed_at == int(START.timestamp())
    firsts = [call.dialed_at for call in calls]
    assert START.timestamp() + 2 < median(firsts) < START.timestamp() + 30


def test_a_naive_start_is_refused():
    with pytest.raises(ValueError, match="aware"):
        CallGenerator(1, START.replace(tzinfo=None))


def test_variants_write_the_same_call_as_their_column_does(calls):
    call = next(call for call in calls if call.end_reason == "callee_hungup" and call.hold_seconds)
    plain = payload(call)
    early, wiki, current, iso = (payload(call, variant) for variant in VARIANTS)
    assert set(plain) - set(early) == {"number", "dial_number"}
    assert early["end_reason"] == "callee_hangup"
    assert "dial_number" not in wiki
    assert wiki["hold_time"] == str(call.hold_seconds)
    assert (wiki["call_ref"], wiki["dialed_at"]) == (str(call.call_ref), str(call.dialed_at))
    assert wiki["call_time"] == str(call.talk_seconds)
    assert current == plain | {"hold_time": call.hold_seconds, "end_code": int(call.end_code)}
    assert iso["dialed_at"].endswith("Z")
    assert datetime.fromisoformat(iso["dialed_at"]).timestamp() == call.dialed_at


def test_null_call_refs_come_only_inbound_and_only_when_asked_for():
    calls = CallGenerator(1, START, null_call_ref_share=0.5).take(5000)
    silent = [call for call in calls if payload(call)["call_ref"] is None]
    assert silent
    assert {call.direction for call in silent} == {"inbound"}
    assert all(call.sends_call_ref for call in CallGenerator(1, START).take(5000))
