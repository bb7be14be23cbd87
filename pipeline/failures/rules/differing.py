"""Two versions of a record, field by field."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Differing(NamedTuple):
    """A field that two versions say different things of; None: a version has no such field."""

    field: str
    stored: str | None
    new: str | None


def differing_fields(stored: bytes, new: bytes) -> list[Differing]:
    r"""What differs between two versions of a record, each field by its path, in the order of the fields.

    Neither their order nor the layout is a difference. Where a version is no JSON object the record as a whole differs.

    >>> differing_fields(b'{"payload": {"a": 1, "b": [2]}}', b'{"payload": {"b": [2], "a": "1", "c": null}}')
    [Differing(field='payload.a', stored='1', new='"1"'), Differing(field='payload.c', stored=None, new='null')]
    """
    before, after = _object(stored), _object(new)
    if before is None or after is None:
        whole = [version.decode("utf-8", "backslashreplace") for version in (stored, new)]
        return [] if whole[0] == whole[1] else [Differing("record", *whole)]
    said, says = _flat(before), _flat(after)
    pairs = (Differing(".".join(path), said.get(path), says.get(path)) for path in dict.fromkeys((*said, *says)))
    return [pair for pair in pairs if pair.stored != pair.new]


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        decoded = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _flat(record: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Each field that holds no object, by its path, as JSON: by its names, for one may have a dot in it."""
    flat: dict[tuple[str, ...], str] = {}
    for name, value in record.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, (*path, name))
        else:
            flat[*path, name] = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return flat
