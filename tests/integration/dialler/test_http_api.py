"""Every way a dialler can answer, over a real connection, comes back as the right value."""

import contextlib
import hashlib
import io
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dialler.audio_body import audio_extension
from pipeline.dialler.http_api import DiallerApi, retry_after
from pipeline.dialler.rules.answers import (
    Away,
    Broken,
    Fetched,
    FetchResult,
    NoSuchCall,
    NotReady,
    Refused,
    Throttled,
    Unacceptable,
)
from pipeline.recordings.rules.outcome import RetryPolicy, decide
from tests.patience import eventually


def wav(size: int) -> bytes:
    return b"RIFF" + (size - 8).to_bytes(4, "little") + b"WAVEfmt " + bytes(i % 251 for i in range(size - 16))


WAV = wav(100_000)
Answer = Callable[[socket.socket], None]


class ScriptedServer:
    """Answers each request on its own connection with the next part of a script, byte for byte."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[bytes] = []
        self._answers = iter(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request and (chunk := connection.recv(65_536)):
                    request += chunk
                self.requests.append(request)
                with contextlib.suppress(OSError):  # the client had enough
                    self._reply(answer, connection, request)

    def _reply(self, answer: Answer, connection: socket.socket, request: bytes) -> None:
        answer(connection)


def reply(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> Answer:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *headers,
    ]
    return lambda connection: connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def not_found(error: str) -> Answer:
    return reply("404 Not Found", ('{"errors":["%s"]}' % error).encode(), "Content-Type: application/json")  # noqa: UP031


def no_length(*parts: bytes, pause: float = 0.0) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)

    return answer


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[ScriptedServer]:
    with contextlib.closing(ScriptedServer(*answers)) as server:
        yield server


class Memory(io.BytesIO):
    """A sink."""

    def await_size(self, size: int) -> None:
        until = time.monotonic() + 10
        while self.tell() < size and time.monotonic() < until:
            time.sleep(0.01)

    def clear(self) -> None:
        self.seek(0)
        self.truncate()


def fetch(answer: Answer, *, call_ref: str = "845", **options) -> tuple[FetchResult, bytes, ScriptedServer]:
    sink = Memory()
    with (
        serving(answer) as server,
        DiallerApi(f"http://127.0.0.1:{server.port}", source="enigma", **options) as api,
    ):
        return api.fetch(call_ref, sink), sink.getvalue(), server


def test_a_whole_recording_is_fetched():
    """Size and SHA-256 are those of the bytes in the sink, and the extension is the audio's own."""
    result, kept, server = fetch(reply("200 OK", WAV, "Content-Type: application/octet-stream"))
    assert result == Fetched(len(WAV), hashlib.sha256(WAV).digest(), ".wav")
    assert kept == WAV
    assert server.requests[0].startswith(b"GET /calls/recording/845 HTTP/1.1\r\n")
    assert b"\r\nAccept: */*\r\n" in server.requests[0]


