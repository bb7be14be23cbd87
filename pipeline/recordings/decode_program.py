"""A program of its own: audio from standard input, as 16-bit PCM in a WAV file to standard output; both are files.

libsndfile is C and reads what a dialler has sent. A file that makes it crash, hang or ask for memory ends this process,
and whoever started it goes on.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from typing import Final

FRAMES: Final = 16 * 1024
MEMORY_BYTES: Final = 1024 * 1024 * 1024
SAMPLE_BYTES: Final = 2
TOO_LONG: Final = 4
NO_AUDIO: Final = 5


def _bound(cpu_seconds: int, file_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in limits.items():
        # Where a supervisor forbids it, whoever started this still ends it in time.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))


def decode(most_bytes: int) -> int:
    """Decode standard input; returns the code to exit with.

    Args:
        most_bytes: what the decoded audio may come to.
    """
    import soundfile  # noqa: PLC0415 - once the bounds stand

    try:
        with soundfile.SoundFile(sys.stdin.fileno(), closefd=False) as coded:
            frame_bytes = SAMPLE_BYTES * coded.channels
            part = bytearray(FRAMES * frame_bytes)
            left = most_bytes // frame_bytes
            with soundfile.SoundFile(
                sys.stdout.fileno(), "w", coded.samplerate, coded.channels, "PCM_16", format="WAV", closefd=False
            ) as plain:
                while frames := coded.buffer_read_into(part, dtype="int16"):
                    left -= frames
                    if left < 0:
                        return TOO_LONG
                    plain.buffer_write(memoryview(part)[: frames * frame_bytes], dtype="int16")
    except soundfile.SoundFileError as error:
        sys.stderr.write(f"{error}\n")
        return NO_AUDIO
    return 0


if __name__ == "__main__":
    _bound(int(sys.argv[1]), 2 * int(sys.argv[2]))
    sys.exit(decode(int(sys.argv[2])))
