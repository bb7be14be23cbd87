"""The recordings store, the dialler's API and the clocks."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.dialler.rules.answers import Away, NoSuchCall, NotReady, Refused, Throttled
from pipeline.doctor.rules.database import judge_disk
from pipeline.doctor.rules.verdict import Verdict, first_line, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.dialler.rules.answers import FetchResult
    from pipeline.recordings.rules.store_facts import StoreFacts

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS: Final = ("no space left", "quota", "insufficientcapacity", "storagefull")
"""A store's own error says only what its library said."""
SKEW_WARNING_SECONDS: Final = 2.0
SKEW_PROBLEM_SECONDS: Final = 60.0


class Clock(NamedTuple):
    """How far another clock is ahead of this machine's, give or take."""

    name: str
    ahead_seconds: float
    give_or_take: float


def judge_store(url: str, facts: StoreFacts) -> Iterator[Verdict]:
    """The recordings store took a file, gave it back and deleted it."""
    yield ok("recordings store", f"{url} takes, returns and deletes a file, in {facts.seconds:.1f} s")
    if facts.disk_free is not None and facts.disk_total is not None:
        remedy = "Free or enlarge the disk, or set RECORDINGS_RETENTION_DAYS."
        yield judge_disk("recordings disk", facts.disk_free, facts.disk_total, "of the recordings' disk", remedy)


def judge_paths(template: str, sources: list[str]) -> Iterator[Verdict]:
    """Whether recordings of several diallers can meet under one name; none is ever overwritten."""
    if len(sources) > 1 and "{source" not in template:
        yield warning(
            "recordings paths",
            f"RECORDINGS_PATH has no {{source}}, and there are several diallers: {', '.join(sources)}",
            "Add {source}, or give each dialler a RECORDINGS_URL of its own: of two equal call_refs one is not stored.",
        )


def judge_store_error(url: str, error: BaseException) -> Verdict:
    """The recordings store did not take a file."""
    said = first_line(error)
    full = getattr(error, "errno", None) in FULL or any(word in said.lower() for word in FULL_WORDS)
    if full:
        return problem(
            "recordings store",
            f"{url}: its disk is full, or our share of it: {said}",
            "Free or enlarge the disk, or set RECORDINGS_RETENTION_DAYS.",
        )
    return problem(
        "recordings store",
        f"{url}: {said}",
        "Let this user create, read and delete files there, or correct RECORDINGS_URL and RECORDINGS_STORAGE_OPTIONS.",
    )


def judge_api(url: str, answer: FetchResult) -> Verdict:
    """What the dialler's API said to a question for a call that does not exist."""
    check = "dialler api"
    if isinstance(answer, NoSuchCall | NotReady):
        return ok(check, f"{url} answers as it should")
    if isinstance(answer, Refused):
        return problem(check, f"{url} refuses us ({answer.status})", "Correct the user and password in ENIGMA_API_URL.")
    if isinstance(answer, Throttled):
        return warning(
            check, f"{url} asks for fewer requests ({answer.status})", "Lower RECORDINGS_RATE if it goes on."
        )
    if isinstance(answer, Away):
        return problem(
            check,
            f"{url}: {answer.reason.rstrip('.')}",
            "Start it, or correct the host and port in ENIGMA_API_URL. Billing goes on.",
        )
    said = getattr(answer, "reason", "it sent a recording of a call that cannot exist").rstrip(".")
    return problem(
        check, f"{url}: {said}", "See that ENIGMA_API_URL is the dialler's API, with its path if it has one."
    )


def judge_clocks(clocks: list[Clock]) -> Verdict:
    """Whether the machines agree on the time, by the farthest apart."""
    if not clocks:
        return warning("clocks", "no other clock could be read", "See the other problems.")
    said = ", ".join(f"{clock.name} {clock.ahead_seconds:+.1f} s" for clock in clocks)
    worst = max(abs(clock.ahead_seconds) - clock.give_or_take for clock in clocks)
    remedy = "Let NTP set the clocks of all machines: ages, delays and leases are compared between them."
    if worst > SKEW_PROBLEM_SECONDS:
        return problem("clocks", f"they differ from this machine's: {said}", remedy)
    if worst > SKEW_WARNING_SECONDS:
        return warning("clocks", f"they differ from this machine's: {said}", remedy)
    return ok("clocks", f"they agree with this machine's: {said}")
