"""A file of the vendor's backup: imported once, whatever happens meanwhile, or not at all."""

from __future__ import annotations

import gzip
import io
import json
import threading

import pytest

from pipeline.completeness import backup_file, import_file, import_rows
from pipeline.completeness.backup_file import BackupFile, BackupFileError, ChangedError
from pipeline.ingest.inbox import unfinished_batches
from pipeline.ingest.stops import recent_bad_share
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, walk_overdue
from tests.patience import eventually
from tests.warm import warm

CHUNK = 10


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(backup_file, "CHUNK_ELEMENTS", CHUNK)


@pytest.fixture
def records():
    return [make_record(call_ref=number) for number in range(1, 96)]


@pytest.fixture
def file(tmp_path, records):
    path = tmp_path / "backup.ndjson"
    path.write_bytes(b"\n".join(records) + b"\n")
    return path


@pytest.fixture
def run(engine):
    def imported(path, source="enigma", **options):
        with BackupFile(path) as backup:
            survey = backup.survey()
            return import_file.import_file(engine, backup, survey, source=source, who="test", **options)

    return imported


def balance(engine, import_id):
    with engine.connect() as connection:
        return import_rows.balance_of_file(connection, import_id)


def settled(engine):
    return rows(engine, "SELECT coalesce(sum(records), 0) FROM batches")[0][0]


def test_its_records_are_calls_like_any_other(engine, file, run):
    load(engine)
    imported = run(file)
    assert (imported.settled, imported.known, settled(engine)) == (95, 0, 95)
    assert balance(engine, imported.of.id).pending == 95
    walk_overdue(engine)
    assert balance(engine, imported.of.id) == (95, 95, 0, 0, 0, 0, 0, 0)
    found = sheet(engine)
    assert found.closes
    assert found.processed.records == 95


def test_twice_is_once_packed_or_not_and_whatever_its_name(engine, file, run, tmp_path, records):
    first = run(file)
    packed = tmp_path / "the same.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    again, once_more = run(file), run(packed)
    assert (again.settled, again.known) == (once_more.settled, once_more.known) == (0, 95)
    assert first.of.id == again.of.id == once_more.of.id
    with BackupFile(None, stdin=io.BytesIO(file.read_bytes())) as piped:
        import_file.import_file(engine, piped, piped.survey(), source="enigma", who="test")
    assert settled(engine) == 95
    assert [row.action for row in rows(engine, "SELECT action FROM actions")] == ["file imported"]


def test_another_dialler_may_have_the_same_file(engine, file, run):
    """Its calls are others, whatever their references."""
    run(file)
    assert run(file, source="other").settled == 95
    assert settled(engine) == 190


