"""What becomes of a recording is a total function of the try, the attempts, the age and chance."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dialler.rules.answers import Away, Broken, Fetched, NoSuchCall, NotReady, Refused, Throttled, Unacceptable
from pipeline.recordings.rules.outcome import (
    MOVES,
    SHORTEST_SECONDS,
    Decision,
    RecordingState,
    RetryPolicy,
    backoff,
    decide,
    jitter,
    may_move,
)

POLICY = RetryPolicy()
HOUR = 3_600.0
FETCHED = Fetched(44, b"\x00" * 32, ".wav")

RESULTS = st.one_of(
    st.just(FETCHED),
    st.just(NotReady()),
    st.just(NoSuchCall()),
    st.sampled_from([Refused(401), Refused(403)]),
    st.builds(Throttled, st.just(429), st.none() | st.floats(0, 1e9)),
    st.builds(Broken, st.text()),
    st.builds(Unacceptable, st.text()),
    st.builds(Away, st.text()),
)
CHANCES = st.floats(0, 1, exclude_max=True)
AGES = st.floats(0, 1e9)
ATTEMPTS = st.integers(0, 10**9)


def decision(result, *, attempts=0, age=60.0, policy=POLICY, chance=0.5) -> Decision:
    return decide(result, attempts=attempts, age_seconds=age, policy=policy, chance=chance)


@pytest.mark.parametrize(
    ("result", "age", "state"),
    [
        (FETCHED, 60, "stored"),
        (FETCHED, 100 * HOUR, "stored"),
        (NotReady(), 60, "scheduled"),
        (NotReady(), 48 * HOUR - 1, "scheduled"),
        (NotReady(), 48 * HOUR, "expired"),
        (NoSuchCall(), 599, "scheduled"),
        (NoSuchCall(), 600, "absent"),
        (Broken("The recording is empty."), 600, "scheduled"),
        (Broken("The recording is empty."), 48 * HOUR, "failed"),
        (Unacceptable("Too large."), 0, "failed"),
        (Refused(401), 1000 * HOUR, "scheduled"),
        (Refused(403), 1000 * HOUR, "scheduled"),
        (Throttled(429, None), 1000 * HOUR, "scheduled"),
        (Away("Connection refused."), 1000 * HOUR, "scheduled"),
    ],
)
def test_each_result_leads_to_its_state(result, age, state):
    """The bound in time ends what the dialler answers about the recording, and never what an outage says."""
    assert decision(result, attempts=2, age=age).state == state


@pytest.mark.parametrize("result", [NotReady(), NoSuchCall(), Broken("The recording is empty.")])
def test_an_old_recording_is_asked_for_three_times_all_the_same(result):
    """Its time may have passed while the dialler was away: one answer does not end it."""
    states = [decision(result, attempts=tries, age=1000 * HOUR).state for tries in range(3)]
    assert states[:2] == ["scheduled", "scheduled"]
    assert states[2] != "scheduled"


@pytest.mark.parametrize("result", [Refused(401), Throttled(429, 5), Throttled(503, None), Away("Away.")])
def test_what_is_not_its_fault_costs_no_attempt_and_pauses_all(result):
    """A recording goes back unharmed when any other would have met the same."""
    decided = decision(result, attempts=3)
    assert decided.attempts == 3
    assert decided.pause_seconds is not None
    assert decided.wait_seconds is not None
    assert decided.wait_seconds >= decided.pause_seconds


@pytest.mark.parametrize("result", [FETCHED, NotReady(), NoSuchCall(), Broken("No."), Unacceptable("No.")])
def test_what_is_about_the_recording_counts_and_lets_the_others_go_on(result):
    """An answer about this recording is an attempt, and says nothing about the next one."""
    decided = decision(result, attempts=3)
    assert (decided.attempts, decided.pause_seconds) == (4, None)


@pytest.mark.parametrize(("asked", "pause"), [(None, 60), (0, 1), (7.5, 7.5), (3_600, 3_600), (86_400, 3_600)])
def test_retry_after_is_honoured_within_bounds(asked, pause):
    """The pause is what the dialler asked for, at least a second and at most the policy's longest."""
    assert decision(Throttled(429, asked)).pause_seconds == pause


def test_the_wait_grows_with_the_attempts():
    """Without jitter the waits double up to the longest."""
    policy = replace(POLICY, spread=0.0)
    waits = [decision(NotReady(), attempts=done, policy=policy).wait_seconds for done in (0, 1, 2, 6, 7, 8)]
    assert waits == [30, 60, 120, 1_920, 3_600, 3_600]


