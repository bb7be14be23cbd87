"""The environment's variables: which are read by nobody, and which keep a process from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.doctor.rules.verdict import Verdict, ok, problem, warning
from pipeline.setting_words import is_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.setting_words import Stray


def judge_strays(strays: Sequence[Stray]) -> Iterator[Verdict]:
    """Variables that look like settings."""
    if not strays:
        yield ok("settings", "each can be meant, and no variable looks like a misspelt one")
    for stray in strays:
        remedy = (
            f"Call it {stray.nearest}, if that is meant."
            if stray.nearest
            else "See docs/reference.md, or leave it out."
        )
        yield warning("settings", f"{stray.name} is no setting: nobody reads it", remedy)


def judge_flowers_api(flag: str) -> Iterator[Verdict]:
    """Only where it is set: what would open Flower's API to everybody.

    Args:
        flag: FLOWER_UNAUTHENTICATED_API.
    """
    if is_on(flag):
        yield problem(
            "flower",
            "FLOWER_UNAUTHENTICATED_API is set: Flower does not start, for anybody could ask what workers do",
            "Leave it out, and log in to use Flower's API.",
        )
