"""The keys that recordings are encrypted with: made once, read by whoever may, and destroyed for good."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pipeline.recordings import keys as module
from pipeline.recordings.keys import KeyDestroyedError, RecordingKeys
from pipeline.recordings.rules.encrypted import CannotDecryptError, KeyName
from pipeline.recordings.store_trouble import StoreError
from pipeline.settings import Settings, SettingsError, load_settings, recording_keys

NAME = KeyName("enigma", "2026-10")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "keys"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def keys(folder):
    return RecordingKeys(folder.as_uri())


@pytest.fixture(params=["file", "memory"])
def any_keys(request, folder):
    return RecordingKeys(folder.as_uri() if request.param == "file" else f"memory://{uuid.uuid4()}/keys")


def test_a_key_is_made_once(any_keys):
    """Random, 32 bytes, another each month and dialler, and the same for all that come later."""
    key = any_keys.to_write(NAME)
    assert len(key) == 32
    assert any_keys.to_write(NAME) == any_keys.to_read(NAME) == key
    others = [any_keys.to_write(KeyName("enigma", "2026-11")), any_keys.to_write(KeyName("north", "2026-10"))]
    assert len({key, *others}) == 3
    assert [each.month for each in any_keys.of("enigma")] == ["2026-10", "2026-11"]
    assert all(each.created_at is not None and each.destroyed_at is None for each in any_keys.of("enigma"))
    assert any_keys.of("nobody") == []


def test_nobody_else_may_read_it(keys, folder):
    """And nothing but the key is left."""
    keys.to_write(NAME)
    assert (folder / "enigma").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (folder / "enigma").iterdir()] == ["2026-10.key"]
    assert (folder / "enigma/2026-10.key").stat().st_mode & 0o777 == 0o600
    assert keys.look() == (None, ())


RACING = """
import sys, time
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import KeyName
keys = RecordingKeys(sys.argv[1])
print("ready", flush=True)
until = float(sys.stdin.readline())
time.sleep(max(0, until - time.time()))
print(keys.to_write(KeyName("enigma", "2026-10")).hex(), flush=True)
"""


def test_processes_that_make_the_first_key_of_a_month_agree(folder):
    """Several at the same instant; each encrypts with what the others read."""
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", RACING, folder.as_uri()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert all(each.stdout.readline() == "ready\n" for each in racing)
    until = time.time() + 0.3
    for each in racing:
        each.stdin.write(f"{until}\n")
        each.stdin.flush()
    made = {each.communicate()[0].strip() for each in racing}
    assert made == {(folder / "enigma/2026-10.key").read_bytes().hex()}


def test_whoever_is_slower_takes_the_key_that_is_there(keys, monkeypatch):
    """Both found none and made one; the name is given once."""
    first = RecordingKeys(f"file://{keys._root}").to_write(NAME)
    read = keys._read
    answers = iter([None])
    monkeypatch.setattr(keys, "_read", lambda name: next(answers, None) or read(name))
    assert keys.to_write(NAME) == first


def test_a_key_that_is_missing_is_said_to_be(any_keys):
    with pytest.raises(CannotDecryptError, match=r"^the key of 2026-10 of enigma is not there$"):
        any_keys.to_read(NAME)


def test_a_destroyed_key_is_gone_and_stays_gone(any_keys):
    """Nobody makes another for that month, and whoever asks is told when."""
    any_keys.to_write(NAME)
    any_keys.destroy(NAME)
    assert not any_keys.is_there(NAME)
    with pytest.raises(KeyDestroyedError, match=r"the key of 2026-10 of enigma was destroyed at \d{4}-"):
        any_keys.to_read(NAME)
    with pytest.raises(KeyDestroyedError, match="no recording of that month is kept"):
        any_keys.to_write(NAME)
    [found] = any_keys.of("enigma")
    assert (found.month, found.created_at) == ("2026-10", None)
    when = found.destroyed_at
    any_keys.destroy(NAME)
    assert any_keys.of("enigma")[0].destroyed_at == when
    assert any_keys.to_write(KeyName("enigma", "2026-11"))


def test_no_second_name_of_it_is_left(keys, folder):
    """A process that was killed while it made the key has left one."""
    code = f"""
import os
from pipeline.recordings import keys
keys.link = lambda new, path: (os.link(new, path), os._exit(9))
keys.RecordingKeys({folder.as_uri()!r}).to_write(keys.KeyName("enigma", "2026-10"))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list((folder / "enigma").iterdir())) == 2
    assert len(keys.to_write(NAME)) == 32
    keys.destroy(NAME)
    assert [path.name for path in (folder / "enigma").iterdir()] == ["2026-10.destroyed"]


