"""Recordings on real PostgreSQL, over real HTTP, into a real folder."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pipeline.batches.rules.batch import Batch
from pipeline.dialler.http_api import DiallerApi
from pipeline.record_ids import first_record
from pipeline.recordings import download as steps
from pipeline.recordings import rows as storage
from pipeline.recordings import store_rows as recording_stores
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.operator import retry
from pipeline.recordings.rows import StoredFile
from pipeline.recordings.rules.outcome import LOST_AT_MOST, Decision, PauseKind, RecordingState, RetryPolicy
from pipeline.recordings.scheduling import NO_CALL_REF, schedule
from tests.integration.recording_rows import (
    BATCH,
    add_call,
    body,
    change,
    dispatch,
    files,
    row,
    scheduled,
    simulated,
    states,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.recordings.rows import Claim

POLICY = RetryPolicy()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(folder):
    return RecordingStore(folder.as_uri())


@pytest.fixture
def download(engine, api, store):
    """Download one recording; no chance in it."""

    def run(call_id, **changes):
        arguments = {"api": api, "store": store, "policy": POLICY, "chance": lambda: 0.5} | changes
        return steps.download(engine, call_id, **arguments)

    return run


def test_schedule_enters_the_calls_of_the_batch_that_can_have_audio(engine):
    """One row a call with audio, due after the delay; other batches and calls without audio have none."""
    start = first_record(BATCH)
    with engine.begin() as connection:
        add_call(connection, start, "1")
        add_call(connection, start + 1, "2", audio=False)
        add_call(connection, start + 65_535, "3")
        add_call(connection, start - 1, "4")
        add_call(connection, start + 65_536, "5")
        assert schedule(connection, Batch(BATCH, "enigma", 1).span, delay_seconds=30) == 2
        assert schedule(connection, Batch(BATCH, "enigma", 1).span, delay_seconds=30) == 0
    assert states(engine) == {"scheduled": 2}
    found = row(engine, start)
    assert (found.source, found.call_ref, found.attempts, found.ended_at) == ("enigma", "1", 0, None)
    assert 25 < found.due_in.total_seconds() <= 30
    assert row(engine, start + 65_535).call_ref == "3"


def test_a_call_without_a_call_ref_has_no_recording_to_ask_for(engine):
    """Our stand-in for a missing call_ref means nothing to the dialler: absent at once, with that reason."""
    (call_id,) = scheduled(engine, "sha256:" + "0" * 64)
    found = row(engine, call_id)
    assert (found.state, found.reason, found.due_at) == ("absent", NO_CALL_REF, None)
    assert found.ended_at is not None
    assert dispatch(engine) == []


def test_dispatch_takes_what_is_due_once(engine):
    """Due rows are handed out, oldest due first, and not again before their message may be lost."""
    ids = scheduled(engine, 1, 2, 3)
    change(engine, f"due_at = now() - interval '1 s' * (call_id - {ids[0]} + 1)")
    first = dispatch(engine, at_once=2)
    assert [due.call_id for due in first] == [ids[2], ids[1]]
    assert (first[0].source, first[0].call_ref) == ("enigma", "3")
    assert [due.call_id for due in dispatch(engine)] == [ids[0]]
    assert dispatch(engine) == []
    change(engine, "due_at = now()")
    assert len(dispatch(engine)) == 3


def test_dispatch_leaves_what_is_not_due(engine):
    """A row waits out its delay."""
    with engine.begin() as connection:
        add_call(connection, first_record(BATCH), "1")
        schedule(connection, Batch(BATCH, "enigma", 1).span, delay_seconds=30)
    assert dispatch(engine) == []


def test_dispatch_can_be_told_one_dialler(engine):
    """Where several diallers feed one database, each one's own are taken."""
    scheduled(engine, 1)
    (other,) = scheduled(engine, 1, source="other", batch=BATCH + 1)
    assert [due.call_id for due in dispatch(engine, source="other")] == [other]


def test_concurrent_dispatchers_share_the_work(engine):
    """Two that take what is due at once never hand out the same recording."""
    scheduled(engine, *range(100))
    with engine.begin() as connection:
        mine = storage.take_due(connection, "enigma", limit=60, redispatch_after_seconds=60)
        others = dispatch(engine)
    assert (len(mine), len(others)) == (60, 40)
    assert len({due.call_id for due in mine + others}) == 100


