"""How many megabytes a second go into a store and out of it, encrypted and as they come.

    .venv/bin/python tests/bench/encryption.py

One thread, a folder of this machine, the two in turns; the median of the rounds. A recording is written as a download
writes it, synced and published, and read from end to end. A part is 64 KiB from the middle, as a player seeks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pipeline.recordings.file_store import Place, RecordingStore  # noqa: E402
from pipeline.recordings.keys import RecordingKeys  # noqa: E402
from pipeline.recordings.rules.encrypted import KeyName  # noqa: E402

KEY = KeyName("enigma", "2026-10")
PIECE_BYTES = 64 * 1024
PARTS = 50


def main() -> int:
    """Run every size, print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of which the median counts (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdr-bench-") as folder:
        (Path(folder) / "keys").mkdir()
        keys = RecordingKeys((Path(folder) / "keys").as_uri())
        for kilobytes in (480, 20_000):
            print(json.dumps(measure(Path(folder), keys, os.urandom(kilobytes * 1000), options.rounds)))
    return 0


def measure(folder: Path, keys: RecordingKeys, data: bytes, rounds: int) -> dict[str, float]:
    """One size; MB/s to write and to read, and ms for a part."""
    stores = {
        "plain": RecordingStore((folder / "plain").as_uri()),
        "encrypted": RecordingStore((folder / "encrypted").as_uri(), keys=keys),
    }
    seconds: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name, store in stores.items():
            for what, took in once(store, data, f"{len(data)}-{turn}").items():
                seconds.setdefault(f"{name}_{what}", []).append(took)
    found: dict[str, float] = {"kilobytes": len(data) / 1000}
    for name, taken in seconds.items():
        median = statistics.median(taken)
        if name.endswith("part"):
            found[f"{name}_ms"] = round(median * 1000, 3)
        else:
            found[f"{name}_mb_per_s"] = round(len(data) / 1e6 / median, 1)
    return found


def once(store: RecordingStore, data: bytes, call_ref: str) -> dict[str, float]:
    """Seconds of one recording."""
    place, digest = Place("enigma", call_ref, datetime(2026, 10, 2, tzinfo=UTC), ".wav"), hashlib.sha256(data).digest()
    key = KEY if store.encrypts else None
    began = time.perf_counter()
    with store.recording(KEY) as partial:
        for at in range(0, len(data), PIECE_BYTES):
            partial.write(data[at : at + PIECE_BYTES])
        published = store.publish(partial, place, size=len(data), sha256=digest)
    written = time.perf_counter()
    path = store.path_for(place)
    for _ in store.read(path, key=key):
        pass
    read = time.perf_counter()
    for turn in range(PARTS):
        first = len(data) // 2 + turn
        assert sum(map(len, store.read(path, first, PIECE_BYTES, key=key))) == PIECE_BYTES
    ended = time.perf_counter()
    assert published.fresh  # type: ignore[union-attr]
    store.delete(path)
    return {"write": written - began, "read": read - written, "part": (ended - read) / PARTS}


if __name__ == "__main__":
    sys.exit(main())
