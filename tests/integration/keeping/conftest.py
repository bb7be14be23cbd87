"""Calls of two diallers and three campaigns, as old as a test wants them, with the files of their recordings."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from pipeline.keeping.policies import recording_ages
from pipeline.record_ids import first_record
from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.retention import expire
from tests.commands import call
from tests.integration.recording_rows import add_call

SOURCES = ("north", "south")
CAMPAIGNS = ("spring", "autumn", "winter")


class World(NamedTuple):
    """A database, a store, and what a person says to them."""

    engine: Any
    store: RecordingStore
    folder: Any

    def run(self, sql, **values):
        with self.engine.begin() as connection:
            return connection.execute(text(sql), values)

    def rows(self, sql, **values):
        return [tuple(row) for row in self.run(sql, **values)]

    def command(self, *words, **settings):
        env = {**os.environ, "DATABASE_URL": self.engine.url.render_as_string(hide_password=False)}
        env |= {"RECORDINGS_URL": self.folder.as_uri(), "ENIGMA_SOURCE": "north"}
        return call(*words, env=env | settings)

    def keeping(self, *words, **settings):
        because = ["--because", "contract 5"] if words[0] not in {"show", "holds"} else []
        return self.command("keeping", *words, *because, **settings)

    def set(self, *words, **settings):
        done = self.keeping("set", *words, "--yes", **settings)
        assert done.returncode == 0, done.stderr
        return done

    def rules(self):
        return self.rows("SELECT kind, source, campaign_ref, keep_at_least, keep_at_most, forever FROM keeping")

    def expire(self, days=None):
        """Apply retention; returns the calls whose files went."""
        before = self.kept()
        done = expire(self.engine, self.store, lambda connection: recording_ages(connection, default_days=days))
        assert done.undeleted == 0, done.example
        assert self.kept() == self.marked_as_kept()
        return sorted(before - self.kept())

    def kept(self):
        return {path.stem for path in self.folder.rglob("*.wav")}

    def marked_as_kept(self):
        return {ref for (ref,) in self.rows("SELECT call_ref FROM recordings WHERE deleted_at IS NULL")}

    def age(self, call_ref, days):
        """Let a call be dialled so many days ago."""
        for table in ("calls", "recordings"):
            self.run(
                f"UPDATE {table} SET dialed_at = now() - make_interval(days => :days) WHERE call_ref = :ref",
                days=days, ref=call_ref,
            )  # fmt: skip


def add(world, call_id, call_ref, *, source, campaign, days, number=None, recorded=True):
    """A call, so many days old; its recording is stored."""
    with world.engine.begin() as connection:
        add_call(connection, call_id, call_ref, source=source)
        connection.execute(
            text("UPDATE calls SET campaign_ref = :campaign, client_number = :number WHERE id = :id"),
            {"campaign": campaign, "number": number, "id": call_id},
        )
        if recorded:
            _store(connection, world, call_id, call_ref, source)
    world.age(call_ref, days)


def _store(connection, world, call_id, call_ref, source):
    content = f"audio of {call_ref}".encode()
    path = world.folder / source / f"{call_ref}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    connection.execute(
        text(
            "INSERT INTO recordings (call_id, source, call_ref, state, path, size_bytes, sha256, ended_at) "
            "VALUES (:id, :source, :ref, 'stored', :path, :size, :sha256, now())"
        ),
        {
            "id": call_id,
            "source": source,
            "ref": call_ref,
            "path": f"{source}/{call_ref}.wav",
            "size": len(content),
            "sha256": hashlib.sha256(content).digest(),
        },
    )


@pytest.fixture
def bare(engine, tmp_path):
    """A world without calls."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    return World(engine, RecordingStore(folder.as_uri()), folder)


@pytest.fixture
def world(bare):
    """One of each dialler and campaign 40 days old, called by both names, and one of each dialler from today."""
    for place, source in enumerate(SOURCES):
        bare.run(
            "INSERT INTO batches (claim, source, records, due_at) VALUES (gen_random_uuid(), :source, 9, now())",
            source=source,
        )
        for nth, campaign in enumerate(CAMPAIGNS):
            at = first_record(1 + place) + nth
            add(bare, at, f"{source}-{campaign}", source=source, campaign=campaign, days=40)
        add(bare, first_record(1 + place) + 8, f"{source}-new", source=source, campaign="spring", days=0)
    return bare


def told(done):
    """What a command wrote as JSON."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