def test_a_recording_without_a_length_is_fetched():
    """A body that ends with its connection, in tiny pieces, is whole when its own header agrees."""
    result, kept, _ = fetch(no_length(WAV[:3], WAV[3:5], WAV[5:]))
    assert isinstance(result, Fetched)
    assert kept == WAV


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (not_found("Call Error: Recording not found"), NotReady()),
        (not_found("Call Error: Call ID[845] does not exist"), NoSuchCall()),
        (not_found("Call Error: Call ID[Recording not found] does not exist"), NoSuchCall()),
        (reply("401 Unauthorized"), Refused(401)),
        (reply("403 Forbidden", b"<html>"), Refused(403)),
        (reply("429 Too Many Requests", b"", "Retry-After: 17"), Throttled(429, 17)),
        (reply("429 Too Many Requests"), Throttled(429, None)),
        (reply("429 Too Many Requests", b"", "Retry-After: soon"), Throttled(429, None)),
        (reply("503 Service Unavailable", b"", "Retry-After: 5"), Throttled(503, 5)),
        (
            reply(
                "429 Too Many Requests",
                b"",
                "Date: Mon, 02 Mar 2026 08:00:00 GMT",
                "Retry-After: Mon, 02 Mar 2026 08:02:00 GMT",
            ),
            Throttled(429, 120),
        ),
    ],
)
def test_what_the_dialler_says_is_understood(answer, expected):
    """The two bodies of 404 are told apart, refusals and throttling are known."""
    assert fetch(answer)[:2] == (expected, b"")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply("404 Not Found", b"<html>nginx</html>"), "answered 404"),
        (reply("404 Not Found", b"[" * 60_000), "answered 404"),
        (reply("404 Not Found", b'{"errors":[5,null]}'), "answered 404"),
        (reply("404 Not Found", b'"Recording not found"'), "answered 404"),
        (reply("500 Internal Server Error", b'{"message":"Boom"}'), "answered 500, saying 'boom'"),
        (reply("503 Service Unavailable"), "answered 503"),
        (reply("302 Found", b"", "Location: http://127.0.0.1:9/login"), "answered 302"),
        (reply("204 No Content"), "answered 204"),
        (reply("206 Partial Content", WAV), "answered 206"),
        (reply("200 OK", b"<!DOCTYPE html><html><body>Log in</body></html>"), "no audio"),
        (reply("200 OK", b'{"errors":["Call Error"]}'), "no audio"),
        (reply("200 OK", b"RIFF1234"), "no audio"),
        (reply("200 OK", b""), "empty"),
        (no_length(), "empty"),
        (reply("200 OK", WAV[:5_000], length=len(WAV)), "broke"),
        (reply("200 OK", WAV, length=len(WAV) - 64), "cut off: its header speaks of 100000 bytes, and 99936"),
        (no_length(WAV[:50_000]), "cut off: its header"),
        (reply("200 OK", WAV, "Content-Encoding: gzip"), "encoding"),
        (reset, "broke"),
        (lambda _: None, "broke"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "broke"),
    ],
)
def test_what_is_broken_is_noticed(answer, words):
    """Errors, lies about the length, cut bodies, pages instead of audio: each is a sentence."""
    result, _, _ = fetch(answer)
    assert isinstance(result, Broken)
    assert words in result.reason
    assert result.reason.endswith(".")


def test_nothing_that_is_no_audio_reaches_the_sink():
    """The first bytes are looked at before any is passed on."""
    assert fetch(reply("200 OK", b"<html>" * 100_000))[1] == b""


def test_silence_is_broken():
    """A dialler that stops in the middle is given up on after the read timeout."""
    release = threading.Event()

    def stall(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + WAV[:100])
        release.wait(10)

    sink = Memory()
    with serving(stall) as server:
        url = f"http://127.0.0.1:{server.port}"
        with DiallerApi(url, source="enigma", read_seconds=0.1) as api:
            result = api.fetch("845", sink)
        release.set()
    assert result == Broken("The dialler's API was silent for 0.1 s.")


def test_a_trickle_is_bounded():
    """A dialler that is slow for ever, but never silent, is given up on after the total time."""
    parts = [WAV[i * 100 : i * 100 + 100] for i in range(100)]
    result, _, _ = fetch(no_length(*parts, pause=0.01), total_seconds=0.2)
    assert result == Broken("The recording did not come within 0.2 s.")


@pytest.mark.parametrize("answer", [reply("200 OK", WAV), no_length(WAV)])
def test_too_large_is_unacceptable(answer):
    """More than the limit is refused, announced or not, and the sink never holds more."""
    result, kept, _ = fetch(answer, size_limit=50_000)
    assert isinstance(result, Unacceptable)
    assert len(kept) <= 50_000


