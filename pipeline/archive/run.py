"""A month is archived: each day that is not as it was archived is written anew, and the manifest swapped after each.

Whenever it is cut off, what the manifest names is whole, and the next run goes on. What the manifest names no longer is
removed last.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archive.day import gone_from, write_day
from pipeline.archive.month import alone, manifest_to_go_on
from pipeline.archive.part_file import PartFile
from pipeline.archive.part_rows import follow, known_parts, names_given
from pipeline.archive.rules.manifest import NOTHING, Look, Part, empty_manifest, with_state, written
from pipeline.archive.rules.places import next_number, part_name, span_of
from pipeline.archive.rules.refused import NotWritableError
from pipeline.archive.state import count_of, has_calls, state_of
from pipeline.batches.completeness import complete_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from pipeline.archive.rules.manifest import Manifest
    from pipeline.archive.rules.places import Place
    from pipeline.archive.state import DayState
    from pipeline.archive.store import ArchiveStore

    Progress = Callable[[int, int], None]
    """Told how many days were looked at, and of how many."""


class Done(NamedTuple):
    """What a run came to."""

    place: Place
    manifest: Manifest | None
    """None: there is nothing of that month."""
    written: int
    """Days that were written, for they were new or have changed."""
    rows: int
    """Calls in them."""
    stopped: bool
    """Its time was up before the last day; the next run can go on there."""


def archive_month(
    engine: Engine,
    store: ArchiveStore,
    place: Place,
    *,
    anew: bool = False,
    go_on: bool = False,
    enough: Callable[[], bool] = lambda: False,
    progress: Progress = lambda _done, _of: None,
) -> Done:
    """Archive what is new of a month of a dialler.

    Args:
        engine: the database; two connections are used at once.
        store: the archive.
        place: the month.
        anew: whether to write all of it from the database alone, whatever is in the archive.
        go_on: whether to begin where the run before was stopped, and not with the first day.
        enough: whether to stop before the next day.
        progress: told how far it is.

    Raises:
        ArchiveError: it cannot be done so; nothing that was archived is lost.
        ArchiveAwayError: the store does not answer; the next run goes on.
    """
    with alone(engine, place) as connection:
        run = _Run(engine, connection, store, place, anew=anew)
        before = run.manifest.unfinished if go_on else None
        look = before or Look(1, complete_through(connection, sources=[place.source]))
        stopped = run.look(look, enough, progress)
        if not stopped:
            run.finish(look.through)
        return Done(place, run.manifest if run.manifest.last_number else None, run.written, run.rows, stopped)


class _Run:
    """A run that is alone at its month."""

    def __init__(
        self, engine: Engine, connection: Connection, store: ArchiveStore, place: Place, *, anew: bool
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._store = store
        self._place = place
        self._began = datetime.now(tz=UTC)
        self._known = {part.day: part for part in known_parts(connection, source=place.source, month=place.month)}
        found = None if anew else manifest_to_go_on(connection, store, place)
        self._anew = anew
        self.manifest = found if found is not None else empty_manifest(place, self._began)
        self._next = max(
            self.manifest.last_number + 1, next_number([*store.names(place), *names_given(connection, place)])
        )
        self.written = self.rows = 0

    def look(self, begin: Look, enough: Callable[[], bool], progress: Progress) -> bool:
        """Look at each day, and write those that have changed; returns whether it was stopped before the last."""
        days = [day for day in self._place.days if day <= self._began.date()]
        if self._anew:
            self._check_whole(days)
        for day in days[begin.day - 1 :]:
            progress(day.day - 1, len(days))
            if enough():
                if self.manifest.last_number:
                    self._swap(self.manifest.stopped(Look(day.day, begin.through), now=datetime.now(tz=UTC)))
                return True
            part = self.manifest.part_of(day)
            if self._has_changed(day, part):
                self._write(day, part)
        progress(len(days), len(days))
        return False

    def _has_changed(self, day: date, part: Part | None) -> bool:
        with self._one_state() as connection:
            if part is None:
                return has_calls(connection, self._place.source, span_of(day))
            return state_of(connection, self._place.source, day).text != part.state

    def finish(self, complete: datetime) -> None:
        """The month was looked at to its end."""
        through = self.manifest.complete_through
        due = self.written or self.manifest.unfinished is not None or through is None or through < self._place.until
        if self.manifest.last_number and due:
            self._swap(self.manifest.complete(complete, now=datetime.now(tz=UTC)))
        follow(self._connection, self.manifest)
        named = {part.name for part in self.manifest.parts}
        for name in self._store.names(self._place):
            if name not in named:
                self._store.remove(self._place, name)

    def _write(self, day: date, part: Part | None) -> None:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._store.spooled())
            before = None if part is None else stack.enter_context(self._before(part))
            with self._one_state() as connection:
                state = state_of(connection, self._place.source, day)
                same = part is not None and self._is_all_gone(connection, part, state, before)
                new = part if same else self._new_part(connection, file, day, state, before)
            if same and part is not None:
                self._swap(self.manifest.with_part(day, with_state(part, NOTHING), now=datetime.now(tz=UTC)))
                return
            if new is not None:
                self._store.put(file, self._place, new.name)
                self.rows += new.sums.rows
            self._swap(self.manifest.with_part(day, new, now=datetime.now(tz=UTC)))
        self.written += 1
        follow(self._connection, self.manifest)
        if part is not None:
            self._store.remove(self._place, part.name)

    @contextlib.contextmanager
    def _before(self, part: Part) -> Iterator[PartFile]:
        with self._store.fetched(self._place, part.name, sha256=part.sha256) as file:
            found = PartFile(file, f"{self._place.folder}/{part.name}")
            try:
                yield found
            finally:
                found.close()

    def _is_all_gone(self, connection: Connection, part: Part, state: DayState, before: PartFile | None) -> bool:
        """Whether the database has none of a day's calls any more: then there is nothing to write of it."""
        if state.rows or before is None:
            return False
        return len(gone_from(connection, before)) == part.sums.rows

    def _new_part(
        self, connection: Connection, file: Path, day: date, state: DayState, before: PartFile | None
    ) -> Part | None:
        found = write_day(connection, file, self._place, day, before)
        if found is None:
            return None
        name, self._next = part_name(self._next), self._next + 1
        return Part(
            day=day,
            name=name,
            first_record=found.first_record,
            last_record=found.last_record,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
            state=state.text,
            written_at=datetime.now(tz=UTC),
            sums=found.sums,
        )

    def _swap(self, manifest: Manifest) -> None:
        self._store.swap_manifest(self._place, written(manifest))
        self.manifest = manifest

    @contextlib.contextmanager
    def _one_state(self) -> Iterator[Connection]:
        """A connection that sees the database as it is now, to the end."""
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    def _check_whole(self, days: list[date]) -> None:
        """See that the database has all that was archived, for it alone is written."""
        for day in days:
            known = self._known.get(day)
            found = count_of(self._connection, self._place.source, day)
            if known is not None and found < known.rows:
                raise NotWritableError(
                    f"{known.rows} calls of {self._place.source} of {day} were archived, and the database has {found}: "
                    f"written anew, the others would be lost. Bring {self._place.folder} back from its backup"
                )
