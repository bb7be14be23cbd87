"""One day as a Parquet file: written a row group at a time, and read back the same way.

A row group is what is in memory, whatever the day has: some 20,000 calls.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.archive.arrow import arrow
from pipeline.archive.columns import schema
from pipeline.archive.older import completed, is_older
from pipeline.archive.rules.manifest import SCHEMA_VERSION
from pipeline.archive.rules.refused import BrokenArchiveError
from pipeline.archive.rules.sums import Sums
from pipeline.archive.summing import sums_of
from pipeline.errors import cut
from pipeline.logs.rules.secrets import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from pathlib import Path

    from pipeline.archive.rules.places import Place

ROWS: Final = 20_000
"""Of a row group."""
VERSION: Final = b"schema_version"


class Written(NamedTuple):
    """What a part came to."""

    first_record: int
    last_record: int
    size_bytes: int
    sha256: str
    sums: Sums


def write_part(file: Path, place: Place, day: date, tables: Iterable[Any]) -> Written | None:
    """Write a day.

    Args:
        file: where to; it is written over.
        place: the month.
        day: the day.
        tables: its calls by their ids, a row group each; none of them may be empty.

    Returns:
        What it came to; None: there was not one call.
    """
    about = {VERSION: str(SCHEMA_VERSION), b"source": place.source, b"day": day.isoformat()}
    first = last = None
    sums = Sums()
    with arrow().parquet.ParquetWriter(file, schema().with_metadata(about), compression="zstd") as writer:
        for table in tables:
            writer.write_table(table, row_group_size=table.num_rows)
            first = table["id"][0].as_py() if first is None else first
            last = table["id"][-1].as_py()
            sums += sums_of(table)
    if first is None or last is None:
        return None
    with file.open("rb") as stored:
        digest = hashlib.file_digest(stored, "sha256")
    return Written(first, last, file.stat().st_size, digest.hexdigest(), sums)


class PartFile:
    """A part that is read.

    Args:
        file: a local file, or one that is open.
        called: what it is called in the archive.

    Raises:
        BrokenArchiveError: it is no such file, or one of a version that this code does not know.
    """

    def __init__(self, file: Path | Any, called: str) -> None:
        self._called = called
        self._columns = schema()
        try:
            self._file = arrow().parquet.ParquetFile(file)
        except (arrow().types.ArrowException, OSError) as error:
            raise BrokenArchiveError(f"{called} cannot be read as Parquet: {_said(error)}") from None
        version = (self._file.schema_arrow.metadata or {}).get(VERSION, b"none").decode("ascii", "replace")
        if version != str(SCHEMA_VERSION):
            raise BrokenArchiveError(
                f"{called} is of schema version {version}, and this version reads {SCHEMA_VERSION}: "
                "use the version of the pipeline that wrote it, or a newer one"
            )
        self._is_older = is_older(self._file.schema_arrow)
        if not self._is_older and not self._file.schema_arrow.equals(self._columns):
            raise BrokenArchiveError(f"{called} has other columns than its schema version says")

    def close(self) -> None:
        """Done with it."""
        self._file.close()

    def tables(self, columns: list[str] | None = None) -> Iterator[Any]:
        """Its rows, a row group at a time.

        Args:
            columns: only these; None: all.
        """
        for group in range(self._file.num_row_groups):
            yield self._group(group, columns)

    def find(self, name: str, value: Any) -> dict[str, Any] | None:
        """The first row that has a value in a column, as plain values; only what may hold it is read."""
        for group in self._groups_with(name, value, value):
            at = arrow().compute.index(self._group(group, [name])[name], value).as_py()
            if at >= 0:
                return dict(self._group(group).slice(at, 1).to_pylist()[0])
        return None

    def between(self, first: int, last: int) -> Any:
        """The rows whose ids lie between these, both included; only what may hold some is read."""
        groups = self._groups_with("id", first, last)
        found = arrow().types.concat_tables([self._columns.empty_table(), *(self._group(each) for each in groups)])
        compute = arrow().compute
        return found.filter(
            compute.and_(compute.greater_equal(found["id"], first), compute.less_equal(found["id"], last))
        )

    def _group(self, group: int, columns: list[str] | None = None) -> Any:
        try:
            found = self._file.read_row_group(group, columns=columns)
        except (arrow().types.ArrowException, OSError) as error:
            raise BrokenArchiveError(f"{self._called} cannot be read to its end: {_said(error)}") from None
        found = found.replace_schema_metadata(None)
        return completed(found) if self._is_older else found

    def _groups_with(self, name: str, least: Any, most: Any) -> list[int]:
        """The row groups that may have values between these in a column, by what its statistics say."""
        column = self._columns.get_field_index(
            name
        )  # those before it are flat, so that it is its place among the leaves
        found = []
        for group in range(self._file.num_row_groups):
            known = self._file.metadata.row_group(group).column(column).statistics
            if known is None or not known.has_min_max or (known.min <= most and known.max >= least):
                found.append(group)
        return found


def _said(error: Exception) -> str:
    return cut(mask(str(error)), 300)
