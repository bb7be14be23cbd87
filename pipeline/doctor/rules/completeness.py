"""Which of the dialler's other witnesses can be heard, and what is missing by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.doctor.rules.verdict import ok, problem, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.doctor.rules.verdict import Verdict

OLD_SECONDS: Final = 1_800.0
LEVELS: Final = {1: "counters", 2: "campaigns", 3: "calls by contact"}


class Witness(NamedTuple):
    """One level of one dialler."""

    source: str
    level: int
    state: str
    says: str
    age_seconds: float


class Short(NamedTuple):
    """A campaign of which calls are missing."""

    source: str
    campaign_ref: str
    kind: str
    calls: int


def judge_billed(provider: str, lines: int) -> Verdict:
    """Calls that a provider's files have and that never came."""
    return problem(
        f"completeness {provider}",
        f"{lines:,} calls of its files never came",
        "`pipeline completeness lines` names them; `pipeline import FILE` brings them back, or dismiss them.",
    )


def judge_witnesses(witnesses: Sequence[Witness], short: Sequence[Short]) -> Iterator[Verdict]:
    """What each dialler offers, and whether something is missing."""
    if not witnesses:
        yield unknown("completeness", "nobody has looked so far: the process `recordings` does, when beat asks it")
    for each in witnesses:
        name = f"completeness {each.source} level {each.level}"
        if each.state in {"available", "off"}:
            old = each.level == 1 and each.state == "available" and each.age_seconds > OLD_SECONDS
            said = f"{LEVELS[each.level]}: {each.says}"
            yield unknown(name, f"{said}; as of {each.age_seconds / 60:.0f} min ago") if old else ok(name, said)
        else:
            yield unknown(name, f"{LEVELS[each.level]} {each.state}: {each.says}")
    for campaign in short:
        remedy = (
            "`pipeline completeness` has more; `pipeline import FILE` or `pipeline completeness pull` bring them back."
        )
        if campaign.kind == "second consumer":
            remedy = f"Somebody else takes from the list: find out who, and stop it. {remedy}"
        yield problem(
            f"completeness {campaign.source}",
            f"{campaign.calls:,} calls of {campaign.campaign_ref} were placed and never came ({campaign.kind})",
            remedy,
        )
