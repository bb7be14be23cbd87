"""What the archive cannot do, each with what to do about it."""

from __future__ import annotations

from pipeline.errors import AwayError, PipelineError


class ArchiveError(PipelineError):
    """The root of what is wrong with the archive itself."""


class BrokenArchiveError(ArchiveError):
    """What stands in the store is not what was written there."""


class NotArchivedError(ArchiveError):
    """There is no such month in the archive."""


class NotRestorableError(ArchiveError):
    """What is in the database is not what the archive has."""


class NotWritableError(ArchiveError):
    """The database and what is archived cannot both be right, so that nothing is written."""


class BusyError(ArchiveError):
    """Another process is at the same month."""


class MissingLibraryError(ArchiveError):
    """The extra that reads and writes Parquet is not installed."""


class ArchiveAwayError(AwayError):
    """The archive's store does not answer, or refuses us."""
