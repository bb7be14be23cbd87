"""What an operator may do about recordings: the commands, retention and legal hold."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.batches.rules.batch import Batch
from pipeline.cli import app
from pipeline.lookup.history import history_of
from pipeline.lookup.told import events
from pipeline.record_ids import first_record
from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings import retention as keeping
from pipeline.recordings import retention_rows as recording_keeping
from pipeline.recordings.file_store import MARKER, RecordingStore
from pipeline.recordings.rules.outcome import Decision, PauseKind, RecordingState
from pipeline.recordings.scheduling import schedule
from pipeline.recordings.store_trouble import StoreError
from tests.commands import call
from tests.integration.recording_rows import BATCH, add_call, change, dispatch, kept_for, row, scheduled

pytestmark = pytest.mark.usefixtures("settings_env")


def run(*arguments):
    """The command's exit code and what it wrote."""
    return CliRunner().invoke(app, ["recordings", *map(str, arguments)], catch_exceptions=False)


def run_json(*arguments):
    result = run(*arguments, "--json")
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recordings"


@pytest.fixture
def store(folder):
    return RecordingStore(folder.as_uri())


def stored(engine, folder, call_ids):
    """Let recordings be stored, each with its own bytes."""
    for call_id in call_ids:
        data = b"recording %d" % call_id
        path = f"enigma/{call_id}.wav"
        (folder / "enigma").mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE recordings SET state = 'stored', due_at = NULL, ended_at = now(), tried_at = now(), "
                    "path = :path, size_bytes = :size, sha256 = :sha256 WHERE call_id = :id"
                ),
                {"id": call_id, "path": path, "size": len(data), "sha256": hashlib.sha256(data).digest()},
            )


def ended(engine, state, *call_ids, reason="It was so."):
    age = "now() - interval '50 hours'"
    change(
        engine,
        f"state = '{state}', due_at = NULL, ended_at = now(), attempts = 60, reason = '{reason}', "
        f"scheduled_at = {age}, counts_from = {age} WHERE call_id IN ({', '.join(map(str, call_ids))})",
    )


def actions(engine):
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT who, action, record_id, detail FROM actions ORDER BY id"))
        return [tuple(found) for found in rows]


def pause(engine, call_id):
    decision = Decision(RecordingState.SCHEDULED, "It refuses us.", 0, 60, 60, PauseKind.REFUSED)
    with engine.begin() as connection:
        recording_pauses.begin(connection, "enigma", decision, call_id=call_id)


def test_status_counts_and_shows_a_pause(engine, folder):
    """Counts by state; exit code 1 while a queue is paused, with the reason."""
    ids = scheduled(engine, 1, 2, 3)
    stored(engine, folder, ids[:1])
    result = run("status")
    assert result.exit_code == 0, result.output
    (queue,) = run_json("status")["queues"]
    assert (queue["source"], queue["scheduled"], queue["stored"], queue["due"]) == ("enigma", 2, 1, 2)
    pause(engine, ids[1])
    result = run("status")
    assert result.exit_code == 1
    assert "It refuses us." in result.stdout
    assert run_json("status")["pauses"][0]["kind"] == "refused"


def test_status_tells_that_nobody_serves_a_dialler(engine):
    """Messages sent again and never begun point to a worker that is not there."""
    scheduled(engine, 1)
    dispatch(engine)
    assert "ENIGMA_SOURCE" not in run("status").stdout
    change(engine, "due_at = now()")
    dispatch(engine)
    assert "ENIGMA_SOURCE=enigma" in run("status").stdout


