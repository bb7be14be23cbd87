"""A dialler's limits and pauses hold for every worker on every machine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from pipeline.dialler.http_api import DiallerApi
from pipeline.dialler.rules.answers import Away, Refused, Throttled
from pipeline.recordings import download as steps
from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings import queue as recording_queue
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.rules.outcome import PauseKind, RecordingState, RetryPolicy
from pipeline.sandbox.api import RecordingsApi
from tests.integration.recording_rows import BATCH, change, dispatch, row, scheduled, simulated, states
from tests.patience import eventually

POLICY = RetryPolicy(spread=0.0)


@pytest.fixture
def dialler():
    with RecordingsApi() as server:
        yield server


@pytest.fixture
def store(tmp_path):
    return RecordingStore((tmp_path / "store").as_uri())


class Gate(DiallerApi):
    """A dialler whose answer can be set: a result instead of a request."""

    answer: object = None

    def fetch(self, call_ref, sink):
        return self.answer if self.answer is not None else super().fetch(call_ref, sink)


@pytest.fixture
def api(dialler):
    with Gate(dialler.url, source="enigma", read_seconds=5) as client:
        yield client


@pytest.fixture
def download(engine, api, store):
    """Do what a message asks for."""

    def run(due, **changes):
        arguments = {"api": api, "store": store, "policy": POLICY, "chance": lambda: 0.5} | changes
        return steps.download(engine, due.call_id, dispatched_at=due.dispatched_at, **arguments)

    return run


def pauses(engine):
    with engine.connect() as connection:
        return recording_pauses.standing(connection)


def wait_over(engine):
    """The pause's time passes."""
    change(engine, "until = now()", table="recording_pauses")


def seconds_left(pause):
    return (pause.until - datetime.now(tz=UTC)).total_seconds()


def test_no_more_are_released_than_may_be_at_once(engine, dialler, download):
    """Sent and begun count alike; each that ends makes room for one."""
    dialler.add(simulated(ref) for ref in range(1, 11))
    scheduled(engine, *range(1, 11))
    first = dispatch(engine, at_once=4)
    assert len(first) == 4
    assert dispatch(engine, at_once=4) == []
    assert download(first[0]).state == "stored"
    assert len(dispatch(engine, at_once=4)) == 1


def test_limits_hold_among_dispatchers_at_once(engine):
    """However many dispatch at the same moment, together they release no more than the limit."""
    scheduled(engine, *range(100))
    with ThreadPoolExecutor(5) as pool:
        released = list(pool.map(lambda _: len(dispatch(engine, at_once=7)), range(5)))
    assert sum(released) == 7


def test_a_crashed_worker_gives_its_room_back(engine, download, monkeypatch):
    """A lease that ran out, and a message nobody began, count no longer."""
    scheduled(engine, 1, 2)
    (due,) = dispatch(engine, at_once=1)
    change(engine, f"state = 'downloading', due_at = now() + interval '20 s' WHERE call_id = {due.call_id}")
    assert dispatch(engine, at_once=1) == []
    change(engine, f"due_at = now() - interval '1 s' WHERE call_id = {due.call_id}")
    assert [again.call_id for again in dispatch(engine, at_once=1)] == [due.call_id]


def test_no_more_requests_a_second_than_allowed(engine):
    """What was not used counts for a second; then as many as the time since allows."""
    scheduled(engine, *range(100))
    began = time.monotonic()
    assert len(dispatch(engine, per_second=20)) == 20
    released = 0
    while time.monotonic() - began < 1.0:
        released += len(dispatch(engine, per_second=20))
        time.sleep(0.02)
    allowed = 20 * (time.monotonic() - began)
    assert allowed - 4 <= released <= allowed + 1


def test_a_slow_rate_is_kept(engine):
    """Below one a second the wait between two is as long as it has to be."""
    scheduled(engine, 1, 2)
    assert len(dispatch(engine, per_second=0.1)) == 1
    assert dispatch(engine, per_second=0.1) == []
    change(engine, "paced_to = paced_to - interval '9 s'", table="recording_pace")
    assert dispatch(engine, per_second=0.1) == []
    change(engine, "paced_to = paced_to - interval '1 s'", table="recording_pace")
    assert len(dispatch(engine, per_second=0.1)) == 1


def test_each_dialler_has_limits_of_its_own(engine):
    """One dialler's backlog takes nothing from another's."""
    scheduled(engine, *range(20))
    scheduled(engine, *range(3), source="other", batch=BATCH + 1)
    released = dispatch(engine, at_once=5)
    assert sorted(due.source for due in released) == ["enigma"] * 5 + ["other"] * 3


def test_a_message_nobody_begins_is_repeated_ever_less_often(engine):
    """A dialler that nobody serves fills no queue."""
    (call_id,) = scheduled(engine, 1)
    waits = []
    for _ in range(7):
        assert len(dispatch(engine)) == 1
        waits.append(round(row(engine, call_id).due_in.total_seconds() / 60))
        change(engine, "due_at = now()")
    assert waits == [1, 2, 4, 8, 16, 20, 20]


