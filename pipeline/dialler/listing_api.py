"""The dialler's HTTP API: campaigns, their contacts and those's calls, read only, and as gently as it must be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx
import msgspec

from pipeline.dialler.exchange import BoundedTransport, Exchange, bounded
from pipeline.dialler.http_api import retry_after
from pipeline.dialler.rules.listed import (
    Gone,
    Halt,
    ListedCall,
    ListedCampaign,
    ListedContact,
    Unclear,
    calls_in,
    campaigns_in,
    contacts_in,
)
from pipeline.errors import cut

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES: Final = 64 * 1024 * 1024
HALT_SECONDS: Final = 300.0
TOTAL_SECONDS: Final = 60.0
HEAD_SECONDS: Final = 30.0


class ListingApi:
    """What one dialler's API lists; one request at a time.

    Args:
        base_url: such as ``http://dialler:8000``; a user and password in it are sent as basic authentication.
        before: called before each request, and may wait.
    """

    def __init__(self, base_url: str, *, before: Callable[[], None] = lambda: None) -> None:
        url = httpx.URL(base_url)
        self._base = url.copy_with(userinfo=b"", query=None, fragment=None)
        self._before = before
        self._client = httpx.Client(
            auth=httpx.BasicAuth(url.username, url.password) if url.userinfo else None,
            headers={"Accept": "*/*", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(HEAD_SECONDS, connect=5.0, pool=5.0),
            transport=BoundedTransport(connections=1),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def campaigns(self) -> list[ListedCampaign] | Unclear | Gone | Halt:
        """Every campaign."""
        body = self._get("campaigns")
        return campaigns_in(body) if isinstance(body, bytes) else body

    def contacts(self, campaign: str) -> list[ListedContact] | Unclear | Gone | Halt:
        """The contacts of a campaign."""
        body = self._get("campaigns", campaign)
        return contacts_in(body, campaign) if isinstance(body, bytes) else body

    def calls(self, contact: str) -> list[ListedCall] | Unclear | Gone | Halt:
        """The calls of a contact."""
        body = self._get("callees", contact)
        return calls_in(body, contact) if isinstance(body, bytes) else body

    def _get(self, *segments: str) -> bytes | Unclear | Gone | Halt:
        self._before()
        path = "/".join(quote(each, safe="", errors="replace").replace(".", "%2E") for each in segments)
        url = self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + b"/" + path.encode("ascii"))
        exchange = Exchange(until=time.monotonic() + TOTAL_SECONDS, head_seconds=HEAD_SECONDS)
        try:
            with bounded(exchange), self._client.stream("GET", url) as response:
                exchange.answered()
                return _understood(response, _body(response))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Halt(f"the dialler's API cannot be reached ({cut(str(error))})", HALT_SECONDS)
        except httpx.HTTPError as error:
            return Unclear(f"the answer broke off ({cut(str(error) or type(error).__name__)})")


def _body(response: httpx.Response) -> bytes | None:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _understood(response: httpx.Response, body: bytes | None) -> bytes | Unclear | Gone | Halt:
    status = response.status_code
    asked = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
    if status in {401, 403}:
        return Halt(f"the dialler's API refuses us ({status})", HALT_SECONDS)
    if status == 429 or (status == 503 and asked is not None):
        return Halt(f"the dialler's API asks for fewer requests ({status})", max(asked or 0.0, 60.0))
    if body is None:
        return Unclear(f"the answer has more than {MOST_BYTES:,} bytes")
    if status == 404 and _does_not_exist(body):
        return Gone()
    return body if status == 200 else Unclear(f"the dialler's API answered {status}")


def _does_not_exist(body: bytes) -> bool:
    """Only this text says so: an error of the dialler's database is a 404 too."""
    try:
        answer: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    errors = answer.get("errors") if isinstance(answer, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    return isinstance(first, str) and first.strip().rstrip(".").endswith("does not exist")
