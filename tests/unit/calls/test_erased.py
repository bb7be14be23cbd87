"""Names and marks: nothing leads back from the one, and the other is the same each time."""

from __future__ import annotations

import pickle

import pytest

from pipeline.calls.rules.erased import kept_digits, name_for
from pipeline.calls.rules.erasure_key import ErasureKey, ErasureKeyError

SECRET = "correct-horse-battery-staple-12345"
NUMBER = "+27820001234"


def test_a_mark_is_of_the_key_and_the_number():
    """Another key makes another, and so does another number; the same make the same."""
    key, other = ErasureKey(SECRET), ErasureKey(SECRET + "x")
    assert key.mark(NUMBER) == ErasureKey(SECRET).mark(NUMBER)
    assert len({key.mark(NUMBER), key.mark("+27820001235"), other.mark(NUMBER)}) == 3
    assert len(key.mark(NUMBER)) == 32


def test_a_mark_a_stand_in_and_the_keys_id_have_nothing_in_common():
    """Who has one cannot tell another by it."""
    key = ErasureKey(SECRET)
    assert key.id not in key.mark(NUMBER).hex()
    assert key.stand_in(NUMBER).startswith("erased:27820:")
    assert key.stand_in(NUMBER).rpartition(":")[2].isalpha()
    assert "1234" not in key.stand_in(NUMBER)


@pytest.mark.parametrize("secret", ["", "short", "a" * 64, "0123456789" * 2], ids=["none", "short", "one", "twenty"])
def test_a_missing_or_weak_key_is_refused(secret):
    """With what to do about it, and without the key."""
    with pytest.raises(ErasureKeyError, match="ERASURE_KEY") as refused:
        ErasureKey(secret)
    assert not secret or secret not in str(refused.value)


def test_another_key_than_the_marks_is_refused():
    """By the ids of both, which tell nothing of either."""
    with pytest.raises(ErasureKeyError, match="is not the key that numbers were erased with"):
        ErasureKey(SECRET).check("0" * 16)


def test_a_key_does_not_show_itself():
    """Neither in a message nor in a log of whatever holds it."""
    key = ErasureKey(SECRET)
    assert SECRET not in f"{key!r} {key}"
    assert str(pickle.loads(pickle.dumps(ErasureKeyError("x")))) == "x"


def test_a_name_keeps_the_destination_and_no_more():
    """Six digits are gone, and only digits are told from it."""
    name = name_for(NUMBER, "abcdefghijklmnop")
    assert kept_digits(name) == "27820"
    assert "820001234" not in name
    assert kept_digits("erased:x:y") == ""
