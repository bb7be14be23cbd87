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


def _hex_dump(raw: bytes) -> str:
    lines = []
    for offset in range(0, len(raw), 16):
        part = raw[offset : offset + 16]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{offset:08x}  {part.hex(' '):47}  {shown}")
    return "\n".join(lines)