def test_list_filters(engine, folder):
    """By state, campaign, time and mark; the newest first, no more than the limit."""
    ids = scheduled(engine, 1, 2, 3)
    stored(engine, folder, ids[:1])
    ended(engine, "failed", ids[1])
    assert [found["call_ref"] for found in run_json("list")] == ["3", "2", "1"]
    assert [found["call_ref"] for found in run_json("list", "--state", "failed", "--state", "stored")] == ["2", "1"]
    assert [found["call_ref"] for found in run_json("list", "--limit", 1)] == ["3"]
    assert [found["call_ref"] for found in run_json("list", "--reason", "was so")] == ["2"]
    assert run_json("list", "--campaign", "other") == []
    assert run_json("list", "--since", "2026-03-03") == []
    assert len(run_json("list", "--since", "2026-03-02", "--until", "2026-03-03")) == 3
    assert run_json("list", "--held") == []
    assert run("list", "--state", "lost").exit_code == 2
    shown = run("list")
    assert "3 recordings shown." in shown.stderr
    assert "shown" not in shown.stdout


def test_missing_says_why(engine, folder):
    """Every answered call without a stored recording, with a reason, and exit code 1; none, and it is 0."""
    ids = scheduled(engine, 1, 2, 3, "sha256:" + "0" * 64)
    stored(engine, folder, ids[:1])
    ended(engine, "expired", ids[1], reason="The dialler never had it.")
    with engine.begin() as connection:
        add_call(connection, ids[-1] + 1, "5")
    found = {call["call_ref"]: (call["state"], call["reason"]) for call in run_json("missing")["calls"]}
    assert found["2"] == ("expired", "The dialler never had it.")
    assert found["3"] == ("scheduled", "It was not tried yet.")
    assert found["sha256:" + "0" * 64][0] == "absent"
    assert found["5"] == ("none", "It is not scheduled yet: its batch is on its way.")
    assert len(found) == 4
    assert run_json("missing", "--ended")["missing"] == 2
    assert run_json("missing", "--limit", 1)["missing"] == 4
    assert run("missing").exit_code == 1
    assert run("missing", "--campaign", "other").exit_code == 0


def test_retry_gives_the_full_time_again(engine):
    """The age counts anew, the tries too; what it was is kept, with who and why."""
    (call_id,) = scheduled(engine, 845)
    ended(engine, "failed", call_id)
    result = run("retry", "845", "--because", "mended", "--who", "ann")
    assert (result.exit_code, result.stdout) == (0, "1 recording scheduled again.\n")
    found = row(engine, call_id)
    assert (found.state, found.attempts, found.ended_at) == ("scheduled", 0, None)
    assert [due.call_id for due in dispatch(engine)] == [call_id]
    ((who, action, record_id, detail),) = actions(engine)
    assert (who, action, record_id) == ("ann", "recording retried", call_id)
    assert detail == {"was": "failed", "because": "It was so.", "attempts": 60, "reason": "mended"}
    with engine.begin() as connection:
        connection.execute(text("UPDATE recordings SET due_at = now()"))
    assert found.counts_from > found.scheduled_at


def test_retry_of_all_in_a_state(engine):
    """With filters, without those that have no call_ref; only what ended without a file."""
    ids = scheduled(engine, 1, 2, 3, "sha256:" + "0" * 64)
    ended(engine, "expired", ids[0])
    ended(engine, "failed", ids[1], reason="Half came.")
    result = run("retry", "--all", "--state", "failed", "--reason", "Nothing", "--who", "ann")
    assert result.exit_code == 1
    result = run("retry", "--all", "--state", "failed", "--state", "expired", "--state", "absent", "--who", "ann")
    assert result.exit_code == 0
    assert "2 recordings scheduled again." in result.stdout
    assert "1 skipped: the dialler sent no call_ref" in result.stdout
    assert len(actions(engine)) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--all",), 2),
        (("845", "--all"), 2),
        (("--all", "--state", "stored"), 2),
        (("999",), 1),
        (("845",), 1),
    ],
)
def test_retry_refuses_what_makes_no_sense(engine, arguments, code):
    """Mistakes are sentences, and a scheduled recording is not scheduled again."""
    scheduled(engine, 845)
    result = run("retry", *arguments)
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert actions(engine) == []


