"""Signatures by a private key beside those by a secret, through the rotation from one kind to the other."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from pipeline.feed.sinks import check_settings, public_keys
from pipeline.feed.sinks.base import Ours, SettingError
from pipeline.feed.sinks.signatures import PrivateKey, signers
from tests.integration.feed_events import events
from tests.integration.webhooks import SECRET

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))


def private(seed, public=b""):
    return "whsk_" + base64.b64encode(seed + public).decode()


def public_bytes(seed):
    return base64.b64decode(PrivateKey(private(seed)).public.removeprefix("whpk_"))


def is_signed(headers, body, seed):
    """Whether whoever has the public key alone finds a signature of it."""
    key = Ed25519PublicKey.from_public_bytes(public_bytes(seed))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for each in headers["webhook-signature"].split():
        version, _, signature = each.partition(",")
        try:
            if version == "v1a":
                key.verify(base64.b64decode(signature), signed)
                return True
        except InvalidSignature:
            continue
    return False


def is_secretly_signed(headers, body):
    try:
        Verifier(SECRET).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_signature_is_the_one_that_the_official_library_for_go_makes():
    """Its own example of a key, an id, a time and a body; the one for Python signs with secrets alone."""
    [signer] = signers("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
    signature = signer.sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), '{"test": 2432232314}'
    )
    assert signature == ("v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==")


def test_the_public_key_is_that_of_rfc_8032():
    """Its first test vector."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert public_bytes(seed).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_whoever_has_any_of_them_verifies_while_keys_are_rotated(opened, receiver):
    """From a secret to a private key, and on to another: no request between that a receiver cannot verify."""
    for given, known in (
        (SECRET, {SECRET}),
        (f"{private(SEED)} {SECRET}", {SECRET, SEED}),
        (private(SEED), {SEED}),
        (f"{private(OTHER_SEED)}\n{private(SEED)}\n", {SEED, OTHER_SEED}),
        (private(OTHER_SEED), {OTHER_SEED}),
    ):
        opened(secret=given).deliver(events(1))
        _, headers, body = receiver.got[-1]
        assert len(headers["webhook-signature"].split(" ")) == len(known)
        assert is_secretly_signed(headers, body) == (SECRET in known)
        for seed in (SEED, OTHER_SEED):
            assert is_signed(headers, body, seed) == (seed in known)
            assert not is_signed(headers, body + b" ", seed)


def test_the_seed_with_its_public_key_is_the_same_key(opened, receiver):
    opened(secret=private(SEED, public_bytes(SEED))).deliver(events(1))
    _, headers, body = receiver.got[-1]
    assert is_signed(headers, body, SEED)


def test_the_other_side_is_told_the_public_keys_alone():
    settings = {"url": "https://hooks.example/hook", "secret": f"{private(SEED)} {SECRET} {private(OTHER_SEED)}"}
    assert public_keys("webhook", settings) == [PrivateKey(private(each)).public for each in (SEED, OTHER_SEED)]
    assert public_keys("redis-list", {"url": "redis://h/0", "list": "l"}) == []


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (private(b"t0ken"), "must hold 32 bytes in base64 behind whsk_, got 5"),
        (private(SEED + b"x"), "must hold 32 bytes in base64 behind whsk_, got 33"),
        (private(SEED, public_bytes(OTHER_SEED)), "do not belong together"),
        ("whsk_t0ken!", "whsk_ and base64 for ed25519"),
        ("whpk_" + base64.b64encode(SEED).decode(), "this is a public key"),
    ],
)
def test_a_key_that_cannot_be_is_said_without_it(secret, said):
    settings = {"url": "https://hooks.example/hook", "secret": secret}
    with pytest.raises(SettingError, match=said) as wrong:
        check_settings("webhook", settings, Ours())
    assert secret[5:] not in str(wrong.value)


def test_a_private_key_is_in_no_answer_that_is_kept(opened, receiver):
    receiver.answers(500, f"signed with {private(SEED)} and {private(SEED)[5:]}".encode())
    with pytest.raises(Exception, match="answered 500") as away:
        opened(secret=private(SEED)).deliver(events(1))
    assert private(SEED)[5:] not in str(away.value)
