"""Which files of a provider a period is compared with, and what forbids it."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.errors import PipelineError, cut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


class NotReconcilableError(PipelineError):
    """A period of a provider cannot be compared: there is no such provider, or its files are not fit for it."""


class ProviderFile(NamedTuple):
    """A file that a provider sent, as it was loaded.

    Its time is what it is said to be of, or else from its first call to its last.
    """

    id: int
    name: str
    sha256: str
    since: datetime
    until: datetime
    lines: int
    """Those that were read, and those that could not be; not what the mapping leaves out."""
    bad_lines: int
    state: str


_TIME = slice(3, 5)
"""Of a `ProviderFile`: what it is of."""


def check_provider(connection: Connection, provider: str) -> None:
    """Whether a provider is known, by a tariff or a file.

    Raises:
        NotReconcilableError: it is not, with the names that are near.
    """
    known = known_providers(connection)
    if provider in known:
        return
    near = difflib.get_close_matches(provider, known, n=3) or sorted(known)[:10]
    there_is = f"there is {', '.join(map(cut, near))}" if known else "none has a tariff or a file"
    raise NotReconcilableError(f"there is no provider {cut(provider)}: {there_is}")


def known_providers(connection: Connection) -> list[str]:
    """Those that have a tariff or a file."""
    known = text("SELECT provider FROM tariffs WHERE provider IS NOT NULL UNION SELECT provider FROM provider_files")
    return sorted(connection.scalars(known))


def files_of(connection: Connection, provider: str, since: datetime, until: datetime) -> list[ProviderFile]:
    """The loaded files of a provider that have any of a period, in the order of their time.

    Several may be of the same time, as those of a week or a trunk each that were loaded for one month, or what the
    provider corrected later: loading them saw to it that no call is in two.

    Raises:
        NotReconcilableError: there is none, or two have some of their time in common and not all of it.
    """
    found = _found(connection, provider, since, until)
    loaded = [each for each in found if each.state == "loaded"]
    if not loaded:
        _refuse_none(provider, found)
    for earlier, later in itertools.pairwise(loaded):
        if later.since < earlier.until and later[_TIME] != earlier[_TIME]:
            raise NotReconcilableError(
                f"file {earlier.id} ({cut(earlier.name)}) and file {later.id} ({cut(later.name)}) of {cut(provider)} "
                f"overlap: both have the time from {later.since:%Y-%m-%d %H:%M} UTC on. Withdraw one of them, or both, "
                "and load them for the same month (--period)"
            )
    return loaded


def _found(connection: Connection, provider: str, since: datetime, until: datetime) -> list[ProviderFile]:
    rows = connection.execute(
        text(
            "SELECT id, name, sha256, begins, ends, read_lines + bad_lines, bad_lines, state FROM provider_files, "
            "LATERAL (SELECT coalesce(since, first_at) AS begins, "
            "         coalesce(until, last_at + interval '1 second') AS ends) AS span "
            "WHERE provider = :provider AND begins < :until AND ends > :since ORDER BY begins, ends, id"
        ),
        {"provider": provider, "since": since, "until": until},
    )
    return [ProviderFile(*row) for row in rows]


def _refuse_none(provider: str, found: Sequence[ProviderFile]) -> None:
    if found:
        names = ", ".join(cut(each.name) for each in found)
        raise NotReconcilableError(
            f"no file of {cut(provider)} for that period is in force: {names} "
            f"{'was' if len(found) == 1 else 'were'} withdrawn; load the one that takes its place"
        )
    raise NotReconcilableError(
        f"no file of {cut(provider)} has any of that period; load it with `pipeline provider load`"
    )
