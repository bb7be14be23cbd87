"""The dialler's HTTP API: fetch one recording, and say in a value what came of it.

The dialler itself serves a recording whole or not at all, so a broken transfer is a failed try. Where a server in
front of it says ``Accept-Ranges: bytes``, the same fetch asks for the rest.
"""

from __future__ import annotations

import email.utils
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx
import msgspec

from pipeline.dialler.audio_body import Received
from pipeline.dialler.exchange import HEAD_BYTES, BoundedTransport, Exchange, bounded
from pipeline.dialler.rules.answers import (
    Away,
    Broken,
    FetchResult,
    NoSuchCall,
    NotReady,
    Refused,
    Throttled,
    Unacceptable,
)
from pipeline.dialler.transfer import Interrupted, Transfer, whole_number
from pipeline.errors import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.dialler.audio_body import Sink

RESUMES: Final = 3
"""How often one fetch asks again for a recording that broke off."""

SIZE_LIMIT: Final = 1024**3
ERROR_BODY_BYTES: Final = 64 * 1024


class DiallerApi:
    """One dialler's HTTP API, for any number of threads.

    Args:
        base_url: such as ``http://dialler:8000``; a user and password in it are sent as basic authentication.
        source: the dialler's name. Only its own calls may be asked for: another dialler's ``call_ref`` means
            another call here.
        connect_seconds: the longest wait for a connection.
        read_seconds: the longest wait for the head of an answer, and the longest silence while a recording comes.
        total_seconds: the longest a whole recording may take, whatever comes instead of it included.
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
            transport=BoundedTransport(connections=connections),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none: what we sent back could only grow
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
        transfer = Transfer(Received(sink), until=time.monotonic() + self._total_seconds)
        result = self._ask(call_ref, transfer)
        for _ in range(RESUMES):
            if not isinstance(result, Interrupted) or not transfer.may_go_on():
                break
            result = self._ask_again(call_ref, transfer)
        return Broken(result.reason) if isinstance(result, Interrupted) else result

    def _ask_again(self, call_ref: str, transfer: Transfer) -> FetchResult | Interrupted:
        if transfer.is_late():
            return self._too_slow()
        return self._ask(call_ref, transfer)

    def _ask(self, call_ref: str, transfer: Transfer) -> FetchResult | Interrupted:
        exchange = Exchange(until=transfer.until, head_seconds=self._read_seconds)
        try:
            with (
                bounded(exchange),
                self._client.stream("GET", self._url(call_ref), headers=transfer.headers()) as response,
            ):
                exchange.answered()
                return self._answered(response, transfer)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Away(f"The dialler's API cannot be reached: {_said(error)}.")
        except httpx.PoolTimeout:
            return Away("Every connection to the dialler's API is busy.")
        except httpx.TimeoutException:
            if transfer.is_late():
                return self._too_slow()
            if exchange.lacks_its_answer():
                return Interrupted(f"The dialler's API gave no answer within {self._read_seconds:g} s.")
            return Interrupted(f"The dialler's API was silent for {self._read_seconds:g} s.")
        except httpx.HTTPError as error:
            if exchange.flooded:
                return Interrupted(f"The dialler's API sent {HEAD_BYTES} bytes, and no answer among them.")
            return Interrupted(f"The connection to the dialler's API broke: {_said(error)}.")

    def _url(self, call_ref: str) -> httpx.URL:
        """The call_ref as one segment, whatever is in it; dots are encoded too, for ``..`` has a meaning."""
        segment = quote(call_ref, safe="", errors="surrogatepass").replace(".", "%2E")
        folder = self._base.raw_path.rstrip(b"/")
        return self._base.copy_with(raw_path=folder + b"/calls/recording/" + segment.encode("ascii"))

    def _answered(self, response: httpx.Response, transfer: Transfer) -> FetchResult | Interrupted:
        status = response.status_code
        if transfer.may_go_on() and transfer.is_late():
            return self._too_slow()
        if status == 200:
            transfer.begin(response.headers)
            return self._receive(response, transfer)
        if status not in {206, 416} or not transfer.received.size:
            return _refusal(response)
        if status == 206 and transfer.goes_on(response.headers):
            return self._receive(response, transfer)
        transfer.received.restart()
        return Interrupted(f"The dialler's API answered {status} to a request for the rest, and not with the rest.")

    def _receive(self, response: httpx.Response, transfer: Transfer) -> FetchResult | Interrupted:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            return Broken(f"The dialler's API sent the encoding '{cut(encoding)}' that was not asked for.")
        received, declared = transfer.received, transfer.declared
        if declared is not None and declared > self._size_limit:
            return self._too_large(declared)
        for chunk in response.iter_raw():
            if received.size + len(chunk) > self._size_limit:
                return self._too_large(received.size + len(chunk))
            received.take(chunk)
            if received.wrong_content():
                return Broken(received.complaint())
            if transfer.is_late():
                return self._too_slow()
        if declared is not None and received.size < declared:
            return Interrupted(received.cut_off(declared))
        return received.finish(declared)

    def _too_slow(self) -> Broken:
        return Broken(f"The recording did not come within {self._total_seconds:g} s.")

    def _too_large(self, size: int) -> Unacceptable:
        return Unacceptable(
            f"The recording has {size} bytes or more, and no more than {self._size_limit} are accepted."
        )


def _refusal(response: httpx.Response) -> FetchResult:
    """What an answer other than 200 means."""
    status = response.status_code
    if status in {401, 403}:
        return Refused(status)
    asked = response.headers.get("Retry-After")
    if status == 429 or (status == 503 and asked is not None):
        return Throttled(status, retry_after(asked, response.headers.get("Date")))
    errors = list(_errors(_short_body(response)))
    if status == 404:
        # By their ends: the first quotes the call_ref, which may say anything.
        if any(error.endswith("does not exist") for error in errors):
            return NoSuchCall()
        if any(error.endswith("recording not found") for error in errors):
            return NotReady()
    said = f", saying '{cut(errors[0])}'" if errors else ""
    return Broken(f"The dialler's API answered {status}{said}.")


def _short_body(response: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > ERROR_BODY_BYTES:
            break
    return bytes(body[:ERROR_BODY_BYTES])


def _errors(body: bytes) -> Iterator[str]:
    """The sentences of an error body, lower case: ``{"errors": […]}`` or ``{"message": …}``."""
    try:
        # What is no UTF-8 in it, a name perhaps, does not hide what it says.
        answer: Any = msgspec.json.decode(body.decode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return
    if not isinstance(answer, dict):
        return
    errors = answer.get("errors", answer.get("message"))
    for error in errors if isinstance(errors, list) else [errors]:
        if isinstance(error, str):
            yield error.strip().rstrip(".").lower()


def retry_after(asked: str | None, date: str | None) -> float | None:
    """The seconds a ``Retry-After`` asks for; a moment is measured against the answer's own ``Date``."""
    seconds = whole_number(asked)
    if seconds is not None or asked is None:
        return seconds
    then, now = _moment(asked), _moment(date)
    return None if then is None else max(0.0, then - (time.time() if now is None else now))


def _moment(text: str | None) -> float | None:
    """A header's moment as seconds of the epoch; None when it is none, or none that a clock could show."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError, TypeError):
        return None


def _said(error: Exception) -> str:
    return cut(str(error) or type(error).__name__).rstrip(".")