def test_the_last_try_falls_on_the_bound():
    """A wait that would end after the bound ends on it, so that the recording has its full time."""
    assert decision(NotReady(), attempts=20, age=48 * HOUR - 100).wait_seconds == pytest.approx(100)
    assert decision(NoSuchCall(), attempts=9, age=570).wait_seconds == pytest.approx(30)


def test_reasons_are_sentences_with_numbers():
    """An operator reads what happened, for how long and how often."""
    assert decision(NotReady(), attempts=9, age=48 * HOUR).reason == (
        "The dialler has no recording of this call, 48 h after it was due and after 10 tries."
    )
    assert decision(Broken("The recording is empty.")).reason == "The recording is empty; it is tried again."
    assert "ENIGMA_API_URL" in decision(Refused(403)).reason
    assert decision(Throttled(429, 30)).reason == "The dialler asks for fewer requests (429); recordings wait 30 s."


@given(RESULTS, ATTEMPTS, AGES, CHANCES)
def test_every_decision_is_a_legal_and_complete_one(result, attempts, age, chance):
    """Whatever comes: a legal move, a wait exactly when it goes on, never a shorter one than the shortest."""
    decided = decision(result, attempts=attempts, age=age, chance=chance)
    assert may_move(RecordingState.DOWNLOADING, decided.state)
    assert decided.state is not RecordingState.DOWNLOADING
    assert (decided.wait_seconds is not None) is (decided.state is RecordingState.SCHEDULED)
    assert decided.wait_seconds is None or decided.wait_seconds >= SHORTEST_SECONDS
    assert attempts <= decided.attempts <= attempts + 1


@given(st.sampled_from([NotReady(), NoSuchCall(), Broken("Never good.")]), st.randoms(use_true_random=False))
def test_a_recording_that_never_comes_ends_on_time(result, rng):
    """Trying again and again ends at the bound, after a bounded number of tries."""
    bound = POLICY.absent_after_seconds if result == NoSuchCall() else POLICY.give_up_after_seconds
    age, attempts = 30.0, 0
    while (decided := decision(result, attempts=attempts, age=age, chance=rng.random())).wait_seconds:
        age, attempts = age + decided.wait_seconds, decided.attempts
        assert attempts < 200
    assert bound <= age <= bound + SHORTEST_SECONDS


@given(ATTEMPTS, st.floats(0.1, 1e5), st.floats(1, 1e3))
def test_backoff_never_shrinks_and_is_clamped(attempt, first, factor):
    """Each wait is at least the one before, and none exceeds the longest."""
    longest = first * factor
    waits = [backoff(n, first_seconds=first, longest_seconds=longest) for n in (attempt, attempt + 1)]
    assert first <= waits[0] <= waits[1] <= longest


@given(st.floats(0, 1e6), st.floats(0, 1, exclude_max=True), CHANCES)
def test_jitter_stays_within_its_spread(seconds, spread, chance):
    """The jittered wait strays by no more than the share it may."""
    assert (
        seconds * (1 - spread) * 0.999999
        <= jitter(seconds, spread=spread, chance=chance)
        <= seconds * (1 + spread) * 1.000001
    )


def test_the_moves():
    """Stored is for ever; what ended otherwise may only be scheduled again; every state has its moves."""
    assert set(MOVES) == set(RecordingState)
    assert MOVES[RecordingState.STORED] == frozenset()
    for ended in (RecordingState.ABSENT, RecordingState.EXPIRED, RecordingState.FAILED):
        assert MOVES[ended] == {RecordingState.SCHEDULED}
    assert MOVES[RecordingState.SCHEDULED] == {RecordingState.DOWNLOADING}


@pytest.mark.parametrize(
    "change",
    [
        {"first_seconds": 0},
        {"first_seconds": float("nan")},
        {"longest_seconds": 1},
        {"give_up_after_seconds": -1},
        {"absent_after_seconds": -1},
        {"outage_seconds": 0},
        {"refused_seconds": -5},
        {"longest_throttle_seconds": 0},
        {"spread": 1.0},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(change):
    """A policy that would hammer the dialler or wait backwards names the value and stops."""
    with pytest.raises(ValueError, match=next(iter(change))):
        RetryPolicy(**change)
