"""A call's end is read from its reason first, its extension second and its code last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls.rules.disposition import BILLABLE_BY_DEFAULT, CONSEQUENCES, Disposition, classify

HANGUPS = ["hungup", "callee_hungup", "agent_hungup", "hangup", "callee_hangup", "agent_hangup"]
HANGUPS += ["hangup_command", "ANSWER", "CANCEL"]
OTHERS = {
    "voicemail": "voicemail",
    "busy": "busy",
    "BUSY": "busy",
    "reject": "rejected",
    "DONTCALL": "rejected",
    "timeout": "no_answer",
    "NOANSWER": "no_answer",
    "error": "error",
    "CONGESTION": "error",
    "CHANUNAVAIL": "error",
    "TORTURE": "error",
    "failed": "failed",
    "INVALIDARGS": "failed",
}


@pytest.mark.parametrize("reason", HANGUPS)
def test_a_hangup_with_an_agent_was_answered(reason: str) -> None:
    """Every spelling of a hang-up with an extension is an answered call, for certain."""
    got = classify(reason, 16, "2001", None)
    assert (got.disposition, got.uncertain) == ("answered", False)
    assert got.person_reached
    assert got.contact_done
    assert got.can_be_billed
    assert got.can_have_audio


@pytest.mark.parametrize("reason", HANGUPS)
@pytest.mark.parametrize(("hold", "uncertain"), [(12, False), (None, True), (0, False)])
def test_a_hangup_without_an_agent_was_abandoned(reason: str, hold: int | None, uncertain: object) -> None:
    """Nobody joined: the callee waited in vain, for certain once the dialler says how long."""
    got = classify(reason, 16, None, hold)
    assert (got.disposition, got.uncertain) == ("abandoned", uncertain)
    assert got.person_reached
    assert not got.contact_done
    assert not got.can_be_billed
    assert not got.can_have_audio


def test_an_empty_extension_is_no_agent() -> None:
    """An extension of no digits names nobody."""
    assert classify("hungup", 16, "", 12).disposition == "abandoned"


@pytest.mark.parametrize(("reason", "disposition"), OTHERS.items())
@pytest.mark.parametrize("extension", [None, "2001"])
def test_every_other_reason(reason: str, disposition: str, extension: str | None) -> None:
    """Any reason but a hang-up stands for one disposition, whoever was there, and leads to nothing."""
    got = classify(reason, None, extension, None)
    assert (got.disposition, got.uncertain) == (disposition, False)
    assert not got.person_reached
    assert not got.contact_done
    assert not got.can_be_billed
    assert not got.can_have_audio


CUT_OFF = [("error", 41), ("error", 127), ("error", None), ("CONGESTION", 34), ("timeout", 102), ("NOANSWER", 18)]
CUT_OFF += [("completed", None), ("teleported", 41)]


@pytest.mark.parametrize(("reason", "code"), CUT_OFF)
def test_a_talk_that_was_cut_off_was_answered(reason: str, code: int | None) -> None:
    """The dialler calls every cause it does not know an error; an agent and seconds say that they talked before."""
    got = classify(reason, code, "2001", None, 600)
    assert (got.disposition, got.uncertain) == ("answered", True)
    assert (got.person_reached, got.can_be_billed, got.can_have_audio) == (True, True, True)
    assert "an agent was on the call" in got.why
    assert got.why.endswith(".")


@pytest.mark.parametrize(("reason", "code"), CUT_OFF)
@pytest.mark.parametrize(("extension", "seconds"), [(None, 600), ("", 600), ("2001", 0)])
def test_without_an_agent_or_without_seconds_nobody_talked(
    reason: str, code: int | None, extension: str | None, seconds: int
) -> None:
    """Either alone is what an error looks like."""
    got = classify(reason, code, extension, None, seconds)
    assert got.disposition == classify(reason, code, None, None).disposition
    assert not got.can_be_billed


@pytest.mark.parametrize("reason", ["voicemail", "busy", "reject", "failed"])
def test_a_reason_that_is_no_error_is_kept(reason: str) -> None:
    """A machine, a busy line and a refusal are said for certain; their seconds are for the balance to report."""
    got = classify(reason, None, "2001", None, 600)
    assert (got.disposition, got.uncertain) == (OTHERS[reason], False)


@pytest.mark.parametrize("reason", [*HANGUPS, *OTHERS])
def test_case_and_blanks_do_not_matter(reason: str) -> None:
    """A reason is the same in capitals, in small letters and between blanks."""
    plain = classify(reason.lower(), None, "2001", None)
    assert classify(reason.upper(), None, "2001", None).disposition == plain.disposition
    assert classify(f" {reason.title()} ", None, "2001", None).disposition == plain.disposition


@pytest.mark.parametrize(
    ("code", "extension", "disposition"),
    [
        *[(code, "2001", "answered") for code in (0, 16)],
        *[(code, None, "abandoned") for code in (0, 16)],
        (17, None, "busy"),
        *[(code, None, "no_answer") for code in (18, 102)],
        *[(code, None, "rejected") for code in (19, 21, 22)],
        *[(code, "2001", "error") for code in (1, 28, 34, 42, 127, 486, -1)],
        (None, None, "unknown"),
        (None, "2001", "unknown"),
    ],
)
def test_an_unknown_reason_leaves_it_to_the_code(code: int | None, extension: str | None, disposition: str) -> None:
    """A reason nobody has described is decided by the code, and always uncertain."""
    got = classify("teleported", code, extension, 12)
    assert (got.disposition, got.uncertain) == (disposition, True)
    assert "'teleported' is not known" in got.why


@pytest.mark.parametrize(
    ("reason", "code", "disposition", "other"),
    [
        ("busy", 16, "busy", "stands for a hang-up"),
        ("callee_hungup", 17, "answered", "stands for busy"),
        ("voicemail", 18, "voicemail", "stands for no_answer"),
        ("timeout", 21, "no_answer", "stands for rejected"),
        ("error", 17, "error", "stands for busy"),
        ("reject", 34, "rejected", "stands for error"),
    ],
)
def test_the_reason_wins_over_a_contradicting_code(reason: str, code: int | None, disposition: str, other: str) -> None:
    """When reason and code tell different stories the reason decides, and the sentence says so."""
    got = classify(reason, code, "2001", None)
    assert got.disposition == disposition
    assert f"although end_code {code}" in got.why
    assert got.why.endswith(f"{other}: the reason wins.")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        *[(reason, code) for reason in [*HANGUPS, "voicemail"] for code in (0, 16, None)],
        *[("busy", 17), ("timeout", 18), ("timeout", 102), ("reject", 19), ("reject", 21), ("reject", 22)],
        *[("error", 28), ("error", 34), ("error", 42), ("error", 3), ("failed", 16), ("failed", None)],
    ],
)
def test_pairs_of_the_contract_do_not_contradict(reason: str, code: int | None) -> None:
    """No pair that the vendor's table lists is called a contradiction."""
    assert "although" not in classify(reason, code, "2001", None).why


