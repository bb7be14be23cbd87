"""The manifest of a month: which files are its archive, and what they hold. It is swapped last, so it is always true.

Whatever stands beside the parts it names is of a run that was ended, and counts for nothing.
"""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - msgspec looks them up
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.archive.rules.places import Place, next_number, part_number
from pipeline.archive.rules.refused import BrokenArchiveError
from pipeline.archive.rules.sums import Sums, differences, total

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA_VERSION: Final = 1
"""Of the manifest, and of the columns of a part. One more with every change that older code would misread."""
NOTHING: Final = "0"
"""The state of a day of which the database has no calls."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day's calls, in one file."""

    day: date
    name: str
    first_record: int
    last_record: int
    size_bytes: int
    sha256: str
    state: str
    """What the database held of that day when this was written or last found unchanged."""
    written_at: datetime
    sums: Sums


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A look at a month that was stopped before its end."""

    day: int
    """Of the month, from 1: the first that was not looked at."""
    through: datetime
    """What had been received before it was done when the first day was looked at."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A month of a dialler in the archive."""

    schema_version: int
    source: str
    month: str
    written_at: datetime
    complete_through: datetime | None
    """Whatever was received before it, and done, is in here; None: not every day of the month was written yet."""
    unfinished: Look | None
    """Where the next run goes on; None: the last one looked at every day."""
    last_number: int
    """The highest number that a part of it has had; a manifest whose number is lower is older."""
    sums: Sums
    parts: tuple[Part, ...]
    """By day."""

    @property
    def place(self) -> Place:
        """Which month it is of."""
        return Place(self.source, self.month)

    def part_of(self, day: date) -> Part | None:
        """The part of a day; None: it has none."""
        return next((part for part in self.parts if part.day == day), None)

    def with_part(self, day: date, part: Part | None, *, now: datetime) -> Manifest:
        """The same with another part for a day, or with none."""
        others = [each for each in self.parts if each.day != day]
        return self.of(sorted([*others, *([] if part is None else [part])], key=lambda each: each.day), now=now)

    def complete(self, through: datetime, *, now: datetime) -> Manifest:
        """The same, whole up to an instant."""
        return msgspec.structs.replace(self, complete_through=through, unfinished=None, written_at=now)

    def stopped(self, look: Look, *, now: datetime) -> Manifest:
        """The same, of which not every day was looked at."""
        return msgspec.structs.replace(self, unfinished=look, written_at=now)

    def of(self, parts: Iterable[Part], *, now: datetime) -> Manifest:
        """The same month with these parts."""
        parts = tuple(parts)
        last = max([self.last_number, *(part_number(each.name) or 0 for each in parts)])
        sums = total(each.sums for each in parts)
        return msgspec.structs.replace(self, parts=parts, sums=sums, last_number=last, written_at=now)


def with_state(part: Part, state: str) -> Part:
    """The same part, of which the database holds something else by now."""
    return msgspec.structs.replace(part, state=state)


def empty_manifest(place: Place, now: datetime) -> Manifest:
    """Of a month of which nothing is archived yet."""
    return Manifest(SCHEMA_VERSION, place.source, place.month, now, None, None, 0, Sums(), ())


def written(manifest: Manifest) -> bytes:
    """As it stands in the store; amounts are strings."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1)


class _Version(msgspec.Struct):
    schema_version: int


def read_manifest(raw: bytes, place: Place) -> Manifest:
    """A manifest as it stands in the store.

    Raises:
        BrokenArchiveError: it is none, is of a version that this code does not know, or contradicts itself.
    """
    try:
        version = msgspec.json.decode(raw, type=_Version).schema_version
        if version != SCHEMA_VERSION:
            raise BrokenArchiveError(
                f"the manifest of {place.said} is of schema version {version}, and this version reads "
                f"{SCHEMA_VERSION}: use the version of the pipeline that wrote it, or a newer one"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenArchiveError(f"the manifest of {place.said} cannot be read: {error}") from None
    if problem := _contradiction(manifest, place):
        raise BrokenArchiveError(f"the manifest of {place.said} cannot be true: {problem}")
    return manifest


def _contradiction(manifest: Manifest, place: Place) -> str | None:
    if manifest.place != place:
        return f"it says that it is of {manifest.place.said}"
    days, names = [part.day for part in manifest.parts], [part.name for part in manifest.parts]
    if not set(days) <= set(place.days) or days != sorted(set(days)):
        return "its parts are not each of another day of the month"
    if odd := [name for name in names if part_number(name) is None]:
        return f"a part is called {odd[0]!r}"
    if len(set(names)) < len(names):
        return "two of its parts have one name"
    if manifest.unfinished is not None and not 1 <= manifest.unfinished.day <= len(place.days):
        return "it was looked at up to a day that the month has not"
    if next_number(names) - 1 > manifest.last_number:
        return "a part has a higher number than the last"
    for part in manifest.parts:
        if side := part.sums.unbalanced:
            return f"the {side}'s calls of {part.day} are not each charged, not charged or waiting"
    return next(differences(manifest.sums, total(part.sums for part in manifest.parts)), None)