def test_nothing_is_written_where_the_known_store_is_not(engine, dialler, download, store, folder, tmp_path):
    """A folder in which nothing is mounted: the queue waits, and goes on by itself once the store is back."""
    dialler.add([simulated(1), simulated(2)])
    first, second = scheduled(engine, 1, 2)
    assert download(first).state == RecordingState.STORED
    with engine.begin() as connection:
        recording_stores.remember(connection, "enigma", store.mark("this one"))
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    outcome = download(second)
    assert outcome.state == RecordingState.SCHEDULED
    assert "mounted" in outcome.reason
    assert outcome.pause_began is not None
    assert outcome.pause_began.kind == PauseKind.STORE_AWAY
    assert [*folder.iterdir()] == []
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    assert download(second).state == RecordingState.STORED


def test_another_store_is_taken_for_none(engine, dialler, download, store, folder):
    """By what its marker says; and a store that cannot be known yet is written to, as ever."""
    dialler.add([simulated(1), simulated(2)])
    first, second = scheduled(engine, 1, 2)
    assert download(first).state == RecordingState.STORED
    with engine.begin() as connection:
        recording_stores.remember(connection, "enigma", "another one")
    store.mark("this one")
    outcome = download(second)
    assert outcome.state == RecordingState.SCHEDULED
    assert not [name for name in files(folder) if name.endswith("2.wav")]
    assert "pipeline recordings verify" in outcome.reason


def test_a_recording_is_stored(engine, dialler, download, folder):
    """The right bytes are under the final name, and the row says where, how many and which."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    outcome = download(call_id)
    assert (outcome.state, outcome.size_bytes) == (RecordingState.STORED, len(body(845)))
    found = row(engine, call_id)
    assert (found.state, found.path, found.attempts) == ("stored", "enigma/2026/03/02/845.wav", 1)
    assert (found.size_bytes, found.sha256) == (len(body(845)), hashlib.sha256(body(845)).digest())
    assert found.due_at is None
    assert found.ended_at >= found.tried_at
    assert (folder / found.path).read_bytes() == body(845)
    assert files(folder) == {found.path}


def test_nothing_is_fetched_after_it_is_stored(engine, dialler, download):
    """A repeated message for a stored recording asks the dialler nothing."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    download(call_id)
    assert download(call_id).state is None
    assert dispatch(engine) == []
    assert dialler.requests["845"] == 1


def test_of_two_downloads_at_once_one_fetches(engine, dialler, download):
    """The same message delivered to two workers at once is one request."""
    dialler.add([simulated(845)])
    dialler.faults.latency_seconds = 0.3
    (call_id,) = scheduled(engine, 845)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(download, [call_id] * 4))
    assert sorted(str(outcome.state) for outcome in outcomes) == ["None", "None", "None", "stored"]
    assert dialler.requests["845"] == 1


def test_no_connection_is_held_while_fetching(engine, dialler, api, download):
    """A slow dialler costs no database connection."""
    held = []

    class Watched(DiallerApi):
        def fetch(self, call_ref, sink):
            held.append(engine.pool.checkedout())
            return super().fetch(call_ref, sink)

    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    with Watched(dialler.url, source="enigma") as watched:
        assert download(call_id, api=watched).state == "stored"
    assert held == [0]


def test_another_diallers_call_is_never_asked_for(engine, dialler, download):
    """The same call_ref on another dialler is another call, whose recording this one must not give."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845, source="other")
    assert download(call_id).state is None
    assert row(engine, call_id).state == "scheduled"
    assert dialler.requests.total() == 0


def test_an_unknown_recording_is_nothing_to_do(download):
    """A message for a row that does not exist does no harm."""
    assert download(12_345).state is None


def crash(engine: Engine, call_id: int) -> Claim:
    """A worker that claims and is never heard of again."""
    with engine.begin() as connection:
        held = storage.claim(
            connection, call_id, source="enigma", lease_seconds=steps.LEASE_SECONDS, dispatched_at=None
        )
    assert held is not None
    return held


def test_a_crashed_download_is_taken_back_after_its_lease(engine, dialler, download):
    """While the lease runs nobody touches the row; after it dispatch hands it out again, saying why."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    crash(engine, call_id)
    assert row(engine, call_id).due_in.total_seconds() > steps.LEASE_SECONDS - 5
    assert dispatch(engine) == []
    assert download(call_id).state is None
    change(engine, "due_at = now()")
    (due,) = dispatch(engine)
    found = row(engine, call_id)
    assert (found.state, found.reason, found.attempts) == ("scheduled", storage.TAKEN_BACK, 1)
    assert download(call_id, dispatched_at=due.dispatched_at).state == "stored"
    assert row(engine, call_id).attempts == 2


