"""A recording appears under its final name whole and once, whatever happens on the way."""

import hashlib
import os
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recordings import file_store as recording_store
from pipeline.recordings.file_store import Checksum, NameTaken, Place, Published, RecordingStore
from pipeline.recordings.partial_files import Partial
from pipeline.recordings.rules.path import TEMPLATE, checked_template, recording_path, safe_part
from pipeline.recordings.store_trouble import StoreError
from pipeline.settings import Settings, SettingsError, load_settings

PLACE = Place("enigma", "845", datetime(2026, 3, 2, 23, 30, tzinfo=UTC), ".wav")
PATH = "enigma/2026/03/02/845.wav"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(folder):
    return RecordingStore(f"file://{folder}")


@pytest.fixture(params=["file", "memory"])
def any_store(request, folder, tmp_path):
    if request.param == "file":
        return RecordingStore(f"file://{folder}")
    return RecordingStore(f"memory://{uuid.uuid4()}", spool=tmp_path / "spool")


def keep(store: RecordingStore, data: bytes, place: Place = PLACE) -> Published | NameTaken:
    with store.partial() as partial:
        partial.write(data)
        return store.publish(partial, place, size=len(data), sha256=hashlib.sha256(data).digest())


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_trying_it_out_leaves_nothing(any_store, folder):
    """A file is written, read back and deleted; where there is a disk, its room is told."""
    facts = any_store.try_out()
    assert facts.seconds >= 0
    if folder.exists():
        assert files(folder) == set()
        assert 0 < facts.disk_free <= facts.disk_total


def test_a_recording_is_stored_under_its_name(any_store):
    """The path is made of the dialler, the day in UTC and the call, and the bytes are there."""
    assert keep(any_store, b"abc") == Published(PATH, fresh=True)
    assert any_store.checksum(PATH) == Checksum(3, hashlib.sha256(b"abc").digest())


def test_nothing_else_is_left(store, folder):
    """After publication only the final file exists, readable by no stranger."""
    keep(store, b"abc")
    assert files(folder) == {PATH}
    assert (folder / PATH).stat().st_mode & 0o007 == 0
    assert (folder / PATH).stat().st_nlink == 1


def test_the_same_bytes_again_count_as_stored(any_store):
    """A download repeated after a crash finds its own work done."""
    keep(any_store, b"abc")
    assert keep(any_store, b"abc") == Published(PATH, fresh=False)


@pytest.mark.parametrize("other", [b"abd", b"abcd", b"x" * 3_000_000])
def test_other_bytes_never_overwrite(any_store, other):
    """A final name that is taken by something else stays as it is, and the reason names it."""
    keep(any_store, b"abc")
    refused = keep(any_store, other)
    assert isinstance(refused, NameTaken)
    assert PATH in refused.reason
    assert any_store.checksum(PATH) == Checksum(3, hashlib.sha256(b"abc").digest())


def test_a_folder_in_the_way_is_not_touched(store, folder):
    """A folder under the final name is another thing stored there, not an outage."""
    (folder / PATH).mkdir(parents=True)
    assert isinstance(keep(store, b"abc"), NameTaken)


@pytest.mark.parametrize("moment", ["seal", "folders", "link"])
def test_a_failure_before_publication_leaves_nothing(store, folder, monkeypatch, moment):
    """Whatever fails before the link, nothing is under the final name and no partial file stays."""

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    match moment:
        case "seal":
            monkeypatch.setattr("os.fsync", fail)
        case "link":
            monkeypatch.setattr("os.link", fail)
        case "folders":
            monkeypatch.setattr("pipeline.recordings.final_names._make_folders", fail)
    with pytest.raises(StoreError, match="No space left on device"):
        keep(store, b"abc")
    assert files(folder) == set()


