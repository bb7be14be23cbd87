"""Recordings of a number that is erased: gone from the store, and proven to be."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipeline.recordings.erasing import Erased, erase_recordings, files_of, stores_in_reach
from pipeline.recordings.file_store import Place, RecordingStore
from pipeline.recordings.store_trouble import StoreError
from tests.integration.recording_rows import body, change, files, row, scheduled
from tests.integration.recordings.test_listening import store_recording


@pytest.fixture
def store(tmp_path):
    return RecordingStore(tmp_path.as_uri())


def erased(engine, store, *call_ids):
    markers = stores_in_reach(engine, store)
    with engine.begin() as connection:
        return erase_recordings(connection, store, call_ids, markers=markers)


def stored(engine, tmp_path, call_ref=7):
    file = store_recording(engine, tmp_path, call_ref, body(call_ref))
    with engine.connect() as connection:
        [call_id] = files_of(connection, connection.scalars(text("SELECT id FROM calls")).all())
    return file, call_id


def test_a_file_is_deleted_and_its_row_says_so(engine, store, tmp_path):
    """The row stays, without what identifies the bytes; doing it again finds nothing to do."""
    file, call_id = stored(engine, tmp_path)
    assert erased(engine, store, call_id) == Erased(1, len(body(7)), 0)
    assert not file.exists()
    found = row(engine, call_id)
    assert (found.state, found.sha256) == ("stored", None)
    assert found.deleted_at is not None
    assert "erased" in found.deleted_reason
    assert erased(engine, store, call_id) == Erased(0, 0, 0)


def test_what_waits_is_never_fetched(engine, store):
    """Nor what is tried again by hand."""
    [call_id] = scheduled(engine, 8)
    assert erased(engine, store, call_id) == Erased(0, 0, 1)
    found = row(engine, call_id)
    assert (found.state, found.due_at) == ("absent", None)


def test_a_file_that_somebody_left_behind_is_deleted(engine, store, tmp_path):
    """A worker that was killed had put it there, and had not said so."""
    [call_id] = scheduled(engine, 9)
    path = store.path_for(_place(engine, call_id, "9"))
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(body(9))
    assert erased(engine, store, call_id) == Erased(1, 0, 1)
    assert files(tmp_path) == set()


def _place(engine, call_id, call_ref):
    return Place("enigma", call_ref, row(engine, call_id).dialed_at, ".mp3")


def test_a_file_that_is_missing_is_gone_where_the_store_is_known(engine, store, tmp_path):
    """A run that was killed had deleted it."""
    file, call_id = stored(engine, tmp_path)
    stores_in_reach(engine, store)
    file.unlink()
    assert erased(engine, store, call_id) == Erased(1, len(body(7)), 0)


def test_a_file_that_is_missing_in_another_store_is_not_gone(engine, store, tmp_path):
    """Where nothing is mounted there is none of them."""
    _, call_id = stored(engine, tmp_path)
    stores_in_reach(engine, store)
    other = RecordingStore((tmp_path / "other").as_uri())
    assert stores_in_reach(engine, other) == {}
    with pytest.raises(StoreError, match="is the store mounted"):
        erased(engine, other, call_id)
    assert row(engine, call_id).deleted_at is None


def test_a_file_that_is_there_all_the_same_is_an_error(engine, store, tmp_path, monkeypatch):
    """A store may say yes and keep it."""
    _, call_id = stored(engine, tmp_path)
    monkeypatch.setattr(store, "delete", lambda _: True)
    with pytest.raises(StoreError, match="there all the same"):
        erased(engine, store, call_id)
    assert row(engine, call_id).deleted_at is None


def test_a_file_of_another_call_stays(engine, store, tmp_path):
    """Two may have one name where the template does not tell them apart."""
    template = RecordingStore(tmp_path.as_uri(), "{call_ref}{ext}")
    ids = scheduled(engine, 5, 6)
    (tmp_path / "5.wav").write_bytes(b"of another")
    change(engine, f"path = '5.wav', state = 'stored', size_bytes = 10, sha256 = 'x' WHERE call_id = {ids[1]}")
    assert erased(engine, template, ids[0]) == Erased(0, 0, 1)
    assert (tmp_path / "5.wav").exists()
