"""What is said of settings: an address without its password, what a number may be, and the name that was meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_SCHEME: Final = re.compile("[a-z][a-z0-9+.-]*", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:\[[0-9a-f:.]+\]|[^:\[\]]+)(?::\d+)?", re.IGNORECASE)
ENCODED: Final = "in a password @ is written as %40, / as %2F, : as %3A, ? as %3F, # as %23 and % as %25"

OURS: Final = ("ENIGMA_", "RECORDINGS_", "ARCHIVE_", "PIPELINE_", "CELERY_BROKER_")
"""What begins like this is meant for us."""

OTHERS: Final = frozenset({"CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"})
"""These Celery reads by itself."""

# Kubernetes tells each container of the services in its namespace.
_OF_A_SERVICE: Final = re.compile(r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT|PORT_\d+_(?:TCP|UDP)(?:_\w+)?)")
NEAR: Final = 0.85
"""How like a name of ours another has to be to be taken for it misspelt; 1 is the same."""


def scheme_of(url: str) -> str:
    """What an address begins with, as far as it may be shown: it is no secret where ``://`` is behind it.

    >>> scheme_of("ftp://host"), scheme_of("cdr:hush@host://x"), scheme_of("hush")
    ('one that begins with ftp://', 'something else', 'something else')
    """
    scheme, separator, _ = url.partition("://")
    return f"one that begins with {scheme}://" if separator and _SCHEME.fullmatch(scheme) else "something else"


def check_address(url: str, schemes: Collection[str], example: str, *, split_at_first: bool = False) -> None:
    """An address must be one that no library misreads: part of a password would be taken for a host, and be printed.

    Args:
        url: the setting, or one of several addresses in it.
        schemes: what it may begin with.
        example: what it should look like.
        split_at_first: whether its library ends the password at the first ``@``, as SQLAlchemy does.

    Raises:
        ValueError: what is wrong, with nothing of the address but its scheme.

    >>> check_address("redis://cdr:pa/ss@host/0", ["redis"], "redis://host:6379/0")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: must look like redis://host:6379/0; in a password @ is written as %40, / as %2F, ...
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in schemes:
        raise ValueError(f"must look like {example}, got {scheme_of(url)}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    login, at, host = authority.rpartition("@")
    misread = "@" in login if split_at_first else False
    misread |= not at and "@" in rest
    if misread or (host and not _HOST.fullmatch(host)):
        raise ValueError(f"must look like {example}; {ENCODED}")


class Bounds(NamedTuple):
    """What a number may be."""

    whole: bool
    least: float | None = None
    above: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        low = f"from {self.least:,g}" if self.least is not None else f"above {self.above:,g}"
        return f"a {'whole ' if self.whole else ''}number {low} to {self.most:,g}"


def bounds_of(whole: bool, metadata: Iterable[Any]) -> Bounds:  # noqa: FBT001 - read where it stands
    """What a field's annotations say of its value.

    Args:
        whole: whether it is an integer.
        metadata: what pydantic keeps of them: objects with ``ge``, ``gt`` or ``le``.
    """
    found = {name: getattr(each, name) for each in metadata for name in ("ge", "gt", "le") if hasattr(each, name)}
    return Bounds(whole, found.get("ge"), found.get("gt"), found.get("le"))


def one_of(allowed: Iterable[str]) -> str:
    """Names as a sentence lists them.

    >>> one_of(["a", "b", "c"])
    'a, b or c'
    """
    *others, last = allowed
    return f"{', '.join(others)} or {last}" if others else last


def got(value: Any) -> str:
    """The part of a sentence that says what was given; only where it is no secret."""
    return f", got {shown(value)}"


def is_on(flag: str) -> bool:
    """Whether a variable that is read as a flag is set.

    >>> is_on(""), is_on("False"), is_on("yes")
    (False, False, True)
    """
    return flag.strip().lower() not in {"", "0", "false", "no", "off", "n", "f"}


class Stray(NamedTuple):
    """A variable that looks like a setting and is none."""

    name: str
    nearest: str | None

    def __str__(self) -> str:
        meant = f"; is {self.nearest} meant?" if self.nearest else ""
        return f"{self.name} is no setting and is not read{meant}"


def strays(given: Iterable[str], known: Collection[str]) -> Iterator[Stray]:
    """Variables that were meant for us and that nobody reads, with the setting that was meant.

    Args:
        given: the names of all variables of the environment; only names, for what they hold may be secret.
        known: the names that something reads.

    >>> names = ["PIPELINE_CURRENCY", "PIPELINE_REGION", "DATABASE_URL"]
    >>> for stray in strays(["PIPELINE_CURENCY", "HOME", "DATABSE_URL", "pipeline_region"], names):
    ...     print(stray)
    DATABSE_URL is no setting and is not read; is DATABASE_URL meant?
    PIPELINE_CURENCY is no setting and is not read; is PIPELINE_CURRENCY meant?
    """
    names = sorted(given)
    read = {name.upper() for name in known} | OTHERS
    unset = sorted(read - {name.upper() for name in names})
    for name in names:
        spelt = name.upper()
        if spelt in read:
            continue
        near = difflib.get_close_matches(spelt, unset, n=1, cutoff=NEAR)
        if near or (spelt.startswith(OURS) and not _OF_A_SERVICE.fullmatch(spelt)):
            meant = near or difflib.get_close_matches(spelt, sorted(read), n=1, cutoff=NEAR)
            yield Stray(name, meant[0] if meant else None)