@pytest.mark.parametrize("after", range(10))
def test_ended_at_any_chunk_and_run_again_is_once(engine, file, run, after, monkeypatch):
    real = import_rows.note_chunk
    left = iter(range(after))

    def killed(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(import_rows, "note_chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        run(file)
    assert settled(engine) == after * CHUNK
    monkeypatch.setattr(import_rows, "note_chunk", real)
    assert run(file)[1:] == (95 - after * CHUNK, after * CHUNK)
    walk_overdue(engine)
    assert settled(engine) == 95
    assert rows(engine, "SELECT count(*), count(DISTINCT call_ref) FROM calls")[0] == (95, 95)


def test_two_at_once_are_one(engine, file, run):
    both = [threading.Thread(target=run, args=(file,)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert settled(engine) == 95


def test_each_record_of_it_has_its_place(engine, tmp_path, run):
    load(engine)
    stored, changed = make_record(call_ref=1), make_record(call_ref=2)
    walk(engine, receive(engine, stored, changed))
    path = tmp_path / "mixed"
    lines = [stored, make_record(call_ref=2, call_time=5), b"no record", make_record(call_ref=3), make_record(ref=None)]
    path.write_bytes(b"\n".join([*lines, *(make_record() for _ in range(10))]))
    imported = run(path)
    walk_overdue(engine)
    found = balance(engine, imported.of.id)
    assert found._asdict() == {
        "records": 15, "new": 11, "duplicate": 1, "replacing": 0, "conflict": 1, "quarantined": 2, "discarded": 0,
        "pending": 0,
    }  # fmt: skip
    assert found.closes
    assert sheet(engine).closes


def test_it_does_not_stop_the_dialler(engine, tmp_path, run):
    """What is bad in it says nothing of the dialler's list, and its batches do not keep the list waiting."""
    path = tmp_path / "half bad"
    path.write_bytes(b"\n".join(line for _ in range(60) for line in (make_record(), b'{"type": "cdr", "payload": {}}')))
    run(path)
    with engine.connect() as connection:
        assert unfinished_batches(connection, "enigma", 50)[0].batches == 0
    walk_overdue(engine)
    with engine.connect() as connection:
        assert recent_bad_share(connection, "enigma", at_least=100).records == 0


WRONG = {
    "a page": (b"<!DOCTYPE html><html>\n<body>Log in</body></html>\n", "are no CDRs, such as '<!DOCTYPE html>"),
    "a table": (b"a,b\n1,2\n", "no CDRs"),
    "nothing": (b"\n\n", "holds no records"),
    "the dialler's own list": (
        b'{"type": "queue_calls", "payload": {"rate": 3, "ref": "s"}}\n',
        "the dialler's internal 'queue_calls'",
    ),
    "one line without an end": (b"x" * 2_000_000, "no file of CDRs"),
    "cut off": (make_record() + b"\n" + make_record()[:-9], "its last line is cut off"),
    "packed and cut off": (gzip.compress(b"\n".join(make_record() for _ in range(500)))[:-20], "compression is broken"),
    "packed and broken": (b"\x1f\x8b" + b"nonsense" * 9, "compression is broken"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_refused_and_nothing_of_it_imported(engine, tmp_path, run, what):
    content, says = WRONG[what]
    path = tmp_path / "wrong"
    path.write_bytes(content)
    with pytest.raises(BackupFileError, match=says):
        run(path)
    assert settled(engine) == 0
    assert rows(engine, "SELECT FROM imports") == []


def test_what_is_wrong_only_later_leaves_nothing_behind_either(engine, tmp_path, run, records):
    """The whole file is looked through before its first record is taken."""
    path = tmp_path / "late"
    path.write_bytes(b"\n".join([*records, b"x" * 2_000_000]))
    with pytest.raises(BackupFileError, match="an element after the first"):
        run(path)
    assert settled(engine) == 0


def test_no_file_and_no_regular_one_are_refused(tmp_path):
    with pytest.raises(BackupFileError, match="No such file"):
        BackupFile(tmp_path / "nowhere")
    with pytest.raises(BackupFileError, match="Is a directory"):
        BackupFile(tmp_path)
    with pytest.raises(BackupFileError, match="no regular file"):
        BackupFile(type(tmp_path)("/dev/null"))


def test_a_file_that_somebody_has_open_for_writing_is_refused(engine, file, run):
    with file.open("ab"), pytest.raises(BackupFileError, match="still being written"):
        run(file)
    assert settled(engine) == 0
    run(file)


def test_one_that_is_changed_meanwhile_is_given_up(engine, file, run):
    """What was looked through is what is imported."""
    with BackupFile(file) as backup:
        survey = backup.survey()
        file.write_bytes(file.read_bytes().replace(b'"call_ref": 15,', b'"call_ref": 99,'))
        with pytest.raises(ChangedError):
            import_file.import_file(engine, backup, survey, source="enigma", who="test")
    assert settled(engine) == CHUNK


@pytest.fixture
def pipeline(settings_env):
    return warm().pipeline


def test_the_command_says_where_each_record_went(pipeline, engine, file):
    load(engine)
    begun = pipeline("import", str(file), "--no-wait", "--json")
    assert begun.returncode == 0, begun.stderr
    told = json.loads(begun.stdout)
    assert (told["settled_now"], told["pending"], told["source"]) == (95, 95, "enigma")
    done = []
    waiting = threading.Thread(target=lambda: done.append(pipeline("import", str(file))))
    waiting.start()
    eventually(lambda: walk_overdue(engine) or done)
    waiting.join()
    [again] = done
    assert again.returncode == 0, again.stderr
    assert "  new\t95" in again.stdout
    assert "95 records had been imported before" in again.stderr
    assert again.stdout.endswith("The balance of the file closes.\n")


def test_the_command_refuses_in_a_sentence(pipeline, tmp_path):
    refused = pipeline("import", str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr == f"Error: {tmp_path} is not imported: cannot be read: Is a directory\n"
