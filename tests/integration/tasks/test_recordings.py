"""The tasks of recordings: what is sent where, and what beat has them do."""

from __future__ import annotations

import json
import os

import pytest
from sqlalchemy import text

from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import KeyName
from tests.integration.flow import receive
from tests.integration.recording_rows import BATCH, change, row, scheduled
from tests.warm import warm

pytestmark = pytest.mark.usefixtures("settings_env")


def ask(expression, **settings):
    """What an expression over ``tasks`` is in a process of its own, as Celery reads its settings once."""
    code = (
        "import json\n"
        "from pipeline.celery import app\n"
        "from pipeline.monitoring import metrics\n"
        "from pipeline.tasks import flow, recordings as tasks\n"
        "app.loader.import_default_modules()\n"
        f"print(json.dumps({expression}))"
    )
    done = warm().python(code, env=os.environ | settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_diallers_downloads_have_a_queue_of_their_own(engine, broker):
    """Whoever dispatches, no worker gets a message for a dialler it does not serve."""
    scheduled(engine, 1, 2, 3)
    scheduled(engine, 4, 5, source="other", batch=BATCH + 1)
    assert ask("tasks.send_downloads()") == 5
    assert (broker.llen("cdr:recordings.enigma"), broker.llen("cdr:recordings.other")) == (3, 2)


def test_the_procfiles_queue_is_that_of_the_workers_own_dialler():
    """`--queues recordings` means another queue where ENIGMA_SOURCE is another."""
    chosen = "(app.amqp.queues.select(['recordings']), list(app.amqp.queues.consume_from))[1]"
    assert ask(chosen) == ["recordings.enigma", "completeness.enigma"]
    assert ask(chosen, ENIGMA_SOURCE="other") == ["recordings.other", "completeness.other"]


def test_a_release_that_could_not_be_sent_is_undone(engine):
    """With the broker away nothing counts as under way."""
    ids = scheduled(engine, 1, 2, 3)
    assert ask("tasks.send_downloads()", CELERY_BROKER_URL="redis://127.0.0.1:9/0") == 0
    assert [row(engine, call_id).released_at for call_id in ids] == [None] * 3


def test_limits_come_from_the_settings(engine, broker):
    """No more are sent than RECORDINGS_CONCURRENCY."""
    scheduled(engine, *range(10))
    assert ask("tasks.send_downloads()", RECORDINGS_CONCURRENCY="4") == 4


def test_retention_does_nothing_unless_it_is_set(engine, tmp_path):
    """Kept for ever by default, and for as many days as the setting says."""
    scheduled(engine, 1)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE recordings SET state = 'stored', due_at = NULL, path = 'x.wav', size_bytes = 1, sha256 = ''")
        )
    place_file(tmp_path)
    change(engine, "dialed_at = now() - interval '400 days'")
    assert ask("tasks.expire_stored()") == "done: recordings are kept for ever"
    assert ask("tasks.expire_stored()", RECORDINGS_RETENTION_DAYS="365").startswith("done: 1 recordings deleted")


