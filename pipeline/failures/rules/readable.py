"""A raw record as a person can read it."""

from __future__ import annotations

import contextlib
import json

from pipeline.logs.rules.visible import visible_lines


def readable(raw: bytes) -> str:
    r"""A raw record as a person reads it: indented JSON, else the text, else a hex dump.

    Characters that show nothing or turn the line around are written as JSON would escape them.

    >>> print(readable(b'{"a":1}'))
    {
      "a": 1
    }
    >>> readable("a\u202eb".encode())
    'a\\u202eb'
    >>> readable(bytes([0xFF, 0x00, 0x41]))
    '00000000  ff 00 41                                         ..A'
    """
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        return _hex_dump(raw)
    with contextlib.suppress(ValueError, RecursionError):
        decoded = json.dumps(json.loads(decoded), indent=2, ensure_ascii=False)
    return visible_lines(decoded)


def readable_request(told: str) -> str:
    r"""What was sent as a person reads it: its head as it is, its body indented where it is JSON that was not cut off.

    >>> print(readable_request('POST to shop\n\n[{"a":1}]'))
    POST to shop
    <BLANKLINE>
    [
      {
        "a": 1
      }
    ]
    """
    head, _, body = told.partition("\n\n")
    return f"{visible_lines(head)}\n\n{readable(body.encode())}"


def _hex_dump(raw: bytes) -> str:
    lines = []
    for offset in range(0, len(raw), 16):
        part = raw[offset : offset + 16]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{offset:08x}  {part.hex(' '):47}  {shown}")
    return "\n".join(lines)