def test_a_repeated_message_may_take_over_after_the_lease(engine, dialler, download):
    """Without a dispatcher too, a lease that ran out holds nobody up."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    crash(engine, call_id)
    change(engine, "due_at = now()")
    assert download(call_id).state == "stored"


def test_who_lost_the_lease_changes_nothing(engine, dialler, download, folder):
    """A worker that took too long leaves the row to the next, who finds the same bytes stored."""

    class Slow(DiallerApi):
        def fetch(self, call_ref, sink):
            change(engine, "due_at = now()")  # its lease runs out, and the row is handed out again
            assert len(dispatch(engine)) == 1
            return super().fetch(call_ref, sink)

    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    with Slow(dialler.url, source="enigma") as slow:
        assert download(call_id, api=slow).state is None
    assert row(engine, call_id).state == "scheduled"
    assert download(call_id).state == "stored"
    assert files(folder) == {"enigma/2026/03/02/845.wav"}


def test_not_ready_is_tried_again_later_and_once_a_message(engine, dialler, download):
    """A recording that is not there waits; the old message repeated does nothing, a new one tries again."""
    dialler.add([simulated(845)], ready_after=1_000)
    (call_id,) = scheduled(engine, 845)
    (due,) = dispatch(engine)
    outcome = download(call_id, dispatched_at=due.dispatched_at)
    assert (outcome.state, outcome.attempts, outcome.pause_seconds) == ("scheduled", 1, None)
    found = row(engine, call_id)
    assert 25 < found.due_in.total_seconds() <= 30
    assert (found.ended_at, found.path) == (None, None)
    assert download(call_id, dispatched_at=due.dispatched_at).state is None
    assert dialler.requests["845"] == 1
    dialler.add([simulated(845)])
    change(engine, "due_at = now()")
    (again,) = dispatch(engine)
    assert download(call_id, dispatched_at=again.dispatched_at).state == "stored"


def test_a_message_delayed_beyond_its_repetition_is_still_good(engine, dialler, download):
    """When the queue is slower than the repetition, the first message to arrive does the work."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    (first,) = dispatch(engine)
    change(engine, "due_at = now()")
    (second,) = dispatch(engine)
    assert download(call_id, dispatched_at=first.dispatched_at).state == "stored"
    assert download(call_id, dispatched_at=second.dispatched_at).state is None


@pytest.mark.parametrize(
    ("known", "age", "state", "words"),
    [
        (True, "47 hours", "scheduled", "has no recording"),
        (True, "49 hours", "expired", "49 h after it was due"),
        (False, "5 minutes", "scheduled", "does not know"),
        (False, "11 minutes", "absent", "does not know this call, 11 min"),
    ],
)
def test_what_never_comes_ends_in_time(engine, dialler, download, known, age, state, words):
    """The two bodies of 404 have bounds of their own, and the row says which and after how long."""
    dialler.add([simulated(845, answered=False)] if known else [])
    (call_id,) = scheduled(engine, 845)
    change(engine, f"counts_from = now() - interval '{age}', attempts = 2")
    download(call_id)
    found = row(engine, call_id)
    assert (found.state, found.attempts) == (state, 3)
    assert words in found.reason
    assert (found.ended_at is None) is (found.due_at is not None) is (state == "scheduled")


def test_a_broken_recording_waits_for_the_operator_in_the_end(engine, dialler, download, folder):
    """A dialler that only ever sends half is tried for the whole time and then left to a person."""
    dialler.add([simulated(845)])
    dialler.faults.truncated_share = 1.0
    (call_id,) = scheduled(engine, 845)
    assert download(call_id).state == "scheduled"
    change(engine, "counts_from = now() - interval '49 hours'")
    assert [download(call_id).state for _ in range(2)] == ["scheduled", "failed"]
    assert "after 3 tries" in row(engine, call_id).reason
    assert files(folder) == set()


