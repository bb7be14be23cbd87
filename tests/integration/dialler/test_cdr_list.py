"""The dialler's list on real Redis: claims, the lease, and what is left after a crash."""

from __future__ import annotations

import time
import uuid

import pytest
import redis

from pipeline.dialler.cdr_list import CdrList, LeaseHeldError
from tests.conftest import LIST


def test_a_claim_takes_the_named_end_in_order(dialler_redis, servers):
    """The right end gives the newest first, the left end the oldest first."""
    dialler_redis.rpush(LIST, b"1", b"2", b"3", b"4")
    right = CdrList(servers.dialler_redis.url, LIST, owner="test", pop_end="right")
    left = CdrList(servers.dialler_redis.url, LIST, owner="test", pop_end="left")
    claimed = right.claim(2)
    assert claimed is not None
    assert claimed.elements == [b"4", b"3"]
    claimed = left.claim(10)
    assert claimed is not None
    assert claimed.elements == [b"1", b"2"]
    right.close()
    left.close()


def test_an_empty_list_gives_no_claim_and_leaves_no_key(cdr_list, dialler_redis):
    """Claiming from an empty list registers nothing."""
    assert cdr_list.claim(10) is None
    assert dialler_redis.keys("*claim*") == []


def test_a_claim_survives_until_it_is_dropped(cdr_list, dialler_redis):
    """Claimed elements are in the claim, byte for byte and in the same order, until the claim is dropped."""
    elements = [b"\x00\xff", b"", b"same", b"same", "ü".encode()]
    dialler_redis.rpush(LIST, *elements)
    claim = cdr_list.claim(10)
    assert dialler_redis.llen(LIST) == 0
    assert cdr_list.open_claims() == [claim.id]
    assert cdr_list.read_claim(claim.id) == claim
    cdr_list.drop(claim.id)
    cdr_list.drop(claim.id)
    assert cdr_list.open_claims() == []
    assert dialler_redis.keys("*claim*") == []


@pytest.mark.parametrize("end", ["left", "right"])
def test_before_redis_6_2_the_claim_is_the_same(servers, dialler_redis, end):
    """Without LMOVE the elements arrive in the same order, in the answer and in the claim."""
    old = CdrList(servers.dialler_redis.url, LIST, owner="test", pop_end=end)
    old._has_lmove = False
    new = CdrList(servers.dialler_redis.url, LIST, owner="test", pop_end=end)
    dialler_redis.rpush(LIST, *(b"%d" % number for number in range(5)))
    before = old.claim(5)
    dialler_redis.rpush(LIST, *(b"%d" % number for number in range(5)))
    after = new.claim(5)
    assert before is not None
    assert after is not None
    assert before.elements == after.elements
    assert old.read_claim(before.id).elements == new.read_claim(after.id).elements == before.elements
    old.close()
    new.close()


def test_a_claim_stops_growing_at_its_limit_in_bytes(servers, dialler_redis):
    """Few large elements fill a claim as well as many small ones."""
    small = CdrList(servers.dialler_redis.url, LIST, owner="test", limit_bytes=1_000)
    dialler_redis.rpush(LIST, *([b"x" * 600] * 5))
    claim = small.claim(100)
    assert claim is not None
    assert len(claim.elements) == 2
    small.close()


def test_only_the_holder_of_the_lease_claims(cdr_list, servers, dialler_redis):
    """A second ingestor moves nothing until the first gives the lease up."""
    other = CdrList(servers.dialler_redis.url, LIST, owner="other")
    dialler_redis.rpush(LIST, b"1")
    assert cdr_list.hold_lease()
    assert not other.hold_lease()
    with pytest.raises(LeaseHeldError):
        other.claim(1)
    assert dialler_redis.llen(LIST) == 1
    cdr_list.release_lease()
    assert other.claim(1).elements == [b"1"]
    cdr_list.release_lease()
    assert other.hold_lease(), "releasing a lease one does not hold changes nothing"
    other.close()


def test_a_lease_runs_out(servers, dialler_redis):
    """The lease of an ingestor that died without a word passes on by itself."""
    dead = CdrList(servers.dialler_redis.url, LIST, owner="dead", lease_seconds=0.2)
    heir = CdrList(servers.dialler_redis.url, LIST, owner="heir")
    assert dead.hold_lease()
    assert not heir.hold_lease()
    deadline = time.monotonic() + 5
    while not heir.hold_lease():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    dead.close()
    heir.close()


def test_peeking_shows_what_would_come_next(cdr_list, dialler_redis):
    """Peeking leaves the list alone."""
    dialler_redis.rpush(LIST, b"1", b"2", b"3")
    assert cdr_list.peek(2) == [b"3", b"2"]
    assert cdr_list.waiting() == 3


def test_reading_a_claim_that_is_gone_gives_nothing(cdr_list):
    """A claim somebody else dropped meanwhile has no elements."""
    assert cdr_list.read_claim(uuid.uuid4()).elements == []


def test_keys_share_the_slot_of_the_list(cdr_list):
    """Redis Cluster puts the list, its claims and its lease in one slot."""
    for key in (cdr_list.lease_key, cdr_list.register_key, cdr_list.claim_key(uuid.uuid4())):
        assert key.startswith("{" + LIST + "}")


def test_an_absent_server_is_noticed_and_not_retried_below(servers):
    """The adapter leaves it to the ingestor what an outage means."""
    nowhere = CdrList("redis://127.0.0.1:1/0", LIST, owner="test")
    with pytest.raises(redis.ConnectionError):
        nowhere.claim(1)