def test_an_unsent_message_is_no_message(engine):
    """With the broker away what was released is due again, and takes no room."""
    (call_id,) = scheduled(engine, 1)
    due = dispatch(engine, at_once=1)
    steps.give_back(engine, due)
    assert row(engine, call_id).released_at is None
    assert [again.call_id for again in dispatch(engine, at_once=1)] == [call_id]


def test_refusal_stops_the_whole_queue(engine, api, download):
    """One 401 is one request: nothing more is released, and what was on its way goes back unharmed."""
    scheduled(engine, *range(1, 11))
    first, second = dispatch(engine, at_once=2)
    api.answer = Refused(401)
    outcome = download(first)
    assert outcome.pause_began.kind is PauseKind.REFUSED
    assert download(second).reason.startswith("Put back unharmed")
    found = row(engine, second.call_id)
    assert (found.state, found.attempts, found.tried_at, found.released_at) == ("scheduled", 0, None, None)
    assert dispatch(engine) == []
    (pause,) = pauses(engine)
    assert (pause.source, pause.kind, pause.failed_probes) == ("enigma", PauseKind.REFUSED, 0)
    assert 55 < seconds_left(pause) <= 60
    assert "ENIGMA_API_URL" in pause.reason


def test_a_pause_stops_one_dialler_only(engine, api, download):
    """Another dialler's recordings go on."""
    scheduled(engine, 1)
    scheduled(engine, 2, source="other", batch=BATCH + 1)
    api.answer = Refused(403)
    download(dispatch(engine, source="enigma")[0])
    assert [due.source for due in dispatch(engine)] == ["other"]


def test_a_probe_in_vain_makes_the_pause_longer(engine, api, download):
    """After its time one recording is tried, never two; each in vain doubles the wait, and nothing is logged twice."""
    scheduled(engine, *range(1, 8))
    api.answer = Refused(401)
    download(dispatch(engine, at_once=1)[0])
    for wait in (120, 240, 480):
        wait_over(engine)
        (probe,) = dispatch(engine)
        assert dispatch(engine) == []
        outcome = download(probe)
        assert (outcome.pause_began, outcome.attempts) == (None, 0)
        (pause,) = pauses(engine)
        assert wait - 5 < seconds_left(pause) <= wait
    assert pause.failed_probes == 3


def test_a_probe_that_goes_through_ends_the_pause(engine, dialler, api, download):
    """The queue goes on as before, and the outcome says so once."""
    dialler.add(simulated(ref) for ref in range(1, 6))
    scheduled(engine, *range(1, 6))
    api.answer = Refused(401)
    download(dispatch(engine, at_once=1)[0])
    wait_over(engine)
    (probe,) = dispatch(engine)
    api.answer = None
    outcome = download(probe)
    assert (outcome.state, outcome.pause_ended.kind) == (RecordingState.STORED, PauseKind.REFUSED)
    assert pauses(engine) == []
    assert len(dispatch(engine)) == 3


def test_a_lost_probe_is_replaced(engine, api, download):
    """When nothing is heard of a probe, another goes."""
    scheduled(engine, 1, 2, 3)
    api.answer = Refused(401)
    download(dispatch(engine, at_once=1)[0])
    wait_over(engine)
    (lost,) = dispatch(engine)
    assert 50 < seconds_left(pauses(engine)[0]) <= recording_queue.PROBE_SECONDS
    wait_over(engine)
    (another,) = dispatch(engine)
    assert another.call_id != lost.call_id


def test_what_was_under_way_neither_ends_nor_lengthens_a_pause(engine, dialler, api, download):
    """A download begun before the pause says nothing about its cause."""
    dialler.add([simulated(1), simulated(2)])
    scheduled(engine, 1, 2)
    first, second = dispatch(engine)
    api.answer = Refused(401)

    class During(DiallerApi):
        def fetch(self, call_ref, sink):
            download(second)
            return super().fetch(call_ref, sink)

    with During(dialler.url, source="enigma") as during:
        outcome = download(first, api=during)
    assert (outcome.state, outcome.pause_ended) == ("stored", None)
    assert [pause.failed_probes for pause in pauses(engine)] == [0]


def test_only_a_stored_recording_shows_that_the_store_is_back(engine, dialler, download, tmp_path):
    """A recording that is not ready says nothing about the store; the next probe goes at once."""
    dialler.add([simulated(1), simulated(3)])
    dialler.add([simulated(2)], ready_after=1_000)
    scheduled(engine, 1, 2, 3)
    (tmp_path / "store").write_bytes(b"not a folder")
    download(dispatch(engine, at_once=1)[0])
    assert pauses(engine)[0].kind is PauseKind.STORE_AWAY
    (tmp_path / "store").unlink()
    wait_over(engine)
    assert download(dispatch(engine)[0]).pause_ended is None
    assert download(dispatch(engine)[0]).pause_ended is not None


