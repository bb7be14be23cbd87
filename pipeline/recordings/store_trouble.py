"""What goes wrong in a store, told without its credentials."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import AwayError, cut
from pipeline.logs.rules.secrets import is_unmistakable, mask, secret_values
from pipeline.recordings.rules.encrypted import CannotDecryptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class StoreError(AwayError):
    """The store does not do what it is asked to; the recording is not to blame. Names no credentials."""


class NoSuchFileError(StoreError):
    """The store answers, and has no file of that name."""


def secrets_of(url: str, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Every text that must not be shown, and what is shown in its place."""
    parts = urlsplit(url)
    found = [parts.username, parts.password, *secret_values(options)]
    unmistakable = {text for text in found if text and is_unmistakable(text)}
    return dict.fromkeys(sorted(unmistakable, key=len, reverse=True), "***")


@contextlib.contextmanager
def trouble(doing: str, secrets: Mapping[str, str]) -> Iterator[None]:
    """Turn whatever a file system raises into a `StoreError` without credentials and without a traceback."""
    try:
        yield
    except (StoreError, CannotDecryptError):
        raise
    except Exception as error:  # noqa: BLE001  each library below fsspec has errors of its own
        # An OSError's file name is left out: it says no more than the path that is known anyway.
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        for secret, shown in secrets.items():
            said = said.replace(secret, shown)
        raise StoreError(f"cannot {doing} it ({type(error).__name__}: {cut(mask(said), 300)})") from None