def test_a_refused_connection_is_an_outage():
    """Nobody listening is the dialler's matter, not the recording's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with DiallerApi(f"http://127.0.0.1:{port}", source="enigma") as api:
        result = api.fetch("845", Memory())
    assert isinstance(result, Away)
    assert "refused" in result.reason


def test_the_sinks_own_error_passes_through():
    """A full disk is not mistaken for a broken dialler."""

    class Full:
        def write(self, data: bytes, /) -> None:
            raise OSError(28, "No space left on device")

    with (
        serving(reply("200 OK", WAV)) as server,
        DiallerApi(f"http://127.0.0.1:{server.port}", source="enigma") as api,
        pytest.raises(OSError, match="No space left"),
    ):
        api.fetch("845", Full())


@pytest.mark.parametrize(
    ("call_ref", "segment"),
    [
        ("../../x", b"%2E%2E%2F%2E%2E%2Fx"),
        ("..", b"%2E%2E"),
        (".", b"%2E"),
        ("a b?c#d%2e\r\nHost: evil", b"a%20b%3Fc%23d%252e%0D%0AHost%3A%20evil"),
        ("ü\x00", b"%C3%BC%00"),
    ],
)
def test_a_hostile_call_ref_stays_one_segment(call_ref, segment):
    """Whatever a call_ref holds, it is asked for below the recordings and nowhere else."""
    _, _, server = fetch(not_found("Call Error: Recording not found"), call_ref=call_ref)
    assert server.requests[0].split(b"\r\n")[0] == b"GET /calls/recording/" + segment + b" HTTP/1.1"


def test_credentials_are_sent_and_never_shown(caplog):
    """A password in the base URL becomes basic authentication, and is in no log and no reason."""
    caplog.set_level(logging.DEBUG)
    with serving(reply("500 Internal Server Error")) as server:
        url = f"http://user:hunter2@127.0.0.1:{server.port}/proxy/"
        with DiallerApi(url, source="enigma") as api:
            result = api.fetch("845", Memory())
    assert b"GET /proxy/calls/recording/845 " in server.requests[0]
    assert b"Authorization: Basic dXNlcjpodW50ZXIy" in server.requests[0]
    assert "hunter2" not in caplog.text + repr(result)


def test_threads_share_one_client():
    """Several threads fetch at once over one pool, each its own bytes."""
    results: list[FetchResult] = []
    with (
        serving(*[reply("200 OK", WAV)] * 8) as server,
        DiallerApi(f"http://127.0.0.1:{server.port}", source="enigma", connections=4) as api,
    ):
        threads = [threading.Thread(target=lambda: results.append(api.fetch("845", Memory()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == [Fetched(len(WAV), hashlib.sha256(WAV).digest(), ".wav")] * 8


OTHER = wav(len(WAV))[:-1] + b"x"


class RangeServer(ScriptedServer):
    """Answers each request with the next part of a script, which sees what was asked."""

    def __init__(self, *parts: "File | Answer") -> None:
        self._parts = parts
        super().__init__(*(lambda _: None for _ in parts))

    def _reply(self, answer: Answer, connection: socket.socket, request: bytes) -> None:
        part = self._parts[len(self.requests) - 1]
        chosen = part(request) if isinstance(part, File) else part
        chosen(connection)


class File:
    """A recording on a server with ranges (RFC 9110, 14), and where this answer breaks off.

    Args:
        sends: after so many bytes of the body the answer ends.
        ending: what happens to the connection then, before it is closed.
        promises: the most bytes a partial answer speaks of.
        pause: seconds before each thousand bytes.
        content_range: what a partial answer says instead of the truth; empty: nothing.
        obeys: of `Range` and `If-Range`, the headers it goes by.
        headers: of every answer.
    """

    def __init__(
        self,
        body: bytes = WAV,
        *,
        sends: int | None = None,
        ending: Answer = lambda _: None,
        promises: int | None = None,
        pause: float = 0.0,
        content_range: str | None = None,
        obeys: tuple[str, ...] = ("Range", "If-Range"),
        headers: tuple[str, ...] = ("Accept-Ranges: bytes", 'ETag: "1"'),
    ) -> None:
        self._body, self._sends, self._ending, self._promises, self._pause = body, sends, ending, promises, pause
        self._content_range, self._obeys, self._headers = content_range, obeys, headers

    def __call__(self, request: bytes) -> Answer:
        body, lines = self._body, ["HTTP/1.1 200 OK"]
        start = self._start(request)
        if start is not None:
            body = body[start:][: self._promises]
            true = f"bytes {start}-{start + len(body) - 1}/{len(self._body)}"
            said = true if self._content_range is None else self._content_range
            lines = ["HTTP/1.1 206 Partial Content", *([f"Content-Range: {said}"] if said else [])]
        lines += [f"Content-Length: {len(body)}", *self._headers, "", ""]
        return lambda connection: self._send(connection, "\r\n".join(lines).encode(), body[: self._sends])

    def _start(self, request: bytes) -> int | None:
        asked, only_if = header(request, "Range"), header(request, "If-Range")
        if asked is None or "Range" not in self._obeys:
            return None
        if only_if is not None and "If-Range" in self._obeys and f"ETag: {only_if}" not in self._headers:
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(head)
        for start in range(0, len(body), 1_000):
            time.sleep(self._pause)
            connection.sendall(body[start : start + 1_000])
        self._ending(connection)


def stall(connection: socket.socket) -> None:
    connection.recv(1)  # until the client leaves


def header(request: bytes, name: str) -> str | None:
    found = re.search(rf"^{name}: (.*)\r$", request.decode(), re.MULTILINE)
    return found[1] if found else None


def asked(server: ScriptedServer) -> list[str | None]:
    return [header(request, "Range") for request in server.requests]


def fetch_ranges(
    *parts: File | Answer, sink: Memory | None = None, **options
) -> tuple[FetchResult, bytes, RangeServer]:
    sink = sink or Memory()
    with (
        contextlib.closing(RangeServer(*parts)) as server,
        DiallerApi(f"http://127.0.0.1:{server.port}", source="enigma", **options) as api,
    ):
        return api.fetch("845", sink), sink.getvalue(), server


def whole(body: bytes = WAV) -> Fetched:
    return Fetched(len(body), hashlib.sha256(body).digest(), ".wav")


@pytest.mark.parametrize("ending", [lambda _: None, reset, stall], ids=["close", "reset", "stall"])
def test_a_broken_transfer_goes_on_where_it_broke(ending):
    """However it broke, only the rest is asked for, and the file is the same as in one piece."""
    sink = Memory()

    def end(connection: socket.socket) -> None:
        sink.await_size(30_000)  # a reset may overtake what was sent
        ending(connection)

    result, kept, server = fetch_ranges(File(sends=30_000, ending=end), File(), sink=sink, read_seconds=1.0)
    assert (result, kept) == (whole(), WAV)
    assert asked(server) == [None, "bytes=30000-"]
    assert header(server.requests[1], "If-Range") == '"1"'


@pytest.mark.parametrize("sends", [1, 15, 16, 17, len(WAV) - 1])
def test_a_transfer_may_break_anywhere(sends):
    """Before its first bytes were enough to know it by, or before the last: nothing is lost or doubled."""
    result, kept, server = fetch_ranges(File(sends=sends), File())
    assert (result, kept) == (whole(), WAV)
    assert asked(server) == [None, f"bytes={sends}-"]


def test_a_transfer_that_broke_before_its_body_is_asked_for_anew():
    """Where nothing came there is no rest to ask for."""
    result, kept, server = fetch_ranges(File(sends=0), File())
    assert (result, kept) == (whole(), WAV)
    assert asked(server) == [None, None]


def test_a_transfer_may_break_three_times():
    """The last request that the bound allows may bring the rest."""
    result, kept, server = fetch_ranges(*[File(sends=20_000)] * 3, File())
    assert (result, kept) == (whole(), WAV)
    assert asked(server) == [None, "bytes=20000-", "bytes=40000-", "bytes=60000-"]


@pytest.mark.parametrize("part", [File(sends=10), File(sends=20_000), reset])
def test_a_transfer_that_breaks_more_often_is_broken(part):
    """The bound is one of requests, whatever each of them brought."""
    result, _, server = fetch_ranges(File(sends=10), *[part] * 9)
    assert isinstance(result, Broken)
    assert "broke" in result.reason
    assert len(server.requests) == 4


@pytest.mark.parametrize("headers", [(), ("Accept-Ranges: none",), ('ETag: "1"',)])
def test_without_ranges_a_broken_body_is_a_failed_try(headers):
    """The dialler itself has none: it is asked once."""
    result, _, server = fetch_ranges(File(sends=30_000, headers=headers), File())
    assert isinstance(result, Broken)
    assert "broke" in result.reason
    assert len(server.requests) == 1


def test_a_part_may_be_shorter_than_asked():
    """A server may send less than the rest; what is missing is asked for."""
    result, kept, server = fetch_ranges(File(sends=30_000), File(promises=20_000), File())
    assert (result, kept) == (whole(), WAV)
    assert asked(server) == [None, "bytes=30000-", "bytes=50000-"]


@pytest.mark.parametrize("body", [WAV, OTHER, wav(60_000)])
def test_a_whole_answer_begins_anew(body):
    """A server that ignores the range sends everything, and nothing of what came before is kept."""
    result, kept, server = fetch_ranges(File(sends=70_000), File(body, obeys=()))
    assert (result, kept) == (whole(body), body)
    assert asked(server) == [None, "bytes=70000-"]


def test_what_a_whole_answer_says_holds_from_then_on():
    """After a restart the rest is asked for by the new tag, and no more where the new answer has no ranges."""
    changed = ("Accept-Ranges: bytes", 'ETag: "2"')
    result, kept, server = fetch_ranges(
        File(sends=70_000), File(OTHER, headers=changed, sends=20_000), File(OTHER, headers=changed)
    )
    assert (result, kept) == (whole(OTHER), OTHER)
    assert header(server.requests[2], "If-Range") == '"2"'
    assert asked(server) == [None, "bytes=70000-", "bytes=20000-"]
    result, _, server = fetch_ranges(File(sends=70_000), File(headers=(), sends=20_000), File())
    assert isinstance(result, Broken)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "part",
    [
        reply("416 Range Not Satisfiable", b"", "Content-Range: bytes */100000"),
        File(OTHER, content_range="bytes 29999-99999/100000"),
        File(OTHER, content_range="bytes 0-99999/100000"),
        File(OTHER, content_range="bytes 30000-99999/100001"),
        File(OTHER, content_range="bytes 30000-99999/*"),
        File(OTHER, content_range="bytes 30000-100000/100000"),
        File(OTHER, content_range="bytes 30000-29999/100000"),
        File(OTHER, content_range="bytes */100000"),
        File(OTHER, content_range=""),
        File(OTHER, headers=('ETag: "2"',), obeys=("Range",)),
    ],
)
def test_what_is_not_the_rest_is_not_joined(part):
    """416, another offset or size, or another tag: it is asked for from its first byte, within the same bound."""
    result, kept, server = fetch_ranges(File(sends=30_000), part, File())
    assert (result, kept) == (whole(), WAV)
    assert asked(server) == [None, "bytes=30000-", None]
    result, kept, server = fetch_ranges(File(sends=30_000), part, File(sends=30_000), part, File())
    assert isinstance(result, Broken)
    assert "not with the rest" in result.reason
    assert (kept, len(server.requests)) == (b"", 4)


def test_a_recording_that_changed_is_fetched_anew():
    """The tag goes with the request, so that a server with ranges sends the new recording whole."""
    changed = File(OTHER, headers=("Accept-Ranges: bytes", 'ETag: "2"'))
    result, kept, server = fetch_ranges(File(sends=30_000), changed)
    assert (result, kept) == (whole(OTHER), OTHER)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (('ETag: "1"', "Last-Modified: Mon, 02 Mar 2026 08:00:00 GMT"), '"1"'),
        (('ETag: W/"1"', "Last-Modified: Mon, 02 Mar 2026 08:00:00 GMT"), "Mon, 02 Mar 2026 08:00:00 GMT"),
        (('ETag: W/"1"',), None),
        ((), None),
    ],
)
def test_the_rest_is_asked_for_by_the_strongest_tag(tags, expected):
    """A strong ETag, else the time of the last change; a weak one is never sent."""
    headers = ("Accept-Ranges: bytes", *tags)
    result, kept, server = fetch_ranges(File(sends=30_000, headers=headers), File(headers=headers, obeys=("Range",)))
    assert (result, kept) == (whole(), WAV)
    assert header(server.requests[1], "If-Range") == expected


def test_a_refusal_in_the_middle_is_one():
    """An answer about something else than the rest means what it always means."""
    assert fetch_ranges(File(sends=30_000), reply("401 Unauthorized"))[0] == Refused(401)
    assert fetch_ranges(File(sends=30_000), not_found("Call Error: Recording not found"))[0] == NotReady()


def late(connection: socket.socket) -> None:
    time.sleep(1.2)
    reply("401 Unauthorized")(connection)


@pytest.mark.parametrize(
    "parts",
    [
        [File(sends=30_000, ending=stall)] * 4,
        [File(sends=30_000), File(pause=0.03)],
        [File(sends=30_000), late],
    ],
)
def test_the_time_is_that_of_all_requests(parts):
    """Silence, a trickle or a late answer to the second request: the recording has its total time once."""
    began = time.monotonic()
    result, _, server = fetch_ranges(*parts, read_seconds=3.0 if len(parts) == 2 else 0.6, total_seconds=1.0)
    assert result == Broken("The recording did not come within 1 s.")
    assert time.monotonic() - began < 3
    assert len(server.requests) == 2


def test_the_limit_of_size_is_that_of_the_whole():
    """A rest that does not end where it said is cut at the limit."""
    endless = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 30000-99999/100000\r\n\r\n" + WAV * 2
    result, kept, _ = fetch_ranges(
        File(sends=30_000), lambda connection: connection.sendall(endless), size_limit=len(WAV)
    )
    assert isinstance(result, Unacceptable)
    assert len(kept) <= len(WAV)


def test_a_rest_that_is_too_long_is_broken():
    """More than the whole had is no recording, however it was put together."""
    long = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 30000-99999/100000\r\n\r\n" + WAV
    result, _, _ = fetch_ranges(File(sends=30_000), lambda connection: connection.sendall(long))
    assert result == Broken("The recording was cut off: 130000 of 100000 bytes came.")


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (wav(44)[:16], ".wav"),
        (b"RF64\xff\xff\xff\xffWAVEds64", ".wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", None),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00", ".mp3"),
        (b"\xff\xfb\x90\x64" + b"\x00" * 12, ".mp3"),
        (b"\xff\xf3\x18\xc4" + b"\x00" * 12, ".mp3"),
        ("{'a': 1}".encode("utf-16"), None),
        ("<html>".encode("utf-16"), None),
        (b"OggS\x00\x02", ".ogg"),
        (b"fLaC\x00\x00", ".flac"),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_audio_is_told_by_its_first_bytes(head, extension):
    """Known audio is named by its extension, pages and other files are not."""
    assert audio_extension(head) == extension


@given(st.binary(max_size=32))
def test_sniffing_is_total(head):
    """No bytes make the look at them fail, and text is never taken for audio."""
    extension = audio_extension(head)
    assert extension is None or head[0] > 127 or head[:4] in {b"RIFF", b"RF64", b"OggS", b"fLaC"} or head[:3] == b"ID3"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def dripping(start: bytes, drip: bytes) -> Answer:
    """Sends a beginning, and then the same again and again, for as long as anybody listens."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            connection.sendall(drip)
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b"HTTP/1.1 200 ", b"O"),
        dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-Many: x\r\n"),
        dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\nX-Long: x\r\n\r\n"),
    ],
    ids=["status line", "a header", "headers", "103", "100"],
)
def test_a_head_that_drips_is_given_up_on(answer):
    """Neither single bytes nor interim answers buy time: the head of the answer has that of one silence, altogether."""
    began = time.monotonic()
    result, kept, server = fetch(answer, read_seconds=0.4, total_seconds=5.0)
    assert result == Broken("The dialler's API gave no answer within 0.4 s.")
    assert time.monotonic() - began < 2
    assert (kept, len(server.requests)) == (b"", 1)