def test_a_crash_before_publication_leaves_only_a_partial_file(store, folder):
    """A process killed between write and publish leaves nothing under the final name, and is cleaned up."""
    crashing = f"""
import os
from pipeline.recordings.file_store import RecordingStore
with RecordingStore("{folder.as_uri()}").partial() as partial:
    partial.write(b"abc")
    partial.seal()
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", crashing], check=False).returncode == 9
    (left,) = files(folder)
    assert left.startswith(".partial/")
    assert store.clean_partials() == 0
    yesterday = time.time() - 86_401
    os.utime(folder / left, (yesterday, yesterday))
    assert store.clean_partials() == 1
    assert files(folder) == set()
    assert keep(store, b"abc") == Published(PATH, fresh=True)


def test_a_full_disk_is_the_stores_matter(store, folder):
    """What a disk does not take is a `StoreError`, and no partial file stays."""

    class FullDisk:
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    with store.partial() as partial:
        full = Partial(partial.path, FullDisk())
        with pytest.raises(StoreError, match="No space left on device"):
            full.write(b"abc")
    assert files(folder) == set()


def test_a_partial_file_can_begin_again(any_store):
    """What was written before counts no more, on the disk either."""
    with any_store.partial() as partial:
        partial.write(b"abcdef" * 100_000)
        partial.clear()
        partial.write(b"abc")
        published = any_store.publish(partial, PLACE, size=3, sha256=hashlib.sha256(b"abc").digest())
    assert published == Published(PATH, fresh=True)
    assert any_store.checksum(PATH) == Checksum(3, hashlib.sha256(b"abc").digest())


def test_cleaning_an_empty_store_does_nothing(store):
    """A store that was never written to has nothing to clean."""
    assert store.clean_partials() == 0


def test_a_short_partial_is_not_published(store, folder):
    """When fewer bytes reached the disk than came, nothing is published."""
    with store.partial() as partial:
        partial.write(b"ab")
        with pytest.raises(StoreError, match="2 of 3 bytes"):
            store.publish(partial, PLACE, size=3, sha256=b"")
    assert files(folder) == set()


@pytest.mark.parametrize("same", [True, False])
def test_of_concurrent_publishers_one_wins(any_store, same):
    """However many publish at once, one is fresh; the others find the same bytes, or are refused."""
    barrier = threading.Barrier(8)
    results: list[Published | NameTaken] = []

    def publish(number: int) -> None:
        data = b"abc" if same else b"%d" % number
        with any_store.partial() as partial:
            partial.write(data)
            barrier.wait(10)
            results.append(any_store.publish(partial, PLACE, size=len(data), sha256=hashlib.sha256(data).digest()))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    fresh = [result for result in results if isinstance(result, Published) and result.fresh]
    assert len(results) == 8
    if not isinstance(any_store._put_options.get("mode"), str):  # memory:// itself looks and then writes
        assert len(fresh) == 1
        assert all(isinstance(result, Published) for result in results) is same


def test_an_unwritable_store_is_an_outage(tmp_path):
    """A store that cannot be made says so in one exception without a path's traceback."""
    (tmp_path / "store").write_bytes(b"a file, not a folder")
    with pytest.raises(StoreError, match="write to it") as caught:
        keep(RecordingStore(f"file://{tmp_path / 'store'}"), b"abc")
    assert caught.value.__suppress_context__


def test_credentials_are_never_told(monkeypatch, tmp_path):
    """What an underlying library says is shown without any credential of ours."""
    store = RecordingStore(
        "memory://bucket",
        storage_options={"key": "AKIAXYZ1", "client_kwargs": {"secret": "hunter22"}, "use_ssl": "yes"},
        spool=tmp_path,
    )

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("403 for AKIAXYZ1:hunter22, yes")

    monkeypatch.setattr(store._files, "put_file", fail)
    with pytest.raises(StoreError) as caught:
        keep(store, b"abc")
    assert str(caught.value) == "cannot write to it (RuntimeError: 403 for ***:***, yes)"


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (PLACE._replace(dialed_at=datetime(2026, 3, 3, 1, tzinfo=timezone(timedelta(hours=2)))), PATH),
        (PLACE._replace(call_ref=".."), "enigma/2026/03/02/%2E%2E~5ec1f7e700f37c3d.wav"),
        (PLACE._replace(source="a/b"), "a%2Fb~c14cddc033f64b9d/2026/03/02/845.wav"),
    ],
)
def test_paths(store, place, path):
    """Days are UTC's, and names that mean something to a file system are encoded."""
    assert store.path_for(place) == path


@given(NAMES, NAMES)
def test_no_name_leads_out_of_the_store(source, call_ref):
    """Whatever the names hold, the path has its five parts, none hidden, none too long."""
    template = checked_template(TEMPLATE)
    path = recording_path(template, **PLACE._replace(source=source, call_ref=call_ref)._asdict())
    parts = PurePosixPath(path).parts
    assert len(parts) == 5
    assert path == str(PurePosixPath(path))
    for part in parts:
        assert not part.startswith(".")
        assert part.isascii()
        assert part.isprintable()
        assert len(part) <= 120


@given(NAMES, NAMES)
def test_different_names_stay_different(one, other):
    """Making names safe never makes two of them one."""
    assert (safe_part(one) == safe_part(other)) is (one == other)


def test_names_that_only_differ_late_stay_different():
    """Names cut to the same length are told apart."""
    assert safe_part("a" * 500 + "b") != safe_part("a" * 500 + "c")
    assert safe_part(safe_part("../x")) != safe_part("../x")


