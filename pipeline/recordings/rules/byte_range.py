"""Which bytes of a body a request asks for, as RFC 9110 reads ``Range`` and ``If-Range``."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


class Bytes(NamedTuple):
    """What is answered: a status, and which bytes with it."""

    status: int
    """200 all of them, 206 a part, 416 none."""
    first: int
    length: int

    @property
    def last(self) -> int:
        """The last byte of the part."""
        return self.first + self.length - 1


def bytes_wanted(size: int, etag: str, *, range_: str | None, if_range: str | None = None) -> Bytes:
    """The bytes that are answered.

    Several ranges, and what is no range of bytes, are answered with the whole, as the standard has it.

    Args:
        size: how many there are.
        etag: of the body, with its quotes.
        range_: the request's ``Range``.
        if_range: its ``If-Range``: of another body, the range says nothing of this one.

    >>> bytes_wanted(100, '"a"', range_="bytes=10-19")
    Bytes(status=206, first=10, length=10)
    >>> bytes_wanted(100, '"a"', range_="bytes=-5"), bytes_wanted(100, '"a"', range_="bytes=100-")
    (Bytes(status=206, first=95, length=5), Bytes(status=416, first=0, length=0))
    >>> bytes_wanted(100, '"a"', range_="bytes=10-19", if_range='"b"')
    Bytes(status=200, first=0, length=100)
    """
    whole = Bytes(200, 0, size)
    found = _RANGE.fullmatch(range_.strip()) if range_ is not None else None
    if found is None or (if_range is not None and if_range.strip() != etag):
        return whole
    first, last = found.groups()
    if not first:
        if not last:
            return whole
        length = min(int(last), size)
        return Bytes(206, size - length, length) if length else Bytes(416, 0, 0)
    if last and int(last) < int(first):
        return whole
    if int(first) >= size:
        return Bytes(416, 0, 0)
    end = min(int(last), size - 1) if last else size - 1
    return Bytes(206, int(first), end - int(first) + 1)
