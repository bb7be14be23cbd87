import struct

from pipeline.sandbox.audio import recording_body


def test_a_body_is_the_same_each_time_and_another_for_another_call():
    assert recording_body(845, 60) == recording_body(845, 60)
    assert recording_body(845, 60) != recording_body(846, 60)


def test_a_body_grows_with_the_call_and_stays_small():
    sizes = [len(recording_body(1, seconds)) for seconds in (5, 60, 1800)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] > 2000
    assert sizes[-1] < 150_000


def test_a_body_is_a_riff_of_its_own_length_that_says_gsm():
    """The header of Asterisk's WAV: format 0x31, one channel, 8 kHz."""
    for seconds in (5, 6):  # an odd and an even number of bytes
        body = recording_body(845, seconds)
        assert (body[:4], body[8:16]) == (b"RIFF", b"WAVEfmt ")
        assert struct.unpack("<I", body[4:8])[0] == len(body) - 8
        assert struct.unpack("<HHI", body[20:28]) == (0x31, 1, 8000)
