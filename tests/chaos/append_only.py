"""What a list on a Redis was ever pushed, by the append-only file of that Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUSHES = {b"RPUSH", b"LPUSH"}


def pushed_to(folder: Path, key: str) -> list[bytes]:
    """The elements, the first that was pushed first, whichever end it went to.

    Args:
        folder: the server's, which never wrote its file anew.
        key: the list.
    """
    return [
        element
        for command in _commands(folder)
        if command[0].upper() in PUSHES and command[1] == key.encode()
        for element in command[2:]
    ]


def _commands(folder: Path) -> Iterator[list[bytes]]:
    """All that changed anything; a Redis that found half a command when it started cut it off."""
    for file in sorted(folder.glob("appendonlydir/*.incr.aof"), key=lambda path: int(path.name.split(".")[-3])):
        content, at = file.read_bytes(), 0
        while at < len(content):
            count, at = _number(content, at, b"*")
            command = []
            for _ in range(count):
                size, at = _number(content, at, b"$")
                command.append(content[at : at + size])
                at += size + 2
            yield command


def _number(content: bytes, at: int, mark: bytes) -> tuple[int, int]:
    assert content[at : at + 1] == mark, content[at : at + 40]
    end = content.index(b"\r\n", at)
    return int(content[at + 1 : end]), end + 2
