"""Recordings that are encrypted before a byte of them is written, and what becomes of whoever changes one."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recordings.file_store import Checksum, NameTaken, Place, Published, RecordingStore
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import (
    CHUNK_BYTES,
    CannotDecryptError,
    Header,
    KeyName,
    Layout,
    end_of,
    header_bytes,
    stored_bytes,
)
from pipeline.recordings.store_trouble import StoreError

KEY = KeyName("enigma", "2026-10")
PLACE = Place("enigma", "845", datetime(2026, 10, 2, tzinfo=UTC), ".wav")
PATH = "enigma/2026/10/02/845.wav"
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 5_000_001]
STRIDE = CHUNK_BYTES + 16
ROOT = Path(__file__).resolve().parents[3]


def keep(store: RecordingStore, data: bytes, place: Place = PLACE, key: KeyName = KEY) -> Published | NameTaken:
    with store.recording(key) as partial:
        for at in range(0, len(data), 50_000):
            partial.write(data[at : at + 50_000])
        return store.publish(partial, place, size=len(data), sha256=hashlib.sha256(data).digest())


def heard(store: RecordingStore, first: int = 0, length: int | None = None, key: KeyName = KEY) -> bytes:
    return b"".join(store.read(PATH, first, length, key=key))


@pytest.fixture
def keys(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return RecordingKeys(folder.as_uri())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(folder, keys):
    return RecordingStore(folder.as_uri(), keys=keys)


@pytest.fixture(params=["file", "memory"])
def any_store(request, folder, tmp_path):
    if request.param == "file":
        (tmp_path / "keys").mkdir()
        return RecordingStore(folder.as_uri(), keys=RecordingKeys((tmp_path / "keys").as_uri()))
    there = uuid.uuid4()
    keys = RecordingKeys(f"memory://{there}/keys")
    return RecordingStore(f"memory://{there}/store", spool=tmp_path / "spool", keys=keys)


@pytest.mark.parametrize("size", SIZES)
def test_what_comes_is_what_came(any_store, size):
    """Whatever its size; the file has the size that follows from it, and nothing of the recording in it."""
    data = os.urandom(size)
    assert keep(any_store, data) == Published(PATH, fresh=True, key_month="2026-10")
    assert any_store.checksum(PATH, key=KEY) == Checksum(size, hashlib.sha256(data).digest())
    assert any_store.size(PATH) == stored_bytes(size, KEY) == Layout(header_bytes(KEY)).stored(size)
    raw = b"".join(any_store.read(PATH))
    assert not any(data[at : at + 16] in raw for at in range(0, size - 15, 10_007))


EDGES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 16 * CHUNK_BYTES, 17 * CHUNK_BYTES, 20 * CHUNK_BYTES - 1]


def test_every_part_of_it(any_store):
    """From and to each border of a chunk, of what is read at once, and of the file."""
    data = os.urandom(20 * CHUNK_BYTES)
    keep(any_store, data)
    for first in EDGES:
        for length in (1, 2, CHUNK_BYTES, CHUNK_BYTES + 1, 16 * CHUNK_BYTES, len(data), None):
            wanted = data[first:] if length is None else data[first : first + length]
            assert heard(any_store, first, length) == wanted, (first, length)
    assert heard(any_store, len(data), 10) == b""


def test_only_the_chunks_of_a_part_are_read(store, folder):
    """The others may be anything."""
    data = os.urandom(4 * CHUNK_BYTES)
    keep(store, data)
    raw = bytearray((folder / PATH).read_bytes())
    begin = header_bytes(KEY)
    for chunk in (0, 2, 3):
        raw[begin + chunk * STRIDE] ^= 1
    (folder / PATH).write_bytes(raw)
    assert heard(store, CHUNK_BYTES, CHUNK_BYTES) == data[CHUNK_BYTES : 2 * CHUNK_BYTES]
    for first, length in ((CHUNK_BYTES - 1, 2), (CHUNK_BYTES, CHUNK_BYTES + 1), (0, None)):
        with pytest.raises(CannotDecryptError, match=r"chunk [13] of 4"):
            heard(store, first, length)


def cut(raw, begin):
    return raw[: begin + 2 * STRIDE]


def cut_within(raw, begin):
    return raw[:-100]


def append(raw, begin):
    return raw + b"\0"


def append_a_chunk(raw, begin):
    return raw + raw[begin : begin + STRIDE]


def swap(raw, begin):
    one, two = raw[begin : begin + STRIDE], raw[begin + STRIDE : begin + 2 * STRIDE]
    return raw[:begin] + two + one + raw[begin + 2 * STRIDE :]


def leave_out(raw, begin):
    return raw[:begin] + raw[begin + STRIDE :]


def repeat(raw, begin):
    return raw[:begin] + raw[begin : begin + STRIDE] * 2 + raw[begin + 2 * STRIDE :]


def only_the_header(raw, begin):
    return raw[:begin]


def nothing(raw, begin):
    return b""


@pytest.mark.parametrize(
    "change",
    [cut, cut_within, append, append_a_chunk, swap, leave_out, repeat, only_the_header, nothing],
    ids=lambda change: change.__name__,
)
def test_what_was_changed_is_told(store, folder, change):
    """Not a byte of a chunk that was moved, cut off or put there is given out."""
    data = os.urandom(3 * CHUNK_BYTES - 7)
    keep(store, data)
    raw = (folder / PATH).read_bytes()
    (folder / PATH).write_bytes(change(raw, header_bytes(KEY)))
    given = bytearray()
    with pytest.raises(CannotDecryptError):
        given.extend(byte for part in store.read(PATH, key=KEY) for byte in part)
    assert data.startswith(given)


@given(st.data())
def test_a_bit_that_was_changed_is_told(tmp_path_factory, data):
    """Any, of the header, of the chunks and of their tags."""
    there = tmp_path_factory.mktemp("store")
    (there / "keys").mkdir()
    store = RecordingStore(there.as_uri(), keys=RecordingKeys((there / "keys").as_uri()))
    keep(store, b"abc" * 30_000)
    raw = bytearray((there / PATH).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(raw) - 1) | st.integers(0, 8 * header_bytes(KEY)))
    raw[bit // 8] ^= 1 << bit % 8
    (there / PATH).write_bytes(raw)
    with pytest.raises(CannotDecryptError):
        heard(store)


def test_a_chunk_of_another_recording_does_not_fit(store, folder):
    """Of the same month, at the same place: each file has a key of its own."""
    keep(store, bytes(2 * CHUNK_BYTES))
    other = PLACE._replace(call_ref="846")
    keep(store, bytes(2 * CHUNK_BYTES), other)
    raw, begin = (folder / PATH).read_bytes(), header_bytes(KEY)
    strange = (folder / store.path_for(other)).read_bytes()
    assert raw[begin:] != strange[begin:]
    (folder / PATH).write_bytes(raw[:begin] + strange[begin : begin + STRIDE] + raw[begin + STRIDE :])
    with pytest.raises(CannotDecryptError, match="chunk 1 of 2"):
        heard(store)


def test_another_key_does_not_fit(store, keys, tmp_path):
    """Neither that of another month, nor another of the same name."""
    keep(store, b"abc")
    with pytest.raises(CannotDecryptError, match=r"the key of 2026-11 of enigma is not there"):
        heard(store, key=KEY._replace(month="2026-11"))
    keys.to_write(KEY._replace(month="2026-11"))
    with pytest.raises(CannotDecryptError, match=r"encrypted with the key enigma/2026-10"):
        heard(store, key=KEY._replace(month="2026-11"))
    (tmp_path / "keys/enigma/2026-10.key").write_bytes(os.urandom(32))
    with pytest.raises(CannotDecryptError, match="does not fit it"):
        heard(store)


def test_a_file_that_should_be_encrypted_and_is_not(store, folder):
    """A row says so, and whoever writes to the store cannot have something else heard."""
    keep(store, b"abc")
    (folder / PATH).write_bytes(b"RIFF" + bytes(1_000))
    with pytest.raises(CannotDecryptError, match="does not begin as"):
        heard(store)


def test_a_plain_recording_that_begins_like_an_encrypted_one_is_read_as_it_is(folder, store):
    """It is for the row to say which is which, and not for what a dialler sends."""
    data = Header(CHUNK_BYTES, bytes(40), KEY.text).packed() + bytes(1_000)
    plain = RecordingStore(folder.as_uri())
    assert keep(plain, data) == Published(PATH, fresh=True, key_month=None)
    assert store.checksum(PATH) == Checksum(len(data), hashlib.sha256(data).digest())


def test_without_keys_it_is_said_what_is_missing(store, folder):
    keep(store, b"abc")
    with pytest.raises(CannotDecryptError, match="RECORDINGS_KEYS_URL is not set here"):
        heard(RecordingStore(folder.as_uri()))


@pytest.mark.parametrize("before", ["plain", "encrypted"])
def test_the_same_recording_again_counts_as_stored(any_store, before):
    """A worker that was killed had published it: encrypted, or as it came before there were keys."""
    data = b"abc" * 50_000
    if before == "plain":
        with any_store.partial() as partial:
            partial.write(data)
            any_store.publish(partial, PLACE, size=len(data), sha256=hashlib.sha256(data).digest())
    else:
        keep(any_store, data)
    assert keep(any_store, data) == Published(PATH, fresh=False, key_month="2026-10" if before == "encrypted" else None)
    assert isinstance(keep(any_store, data[:-1] + b"d"), NameTaken)


def test_a_recording_that_begins_again_has_another_key(any_store):
    """What was written before counts no more, and no key has encrypted two recordings."""
    data = b"abc" * 30_000
    with any_store.recording(KEY) as partial:
        partial.write(b"x" * 200_000)
        before = partial._header
        partial.clear()
        assert partial._header != before
        partial.write(data)
        assert partial.seal() == len(data)
        assert any_store._publish(partial.path, PATH)
    assert b"".join(any_store.read(PATH, key=KEY)) == data


def test_nothing_plain_is_ever_on_the_disk(store, folder):
    """While it is written, neither; a process that is killed leaves what nobody can hear."""
    said = b"what was said in a call, over and over. "
    with store.recording(KEY) as partial:
        partial.write(said * 10_000)
        partial._partial._file.flush()
        assert partial.path.stat().st_size > 300_000
        assert said not in partial.path.read_bytes()


def test_a_short_disk_is_noticed(store):
    """When fewer bytes reached it than came, nothing is published."""
    with store.recording(KEY) as partial:
        partial.write(b"ab")
        with pytest.raises(StoreError, match="2 of 3 bytes"):
            store.publish(partial, PLACE, size=3, sha256=b"")


def test_the_page_says_how_to_read_one_without_this_program(store, folder, tmp_path):
    """Its lines of Python are run as they stand there."""
    page = (ROOT / "docs/recordings.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "decrypt.py").write_text(program)
    for size in (0, 5, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1):
        data = os.urandom(size)
        (folder / PATH).unlink(missing_ok=True)
        keep(store, data)
        arguments = [str(folder / PATH), str(tmp_path / "keys/enigma/2026-10.key")]
        done = subprocess.run([sys.executable, "decrypt.py", *arguments], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout == data
    assert len(program.strip().splitlines()) <= 12


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_a_size_tells_the_other(plain, chunk):
    """And no other size is a file's."""
    layout = Layout(67, chunk)
    assert layout.plain(layout.stored(plain)) == plain
    assert all(
        layout.plain(size) is None or layout.stored(layout.plain(size)) == size
        for size in range(layout.stored(plain) - 40, layout.stored(plain) + 40)
    )


def test_a_month_ends_with_the_next():
    assert end_of("2026-01") == datetime(2026, 2, 1, tzinfo=UTC)
    assert end_of("2028-02") == datetime(2028, 3, 1, tzinfo=UTC)