def test_the_sentence_reads_well() -> None:
    """`why` is one sentence for the person who asks for an explanation."""
    assert classify("callee_hungup", 16, None, None).why == (
        "The callee hung up and no agent took the call, but without a hold time this may be a call nobody answered."
    )
    assert classify("busy", 16, None, None).why == (
        "The dialler gave 'busy' as the reason, "
        "although end_code 16 (normal call clearing) stands for a hang-up: the reason wins."
    )
    assert classify("busy", 16, None, None).end_code_meaning == "normal call clearing"


def test_only_answered_calls_are_billed_by_default() -> None:
    """A tariff that bills voicemail or abandoned calls has to say so."""
    assert frozenset({Disposition.ANSWERED}) == BILLABLE_BY_DEFAULT


def test_every_disposition_has_consequences() -> None:
    """The table forgets none, and nothing has audio, or closes a contact, unless a person was reached."""
    assert set(CONSEQUENCES) == set(Disposition)
    for follows in CONSEQUENCES.values():
        assert follows.person_reached or not (follows.can_have_audio or follows.contact_done)


ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(
    ANY_TEXT | st.sampled_from([*HANGUPS, *OTHERS]),
    st.none() | st.integers() | st.integers(0, 130),
    st.none() | ANY_TEXT,
    st.none() | st.integers(),
    st.integers(),
)
def test_classify_is_total(
    reason: str, code: int | None, extension: str | None, hold: int | None, seconds: int
) -> None:
    """Whatever the dialler says there is one disposition, one printable sentence, and the same one again."""
    got = classify(reason, code, extension, hold, seconds)
    assert got.disposition in set(Disposition)
    assert got.why.endswith(".")
    assert got.why.isprintable()
    assert len(got.why) < 400
    follows = (got.person_reached, got.contact_done, got.can_be_billed, got.can_have_audio)
    assert follows == tuple(CONSEQUENCES[got.disposition])
    assert classify(reason, code, extension, hold, seconds) == got
