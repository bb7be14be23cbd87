"""The dialler's HTTP API: fetch one recording, and say in a value what came of it.

No ``Range``: the dialler serves a recording whole or not at all, and one is seldom over a few MiB, so a
broken transfer starts again from nothing.
"""

from __future__ import annotations

import email.utils
import hashlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, Self
from urllib.parse import quote

import httpx
import msgspec

from pipeline.domain.errors import cut
from pipeline.domain.recording import (
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

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_LIMIT: Final = 1024**3
HEAD_BYTES: Final = 16
ERROR_BODY_BYTES: Final = 64 * 1024

# Writers that do not know the length yet leave 0 or nearly all bits set; nothing can be read from those.
_RIFF_PLACEHOLDER: Final = 0x7FFF_0000


class Sink(Protocol):
    """Where the bytes go; what it raises is not the dialler's fault and passes through."""

    def write(self, data: bytes, /) -> object: ...


class DiallerApi:
    """One dialler's HTTP API, for any number of threads.

    Args:
        base_url: such as ``http://dialler:8000``; a user and password in it are sent as basic authentication.
        source: the dialler's name. Only its own calls may be asked for: another dialler's ``call_ref`` means
            another call here.
        connect_seconds: the longest wait for a connection.
        read_seconds: the longest silence while a recording comes.
        total_seconds: the longest a whole recording may take.
        size_limit: the most bytes a recording may have.
        connections: the most connections at once; a further request waits for one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        source: str,
        connect_seconds: float = 5.0,
        read_seconds: float = 30.0,
        total_seconds: float = 600.0,
        size_limit: int = SIZE_LIMIT,
        connections: int = 16,
    ) -> None:
        url = httpx.URL(base_url)
        self.source = source
        # httpx logs the URL of each request, so the password must not be in it.
        self._base = url.copy_with(userinfo=b"", query=None, fragment=None)
        self._read_seconds = read_seconds
        self._total_seconds = total_seconds
        self._size_limit = size_limit
        self.longest_seconds = 2 * connect_seconds + read_seconds + total_seconds
        """No fetch lasts longer than this."""
        self._client = httpx.Client(
            auth=httpx.BasicAuth(url.username, url.password) if url.userinfo else None,
            # As it lies there: encoded, Content-Length would speak of other bytes than the recording's.
            headers={"Accept": "*/*", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(read_seconds, connect=connect_seconds, pool=connect_seconds),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,  # a proxy set for something else is not the way to the dialler
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def fetch(self, call_ref: str, sink: Sink) -> FetchResult:
        """Ask for a call's recording and write it to ``sink`` as it comes.

        Whatever is not ``Fetched`` may have left a part of something in the sink.
        """
        until = time.monotonic() + self._total_seconds
        try:
            with self._client.stream("GET", self._url(call_ref)) as response:
                if response.status_code != 200:
                    return _refusal(response, until)
                return self._receive(response, sink, until)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Away(f"The dialler's API cannot be reached: {_said(error)}.")
        except httpx.PoolTimeout:
            return Away("Every connection to the dialler's API is busy.")
        except httpx.TimeoutException:
            return Broken(f"The dialler's API was silent for {self._read_seconds:g} s.")
        except httpx.HTTPError as error:
            return Broken(f"The connection to the dialler's API broke: {_said(error)}.")

    def _url(self, call_ref: str) -> httpx.URL:
        """The call_ref as one segment, whatever is in it; dots are encoded too, for ``..`` has a meaning."""
        segment = quote(call_ref, safe="", errors="surrogatepass").replace(".", "%2E")
        folder = self._base.raw_path.rstrip(b"/")
        return self._base.copy_with(raw_path=folder + b"/calls/recording/" + segment.encode("ascii"))

    def _receive(self, response: httpx.Response, sink: Sink, until: float) -> FetchResult:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            return Broken(f"The dialler's API sent the encoding '{cut(encoding)}' that was not asked for.")
        declared = _number(response.headers.get("Content-Length"))
        if declared is not None and declared > self._size_limit:
            return self._too_large(declared)
        received = _Received(sink)
        for chunk in response.iter_raw():
            if received.size + len(chunk) > self._size_limit:
                return self._too_large(received.size + len(chunk))
            received.take(chunk)
            if received.wrong_content():
                return Broken(received.complaint())
            if time.monotonic() > until:
                return Broken(f"The recording did not come within {self._total_seconds:g} s.")
        return received.finish(declared)

    def _too_large(self, size: int) -> Unacceptable:
        return Unacceptable(
            f"The recording has {size} bytes or more, and no more than {self._size_limit} are accepted."
        )


class _Received:
    """What has come of one recording; nothing is passed on before it looks like audio."""

    def __init__(self, sink: Sink) -> None:
        self.size = 0
        self._sink = sink
        self._digest = hashlib.sha256()
        self._head = b""
        self._extension: str | None = None

    def take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._digest.update(chunk)
        if self._extension:
            self._sink.write(chunk)
            return
        self._head += chunk
        if len(self._head) >= HEAD_BYTES:
            self._extension = audio_extension(self._head)
            if self._extension:
                self._sink.write(self._head)
                self._head = self._head[:HEAD_BYTES]

    def wrong_content(self) -> bool:
        return self._extension is None and len(self._head) >= HEAD_BYTES

    def complaint(self) -> str:
        start = self._head[:HEAD_BYTES].decode("latin-1")
        return f"The dialler's API sent something that is no audio: it begins with '{cut(start, 40)}'."

    def finish(self, declared: int | None) -> FetchResult:
        if declared is not None and declared != self.size:
            return Broken(f"The recording was cut off: {self.size} of {declared} bytes came.")
        if self.size == 0:
            return Broken("The recording is empty.")
        if self._extension is None:
            return Broken(self.complaint())
        inside = riff_size(self._head)
        if inside is not None and inside > self.size + 1:  # some writers count a padding byte they do not write
            return Broken(f"The recording was cut off: its header speaks of {inside} bytes, and {self.size} came.")
        return Fetched(self.size, self._digest.digest(), self._extension)


def audio_extension(head: bytes) -> str | None:
    """The file extension for audio that begins so; None when it is none we know.

    >>> audio_extension(b"RIFF....WAVEfmt ")
    '.wav'
    >>> audio_extension(b"<!DOCTYPE html><html>") is None
    True
    """
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return ".wav"
    if head[:4] == b"OggS":
        return ".ogg"
    if head[:4] == b"fLaC":
        return ".flac"
    if head[:3] == b"ID3" or _is_mp3_frame(head):
        return ".mp3"
    return None


def _is_mp3_frame(head: bytes) -> bool:
    """Eleven bits set, then no reserved version, layer III, no bad bit rate and no bad sample rate."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer == 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


def riff_size(head: bytes) -> int | None:
    """The size of the whole file as its RIFF header tells it; None without one, or if it was never filled in.

    >>> riff_size(b"RIFF" + (36).to_bytes(4, "little") + b"WAVE")
    44
    """
    size = int.from_bytes(head[4:8], "little")
    return size + 8 if head[:4] == b"RIFF" and 0 < size < _RIFF_PLACEHOLDER else None


def _refusal(response: httpx.Response, until: float) -> FetchResult:
    """What an answer other than 200 means."""
    status = response.status_code
    if status in {401, 403}:
        return Refused(status)
    asked = response.headers.get("Retry-After")
    if status == 429 or (status == 503 and asked is not None):
        return Throttled(status, _retry_after(asked, response.headers.get("Date")))
    errors = list(_errors(_short_body(response, until)))
    if status == 404:
        # By their ends: the first quotes the call_ref, which may say anything.
        if any(error.endswith("does not exist") for error in errors):
            return NoSuchCall()
        if any(error.endswith("recording not found") for error in errors):
            return NotReady()
    said = f", saying '{cut(errors[0])}'" if errors else ""
    return Broken(f"The dialler's API answered {status}{said}.")


def _short_body(response: httpx.Response, until: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > ERROR_BODY_BYTES or time.monotonic() > until:
            break
    return bytes(body[:ERROR_BODY_BYTES])


def _errors(body: bytes) -> Iterator[str]:
    """The sentences of an error body, lower case: ``{"errors": […]}`` or ``{"message": …}``."""
    try:
        answer: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return
    if not isinstance(answer, dict):
        return
    errors = answer.get("errors", answer.get("message"))
    for error in errors if isinstance(errors, list) else [errors]:
        if isinstance(error, str):
            yield error.strip().rstrip(".").lower()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 19 else None


def _retry_after(asked: str | None, date: str | None) -> float | None:
    """The seconds a ``Retry-After`` asks for; a moment is measured against the answer's own ``Date``."""
    seconds = _number(asked)
    if seconds is not None or asked is None:
        return seconds
    try:
        then = email.utils.parsedate_to_datetime(asked).timestamp()
        now = email.utils.parsedate_to_datetime(date).timestamp() if date else time.time()
    except ValueError:
        return None
    return max(0.0, then - now)


def _said(error: Exception) -> str:
    return cut(str(error) or type(error).__name__).rstrip(".")
