"""The path of a recording below its store: a template, and what may be put into it."""

from __future__ import annotations

import hashlib
import re
import string
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

TEMPLATE: Final = "{source}/{dialed_at:%Y/%m/%d}/{call_ref}{ext}"

_SAFE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")


def recording_path(template: str, *, source: str, call_ref: str, dialed_at: datetime, extension: str) -> str:
    """The path of a recording by a checked template; the day is UTC's.

    >>> recording_path(TEMPLATE, source="a", call_ref="7", dialed_at=datetime(2026, 3, 2, tzinfo=UTC), extension=".wav")
    'a/2026/03/02/7.wav'
    """
    return template.format(
        source=safe_part(source), call_ref=safe_part(call_ref), dialed_at=dialed_at.astimezone(UTC), ext=extension
    )


def safe_part(text: str) -> str:
    """A name as one part of a path: itself if it is harmless, else encoded, cut, and told apart by a hash.

    >>> safe_part("845")
    '845'
    >>> safe_part("../../x")
    '%2E%2E%2F%2E%2E%2Fx~9cdf6a50100a862e'
    """
    if _SAFE.fullmatch(text):
        return text
    encoded = quote(text, safe="", errors="surrogatepass").replace(".", "%2E")
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    # No harmless name has a tilde, so an encoded one never meets it.
    return f"{encoded[:80]}~{digest[:16]}"


def checked_template(template: str) -> str:
    """The template itself, if it can name recordings.

    Raises:
        ValueError: a sentence that says what it must be.
    """
    _check_fields(template)
    path = recording_path(
        template, source="source", call_ref="call_ref", dialed_at=datetime(2000, 1, 1, tzinfo=UTC), extension=".wav"
    )
    if path != str(PurePosixPath(path)) or path.startswith("/") or "/." in f"/{path}" or not path.isprintable():
        raise ValueError(f"must be a template of a relative path without hidden or empty parts, got {template!r}")
    return template


def _check_fields(template: str) -> None:
    try:
        fields = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"must be a template, got {template!r}: {error}") from None
    names = {name for name, _, _ in fields}
    if not names <= {"source", "call_ref", "dialed_at", "ext"} or "call_ref" not in names:
        raise ValueError(
            "must be a template made of {source}, {call_ref}, {dialed_at:…} and {ext}, with {call_ref} at least, "
            f"got {template!r}"
        )
    for name, form, conversion in fields:
        # Cut or padded, two references could become one, or a harmful one.
        if conversion or (form and (name != "dialed_at" or "{" in form)):
            raise ValueError(f"must be a template where only {{dialed_at:…}} says more than a name, got {template!r}")
