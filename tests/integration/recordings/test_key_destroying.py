"""The key of a month destroyed: what stands against it, and what nobody can hear any more."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import text

from pipeline.keeping import holds
from pipeline.recordings import download as steps
from pipeline.recordings import key_destroying
from pipeline.recordings.erasing import erase_recordings, stores_in_reach
from pipeline.recordings.key_destroying import DestroyRefusedError, destroy, remove_left
from pipeline.recordings.keys import KeyDestroyedError, RecordingKeys
from pipeline.recordings.operator import hold
from pipeline.recordings.rules.outcome import RetryPolicy
from pipeline.recordings.store_trouble import StoreError
from tests.integration.encrypted import KEY, hear, kept
from tests.integration.recording_rows import body, change, files, row, scheduled, simulated

WHY = {"who": "ann", "because": "retention", "also": lambda _connection: ()}


def recordings(folder):
    return {path for path in files(folder) if not path.startswith(".")}


def actions(engine):
    with engine.connect() as connection:
        query = text("SELECT who, detail FROM actions WHERE action = 'recordings key destroyed'")
        return [tuple(found) for found in connection.execute(query)]


def test_a_month_is_shredded(engine, fetch, store, folder, keys, run):
    """Rows say so, no copy can be read, the files go, and whoever asks is told in words."""
    ids = fetch(1, 2)
    file, copy = kept(engine, 1), {path: (folder / path).read_bytes() for path in recordings(folder)}
    with engine.connect() as connection:
        assert key_destroying.foresee(engine, keys, KEY, also=lambda _connection: ())[1] == []
        assert connection.scalar(text("SELECT count(*) FROM recordings WHERE deleted_at IS NULL")) == 2
    done = run("keys", "destroy", "2026-03", "--because", "retention", "--who", "ann", "--yes")
    assert done.exit_code == 0
    assert "The key of 2026-03 of enigma is destroyed" in done.stdout
    assert "2 recordings" in done.stdout
    assert actions(engine) == [("ann", {"source": "enigma", "month": "2026-03", "files": 2, "reason": "retention"})]
    for call_id in ids:
        found = row(engine, call_id)
        assert (found.state, found.key_month) == ("stored", "2026-03")
        assert found.deleted_at is not None
        assert "key that it was encrypted with was destroyed: retention" in found.deleted_reason
    with pytest.raises(KeyDestroyedError, match="the key of 2026-03 of enigma was destroyed at"):
        list(store.read(file.path, key=KEY))
    got = run("get", 1, "--output", "-")
    assert (got.exit_code, got.stdout_bytes) == (1, b"")
    assert "was destroyed: retention" in got.stderr
    assert "0 files of enigma read" in run("verify").stdout
    assert remove_left(engine, store, keys, "enigma") == 2
    assert recordings(folder) == set()
    assert [row(engine, each).key_month for each in ids] == [None, None]
    for path, content in copy.items():
        (folder / path).write_bytes(content)
        assert body(1)[100:124] not in content
    with pytest.raises(KeyDestroyedError):
        list(store.read(file.path, key=KEY))


def test_what_was_stored_as_it_came_is_not_touched(engine, fetch, store, folder, keys):
    """Nor another month, nor another dialler."""
    plain = type(store)(folder.as_uri())
    [one], [two] = fetch(1, into=plain), fetch(2, batch=8)
    change(engine, f"key_month = '2026-04' WHERE call_id = {two}")
    keys.to_write(KEY)
    assert destroy(engine, keys, KEY, **WHY).files == 0
    assert [row(engine, each).deleted_at for each in (one, two)] == [None, None]
    assert hear(engine, store, 1)[1] == body(1)


@pytest.mark.parametrize("what", ["recording", "number"])
def test_a_hold_stands_against_it(engine, fetch, keys, store, run, what):
    """Of one recording or of its number: nothing is changed, until it is released."""
    ids = fetch(1, 2)
    with engine.begin() as connection:
        if what == "recording":
            hold(connection, ids[0], who="ann", reason=None)
        else:
            connection.execute(text(f"UPDATE calls SET client_number = '+27820001234' WHERE id = {ids[0]}"))
            holds.hold_number(connection, "+27820001234", who="ann", because="a case")
    for words in (["--dry-run"], ["--yes"]):
        done = run("keys", "destroy", "2026-03", "--because", "retention", *words)
        assert done.exit_code == 1
        assert "recordings of it are under hold, or their call or number: 1, such as 1" in done.stderr
    assert keys.is_there(KEY)
    assert [row(engine, each).deleted_at for each in ids] == [None, None]
    assert hear(engine, store, 2)[1] == body(2)
    assert actions(engine) == []


def test_a_hold_that_is_placed_meanwhile_is_seen(engine, fetch, keys, monkeypatch):
    """Between looking and marking: the key stays."""
    [call_id] = fetch(1)
    look = key_destroying.look

    def held_meanwhile(*arguments):
        found = look(*arguments)
        marking = threading.Thread(target=place)
        marking.start()
        marking.join()
        return found

    def place():
        with engine.begin() as connection:
            hold(connection, call_id, who="ann", reason=None)

    monkeypatch.setattr(key_destroying, "look", held_meanwhile)
    monkeypatch.setattr(key_destroying, "_check", _second_only(key_destroying._check))
    with pytest.raises(DestroyRefusedError, match="under hold"):
        destroy(engine, keys, KEY, **WHY)
    assert keys.is_there(KEY)
    assert row(engine, call_id).deleted_at is None


def _second_only(check):
    calls = []
    return lambda *arguments: calls.append(1) if not calls else check(*arguments)


def test_a_month_that_is_not_over_stays(engine, keys, run):
    """What is dialled until its end could not be kept."""
    with engine.connect() as connection:
        month = connection.scalar(text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')"))
    keys.to_write(KEY._replace(month=month))
    done = run("keys", "destroy", month, "--because", "retention", "--yes")
    assert done.exit_code == 1
    assert f"{month} is not over" in done.stderr
    assert keys.is_there(KEY._replace(month=month))


def test_a_download_that_is_under_way_stands_against_it(engine, fetch, keys):
    """It may hold the key in its hand."""
    fetch(1)
    [other] = scheduled(engine, 2, batch=8)
    change(engine, f"state = 'downloading', due_at = now() + interval '10 s' WHERE call_id = {other}")
    with pytest.raises(DestroyRefusedError, match="just being downloaded: 1"):
        destroy(engine, keys, KEY, **WHY)
    assert keys.is_there(KEY)


def test_nothing_of_that_month_is_kept_any_more(engine, fetch, keys, dialler, api, store, folder):
    """A recording that comes late is not even asked for, and says why; another month's is stored."""
    fetch(1)
    destroy(engine, keys, KEY, **WHY)
    dialler.add([simulated(2), simulated(3)])
    late, next_month = scheduled(engine, 2, 3, batch=8)
    change(engine, f"dialed_at = '2026-04-02T08:00Z' WHERE call_id = {next_month}")
    done = steps.download(engine, late, api=api, store=store, policy=RetryPolicy())
    assert done.state == "failed"
    assert "the key of 2026-03 of enigma was destroyed: no recording of that month is kept any more" in done.reason
    assert dialler.requests["2"] == 0
    assert steps.download(engine, next_month, api=api, store=store, policy=RetryPolicy()).state == "stored"
    assert row(engine, next_month).key_month == "2026-04"


