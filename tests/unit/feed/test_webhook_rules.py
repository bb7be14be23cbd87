"""Webhooks without a network: where they may go, what an answer means, what a request holds."""

from __future__ import annotations

import base64
import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.feed.rules.address import is_public
from pipeline.feed.rules.answer import Answer, meaning
from pipeline.feed.rules.request import BATCH_TYPE, many, one
from pipeline.feed.rules.shape import CLOUDEVENTS_TYPE, RAW_TYPE
from tests.integration.feed_events import event, events

PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::200e"]
OTHERS = [
    *("0.0.0.0", "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::808:808", "fe80::1", "fe80::1%eth0"),
    *("fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
    *("2002:808:808::1", "3fff::1", "5f00::1", "100::1", "4000::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_asked(address):
    assert is_public(address)


@pytest.mark.parametrize("address", OTHERS)
def test_any_other_address_may_not(address):
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_no_form_of_an_address_that_holds_another_gets_through(inner):
    number = int(inner)
    for form in (number, 0xFFFF << 32 | number, (0x64FF9B << 96) | number, (0x2002 << 112) | (number << 80)):
        assert not is_public(str(ipaddress.IPv6Address(form)))


@pytest.mark.parametrize(
    ("statuses", "meant"),
    [
        (range(200, 300), Answer.TAKEN),
        (range(300, 400), Answer.AWAY),
        ([400, 406, 409, 411, 412, 413, 414, 415, 418, 422, 431, 451, 499], Answer.REFUSED),
        ([401, 403, 404, 405, 407, 408, 421, 425, 426, 429], Answer.AWAY),
        ([410], Answer.GONE),
        (range(500, 600), Answer.AWAY),
        ([100, 199, 600, 999], Answer.AWAY),
    ],
    ids=lambda value: value.name if isinstance(value, Answer) else "",
)
def test_what_a_status_says_of_the_events(statuses, meant):
    assert {meaning(status) for status in statuses} == {meant}


def test_one_event_goes_under_its_own_id():
    told = event()
    assert one(told) == (str(told.event_id), CLOUDEVENTS_TYPE, told.body)


def test_bytes_that_are_no_text_go_in_an_envelope():
    told = event(content_type=RAW_TYPE, body=b"\xff\x00{")
    request = one(told)
    envelope = json.loads(request.body)
    assert request.content_type == CLOUDEVENTS_TYPE
    assert base64.b64decode(envelope["data_base64"]) == told.body
    assert (envelope["id"], envelope["datacontenttype"]) == (str(told.event_id), RAW_TYPE)


def test_many_are_one_array_with_an_id_of_their_own():
    some = [*events(2), event(2, content_type=RAW_TYPE, body=b'{"a": 1}\n')]
    request = many(some)
    bodies = json.loads(request.body)
    assert request.content_type == BATCH_TYPE
    assert [each["id"] for each in bodies] == [str(each.event_id) for each in some]
    assert base64.b64decode(bodies[2]["data_base64"]) == b'{"a": 1}\n'
    assert many(list(some)).message_id == request.message_id
    assert len({request.message_id, many(some[:2]).message_id, many(some[:1]).message_id, str(some[0].event_id)}) == 4