@pytest.mark.parametrize(
    "answer",
    [
        dripping(CHUNKED + b"10;", b"x"),
        dripping(CHUNKED + b"%x\r\n" % len(WAV) + WAV + b"\r\n0\r\n", b"X-Trailer: x\r\n"),
        dripping(CHUNKED + b"%x\r\n" % len(WAV) + WAV + b"\r\n0\r\nX-Trailer: ", b"x"),
        dripping(HEAD + b"\r\n" + WAV[:100], b"x"),
        dripping(b"HTTP/1.1 404 Not Found\r\nContent-Length: 60000\r\n\r\n", b" "),
        dripping(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x"),
    ],
    ids=["chunk extension", "trailers", "a trailer", "body", "error body", "error's chunk extension"],
)
def test_an_answer_that_drips_ends_with_the_deadline(answer):
    """Whatever part of it drips, the whole exchange has one deadline, which is asked for at the socket."""
    began = time.monotonic()
    result, _, server = fetch(answer, read_seconds=3.0, total_seconds=0.6)
    assert isinstance(result, Broken)
    assert "within 0.6 s" in result.reason
    assert time.monotonic() - began < 2
    assert len(server.requests) == 1


def test_a_storm_of_interim_answers_is_cut_off():
    """They are bounded in bytes as well, so that they cannot keep a core busy until the deadline."""

    def storm(connection: socket.socket) -> None:
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000
        sent.clear()
        with contextlib.suppress(OSError):
            for _ in range(2_000):
                connection.sendall(hints)
                sent.append(len(hints))

    sent: list[int] = []
    result, _, _ = fetch(storm, read_seconds=20.0)
    assert result == Broken("The dialler's API sent 262144 bytes, and no answer among them.")
    assert sum(sent) < 20_000_000


def test_a_few_interim_answers_do_no_harm():
    """They are passed over, and the recording comes."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 20)
        reply("200 OK", WAV)(connection)

    assert fetch(answer)[:2] == (whole(), WAV)


def test_a_tls_handshake_that_drips_ends():
    """An encrypted connection is bounded before there is any HTTP on it."""
    began = time.monotonic()
    with serving(dripping(b"\x16\x03\x03\x40\x00", b"x")) as server:
        url = f"https://127.0.0.1:{server.port}"
        with DiallerApi(url, source="enigma", connect_seconds=0.5) as api:
            result = api.fetch("845", Memory())
    assert isinstance(result, Away)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Retry-After: Mon, 02 Mar 99999999999999999999 08:00:00 GMT"], None),
        (["Retry-After: Mon, 02 Mar 2026 08:00:00 +99999999999999"], None),
        (["Retry-After: Mon, 02 Mar 2026 99999999999999999999:00:00 GMT"], None),
        (["Retry-After: 99999999999999999999 Mar 2026 08:00:00 GMT"], None),
        (["Retry-After: " + "9" * 400], None),
        (["Retry-After: -5"], None),
        (["Retry-After: 1e400"], None),
        (["Retry-After: \u0665"], None),
        (["Retry-After: Mon, 01 Jan 0001 00:00:00 -0000"], 0),
    ],
)
def test_an_absurd_retry_after_is_judged(headers, expected):
    """What is no number and no moment says nothing; a moment long past asks for no wait."""
    assert fetch(reply("429 Too Many Requests", b"", *headers))[0] == Throttled(429, expected)


@pytest.mark.parametrize("date", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "yesterday", "\xff"])
def test_an_absurd_date_is_passed_over(date):
    """Then the moment is measured against our own clock."""
    asked_for = "Retry-After: Mon, 02 Mar 2099 08:00:00 GMT"
    result = fetch(reply("429 Too Many Requests", b"", f"Date: {date}", asked_for))[0]
    assert isinstance(result, Throttled)
    assert result.retry_after is not None
    assert result.retry_after > 86_400


@pytest.mark.parametrize(
    "headers",
    [
        ["Retry-After: 999999999999999999"],
        ["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"],
        ["Date: Mon, 01 Jan 0001 00:00:00 GMT", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"],
    ],
)
def test_a_retry_after_in_the_far_future_is_capped(headers):
    """No dialler can make its recordings wait for longer than an hour without being asked again."""
    result = fetch(reply("503 Service Unavailable", b"", *headers))[0]
    decision = decide(result, attempts=0, age_seconds=0.0, policy=RetryPolicy(), chance=0.5)
    assert decision.pause_seconds == 3_600
    assert decision.wait_seconds is not None
    assert decision.wait_seconds < 2 * 3_600


@given(st.text(), st.none() | st.text())
def test_any_retry_after_is_judged(asked, date):
    """No text in either header raises."""
    seconds = retry_after(asked, date)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"errors":["Call Error: Recording not found"],"campaign":"Zoë"}'.encode("latin-1"), NotReady()),
        ('{"errors":["Zoë: Call ID[845] does not exist"]}'.encode("latin-1"), NoSuchCall()),
        (b'\xff\xfe{"errors":[]}', Broken("The dialler's API answered 404.")),
        (b'{"errors":["\xff\xfe"]}', Broken("The dialler's API answered 404, saying '\ufffd\ufffd'.")),
        (b'{"errors":["\\ud800"]}', Broken("The dialler's API answered 404.")),
        (b'{"errors":[1e999999]}', Broken("The dialler's API answered 404.")),
    ],
)
def test_an_error_body_in_another_encoding_is_judged(body, expected):
    """What can be understood of it is; the rest is one broken try."""
    assert fetch(reply("404 Not Found", body))[0] == expected


def test_the_dialler_leaves_no_cookies_behind():
    """What it would have us send back could only grow."""
    cookie = reply("500 Internal Server Error", b"", "Set-Cookie: a=" + "x" * 1_000 + "; Max-Age=" + "9" * 60)
    with (
        serving(cookie, cookie) as server,
        DiallerApi(f"http://127.0.0.1:{server.port}", source="enigma") as api,
    ):
        assert {type(api.fetch("845", Memory())) for _ in range(2)} == {Broken}
    assert header(server.requests[1], "Cookie") is None


HEADERS = ("Location", "Set-Cookie", "Content-Encoding", "Content-Type", "Connection", "Upgrade", "Content-Range")
VALUES = ("", "\xff\xfe", "http://[::1", "http://x:99999999/", "x" * 60_000, "a=b; expires=9" * 99, "9" * 400)
STATUSES = ("200 OK", "206 Partial Content", "302 Found", "404 Not Found", "999 ?", "101 Switching Protocols")


def test_no_header_makes_a_fetch_raise():
    """Every answer is a value."""
    answers = [reply(status, b"", f"{name}: {value}") for status in STATUSES for name in HEADERS for value in VALUES]
    with (
        serving(*answers) as server,
        DiallerApi(f"http://127.0.0.1:{server.port}", source="enigma", read_seconds=2.0) as api,
    ):
        results = [api.fetch("845", Memory()) for _ in answers]
    assert {type(result) for result in results} == {Broken}
    assert len(server.requests) == len(answers)


def test_a_silence_lasts_no_longer_than_the_deadline():
    """What is left of the exchange is the longest wait for the next byte."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n" + WAV[:100])
        stall(connection)

    began = time.monotonic()
    result, _, _ = fetch(answer, read_seconds=8.0, total_seconds=0.5)
    assert result == Broken("The recording did not come within 0.5 s.")
    assert time.monotonic() - began < 4