def test_killed_in_between_it_is_ended_by_the_next(engine, fetch, keys, store, monkeypatch):
    """The key is gone and the rows say nothing of it: whoever listens is told, and the next writes it down."""
    [call_id] = fetch(1)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(key_destroying, "record_action", killed)
        with pytest.raises(KeyboardInterrupt):
            destroy(engine, keys, KEY, **WHY)
    assert row(engine, call_id).deleted_at is None
    with pytest.raises(KeyDestroyedError):
        hear(engine, store, 1)
    destroy(engine, keys, KEY, **WHY)
    assert row(engine, call_id).deleted_at is not None
    assert len(actions(engine)) == 1


def test_a_key_that_cannot_be_shown_to_be_gone_changes_nothing(engine, fetch, keys, monkeypatch):
    [call_id] = fetch(1)
    monkeypatch.setattr(keys, "_remove", lambda _: None)
    with pytest.raises(StoreError, match="is there all the same"):
        destroy(engine, keys, KEY, **WHY)
    assert row(engine, call_id).deleted_at is None
    assert actions(engine) == []


def test_files_stay_where_the_store_is_another(engine, fetch, keys, store, folder, tmp_path):
    """A folder where nothing is mounted has none of them, and they are not gone."""
    [call_id] = fetch(1)
    destroy(engine, keys, KEY, **WHY)
    other = type(store)((tmp_path / "other").as_uri())
    assert remove_left(engine, other, keys, "enigma") == 0
    assert row(engine, call_id).key_month == "2026-03"
    assert remove_left(engine, store, keys, "enigma") == 1
    assert remove_left(engine, store, keys, "enigma") == 0
    assert recordings(folder) == set()