def place_file(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir(exist_ok=True)
    (folder / "x.wav").write_bytes(b"x")


def test_only_a_diallers_own_files_are_deleted(engine, tmp_path):
    """Another's may lie in a store that only its own workers have."""
    scheduled(engine, 1)
    scheduled(engine, 2, source="other", batch=BATCH + 1)
    change(
        engine,
        "state = 'stored', due_at = NULL, path = 'x.wav', size_bytes = 1, sha256 = '', "
        "dialed_at = now() - interval '400 days'",
    )
    place_file(tmp_path)
    for source in ("other", "third"):
        said = ask("tasks.expire_stored()", RECORDINGS_RETENTION_DAYS="365", ENIGMA_SOURCE=source)
        assert said.startswith("done: 1" if source == "other" else "done: 0")
    with engine.connect() as connection:
        deleted = connection.execute(text("SELECT source FROM recordings WHERE deleted_at IS NOT NULL"))
        assert deleted.scalars().all() == ["other"]


def test_each_diallers_workers_are_asked_to_clean_up(engine, broker):
    """In their own queues; one whose workers do not, once a day only."""
    for source in ("enigma", "gone", "other"):
        receive(engine, b"{}", b"{}", source=source)

    def asked():
        said = ask("tasks.keep_recordings()")
        counts = {name: broker.llen(f"cdr:recordings.{name}") for name in ("enigma", "gone", "other")}
        broker.flushall()
        return said, counts

    assert asked() == ("done: sent to the workers of enigma, gone, other", {"enigma": 2, "gone": 2, "other": 2})
    for source in ("enigma", "other"):
        ask("tasks.expire_stored()", ENIGMA_SOURCE=source)
    assert asked() == ("done: sent to the workers of enigma, other", {"enigma": 2, "gone": 0, "other": 2})
    with engine.begin() as connection:
        connection.execute(text("UPDATE heartbeats SET at = now() - interval '25 hours'"))
    assert asked()[1]["gone"] == 2


def test_partial_files_of_crashed_downloads_are_removed(tmp_path):
    """Those nobody has written to for a day, and no others."""
    folder = tmp_path / "recordings" / ".partial"
    folder.mkdir(parents=True)
    for name in ("old.part", "new.part"):
        (folder / name).touch()
    os.utime(folder / "old.part", (1, 1))
    assert ask("tasks.clean_partials()") == "done: 1 partial files removed"
    assert [path.name for path in folder.iterdir()] == ["new.part"]


def test_files_of_a_destroyed_key_are_removed(engine, tmp_path):
    """Whatever the retention is: nobody can read them. Those of a key that is there stay."""
    (tmp_path / "keys").mkdir()
    keys = RecordingKeys((tmp_path / "keys").as_uri())
    keys.to_write(KeyName("enigma", "2026-04"))
    ids = scheduled(engine, 1, 2)
    for call_id, month in zip(ids, ("2026-03", "2026-04"), strict=True):
        change(
            engine,
            f"state = 'stored', due_at = NULL, path = '{call_id}.wav', size_bytes = 1, sha256 = '', "
            f"key_month = '{month}', deleted_at = CASE '{month}' WHEN '2026-03' THEN now() END "
            f"WHERE call_id = {call_id}",
        )
        (tmp_path / "recordings").mkdir(exist_ok=True)
        (tmp_path / "recordings" / f"{call_id}.wav").write_bytes(b"x")
    keys.destroy(KeyName("enigma", "2026-03"))
    said = ask("tasks.clean_partials()", RECORDINGS_KEYS_URL=(tmp_path / "keys").as_uri())
    assert said == "done: 0 partial files removed, 1 files whose key was destroyed"
    assert [path.name for path in (tmp_path / "recordings").glob("*.wav")] == [f"{ids[1]}.wav"]
    assert [row(engine, each).key_month for each in ids] == [None, "2026-04"]


def test_the_tasks_are_on_the_schedule():
    """Beat knows them, and they go to workers that have the store."""
    scheduled_tasks = ask("{entry['task']: 0 for entry in app.conf.beat_schedule.values()}")
    assert {"recordings.dispatch", "recordings.keep"} <= set(scheduled_tasks)


def test_a_forged_source_is_not_believed(engine, broker):
    """The name of another dialler in a message makes neither a row nor a label; the process knows whose it is."""
    forged = "source=f'forged{n}', call_ref='x', dispatched_at='2026-01-01T00:00:00+00:00'"
    labels = "{s.labels['source'] for m in registry.collect() for s in m.samples if 'source' in s.labels}"
    calls = f"[str(tasks.download_recording(call_id=10**9, {forged})) for n in range(3)]"
    said = ask(f"(lambda registry: [{calls}, sorted({labels})])(metrics.count_here())")
    assert [each.partition(":")[0] for each in said[0]] == ["nothing done"] * 3
    assert said[1] == ["enigma"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT source FROM recording_pace")).scalars().all() == ["enigma"]


def test_a_step_counts_what_its_row_says(engine, broker):
    """A message may name a batch of another dialler, or another number of records."""
    receive(engine, b"{}", b"{}")
    found = "for m in registry.collect() for s in m.samples if s.name == 'cdr_processed_records_total'"
    samples = f"{{(s.labels['source'], s.value) {found}}}"
    batch = f"batch_id={_batch_of(engine)}, source='forged', records=7"
    said = ask(f"(lambda registry: [flow.normalize({batch}), sorted({samples})])(metrics.count_here())")
    result, counted = said
    assert result.startswith("done: 2 records of enigma, 2 set aside; then cdr.classify in ")
    assert counted == [["enigma", 2.0]]  # of each step
    assert ask("flow.normalize(batch_id=10**15, source='forged', records=7)") == "no such batch"


def _batch_of(engine):
    with engine.connect() as connection:
        return connection.execute(text("SELECT id FROM batches")).scalar_one()