def test_two_diallers_with_one_reference_are_told_apart(engine):
    """Without --source nothing is done."""
    ids = [*scheduled(engine, 845), *scheduled(engine, 845, source="other", batch=BATCH + 1)]
    result = run("hold", "845")
    assert result.exit_code == 1
    assert "--source" in result.stderr
    assert run("hold", "845", "--source", "other").exit_code == 0
    assert [row(engine, call_id).held_at is not None for call_id in ids] == [False, True]


def test_resume_ends_a_pause(engine):
    """Exit code 0 when one was ended, 1 when there was none."""
    (call_id,) = scheduled(engine, 845)
    pause(engine, call_id)
    assert run("resume", "--source", "other").exit_code == 1
    assert run("resume", "--who", "ann").exit_code == 0
    assert run("resume").exit_code == 1
    assert len(dispatch(engine)) == 1


def test_verify_finds_what_differs(engine, folder):
    """Missing, of another size, of other bytes: each is named, and the exit code is 1."""
    ids = scheduled(engine, *range(1, 8))
    stored(engine, folder, ids)
    assert run("verify").exit_code == 0
    (folder / f"enigma/{ids[1]}.wav").unlink()
    (folder / f"enigma/{ids[2]}.wav").write_bytes(b"short")
    data = bytearray((folder / f"enigma/{ids[3]}.wav").read_bytes())
    data[-1] ^= 1
    (folder / f"enigma/{ids[3]}.wav").write_bytes(data)
    result = run("verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["differing"] == 3
    problems = [found["verify_problem"] for found in run_json("list", "--differs")]
    assert [problem.split(".")[0].split(";")[0] for problem in problems] == [
        "The file has the right size, but other bytes than were stored",
        "The file has 5 bytes",
        "The file is missing",
    ]
    with engine.connect() as connection:
        found = events(history_of(connection, "2", "enigma"))
    assert "The file is missing." in [each.detail for each in found]


def test_verify_goes_on_where_it_was_interrupted(engine, folder, store, monkeypatch):
    """What was read before is not read again, its result counts, and the next run reads everything anew."""
    monkeypatch.setattr(keeping, "VERIFIED_AT_ONCE", 3)
    ids = scheduled(engine, *range(1, 9))
    stored(engine, folder, ids)
    (folder / f"enigma/{ids[0]}.wav").unlink()
    first = keeping.begin_verification(engine, who="ann", source="enigma")
    reading = keeping.verify(engine, store, first)
    assert len(list(itertools.islice(reading, 5))) == 5
    reading.close()  # as Ctrl-C does; a kill loses no more than the last few
    result = run("verify", "--json")
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert (outcome["resumed"], outcome["read"], outcome["differing"]) == (True, 3, 1)
    outcome = run_json("verify")
    assert (outcome["resumed"], outcome["read"]) == (False, 8)


def test_verify_tells_a_bad_file_from_a_store_that_is_away(engine, folder, store, monkeypatch):
    """One file that cannot be read is a problem of its own; several in a row stop the run, which stays open."""
    ids = scheduled(engine, *range(1, 8))
    stored(engine, folder, ids)
    bad = {f"enigma/{ids[1]}.wav"}
    checksum = store.checksum

    def failing(path, **key):
        if path in bad:
            raise StoreError("cannot read it")
        return checksum(path, **key)

    monkeypatch.setattr(store, "checksum", failing)
    read = list(keeping.verify(engine, store, keeping.begin_verification(engine, who="ann", source="enigma")))
    assert [each.problem for each in read if each.problem] == ["The file cannot be read: cannot read it."]
    assert len(read) == 7
    bad |= {f"enigma/{call_id}.wav" for call_id in ids[3:]}
    second = keeping.begin_verification(engine, who="ann", source="enigma")
    with pytest.raises(StoreError):
        list(keeping.verify(engine, store, second))
    assert keeping.begin_verification(engine, who="ann", source="enigma").resumed
    assert keeping.begin_verification(engine, who="ann", source="enigma").files == 4


def test_verify_ends_with_3_when_its_store_is_away(engine, folder):
    """Nothing could be looked at: no file is blamed, and the next run goes on once the store is back."""
    ids = scheduled(engine, *range(1, 8))
    stored(engine, folder, ids)
    mounted = folder.rename(folder.with_name("mounted"))
    folder.touch()  # no folder any more, so that nothing below it can be opened
    done = call("recordings", "verify", env=dict(os.environ))
    assert (done.returncode, done.stdout) == (3, "")
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert {row(engine, call_id).verify_problem for call_id in ids} == {None}
    folder.unlink()
    mounted.rename(folder)
    outcome = run_json("verify")
    assert (outcome["resumed"], outcome["read"], outcome["differing"]) == (True, 7, 0)


def expire(engine, store):
    """Apply retention where every file can be deleted; returns how many were."""
    outcome = keeping.expire(engine, store, kept_for(30))
    assert (outcome.undeleted, outcome.example) == (0, None)
    return outcome.deleted


def old(engine, *call_ids):
    change(engine, f"dialed_at = now() - interval '40 days' WHERE call_id IN ({', '.join(map(str, call_ids))})")


def test_retention_deletes_what_is_old_and_never_what_is_held(engine, folder, store, monkeypatch):
    """Files go, rows stay with when and why; a hold wins, and explain shows the deletion."""
    monkeypatch.setattr(keeping, "EXPIRED_AT_ONCE", 2)
    ids = scheduled(engine, *range(1, 8))
    stored(engine, folder, ids)
    change(engine, "dialed_at = now()")
    old(engine, *ids[:5])
    assert run("hold", "3", "--who", "ann", "--because", "court").exit_code == 0
    assert expire(engine, store) == 4
    assert expire(engine, store) == 0
    left = {path.name for path in (folder / "enigma").iterdir()}
    assert left == {f"{call_id}.wav" for call_id in (ids[2], *ids[5:])}
    found = row(engine, ids[0])
    assert (found.state, found.deleted_reason) == ("stored", "Older than RECORDINGS_RETENTION_DAYS=30.")
    assert found.sha256 is not None
    with engine.connect() as connection:
        explained = events(history_of(connection, "1", "enigma"))
    assert "recording deleted" in [each.event for each in explained]
    assert run("missing").exit_code == 0
    assert run_json("missing", "--deleted")["missing"] == 4
    assert run_json("missing", "--deleted")["calls"][-1]["state"] == "deleted"
    assert run("verify").exit_code == 0
    assert run("release", "3", "--who", "ann").exit_code == 0
    assert expire(engine, store) == 1
    assert [action[1] for action in actions(engine)] == [
        "recording held",
        "recordings verification begun",
        "recording hold released",
    ]


class Stubborn(RecordingStore):
    """A store that will not delete some files."""

    def __init__(self, *arguments, stubborn=frozenset()):
        super().__init__(*arguments)
        self.stubborn = stubborn

    def delete(self, path):
        if path in self.stubborn:
            raise StoreError("cannot delete from it (PermissionError: Operation not permitted)")
        return super().delete(path)


def test_a_file_that_cannot_be_deleted_holds_up_no_other(engine, folder, monkeypatch):
    """Each file has an outcome of its own: what is gone is marked, what is not says why, and is tried again later."""
    monkeypatch.setattr(keeping, "EXPIRED_AT_ONCE", 3)
    ids = scheduled(engine, *range(1, 9))
    stored(engine, folder, ids)
    old(engine, *ids)
    store = Stubborn(folder.as_uri(), stubborn={f"enigma/{ids[2]}.wav", f"enigma/{ids[3]}.wav"})
    outcome = keeping.expire(engine, store, kept_for(30))
    assert (outcome.deleted, outcome.undeleted) == (6, 2)
    assert "not permitted" in outcome.example
    assert {path.name for path in (folder / "enigma").iterdir()} == {f"{ids[2]}.wav", f"{ids[3]}.wav"}
    assert [row(engine, call_id).deleted_at is None for call_id in ids] == [call_id in ids[2:4] for call_id in ids]
    assert [found["call_ref"] for found in run_json("list", "--undeleted")] == ["4", "3"]
    assert "not permitted" in run_json("list", "--undeleted")[0]["delete_problem"]
    assert run_json("status")["queues"][0]["undeleted"] == 2
    assert "2 recordings of enigma are past their retention" in " ".join(run("status").stdout.split())
    store.stubborn = {f"enigma/{ids[3]}.wav"}
    outcome = keeping.expire(engine, store, kept_for(30))
    assert (outcome.deleted, outcome.undeleted) == (1, 1)
    assert row(engine, ids[2]).delete_problem is None


def test_many_files_that_cannot_be_deleted_do_not_keep_retention_busy(engine, folder, monkeypatch):
    """After a number in a row the run ends, and the next begins behind them."""
    monkeypatch.setattr(keeping, "EXPIRED_AT_ONCE", 2)
    monkeypatch.setattr(keeping, "UNDELETED_IN_A_ROW", 4)
    ids = scheduled(engine, *range(1, 9))
    stored(engine, folder, ids)
    for place, call_id in enumerate(ids):
        change(engine, f"dialed_at = now() - interval '{60 - place} days' WHERE call_id = {call_id}")
    store = Stubborn(folder.as_uri(), stubborn={f"enigma/{call_id}.wav" for call_id in ids[:5]})
    outcomes = [keeping.expire(engine, store, kept_for(30))[:2] for _ in range(2)]
    assert outcomes == [(0, 4), (3, 5)]


def test_a_store_that_is_away_is_no_files_fault(engine, folder, store, monkeypatch):
    """What was deleted before is marked, no file is blamed, and the task fails."""
    ids = scheduled(engine, 1, 2, 3)
    stored(engine, folder, ids)
    old(engine, *ids)
    delete, marker = store.delete, store.marker

    def away(*_):
        raise StoreError("cannot reach it")

    def once(path):
        monkeypatch.setattr(store, "delete", away)
        monkeypatch.setattr(store, "marker", away)
        return delete(path)

    monkeypatch.setattr(store, "delete", once)
    with pytest.raises(StoreError, match="cannot reach"):
        keeping.expire(engine, store, kept_for(30))
    assert sorted(row(engine, call_id).deleted_at is not None for call_id in ids) == [False, False, True]
    assert [row(engine, call_id).delete_problem for call_id in ids] == [None] * 3
    monkeypatch.setattr(store, "delete", delete)
    monkeypatch.setattr(store, "marker", marker)
    assert expire(engine, store) == 2


@pytest.fixture
def unmounted(folder):
    """Takes the store away as if it were not mounted, its empty folder staying; and gives it back."""
    mounted = folder.with_name("mounted")

    def switch():
        if mounted.exists():
            shutil.rmtree(folder)
            mounted.rename(folder)
        else:
            folder.rename(mounted)
            folder.mkdir()

    return switch


@pytest.mark.parametrize("knew", [True, False], ids=["a store that was known", "a store as older code left it"])
def test_nothing_is_deleted_in_a_store_that_is_not_mounted(engine, folder, store, unmounted, knew):
    """The files are where they were, so no row says that they are gone; mounted again, all go on."""
    ids = scheduled(engine, *range(1, 7))
    stored(engine, folder, ids)
    change(engine, "dialed_at = now()")
    if knew:
        assert expire(engine, store) == 0
    old(engine, *ids[:4])
    unmounted()
    stored(engine, folder, ids[5:])  # what came meanwhile lies in the folder below
    outcome = keeping.expire(engine, store, kept_for(30))
    assert (outcome.deleted, outcome.undeleted) == (0, 4)
    assert MARKER in outcome.example
    assert [row(engine, call_id).deleted_at for call_id in ids] == [None] * 6
    assert not (folder / MARKER).exists()
    unmounted()
    outcome = keeping.expire(engine, store, kept_for(30))
    assert (outcome.deleted, outcome.undeleted) == (4, 0)
    assert {path.name for path in (folder / "enigma").iterdir()} == {f"{call_id}.wav" for call_id in ids[4:]}


def test_a_store_of_older_code_is_known_by_its_files(engine, folder, store):
    """What an interrupted run of older code deleted and did not mark is marked, as the other files are there."""
    ids = scheduled(engine, *range(1, 7))
    stored(engine, folder, ids)
    change(engine, "dialed_at = now()")
    old(engine, *ids[:3])
    for call_id in ids[:2]:
        (folder / f"enigma/{call_id}.wav").unlink()
    assert expire(engine, store) == 3
    assert (folder / MARKER).read_text(encoding="utf-8").strip()
    with engine.connect() as connection:
        known = connection.execute(text("SELECT source, marker FROM recording_stores")).one()
    assert (known.source, known.marker) == ("enigma", store.marker())


def test_another_stores_marker_is_not_enough(engine, folder, store, unmounted):
    """A store that other recordings are kept in is the wrong one, however well it is marked."""
    ids = scheduled(engine, 1, 2)
    stored(engine, folder, ids)
    change(engine, "dialed_at = now()")
    assert expire(engine, store) == 0
    old(engine, *ids)
    unmounted()
    (folder / MARKER).write_text("another", encoding="utf-8")
    outcome = keeping.expire(engine, store, kept_for(30))
    assert (outcome.deleted, outcome.undeleted) == (0, 2)


def test_a_store_that_moved_is_known_again_when_it_was_verified(engine, folder, store):
    """Copied without its marker, it counts again once its files were read and found whole."""
    ids = scheduled(engine, *range(1, 4))
    stored(engine, folder, ids)
    change(engine, "dialed_at = now()")
    assert expire(engine, store) == 0
    (folder / MARKER).unlink()
    old(engine, ids[0])
    lost = folder / f"enigma/{ids[0]}.wav"
    kept = lost.read_bytes()
    lost.unlink()
    assert keeping.expire(engine, store, kept_for(30)).undeleted == 1
    assert run("verify").exit_code == 1
    assert store.marker() is None
    lost.write_bytes(kept)
    assert run("verify").exit_code == 0
    assert store.marker() is not None
    lost.unlink()
    assert expire(engine, store) == 1


def test_two_that_apply_retention_at_once_take_different_files(engine, folder):
    """Neither waits for the other, and no file is taken twice."""
    ids = scheduled(engine, *range(1, 5))
    stored(engine, folder, ids)
    old(engine, *ids)
    with engine.begin() as one, engine.begin() as other:
        other.execute(text("SET LOCAL lock_timeout = '2s'"))
        first = recording_keeping.take_expired(one, kept_for(30)(one), limit=2)
        second = recording_keeping.take_expired(other, kept_for(30)(other), limit=9)
    assert (len(first), len(second)) == (2, 2)
    assert {due.file.call_id for due in first + second} == set(ids)


def test_verify_reads_its_own_diallers_files_only(engine, folder):
    """Another's lie in a store that only its own environment knows."""
    ids = scheduled(engine, 1, 2)
    (other,) = scheduled(engine, 3, source="other", batch=BATCH + 1)
    stored(engine, folder, [*ids, other])
    (folder / f"enigma/{other}.wav").unlink()
    result = run("verify", "--json")
    assert (result.exit_code, json.loads(result.stdout)["read"]) == (0, 2)
    assert (row(engine, other).verified_at, row(engine, other).verify_problem) == (None, None)


def test_each_dialler_has_a_verification_of_its_own(engine, folder, store):
    """One that was interrupted is gone on with for its own dialler, and its problems are counted there."""
    ids = scheduled(engine, 1, 2)
    (other,) = scheduled(engine, 3, source="other", batch=BATCH + 1)
    stored(engine, folder, [*ids, other])
    (folder / f"enigma/{other}.wav").unlink()
    interrupted = keeping.begin_verification(engine, who="ann", source="other")
    assert interrupted.files == 1
    ours = keeping.begin_verification(engine, who="ann", source="enigma")
    assert (ours.resumed, ours.files) == (False, 2)
    assert len(list(keeping.verify(engine, store, ours))) == 2
    again = keeping.begin_verification(engine, who="ann", source="other")
    assert (again.run_id, again.resumed) == (interrupted.run_id, True)
    assert [each.problem for each in keeping.verify(engine, store, again)] == ["The file is missing."]
    assert (keeping.problems_of(engine, ours), keeping.problems_of(engine, again)) == (0, 1)


def test_what_older_code_flagged_in_the_wrong_store_is_cleared(engine, folder):
    """It read every dialler's files in one store. What that says of other diallers is forgotten, not what ours said."""
    ids = scheduled(engine, 1, 2)
    others = scheduled(engine, 3, 4, source="other", batch=BATCH + 1)
    stored(engine, folder, ids)
    stored(engine, folder, others)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO recording_verifications (who, began_at, ended_at) "
                "VALUES ('ann', now() - interval '2 hours', now() - interval '1 hour')"
            )
        )
    flagged = "verify_problem = 'The file is missing.', verified_at = now() - interval"
    change(engine, f"{flagged} '90 minutes' WHERE call_id IN ({ids[0]}, {others[0]})")
    change(engine, f"{flagged} '30 minutes' WHERE call_id = {others[1]}")  # by its own dialler, since
    result = run("verify")
    assert result.exit_code == 0, result.output
    assert "1 mark" in " ".join(result.stderr.split())
    assert (row(engine, others[0]).verify_problem, row(engine, others[0]).verified_at) == (None, None)
    assert row(engine, others[1]).verify_problem == "The file is missing."
    assert (row(engine, ids[0]).verify_problem, row(engine, ids[0]).verified_at is None) == (None, False)
    assert actions(engine)[0][3]["reason"].startswith("1 mark")


