"""A backup file is taken apart the same way however its bytes come."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from pipeline.completeness.rules.elements import MOST_ELEMENT_BYTES, NotElementsError, elements_of
from tests.factories import make_record

RECORDS = [make_record(call_ref=number, contact_ref='é "quoted" \\ [}') for number in range(5)]


def in_pieces(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def quoted(raw):
    """As redis-cli shows a string."""
    plain = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n"}
    return "".join(plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in raw)


FORMS = {
    "a record a line": b"\n".join(RECORDS) + b"\n",
    "lines of Windows, and a byte order mark": b"\xef\xbb\xbf" + b"\r\n".join(RECORDS) + b"\r\n\r\n",
    "as redis-cli shows a list": "".join(f'{n}) "{quoted(raw)}"\n' for n, raw in enumerate(RECORDS, 1)).encode(),
    "an array of strings": json.dumps([raw.decode() for raw in RECORDS]).encode(),
    "an array of objects": b" [" + b",\n".join(RECORDS) + b"]\n",
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_elements_whatever_the_blocks(form, size):
    assert list(elements_of(in_pieces(FORMS[form], size))) == RECORDS


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"x" * (MOST_ELEMENT_BYTES + 1), "no file of CDRs"),
        (b'["' + b"x" * (MOST_ELEMENT_BYTES + 1), "no file of CDRs"),
        (b'["one", "two"', "has no end"),
        (b"[17, 18, 19, 20, 21, 22, 23, 24, 25]", "must hold strings or objects, got '17"),
        (b'["one"] and then more of what is none', "follows the end of the array"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(data, says):
    with pytest.raises(NotElementsError, match=says):
        list(elements_of(in_pieces(data, 65_536)))


def test_a_line_that_is_no_record_is_an_element_all_the_same():
    """It is quarantined, not lost."""
    assert list(elements_of([b'1) "{\\"a\\": 1}"\n(nil) is what it says here\n'])) == [
        b'{"a": 1}',
        b"(nil) is what it says here",
    ]


def test_memory_stays_flat():
    def blocks():
        for _ in range(300):
            yield b"\n".join(RECORDS * 100)
            yield b"\n"

    tracemalloc.start()
    assert sum(1 for _ in elements_of(blocks())) == 300 * 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024