def test_erasing_a_number_deletes_what_is_left_too(engine, fetch, keys, store, folder):
    """Its key is gone, and its file was still there."""
    [call_id] = fetch(1)
    markers = stores_in_reach(engine, store)
    destroy(engine, keys, KEY, **WHY)
    with engine.begin() as connection:
        assert erase_recordings(connection, store, [call_id], markers=markers).files == 1
    assert recordings(folder) == set()


def test_a_key_that_nobody_knows_is_not_destroyed(run, keys):
    done = run("keys", "destroy", "2026-02", "--because", "retention", "--yes")
    assert done.exit_code == 1
    assert "the key of 2026-02 of enigma is not there, and no recording is encrypted with it" in done.stderr
    assert keys.of("enigma") == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["2026-03", "--because", "x"], 2, "cannot be taken back"),
        (["2026-13", "--because", "x", "--yes"], 2, "must be a month such as 2026-10"),
        (["2026-03", "--because", " ", "--yes"], 2, "say why"),
    ],
)
def test_what_is_not_said_clearly_does_nothing(run, fetch, keys, words, code, said):
    fetch(1)
    done = run("keys", "destroy", *words)
    assert (done.exit_code, keys.is_there(KEY)) == (code, True)
    assert said in done.stderr


def test_a_look_at_what_it_comes_to(engine, run, fetch, keys):
    fetch(1, 2)
    scheduled(engine, 3, batch=8)
    found = json.loads(run("keys", "destroy", "2026-03", "--because", "x", "--dry-run", "--json").stdout)
    assert found == {
        "source": "enigma",
        "month": "2026-03",
        "files": 2,
        "size_bytes": len(body(1)) + len(body(2)),
        "waiting": 1,
        "destroyed": False,
        "against": [],
    }
    assert keys.is_there(KEY)


def test_the_list_tells_what_became_of_each(engine, run, fetch, keys, tmp_path):
    """Made, destroyed, and brought back by somebody."""
    fetch(1)
    key = tmp_path / "keys/enigma/2026-03.key"
    content = key.read_bytes()
    [listed] = json.loads(run("keys", "list", "--json").stdout)
    assert (listed["state"], listed["files"], listed["size_bytes"], listed["left"]) == ("there", 1, len(body(1)), 0)
    destroy(engine, keys, KEY, **WHY)
    [listed] = json.loads(run("keys", "list", "--json").stdout)
    assert (listed["state"], listed["files"], listed["left"]) == ("destroyed", 0, 1)
    key.write_bytes(content)
    done = run("keys", "list")
    assert done.exit_code == 1
    assert "was destroyed, and is there again" in done.stderr
    assert RecordingKeys((tmp_path / "keys").as_uri()).of("enigma")[0].destroyed_at is not None


def test_without_the_setting_there_are_no_keys(run, monkeypatch):
    monkeypatch.setenv("RECORDINGS_KEYS_URL", "")
    done = run("keys", "list")
    assert done.exit_code == 2
    assert "RECORDINGS_KEYS_URL" in done.stderr


def test_a_minimum_that_is_not_over_is_named(engine, fetch, keys, run):
    """A rule for the campaign says so; its key stays."""
    fetch(1)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO keeping (kind, keep_at_least, set_by, because) VALUES ('recordings', 36500, 'ann', 'law')"
            )
        )
    for more in ("--dry-run", "--yes"):
        done = run("keys", "destroy", "2026-03", "--because", "retention", "--who", "ann", more)
        assert done.exit_code == 1
        assert "must be kept at least 36500 days" in " ".join(done.stderr.split())
    assert keys.is_there(KEY)