@pytest.fixture
def slow_names(monkeypatch):
    """A name server that does not answer until it is told to; the system's own cannot be made to."""
    answered, asked = threading.Event(), []
    resolve = socket.getaddrinfo

    def slowly(host, *args, **options):
        if host == "dialler.slow":
            asked.append(host)
            answered.wait(30)
            host = "127.0.0.1"
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    yield answered, asked
    answered.set()


def test_looking_up_a_name_is_under_the_deadline_too(slow_names):
    """It ends when connecting must have ended; another try asks no second time, and gets the late answer."""
    answered, asked = slow_names
    with (
        serving(reply("200 OK", WAV)) as server,
        DiallerApi(f"http://dialler.slow:{server.port}", source="enigma", connect_seconds=0.3) as api,
    ):
        for _ in range(2):
            began = time.monotonic()
            result = api.fetch("845", Memory())
            assert isinstance(result, Away)
            assert "cannot be reached" in result.reason
            assert time.monotonic() - began < 5
        assert asked == ["dialler.slow"]
        answered.set()
        eventually(lambda: isinstance(api.fetch("845", Memory()), Fetched))


def test_a_name_that_nobody_knows_is_an_outage():
    """And said in the resolver's words."""
    with DiallerApi("http://dialler.invalid:8000", source="enigma") as api:
        result = api.fetch("845", Memory())
    assert isinstance(result, Away)


def test_the_next_address_of_a_name_is_tried(monkeypatch):
    """As the library would: the first one refuses."""
    resolve = socket.getaddrinfo

    def two(host, port, *args, **options):
        if host == "dialler.two":
            return [*resolve("127.0.0.2", port, *args, **options), *resolve("127.0.0.1", port, *args, **options)]
        return resolve(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with (
        serving(reply("200 OK", WAV)) as server,
        DiallerApi(f"http://dialler.two:{server.port}", source="enigma") as api,
    ):
        assert isinstance(api.fetch("845", Memory()), Fetched)