def test_a_key_that_is_there_all_the_same_is_an_error(keys, monkeypatch):
    """A store may say yes and keep it."""
    keys.to_write(NAME)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(StoreError, match="is there all the same"):
        keys.destroy(NAME)


def test_whoever_made_a_key_while_it_was_destroyed_takes_it_back(keys, folder, monkeypatch):
    """They did not see each other: one of them always sees the other."""
    put = module._put_local

    def destroyed_meanwhile(path, content):
        put(path.with_suffix(".destroyed"), b"2026-11-30T12:00:00+00:00\n")
        put(path, content)

    monkeypatch.setattr(module, "_put_local", destroyed_meanwhile)
    with pytest.raises(KeyDestroyedError):
        keys.to_write(NAME)
    assert not (folder / "enigma/2026-10.key").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """Where nothing is mounted a key would be lost with the next mount."""
    keys = RecordingKeys((tmp_path / "none").as_uri())
    for ask in (lambda: keys.to_write(NAME), lambda: keys.to_read(NAME), lambda: keys.of("enigma"), keys.look):
        with pytest.raises(StoreError, match="folder of keys"):
            ask()
    assert not (tmp_path / "none").exists()


def test_no_key_is_made_in_a_folder_without_those_that_are_needed(any_keys):
    """An empty folder is not the one by whose keys recordings are encrypted; one that has the newest is."""
    with pytest.raises(StoreError, match=r"has not the key of 2026-09 of enigma.*is it mounted"):
        any_keys.to_write(NAME, needed="2026-09")
    with pytest.raises(StoreError, match="is it mounted"):
        any_keys.to_write(NAME, needed="2026-10")
    assert any_keys.of("enigma") == []
    any_keys.to_write(KeyName("enigma", "2026-09"))
    assert any_keys.to_write(NAME, needed="2026-09")
    any_keys.destroy(KeyName("enigma", "2026-09"))
    assert any_keys.to_write(KeyName("enigma", "2026-11"), needed="2026-09"), "it knows what became of it"


def test_a_damaged_key_is_nobodys(keys, folder):
    """It would make recordings that nobody can read."""
    keys.to_write(NAME)
    (folder / "enigma/2026-10.key").write_bytes(b"short")
    for ask in (keys.to_read, keys.to_write):
        with pytest.raises(StoreError, match="has 5 bytes, and must have 32"):
            ask(NAME)


def test_what_others_may_read_is_told(keys, folder):
    keys.to_write(NAME)
    (folder / "enigma/2026-10.key").chmod(0o604)
    assert keys.look().open_to_others == (str(folder / "enigma/2026-10.key"),)


def test_no_dialler_leads_out_of_the_folder(keys, folder):
    keys.to_write(KeyName("../..", "2026-10"))
    assert [path.parent.parent for path in folder.rglob("*.key")] == [folder]


def test_keys_must_be_where_a_file_can_be_made_once(tmp_path):
    with pytest.raises(ValueError, match="file://, s3:// or gs://"):
        RecordingKeys("ftp://host/keys")


@pytest.mark.parametrize("inside", ["", "/keys", "/../recordings/x"])
def test_keys_among_the_recordings_are_refused(tmp_path, monkeypatch, inside):
    """Whoever has the store would have its keys; through a link, too."""
    (tmp_path / "recordings").mkdir()
    monkeypatch.setenv("RECORDINGS_URL", (tmp_path / "recordings").as_uri())
    monkeypatch.setenv("RECORDINGS_KEYS_URL", (tmp_path / "recordings").as_uri() + inside)
    with pytest.raises(SettingsError, match="RECORDINGS_KEYS_URL: must not be in RECORDINGS_URL"):
        load_settings()
    (tmp_path / "link").symlink_to(tmp_path / "recordings")
    monkeypatch.setenv("RECORDINGS_KEYS_URL", (tmp_path / "link").as_uri())
    with pytest.raises(SettingsError, match="must not be in RECORDINGS_URL"):
        load_settings()


def test_keys_beside_the_recordings_are_not(tmp_path):
    """Nor in a bucket whose name only begins alike; and without the setting nothing is encrypted."""
    settings = Settings(recordings_url="s3://bucket/calls", recordings_keys_url="s3://bucket/calls-keys")
    assert settings.recordings_keys_url == "s3://bucket/calls-keys"
    with pytest.raises(ValueError, match="must not be in"):
        Settings(recordings_url="s3://bucket/calls", recordings_keys_url="s3://bucket/calls/keys")
    assert recording_keys(Settings(recordings_url=tmp_path.as_uri())) is None
    assert os.environ.get("RECORDINGS_KEYS_URL") is None
