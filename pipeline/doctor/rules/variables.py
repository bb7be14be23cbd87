"""The environment's variables: which are read by nobody, and which keep a process from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.doctor.rules.verdict import Verdict, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def judge_strays(strays: Sequence[tuple[str, str | None]]) -> Iterator[Verdict]:
    """Variables that look like settings.

    Args:
        strays: the name of each, and the setting that is nearest to it.
    """
    if not strays:
        yield ok("settings", "each can be meant, and no variable looks like a misspelt one")
    for name, nearest in strays:
        remedy = f"Call it {nearest}, if that is meant." if nearest else "See docs/reference.md, or leave it out."
        yield warning("settings", f"{name} is no setting: nobody reads it", remedy)


def judge_copies(ours: Path, folder: Path) -> Iterator[Verdict]:
    """Only where it is wrong: the working folder holds another copy of the code, which Celery would run.

    Args:
        ours: the folder of the code that runs here.
        folder: the working folder.
    """
    other = folder / ours.name
    if (other / "__init__.py").is_file() and other.resolve() != ours.resolve():
        yield warning(
            "code",
            f"this command runs the code in {ours}, and Celery would run that in {other}",
            "Run processes and commands in a folder without a checkout: deploy/README.md, Install.",
        )


def judge_erasure_key(key_of_marks: str | None, ours: str | None) -> Iterator[Verdict]:
    """Only where it is wrong: numbers were erased, and this environment could not tell when one comes again.

    Args:
        key_of_marks: the id of the key that they were erased with; None: none was.
        ours: the id of the key that is set; None: none is.
    """
    if key_of_marks is not None and key_of_marks != ours:
        what = "is not set" if ours is None else f"is another one ({ours})"
        yield problem(
            "erasure key",
            f"numbers were erased with the key {key_of_marks}, and ERASURE_KEY {what}: records wait to be normalized",
            "Set the one they were erased with, the same for every worker.",
        )


def judge_flowers_api(*, is_open: bool) -> Iterator[Verdict]:
    """Only where it is set: what would open Flower's API to everybody.

    Args:
        is_open: whether FLOWER_UNAUTHENTICATED_API says so.
    """
    if is_open:
        yield problem(
            "flower",
            "FLOWER_UNAUTHENTICATED_API is set: Flower does not start, for anybody could ask what workers do",
            "Leave it out, and log in to use Flower's API.",
        )