def test_a_crash_while_deleting_is_healed(engine, folder, store, monkeypatch):
    """Killed between the file and the row, the next run finds the file gone and says so."""
    ids = scheduled(engine, 1, 2)
    stored(engine, folder, ids)
    old(engine, *ids)
    with monkeypatch.context() as patch:
        patch.setattr(recording_keeping, "mark_deleted", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            keeping.expire(engine, store, kept_for(30))
    assert row(engine, ids[0]).deleted_at is None
    assert expire(engine, store) == 2


def test_retention_knows_the_day_of_older_rows(engine, folder, store):
    """A row that older code stored gets the day of its call first."""
    ids = scheduled(engine, 1)
    stored(engine, folder, ids)
    change(engine, "dialed_at = NULL")
    with engine.begin() as connection:
        connection.execute(text("UPDATE calls SET dialed_at = now()"))
    assert expire(engine, store) == 0
    assert row(engine, ids[0]).dialed_at is not None


def test_a_hold_of_what_is_gone_says_so(engine, folder, store):
    """Holding a deleted recording fails loudly, and releasing what is not held too."""
    ids = scheduled(engine, 1)
    stored(engine, folder, ids)
    old(engine, *ids)
    keeping.expire(engine, store, kept_for(30))
    result = run("hold", "1")
    assert result.exit_code == 1
    assert "deleted" in result.stderr
    assert run("release", "1").exit_code == 0
    assert run("release", "1").exit_code == 1
    assert run("release", "2").exit_code == 1


def test_a_row_scheduled_by_the_batch_knows_the_day_of_its_call(engine):
    """Retention needs no look at calls."""
    with engine.begin() as connection:
        add_call(connection, first_record(BATCH), "1")
        schedule(connection, Batch(BATCH, "enigma", 1).span, delay_seconds=0)
    assert row(engine, first_record(BATCH)).dialed_at.year == 2026
