"""Bytes that look like a recording of the dialler (contract section 2)."""

from __future__ import annotations

import struct
from random import Random

_RATE = 8000  # samples a second
_FRAME_BYTES, _FRAME_SAMPLES = 65, 320  # a GSM 6.10 frame in a WAV container
_LEAST_FRAMES = 32


def recording_body(call_ref: int, seconds: int) -> bytes:
    """A small RIFF/WAVE file that says it is GSM 6.10, 8 kHz mono, like Asterisk's `WAV`; its audio is noise.

    Args:
        call_ref: decides the noise.
        seconds: of the call; each adds 65 bytes to some 2 KB, far less than real audio would.
    """
    frames = _LEAST_FRAMES + seconds
    audio = Random(call_ref).randbytes(frames * _FRAME_BYTES)
    bytes_a_second = _RATE * _FRAME_BYTES // _FRAME_SAMPLES
    form = struct.pack("<HHIIHHHH", 0x31, 1, _RATE, bytes_a_second, _FRAME_BYTES, 0, 2, _FRAME_SAMPLES)
    chunks = _chunk(b"fmt ", form) + _chunk(b"fact", struct.pack("<I", frames * _FRAME_SAMPLES))
    return _chunk(b"RIFF", b"WAVE" + chunks + _chunk(b"data", audio))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
