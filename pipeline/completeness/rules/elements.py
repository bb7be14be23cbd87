"""The elements of the dialler's list as a backup file has them: a record a line, or what redis-cli printed of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Take = Callable[[bytes, bool], tuple[list[bytes], bytes]]

MOST_ELEMENT_BYTES: Final = 1024 * 1024
"""No element may be longer. One of over 64 KiB is taken all the same, and quarantined."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n"
_ENOUGH_TO_TELL: Final = 32
_NUMBERED: Final = re.compile(rb'\s*[0-9]+\) "(.*)"\s*', re.DOTALL)
_BEGINS_NUMBERED: Final = re.compile(rb"[0-9]+\) ")
_ESCAPED: Final = re.compile(rb'\\(x[0-9a-fA-F]{2}|[nrtab"\\])')
_PLAIN: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b'"': b'"', b"\\": b"\\"}
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}\[\]]', re.DOTALL)
_BETWEEN: Final = re.compile(rb"[\s,]*")


class NotElementsError(PipelineError):
    """A file cannot be taken apart into elements; the text says where and why."""


def elements_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""The elements of a file, one after the other; no more of it is held than a block and an element.

    Blank lines are left out. A record a line; lines such as ``1) "{\"type\": …}"``, which redis-cli shows; or one JSON
    array of strings or of objects, as its ``--json`` writes. The first characters tell which.

    Args:
        blocks: the file's bytes, unpacked.

    Raises:
        NotElementsError: an element is too long, or an array is none.

    >>> list(elements_of([b'{"a": 1}\n\n{"b"', b': 2}\r\n']))
    [b'{"a": 1}', b'{"b": 2}']
    >>> list(elements_of([b'1) "{\\"a\\": 1}"\n2) "\\xc3\\xa9"\n']))
    [b'{"a": 1}', b'\xc3\xa9']
    >>> list(elements_of([b'["{\\"a\\": 1}", {"b": ', b'[2]}]']))
    [b'{"a": 1}', b'{"b": [2]}']
    """
    take: Take | None = None
    rest, taken = b"", 0
    for block, ended in _with_the_end(blocks):
        rest += block
        if take is None:
            rest = rest.removeprefix(_BOM).lstrip(_BLANK)
            if len(rest) < _ENOUGH_TO_TELL and not ended:
                continue
            take = _form_of(rest)
        found, rest = take(rest, ended)
        if len(rest) > MOST_ELEMENT_BYTES or max(map(len, found), default=0) > MOST_ELEMENT_BYTES:
            raise NotElementsError(
                f"an element after the first {taken:,} has more than {MOST_ELEMENT_BYTES:,} bytes: this is no file of "
                "CDRs"
            )
        taken += len(found)
        yield from found


def _with_the_end(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True


def _form_of(begin: bytes) -> Take:
    if begin[:1] == b"[":
        return _Array().take
    return _numbered if _BEGINS_NUMBERED.match(begin) else _lines


def _lines(data: bytes, ended: bool) -> tuple[list[bytes], bytes]:  # noqa: FBT001 - one of three that are called alike
    *whole, rest = data.split(b"\n")
    if ended:
        whole, rest = [*whole, rest], b""
    return [line for line in map(bytes.strip, whole) if line], rest


def _numbered(data: bytes, ended: bool) -> tuple[list[bytes], bytes]:  # noqa: FBT001
    whole, rest = _lines(data, ended)
    # A line that redis-cli would not write is left as it is: it is quarantined, and not lost.
    return [_unescaped(found[1]) if (found := _NUMBERED.fullmatch(line)) else line for line in whole], rest


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: _PLAIN.get(found[1]) or bytes.fromhex(found[1][1:].decode()), text)


class _Array:
    """One JSON array, of which a part at a time is there."""

    def __init__(self) -> None:
        self._begun = self._closed = False

    def take(self, data: bytes, ended: bool) -> tuple[list[bytes], bytes]:  # noqa: FBT001
        found: list[bytes] = []
        at = 0
        if not self._begun:
            self._begun, at = True, 1
        while not self._closed:
            at = self._after_blanks(data, at)
            end = self._end_of_element(data, at)
            if end is None:
                break
            if end > at:
                found.append(_element(data[at:end]))
            else:
                self._closed, end = True, at + 1
            at = end
        rest = data[at:]
        if self._closed and rest.strip(_BLANK):
            raise NotElementsError(f"something follows the end of the array: {_shown(rest)}")
        if ended and not self._closed:
            raise NotElementsError("the array has no end: the file is cut off, or still being written")
        return found, b"" if self._closed else rest

    @staticmethod
    def _after_blanks(data: bytes, at: int) -> int:
        found = _BETWEEN.match(data, at)
        return at if found is None else found.end()

    @staticmethod
    def _end_of_element(data: bytes, at: int) -> int | None:
        """Where the element ends that begins there; its beginning where the array ends; None while more is to come."""
        first = data[at : at + 1]
        if first == b'"':
            whole = _STRING.match(data, at)
            return None if whole is None else whole.end()
        if first == b"]":
            return at
        if not first:
            return None
        if first != b"{":
            raise NotElementsError(f"the array must hold strings or objects, got {_shown(data[at:])}")
        depth = 0
        for bracket in _BRACKETS.finditer(data, at):
            if bracket[0] == b'"':
                return None
            depth += (bracket[0] in b"{[") - (bracket[0] in b"}]")
            if depth == 0:
                return bracket.end()
        return None


def _element(token: bytes) -> bytes:
    if token[:1] != b'"':
        return token
    try:
        text: str = json.loads(token.decode("utf-8", "surrogateescape"), strict=False)
    except ValueError:
        return token
    return text.encode("utf-8", "surrogatepass")


def _shown(data: bytes) -> str:
    return f"'{cut(data[:40].decode(errors='replace'), 40)}'"