def unharmed(engine: Engine, call_id: int) -> bool:
    found = row(engine, call_id)
    return (found.state, found.attempts) == ("scheduled", 0) and bool(found.due_in.total_seconds() > 0)


def test_throttling_pauses_all_and_costs_nothing(engine, dialler, download):
    """Retry-After is the pause that the outcome asks for, and the row waits at least as long."""
    dialler.faults.throttled_share, dialler.faults.retry_after_seconds = 1.0, 17
    (call_id,) = scheduled(engine, 845)
    outcome = download(call_id)
    assert (outcome.pause_seconds, outcome.attempts) == (17, 0)
    assert outcome.wait_seconds >= 17
    assert unharmed(engine, call_id)


def test_a_dialler_that_is_away_costs_nothing(engine, dialler, download):
    """Nobody listening pauses the queue; when the dialler is back the recording is fetched."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    change(engine, "counts_from = now() - interval '1000 hours'")
    dialler.stop()
    outcome = download(call_id)
    assert outcome.pause_seconds == POLICY.outage_seconds
    assert "cannot be reached" in outcome.reason
    assert unharmed(engine, call_id)
    dialler.start()
    assert download(call_id).state == "stored"


def test_a_store_in_trouble_costs_nothing(engine, dialler, download, folder):
    """A store that cannot be written to pauses the queue and spends no attempt."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    folder.write_bytes(b"not a folder")
    outcome = download(call_id)
    assert outcome.pause_seconds == POLICY.outage_seconds
    assert "store" in outcome.reason
    assert unharmed(engine, call_id)
    folder.unlink()
    assert download(call_id).state == "stored"


def test_a_name_that_is_taken_is_the_operators_matter(engine, dialler, download, folder):
    """Something else under the final name stays, and the row says so."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    taken = folder / "enigma/2026/03/02/845.wav"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"something else")
    assert download(call_id).state == "failed"
    assert "not overwritten" in row(engine, call_id).reason
    assert taken.read_bytes() == b"something else"


def test_a_crash_after_publication_is_healed(engine, dialler, download, folder, monkeypatch):
    """Killed between the file and the row, the next try finds the same bytes and only writes the row."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download(call_id)
    assert row(engine, call_id).state == "downloading"
    assert files(folder) == {"enigma/2026/03/02/845.wav"}
    change(engine, "due_at = now()")
    assert download(call_id).state == "stored"
    assert row(engine, call_id).sha256 == hashlib.sha256(body(845)).digest()


def test_a_bug_is_raised_and_costs_an_attempt(engine, download):
    """The traceback reaches the worker, and the row is neither stuck nor tried for ever without a count."""

    class Buggy(DiallerApi):
        def fetch(self, call_ref, sink):
            raise TypeError("secret detail")

    (call_id,) = scheduled(engine, 845)
    with Buggy("http://127.0.0.1:9", source="enigma") as buggy, pytest.raises(TypeError):
        download(call_id, api=buggy)
    found = row(engine, call_id)
    assert (found.state, found.attempts) == ("scheduled", 1)
    assert "TypeError" in found.reason
    assert "secret" not in found.reason


def test_illegal_moves_are_refused(engine):
    """Neither a try that ends in trying, nor a stored recording without a file, can be written."""
    (call_id,) = scheduled(engine, 845)
    held = crash(engine, call_id)
    file = StoredFile("x", 1, b"")
    with engine.begin() as connection:
        for state, stored in [("downloading", None), ("stored", None), ("failed", file)]:
            with pytest.raises(ValueError, match=r"cannot end in|if and only if"):
                storage.settle(connection, held, Decision(RecordingState(state), "", 1), stored)
    assert row(engine, call_id).state == "downloading"


