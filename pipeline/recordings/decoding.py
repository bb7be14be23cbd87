"""Recordings as PCM, which every browser plays; those of the dialler are GSM, which none does.

A file is decoded as a whole before a byte of it is given away: GSM cannot be read from the middle, and whether all of
it is audio is known at its end only. What was decoded is kept for a while: a player that seeks asks again and again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from typing import IO, TYPE_CHECKING, Final

from pipeline.errors import AwayError, PipelineError, cut
from pipeline.recordings import decode_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORED_BYTES: Final = 256 * 1024 * 1024
"""The largest stored file that is decoded."""

DECODED_BYTES: Final = 256 * 1024 * 1024
"""The most that it may come to: four and a half hours of the dialler's audio."""

SECONDS: Final = 30
"""How long decoding one may take; an hour of the dialler's audio takes two or three."""

AT_ONCE: Final = 2
KEPT: Final = 4
KEPT_SECONDS: Final = 120.0

_PART_BYTES: Final = 256 * 1024


class BrokenAudioError(PipelineError):
    """What is stored cannot be decoded; its text says why."""


class BusyError(AwayError):
    """Others are being decoded, for longer than one can wait."""


class Pcm:
    """A WAV file with PCM in it, in a file without a name, which is gone once nobody holds this.

    Args:
        file: the file; it may be closed.
        at: when it was decoded, by the clock of its decoder.
    """

    def __init__(self, file: IO[bytes], at: float) -> None:
        self._file = os.dup(file.fileno())
        self.size = os.fstat(self._file).st_size
        self.at = at
        weakref.finalize(self, os.close, self._file)

    def read(self, first: int, length: int) -> Iterator[bytes]:
        """Some of its bytes, a part at a time; several may read at once."""
        while length and (part := os.pread(self._file, min(length, _PART_BYTES), first)):
            yield part
            first += len(part)
            length -= len(part)


class Decoder:
    """Decodes recordings, each in a process of its own, a few at a time; for any number of threads.

    Args:
        seconds: how long one may take.
        decoded_bytes: the most it may come to.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        seconds: int = SECONDS,
        decoded_bytes: int = DECODED_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._decoded_bytes = decoded_bytes
        self._clock = clock
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._kept: dict[bytes, Pcm] = {}

    def decoded(self, key: bytes, stored: Callable[[], Iterator[bytes]]) -> Pcm:
        """A recording as PCM.

        Args:
            key: its SHA-256.
            stored: its bytes, as they are stored and compared with it.

        Raises:
            BrokenAudioError: it cannot be decoded.
            BusyError: too many others are.
        """
        if (kept := self._known(key)) is not None:
            return kept
        if not self._turns.acquire(timeout=self._seconds):
            raise BusyError("other recordings are being decoded: try again in a moment")
        try:
            if (kept := self._known(key)) is None:
                kept = self._keep(key, self._decode(stored()))
            return kept
        finally:
            self._turns.release()

    def tidy(self) -> None:
        """Let go what was decoded a while ago: a deleted recording is not kept here either."""
        with self._lock:
            self._drop_old()

    def _known(self, key: bytes) -> Pcm | None:
        with self._lock:
            self._drop_old()
            return self._kept.get(key)

    def _keep(self, key: bytes, pcm: Pcm) -> Pcm:
        with self._lock:
            self._kept[key] = pcm
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return pcm

    def _drop_old(self) -> None:
        now = self._clock()
        for key in [key for key, pcm in self._kept.items() if now - pcm.at > KEPT_SECONDS]:
            del self._kept[key]

    def _decode(self, parts: Iterator[bytes]) -> Pcm:
        with tempfile.TemporaryFile() as coded, tempfile.TemporaryFile() as plain:
            _write(coded, parts)
            self._run(coded, plain)
            return Pcm(plain, self._clock())

    def _run(self, coded: IO[bytes], plain: IO[bytes]) -> None:
        # By its path, and isolated: it is two imports, and none of this project's.
        program = [sys.executable, "-I", decode_program.__file__, str(self._seconds), str(self._decoded_bytes)]
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                program,
                stdin=coded,
                stdout=plain,
                stderr=subprocess.PIPE,
                timeout=self._seconds,
                check=False,
                env={"OPENBLAS_NUM_THREADS": "1"},  # numpy comes with soundfile, and takes memory by the core
            )
        except subprocess.TimeoutExpired:
            raise BrokenAudioError(f"it took longer than {self._seconds} s to decode") from None
        if done.returncode:
            raise BrokenAudioError(self._why(done))

    def _why(self, done: subprocess.CompletedProcess[bytes]) -> str:
        if done.returncode == decode_program.TOO_LONG:
            return f"it comes to more than {self._decoded_bytes // 2**20} MiB when it is decoded"
        if done.returncode == decode_program.NO_AUDIO:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            return f"it is no audio that can be decoded ({cut(said[-1] if said else 'no reason given')})"
        return f"its decoder ended with code {done.returncode}"


def _write(coded: IO[bytes], parts: Iterator[bytes]) -> None:
    size = 0
    for part in parts:
        size += len(part)
        if size > STORED_BYTES:
            raise BrokenAudioError(f"it has more than {STORED_BYTES // 2**20} MiB, which is too much to decode")
        coded.write(part)
    coded.flush()
    coded.seek(0)
