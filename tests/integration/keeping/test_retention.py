"""Recordings go by the narrowest rule of campaign and dialler; a minimum wins over the setting, a hold over all."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event

from pipeline.keeping import holds
from pipeline.keeping.policies import recording_ages
from pipeline.recordings import retention, retention_rows
from tests.patience import eventually

WAITS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OLD = [f"{source}-{campaign}" for source in ("north", "south") for campaign in ("autumn", "spring", "winter")]


def test_without_a_rule_the_setting_is_for_all(world):
    """And without that nothing goes."""
    assert world.expire() == []
    assert world.expire(days=41) == []
    assert world.expire(days=30) == OLD
    assert set(world.rows("SELECT deleted_reason FROM recordings WHERE deleted_at IS NOT NULL")) == {
        ("Older than RECORDINGS_RETENTION_DAYS=30.",)
    }


@pytest.mark.parametrize(
    ("rules", "setting", "gone"),
    [
        ([["--at-most", "30"]], None, OLD),
        ([["--source", "south", "--at-most", "30"]], None, OLD[3:]),
        ([["--campaign", "spring", "--at-most", "30"]], None, ["north-spring", "south-spring"]),
        ([["--campaign", "spring", "--source", "south", "--at-most", "30"]], None, ["south-spring"]),
        # A campaign before a dialler, both before all.
        (
            [["--at-most", "30"], ["--source", "south", "--at-most", "90"], ["--campaign", "spring", "--at-most", "9"]],
            None,
            [*OLD[:3], "south-spring"],
        ),
        # A campaign of one dialler before the campaign.
        (
            [["--campaign", "spring", "--at-most", "30"],
             ["--campaign", "spring", "--source", "north", "--at-most", "90"]],
            None,
            ["south-spring"],
        ),
        # Kept for ever is an answer.
        ([["--campaign", "spring", "--forever"]], 30, [each for each in OLD if "spring" not in each]),
        # A rule is longer or shorter than the setting.
        ([["--campaign", "spring", "--at-most", "90"]], 30, [each for each in OLD if "spring" not in each]),
        ([["--source", "north", "--at-most", "30"]], 90, OLD[:3]),
        # A minimum wins over the setting, and each is inherited by itself.
        ([["--source", "north", "--at-least", "90"]], 30, OLD[3:]),
        ([["--at-least", "41"]], 30, []),
        ([["--at-least", "39"]], 30, OLD),
        (
            [["--campaign", "autumn", "--at-most", "30"], ["--source", "south", "--at-least", "30"]],
            None,
            ["north-autumn", "south-autumn"],
        ),
    ],
)  # fmt: skip
def test_the_narrowest_rule_that_says_it_counts(world, rules, setting, gone):
    """Set by the command, applied by retention."""
    for words in rules:
        world.set("recordings", *words)
    assert world.expire(days=setting) == gone
    assert world.expire(days=setting) == []


def test_a_row_says_by_which_rule_its_file_went(world):
    """To whoever asks for it years later."""
    world.set("recordings", "--campaign", "spring", "--at-most", "36")
    world.set("recordings", "--source", "north", "--at-least", "35")
    world.expire(days=20)
    reasons = dict(world.rows("SELECT call_ref, deleted_reason FROM recordings WHERE deleted_at IS NOT NULL"))
    assert reasons["south-spring"] == "Older than 36 days, the most that recordings of campaign spring are kept."
    assert reasons["north-winter"] == "Older than 35 days, the least that recordings of dialler north are kept."
    assert reasons["south-winter"] == "Older than RECORDINGS_RETENTION_DAYS=20."


def test_a_hold_wins_over_every_rule(world):
    """Of the recording, of its call, of its number; without a recording, too."""
    world.set("recordings", "--at-most", "30")
    world.run("UPDATE calls SET client_number = '+27831234567' WHERE call_ref = 'south-spring'")
    with world.engine.begin() as connection:
        holds.hold_number(connection, "+27831234567", who="counsel", because="case 9")
    assert world.command("recordings", "hold", "north-autumn").returncode == 0
    assert world.keeping("hold", "north-winter").returncode == 0
    held = {"south-spring", "north-autumn", "north-winter"}
    assert world.expire() == sorted(set(OLD) - held)
    assert world.keeping("release", "north-winter").returncode == 0
    assert world.command("recordings", "release", "north-autumn").returncode == 0
    assert world.expire() == ["north-autumn", "north-winter"]


def test_a_recording_of_a_held_call_is_not_even_taken(world):
    """So held ones hold up no others, and are not counted as due."""
    world.set("recordings", "--at-most", "30")
    assert world.keeping("hold", "north-winter").returncode == 0
    with world.engine.begin() as connection:
        ages = recording_ages(connection, default_days=None)
        due = retention_rows.take_expired(connection, ages, limit=9)
        assert retention_rows.count_due(connection, ages)[0] == len(due)
    assert sorted(each.file.call_ref for each in due) == [each for each in OLD if each != "north-winter"]


def test_killed_between_file_and_row_the_next_run_says_so(world, monkeypatch):
    """Under two rules at once: each row gets its own reason."""
    world.expire(days=90)  # from now on the store is known
    world.set("recordings", "--at-most", "30")
    world.set("recordings", "--campaign", "spring", "--at-most", "20")
    marked = retention_rows.mark_deleted

    def killed(connection, call_ids, *, reason):
        if "spring" in reason:
            raise KeyboardInterrupt
        marked(connection, call_ids, reason=reason)

    with monkeypatch.context() as patch:
        patch.setattr(retention_rows, "mark_deleted", killed)
        with pytest.raises(KeyboardInterrupt):
            world.expire()
    assert world.kept() == {"north-new", "south-new"}
    assert world.rows("SELECT count(*) FROM recordings WHERE deleted_at IS NOT NULL") == [(0,)]
    assert world.expire() == []
    reasons = dict(world.rows("SELECT call_ref, deleted_reason FROM recordings WHERE deleted_at IS NOT NULL"))
    assert sorted(reasons) == OLD
    assert "20 days" in reasons["south-spring"]


def test_a_minimum_that_is_set_meanwhile_stops_the_run(world, monkeypatch):
    """The rules are read again for each part."""
    monkeypatch.setattr(retention, "EXPIRED_AT_ONCE", 2)
    delete, deleted = world.store.delete, []

    def deleting(path):
        deleted.append(path)
        if len(deleted) == 2:
            world.set("recordings", "--at-least", "90")
        return delete(path)

    monkeypatch.setattr(world.store, "delete", deleting)
    assert len(world.expire(days=30)) == 2


def test_old_files_that_are_kept_are_passed_by_once(world, monkeypatch):
    """Not once for each part of what goes."""
    monkeypatch.setattr(retention, "EXPIRED_AT_ONCE", 1)
    taken, seen = retention_rows.take_expired, []

    def taking(*arguments, **options):
        seen.append(options["after"])
        return taken(*arguments, **options)

    monkeypatch.setattr(retention_rows, "take_expired", taking)
    world.set("recordings", "--campaign", "spring", "--forever")
    assert len(world.expire(days=30)) == 4
    places = [each for each in seen if each is not None]
    assert (len(set(places)), places) == (4, sorted(places))


def test_a_hold_that_comes_while_files_go_waits_or_is_seen(world, monkeypatch):
    """What a statement from before it has taken is looked at again; what is taken is waited for."""
    world.set("recordings", "--at-most", "30")
    taken, waited = retention_rows.take_expired, []
    [(early,)] = world.rows("SELECT id FROM calls WHERE call_ref = 'north-spring'")
    [(late,)] = world.rows("SELECT id FROM calls WHERE call_ref = 'south-spring'")

    def hold_late():
        with world.engine.begin() as connection:
            assert holds.hold_call(connection, late, who="counsel", because="case 10")
            waited.append(holds.file_deleted_at(connection, late))

    thread = threading.Thread(target=hold_late)

    def taking(*arguments, **options):
        found = taken(*arguments, **options)
        if found and not thread.ident:
            world.run("INSERT INTO holds (call_id, because, held_by) VALUES (:id, 'case 9', 'counsel')", id=early)
            thread.start()
            eventually(lambda: world.rows(WAITS))
        return found

    monkeypatch.setattr(retention_rows, "take_expired", taking)
    assert world.expire() == [each for each in OLD if each != "north-spring"]
    thread.join()
    assert waited[0] is not None


def test_a_recording_whose_call_is_gone_goes_by_its_dialler(world):
    """It has no campaign any more."""
    world.set("recordings", "--source", "north", "--at-most", "30")
    world.set("recordings", "--campaign", "spring", "--forever")
    world.run("DELETE FROM calls WHERE call_ref = 'north-spring'")
    assert world.expire() == ["north-autumn", "north-spring", "north-winter"]


def test_only_a_diallers_own_files_are_taken(world):
    """Another's are in a store that is not here."""
    world.set("recordings", "--at-most", "30")
    with world.engine.begin() as connection:
        ages = recording_ages(connection, default_days=None)
        due = retention_rows.take_expired(connection, ages, limit=9, source="south")
    assert sorted(each.file.call_ref for each in due) == OLD[3:]


def test_the_index_of_kept_files_is_used(world):
    """By when they were dialled, up to where the first go."""
    world.set("recordings", "--campaign", "spring", "--at-most", "50")
    world.set("recordings", "--at-most", "30")
    world.run(
        "INSERT INTO recordings (call_id, source, call_ref, state, path, size_bytes, dialed_at) "
        "SELECT 1000000::bigint * n, 'north', 'x', 'stored', 'x', 1, now() - interval '1 day' "
        "FROM generate_series(1, 5000) AS n"
    )
    world.run("ANALYZE recordings")
    statements = []
    with world.engine.begin() as connection:
        ages = recording_ages(connection, default_days=None)
        event.listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2:4]))
        retention_rows.take_expired(connection, ages, limit=50)
        statement, values = next(each for each in statements if "SKIP LOCKED" in each[0])
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values))
    assert "recordings_first_kept_idx" in plan
