import json
from random import Random

import pytest

from pipeline.sandbox.broken import BROKEN, broken, huge


def test_same_chance_gives_the_same_elements():
    first, second = ([broken(rng) for _ in range(200)] for rng in (Random(3), Random(3)))
    assert first == second


@pytest.mark.parametrize("name", BROKEN)
def test_each_is_broken_as_its_name_says(name):
    """Spot checks by name; the rest at least is bytes, and has changed something of a sound CDR."""
    element = BROKEN[name](Random(5))
    assert isinstance(element, bytes)
    if name in {"not utf-8", "random bytes"}:
        with pytest.raises(UnicodeDecodeError):
            element.decode()
    elif name in {"empty", "not json", "cut short", "two in one", "byte order mark"}:
        with pytest.raises(ValueError):
            json.loads(element.decode())
    elif name == "deep nesting":
        assert element.startswith(b"[[[[")
    elif name.startswith("json "):
        assert not isinstance(json.loads(element), dict)
    elif name in {"payload list", "payload null", "payload string", "payload missing"}:
        assert not isinstance(json.loads(element).get("payload"), dict)
    elif name in {"type missing", "other type"}:
        assert json.loads(element).get("type") != "cdr"
    else:
        sound = {
            "call_ref": int,
            "dialed_at": int,
            "call_time": int,
            "end_reason": str,
            "recording_url": None,
        }
        fields = json.loads(element)["payload"]
        text = json.dumps(fields)
        assert (
            any(kind and type(fields.get(field)) is not kind for field, kind in sound.items())
            or not 0 <= fields["call_time"] <= 86_400
            or not 1.5e9 < fields["dialed_at"] < 2e9
            or fields["call_ref"] >= 2**63
            or any(sign in text for sign in ("\\u0000", "\\ud800", "x" * 300, "\\u00e9" * 300, "sideways", ".."))
            or not fields["number"].isdecimal()
        )


def test_a_huge_element_is_well_formed():
    assert json.loads(huge(Random(1), 1000))["payload"]["note"] == "x" * 1000
    assert len(huge(Random(1))) > 10 * 1024 * 1024