@pytest.mark.parametrize("call_ref", ["../../../etc/passwd", "..", "a/b", "\x00", "ü" * 300, "con\n", "~", " "])
def test_hostile_names_are_stored_inside(store, folder, call_ref):
    """A real file system takes every encoded name, and the file is in the store."""
    published = keep(store, b"abc", PLACE._replace(call_ref=call_ref, source=call_ref))
    assert isinstance(published, Published)
    assert files(folder) == {published.path}


BAD_TEMPLATES = [
    "",
    "{source}{ext}",
    "{call_ref.__class__}",
    "{call_ref}/{other}",
    "{0}",
    "/{call_ref}{ext}",
    "../{call_ref}{ext}",
    ".partial/{call_ref}{ext}",
    "a//{call_ref}",
    "{call_ref}/",
    "{call_ref",
    "{call_ref:.3}",
    "{call_ref:{other}}",
    "{call_ref!r}",
    "{dialed_at:{call_ref}}/{call_ref}",
    "{dialed_at:../%Y}/{call_ref}",
    "{dialed_at:%n}/{call_ref}",
    "{call_ref}\x00",
]


@pytest.mark.parametrize("template", BAD_TEMPLATES)
def test_templates_that_cannot_name_recordings_are_refused(folder, template):
    """A template is checked when the store is made, not when the first recording comes."""
    with pytest.raises(ValueError, match="template"):
        RecordingStore(f"file://{folder}", template)


@pytest.mark.parametrize("template", BAD_TEMPLATES)
def test_a_bad_template_stops_the_process(monkeypatch, template):
    """The setting is checked at start, by the store's own rule, and named with the reason."""
    with pytest.raises(ValueError, match="must be a template"):
        Settings(recordings_path=template)
    if "\x00" not in template:  # no environment holds one
        monkeypatch.setenv("RECORDINGS_PATH", template)
        with pytest.raises(SettingsError, match="RECORDINGS_PATH: must be a template"):
            load_settings()


def test_the_setting_says_where_recordings_go(monkeypatch, folder):
    """A template from the environment names what is stored from then on."""
    monkeypatch.setenv("RECORDINGS_PATH", "{dialed_at:%Y-%m}/{source}-{call_ref}{ext}")
    store = RecordingStore(f"file://{folder}", load_settings().recordings_path)
    assert keep(store, b"abc") == Published("2026-03/enigma-845.wav", fresh=True)


def test_a_store_that_cannot_publish_in_one_step_is_refused():
    """Over FTP a half file would be seen under its final name."""
    with pytest.raises(ValueError, match="file://, s3:// or gs://"):
        RecordingStore("ftp://user:hunter2@host/folder")


def test_an_object_stores_partial_files_are_ours_alone(monkeypatch, tmp_path):
    """The default folder for partial files is private, and one that another could prepare is refused."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    keep(RecordingStore("memory://private"), b"abc")
    (spool,) = tmp_path.iterdir()
    assert spool.stat().st_mode & 0o777 == 0o700
    spool.chmod(0o777)
    with pytest.raises(ValueError, match="not ours alone"):
        RecordingStore("memory://private")


def test_a_store_is_marked_once(any_store):
    """Whoever comes later finds the first one's marker, and nothing overwrites it."""
    assert any_store.marker() is None
    assert any_store.mark("one") == "one"
    assert any_store.mark("another") == "one"
    assert any_store.marker() == "one"


def test_a_size_is_that_of_a_file(any_store):
    """What is not there, or no file, has none."""
    keep(any_store, b"abc")
    assert any_store.size(PATH) == 3
    assert any_store.size("enigma/none.wav") is None
    assert any_store.size("enigma") is None


def test_a_marker_that_says_nothing_is_none(store, folder):
    """An empty file, or a folder of its name, is told and not taken for one."""
    folder.mkdir()
    (folder / recording_store.MARKER).touch()
    assert store.marker() is None
    with pytest.raises(StoreError, match="remove it"):
        store.mark("one")
    (folder / recording_store.MARKER).unlink()
    (folder / recording_store.MARKER).mkdir()
    assert store.marker() is None


@given(NAMES, NAMES)
def test_no_recording_can_become_the_marker(source, call_ref):
    """Whatever a dialler names its calls, no path is that of the marker."""
    for template in (TEMPLATE, "{call_ref}", "{call_ref}{ext}", "{source}{call_ref}"):
        place = PLACE._replace(source=source, call_ref=call_ref)
        assert recording_path(checked_template(template), **place._asdict()) != recording_store.MARKER
