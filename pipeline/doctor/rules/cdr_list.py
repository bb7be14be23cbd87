"""The dialler's list: is it the right one, which end is the oldest, and does an ingestor drain it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pipeline.dialler.rules.list_facts import ListFacts, dialed_at
from pipeline.doctor.rules.verdict import Verdict, ok, problem, unknown, warning
from pipeline.errors import cut
from pipeline.ingest.rules.guards import wrong_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OLD_CLAIM_SECONDS: Final = 60.0
SURE_SHARE: Final = 0.9
"""Of all pairs of a call at one end and a call at the other. In a shuffled list of 40 it is half of them, give or take
a tenth."""


def oldest_end(left: Sequence[bytes], right: Sequence[bytes]) -> Literal["left", "right", "mixed"] | None:
    """The end of a list with the older calls; None when that cannot be told.

    It is told only where nearly every call of one end is older than nearly every one of the other: in a shuffled list
    one of two middles is the older one, too.

    >>> call = b'{"payload": {"dialed_at": %d}}'
    >>> oldest_end([call % 1, call % 2], [call % 9, call % 8])
    'left'
    >>> oldest_end([call % 1, call % 9], [call % 3, call % 2])
    'mixed'
    >>> oldest_end([call % 1], [call % 1])
    """
    at_left = [at for at in map(dialed_at, left) if at is not None]
    at_right = [at for at in map(dialed_at, right) if at is not None]
    pairs = [(one, other) for one in at_left for other in at_right if one != other]
    if not pairs:
        return None
    older_at_left = sum(one < other for one, other in pairs) / len(pairs)
    if max(older_at_left, 1 - older_at_left) < SURE_SHARE:
        return "mixed"
    return "left" if older_at_left > 0.5 else "right"


def judge_list(facts: ListFacts, pop_end: str) -> Iterator[Verdict]:
    """Everything about the list itself."""
    if facts.kind not in {"list", "none"}:
        yield problem(
            "dialler list",
            f"{facts.name} is a {facts.kind}, not a list",
            "Correct ENIGMA_LIST, or the database number in ENIGMA_REDIS_URL.",
        )
        return
    reason = wrong_list([*facts.left, *facts.right])
    if reason is not None:
        yield problem(
            "dialler list",
            f"{facts.name} {reason}",
            "Set ENIGMA_REDIS_URL to the client Redis, usually port 8001: draining this one stalls the dialling.",
        )
        return
    yield ok("dialler list", f"{facts.name} holds {facts.waiting:,} records")
    yield _judge_end(facts, pop_end)
    yield _judge_claims(facts)


def _judge_end(facts: ListFacts, pop_end: str) -> Verdict:
    half = facts.waiting // 2  # of a short list each end is a half: no record is at both
    oldest = oldest_end(facts.left[:half], facts.right[:half])
    if oldest is None:
        return unknown("oldest end", f"too few records wait to tell; records are taken from the {pop_end}")
    if oldest == "mixed":
        return unknown(
            "oldest end",
            "neither end has the older calls, the list is in no order: look again when more wait, or after two calls "
            f"placed some seconds apart; records are taken from the {pop_end}",
        )
    if oldest == pop_end:
        return ok("oldest end", f"the oldest calls are at the {oldest} end, where they are taken")
    return warning(
        "oldest end",
        f"the oldest calls are at the {oldest} end, but are taken from the {pop_end}: in a backlog they wait longest",
        f"Set ENIGMA_POP_END={oldest} and restart the ingestor. Nothing is lost either way.",
    )


def _judge_claims(facts: ListFacts) -> Verdict:
    age = facts.oldest_claim_seconds
    if facts.claims and age is not None and age > OLD_CLAIM_SECONDS:
        return problem(
            "open claims",
            f"{facts.claims} claims are open, the oldest for {age:.0f} s: taken off the list, not in the database yet",
            "They are safe. Start an ingestor; if one runs, the database refuses them or is away: see its log.",
        )
    if facts.foreign:
        return warning(
            "open claims",
            f"{len(facts.foreign)} entries in the register of claims are no claims, such as {cut(facts.foreign[0])}",
            "They are passed over. Find out who writes there, and HDEL them.",
        )
    return ok("open claims", f"{facts.claims} open" if facts.claims else "none is open")


def judge_ingestor(source: str, holder: str | None) -> Verdict:
    """Whether somebody drains this dialler's list."""
    if holder is None:
        return problem(
            "ingestor",
            f"no ingestor holds the lease on the list of {source}",
            "Start `pipeline ingest` with this ENIGMA_SOURCE. Calls wait on the dialler's list meanwhile.",
        )
    return ok("ingestor", f"{holder} drains the list of {source}")
