"""pyarrow, which is an extra and is loaded when it is first needed."""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

from pipeline.archive.rules.refused import MissingLibraryError

EXTRA: Final = "enigma-cdr-pipeline[archive]"


class Arrow(NamedTuple):
    """Its modules."""

    types: Any
    """pyarrow itself: types, arrays and tables."""
    compute: Any
    parquet: Any


@functools.cache
def arrow() -> Arrow:
    """The library.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, which loads slowly
        import pyarrow.compute as pc  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise MissingLibraryError(f"the archive needs pyarrow: pip install '{EXTRA}'") from None
    return Arrow(pa, pc, pq)