def test_a_bad_dialler_loses_nothing(engine, dialler, download, folder):
    """Slow, throttling, cutting, lying, sending pages, dropping, a while away: all ends stored, once."""
    refs = range(1, 61)
    dialler.add(simulated(ref) for ref in refs)
    ids = scheduled(engine, *refs)
    faults = dialler.faults
    faults.latency_seconds = 0.002
    faults.unavailable_share = faults.throttled_share = faults.truncated_share = 0.1
    faults.wrong_length_share = faults.html_share = faults.dropped_share = 0.1
    away = threading.Event()
    for turn in range(200):
        change(engine, "due_at = now() WHERE state = 'scheduled'")  # time passes
        change(engine, "until = now()", table="recording_pauses")
        due = dispatch(engine)
        if not due:
            break
        if turn == 1:
            dialler.stop()
            away.set()
        elif turn == 2:
            dialler.start()
        messages = due + due[::3]  # some are delivered twice
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda each: download(each.call_id, dispatched_at=each.dispatched_at), messages))
    assert away.is_set()
    assert states(engine) == {"stored": len(ids)}
    assert files(folder) == {f"enigma/2026/03/02/{ref}.wav" for ref in refs}
    for ref in refs:
        assert (folder / f"enigma/2026/03/02/{ref}.wav").read_bytes() == body(ref)
    assert set(dialler.served.values()) == {1}


def lose_worker(engine: Engine, call_id: int) -> list[int]:
    """A worker is lost with the recording, and its lease runs out; returns what is sent then."""
    crash(engine, call_id)
    change(engine, f"due_at = now() WHERE call_id = {call_id}")
    return [due.call_id for due in dispatch(engine)]


def test_a_recording_that_kills_its_worker_is_left_to_the_operator(engine, dialler, download):
    """Each worker lost is counted, and after the last that is allowed it ends, says why, and can be tried again."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    for losses in range(1, LOST_AT_MOST):
        lose_worker(engine, call_id)
        assert (row(engine, call_id).state, row(engine, call_id).losses) == ("scheduled", losses)
    assert lose_worker(engine, call_id) == []
    found = row(engine, call_id)
    assert (found.state, found.losses, found.due_at, found.released_at) == ("failed", LOST_AT_MOST, None, None)
    assert found.ended_at is not None
    assert found.reason == storage.LOST_TOO_OFTEN
    assert download(call_id).state is None
    assert dispatch(engine) == []
    with engine.begin() as connection:
        retry(connection, who="ann", reason=None, call_ids=[call_id])
    assert row(engine, call_id).losses == 0
    assert lose_worker(engine, call_id) == [call_id]
    assert download(call_id).state == "stored"


def test_a_second_lost_worker_makes_a_recording_wait(engine):
    """The first loss may be anybody's fault; from the second on those that were under way together come apart."""
    (call_id,) = scheduled(engine, 845)
    assert lose_worker(engine, call_id) == [call_id]
    for wait in (10, 20, 40):
        assert lose_worker(engine, call_id) == []
        found = row(engine, call_id)
        assert (found.state, found.reason, found.released_at) == ("scheduled", storage.TAKEN_BACK, None)
        assert 0.7 * wait < found.due_in.total_seconds() <= 1.25 * wait
    change(engine, "due_at = now()")
    assert [due.call_id for due in dispatch(engine)] == [call_id]


def test_a_try_that_ends_in_order_forgets_lost_workers(engine, dialler, download):
    """Only workers lost in a row speak against a recording: deployments and power cuts add up to nothing."""
    dialler.add([simulated(845)], ready_after=1_000)
    (call_id,) = scheduled(engine, 845)
    for _ in range(2 * LOST_AT_MOST):
        lose_worker(engine, call_id)
        assert download(call_id).state == "scheduled"
        assert row(engine, call_id).losses == 0


def test_a_repeated_message_does_not_get_round_the_bound(engine, download):
    """Whoever takes over from a lost worker counts it; the last one is left to the dispatcher, which ends it."""
    (call_id,) = scheduled(engine, 845)
    for losses in range(LOST_AT_MOST):
        crash(engine, call_id)
        assert row(engine, call_id).losses == losses
        change(engine, "due_at = now()")
    assert download(call_id).state is None
    assert dispatch(engine) == []
    assert row(engine, call_id).state == "failed"


def test_a_download_tells_when_it_moves(engine, dialler, download):
    """At each part that comes, so that one which stands still can be told from a long one."""
    dialler.add([simulated(845)])
    (call_id,) = scheduled(engine, 845)
    moves = []
    assert download(call_id, moved=lambda: moves.append(1)).state == "stored"
    assert len(moves) >= 2
