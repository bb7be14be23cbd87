"""The keys by which recordings are encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.doctor.rules.verdict import Verdict, first_line, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.recordings.rules.key_facts import KeysFacts

CHECK: Final = "recordings keys"


def judge_keys(url: str, facts: KeysFacts) -> Iterator[Verdict]:
    """The folder can be read by this user; whether it can make keys, and who else can read them."""
    if facts.open_to_others:
        yield problem(
            CHECK,
            f"everybody of this machine may read {facts.open_to_others[0]}, and {len(facts.open_to_others)} in all",
            "Let only the pipeline's user in: chmod -R go-rwx the folder.",
        )
    if facts.not_writable is not None:
        yield warning(
            CHECK,
            f"{url} can be read, and this user can make no key there: {facts.not_writable}",
            "Right for the API, Flower and whoever listens; the recordings workers must be able to.",
        )
    elif not facts.open_to_others:
        yield ok(CHECK, f"{url} can be read and takes new keys")


def judge_keys_error(url: str, error: BaseException) -> Verdict:
    """The folder cannot be read."""
    return problem(
        CHECK,
        f"{url}: {first_line(error)}",
        "Make the folder, let this user read it, or correct RECORDINGS_KEYS_URL and RECORDINGS_KEYS_STORAGE_OPTIONS.",
    )


def judge_needed(name: str, there: bool | None) -> Iterator[Verdict]:  # noqa: FBT001 - None is an answer, too
    """Only where it is wrong: recordings are encrypted, and cannot be decrypted here.

    Args:
        name: the newest key that is needed, as a sentence names it.
        there: whether the folder has it; None: no folder is set.
    """
    if there:
        return
    what = "RECORDINGS_KEYS_URL is not set here" if there is None else "it is not there"
    yield problem(
        "recordings key",
        f"recordings are encrypted with {name}, and {what}: nobody can listen to them from here",
        "Set RECORDINGS_KEYS_URL to the folder that has it, or bring it back from the backup of the keys.",
    )