def test_one_that_is_refused_for_itself_stops_the_others_once(engine, dialler, api, download):
    """When others go through, the recording that began the pause counts its tries like any broken one."""
    dialler.add([simulated(2)])
    culprit, _ = scheduled(engine, 1, 2)
    api.answer = Refused(403)
    download(dispatch(engine, at_once=1)[0])
    wait_over(engine)
    api.answer = None
    assert download(dispatch(engine)[0]).pause_ended is not None
    change(engine, f"due_at = now() WHERE call_id = {culprit}")
    api.answer = Refused(403)
    outcome = download(dispatch(engine)[0])
    assert (outcome.attempts, outcome.pause_seconds) == (1, None)
    assert "but not this one" in row(engine, culprit).reason
    assert pauses(engine) == []


def test_an_operator_ends_a_pause(engine, api, download):
    """Everything is due at once, what met the cause included, and it is written down who did it."""
    scheduled(engine, *range(1, 4))
    api.answer = Refused(401)
    download(dispatch(engine, at_once=1)[0])
    with engine.begin() as connection:
        (lifted,) = recording_pauses.lift(connection, None, who="ann")
        assert recording_pauses.lift(connection, None, who="ann") == []
    assert lifted.source == "enigma"
    assert len(dispatch(engine)) == 3
    with engine.connect() as connection:
        action = connection.execute(text("SELECT who, action, detail FROM actions")).one()
    assert (action.who, action.action, action.detail["kind"]) == ("ann", "recordings resumed", "refused")


def test_many_workers_at_once_begin_one_pause(engine, dialler, download):
    """Eight that meet the same outage at the same time say so once, and no attempt is spent."""
    scheduled(engine, *range(1, 9))
    dialler.stop()
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(download, dispatch(engine)))
    assert sum(outcome.pause_began is not None for outcome in outcomes) == 1
    assert states(engine) == {"scheduled": 8}
    assert [pause.kind for pause in pauses(engine)] == [PauseKind.DIALLER_AWAY]


def test_a_lease_is_renewed_while_the_worker_lives(engine, dialler, api, store, monkeypatch):
    """A download longer than its lease stays with its worker."""
    monkeypatch.setattr(steps, "LEASE_SECONDS", 0.3)
    dialler.add([simulated(1)])
    dialler.faults.latency_seconds = 1.2
    scheduled(engine, 1)
    (due,) = dispatch(engine)
    taken = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            steps.download, engine, due.call_id, api=api, store=store, policy=POLICY, dispatched_at=due.dispatched_at
        )
        while not running.done():
            taken += dispatch(engine)
            time.sleep(0.05)
    assert running.result().state == "stored"
    assert taken == []
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == f"lease of {due.call_id}"])


def test_a_migrated_row_without_its_calls_day_is_stored_under_it(engine, dialler, download):
    """A row that older code scheduled gets the day of its call when it is claimed."""
    dialler.add([simulated(1)])
    (call_id,) = scheduled(engine, 1)
    change(engine, "dialed_at = NULL")
    download(dispatch(engine)[0])
    assert row(engine, call_id).path == "enigma/2026/03/02/1.wav"
    assert row(engine, call_id).dialed_at - datetime(2026, 3, 2, 8, tzinfo=UTC) == timedelta()


def test_a_probe_does_not_end_a_pause_that_began_after_it(engine, dialler, api, download):
    """Let through in spite of one pause, it says nothing about the next, which began while it was under way."""
    dialler.add([simulated(2)])
    scheduled(engine, 1, 2, 3)
    api.answer = Refused(401)
    download(dispatch(engine, at_once=1)[0])
    wait_over(engine)
    (probe,) = dispatch(engine)

    class During(DiallerApi):
        def fetch(self, call_ref, sink):
            with engine.begin() as connection:
                recording_pauses.lift(connection, None, who="ann")
            (another,) = dispatch(engine, at_once=2)
            assert download(another).pause_began is not None
            return super().fetch(call_ref, sink)

    with During(dialler.url, source="enigma") as during:
        outcome = download(probe, api=during)
    assert (outcome.state, outcome.pause_ended) == ("stored", None)
    assert [pause.kind for pause in pauses(engine)] == [PauseKind.REFUSED]


def test_what_was_under_way_never_shortens_a_pause(engine, api, download):
    """A dialler that asked for an hour is left alone for an hour, whatever others under way met meanwhile."""
    scheduled(engine, 1, 2)
    first, second = dispatch(engine)

    class During(DiallerApi):
        def fetch(self, call_ref, sink):
            api.answer = Throttled(429, 3_000)
            download(second)
            return Away("The dialler's API cannot be reached.")

    with During("http://127.0.0.1:9", source="enigma") as during:
        download(first, api=during)
    (pause,) = pauses(engine)
    assert pause.kind is PauseKind.DIALLER_AWAY
    assert 2_900 < seconds_left(pause) <= 3_000
