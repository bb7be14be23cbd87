"""Requests to a URL, signed as Standard Webhooks says (https://www.standardwebhooks.com), one event or many in each.

What it guarantees: every event at least once, in order. One whose answer was lost is sent again under the same
``webhook-id`` where events go one by one, and with its own id inside where many go together. Nothing goes to an address
that is not of the public network, looked up for each connection, unless the settings allow its host by name.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httpx

from pipeline.dialler.exchange import BoundedTransport, Exchange, bounded
from pipeline.dialler.http_api import retry_after
from pipeline.dialler.names import addresses_of
from pipeline.errors import cut
from pipeline.feed.rules.address import is_public
from pipeline.feed.rules.answer import Answer, meaning
from pipeline.feed.rules.request import many, one
from pipeline.feed.sinks.base import RefusedError, SettingError, SinkAwayError
from pipeline.feed.sinks.kept_clients import KEPT_SECONDS, KeptClients
from pipeline.feed.sinks.signatures import PrivateKey, bare, signers, texts
from pipeline.logs.rules.secrets import is_unmistakable, mask, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.feed.rules.event import Event
    from pipeline.feed.rules.request import Request
    from pipeline.feed.sinks.base import Ours

KNOWN: Final = {"url", "secret", "batch"}
LARGEST_BATCH: Final = 500
SECONDS: Final = 30.0
"""What one exchange may take: name, connection, request, answer."""

ANSWER_BYTES: Final = 16 * 1024
ANSWER_CHARACTERS: Final = 300
REQUEST_CHARACTERS: Final = 4_000
"""How much of a request that was refused is told."""

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9a-f:.]+")


def check(settings: Mapping[str, Any], ours: Ours) -> None:
    """Whether these settings can be. Nobody is asked where a name leads: that may change, so each connection asks.

    Raises:
        SettingError: naming the setting, and what it must be; of a URL or a secret nothing is quoted but the host.
    """
    if strange := sorted(set(settings) - KNOWN):
        raise SettingError(f"webhook has no setting {strange[0]}: it has {', '.join(sorted(KNOWN))}")
    _check_url(_parsed(settings.get("url")), ours)
    signers(settings.get("secret"))
    batch = settings.get("batch", 1)
    if not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= LARGEST_BATCH:
        raise SettingError(f"batch must be a whole number from 1 to {LARGEST_BATCH}: the most events of one request")


def public_keys(settings: Mapping[str, Any]) -> list[str]:
    """What the other side checks our signatures with; nothing of it is secret.

    Args:
        settings: that were checked.
    """
    return [each.public for each in signers(settings.get("secret")) if isinstance(each, PrivateKey)]


class Webhook:
    """A URL as a sink.

    Args:
        settings: ``url``, ``secret`` (several of either kind by blank, while one is rotated) and ``batch``; checked.
        subscriber: whose connection is used again.
        ours: whose ``allowed_hosts`` may be anywhere.
        seconds: what one exchange may take.
    """

    def __init__(self, settings: Mapping[str, Any], *, subscriber: str, ours: Ours, seconds: float = SECONDS) -> None:
        url = _parsed(settings["url"])
        self.most_events = settings.get("batch", 1)
        self._seconds = seconds
        self._host = _bare(url.host)
        self._allowed = self._host in ours.allowed_hosts
        # httpx would log its password.
        self._url = url.copy_with(userinfo=b"", fragment=None)
        secrets = texts(settings["secret"])
        self._signers = signers(settings["secret"])
        self._hidden = {*secrets, *map(bare, secrets), *_secret_parts(url)}
        self._key = (subscriber, str(url), self._allowed, seconds)
        self._client = _KEPT.take(self._key) or _client(url, seconds, is_allowed=self._allowed)
        self._is_well = False

    def deliver(self, events: Sequence[Event]) -> None:
        """Send them, as many in a request as the settings say.

        Raises:
            RefusedError: the other side will not have some of those of a request.
            SinkAwayError: it did not take them this time, or may not be asked.
        """
        for at in range(0, len(events), self.most_events):
            self._send(one(events[at]) if self.most_events == 1 else many(events[at : at + self.most_events]))

    def _send(self, request: Request) -> None:
        headers = {"Content-Type": request.content_type, **self._signed(request)}
        exchange = Exchange(until=time.monotonic() + self._seconds, head_seconds=self._seconds)
        self._is_well = False
        try:
            with (
                bounded(exchange),
                self._client.stream("POST", self._url, content=request.body, headers=headers) as response,
            ):
                exchange.answered()
                self._heed(response, request)
                self._is_well = True
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise SinkAwayError(f"{self._host} cannot be reached: {self._masked(str(error))}") from None
        except httpx.TimeoutException:
            raise SinkAwayError(f"{self._host} gave no answer within {self._seconds:g} s") from None
        except httpx.HTTPError as error:
            raise SinkAwayError(f"the connection to {self._host} broke: {self._masked(str(error))}") from None

    def _signed(self, request: Request) -> dict[str, str]:
        now = datetime.now(tz=UTC)  # of any other zone the library would take the hour as it stands
        text = request.body.decode()
        return {
            "webhook-id": request.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(request.message_id, now, text) for signer in self._signers),
        }

    def _heed(self, response: httpx.Response, request: Request) -> None:
        status, said = response.status_code, self._masked(_start_of(response))
        match meaning(status):
            case Answer.TAKEN:
                return
            case Answer.REFUSED:
                raise RefusedError(f"{self._host} answered {status}", said, self._told(request))
            case Answer.GONE:
                raise SinkAwayError(f"{self._host} answered 410: nobody is to send anything there again", disabled=True)
        also = ": redirects are not followed, its url must be where it leads to" if 300 <= status < 400 else ""
        quoted = f", saying '{cut(said)}'" if said and not also else ""
        wait = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        raise SinkAwayError(f"{self._host} answered {status}{also or quoted}", retry_after_seconds=wait)

    def _told(self, request: Request) -> str:
        """A request as a person reads it: not where to, which is a secret, and not signed, which it is no more."""
        head = f"POST to {self._host}\nContent-Type: {request.content_type}\nwebhook-id: {request.message_id}\n\n"
        return head + mask(request.body.decode()[:REQUEST_CHARACTERS], self._hidden)

    def _masked(self, text: str) -> str:
        return cut(mask(text, self._hidden).strip(), ANSWER_CHARACTERS)

    def delivered(self) -> None:
        """Nobody but the other side knows."""

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Keep the connection for a moment, if all is well with it."""
        if self._is_well:
            self._is_well = False
            _KEPT.keep(self._key, self._client)
        else:
            self._client.close()


_KEPT: Final = KeptClients()


def _client(url: httpx.URL, seconds: float, *, is_allowed: bool) -> httpx.Client:
    return httpx.Client(
        auth=httpx.BasicAuth(url.username, url.password) if url.userinfo else None,
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "enigma-cdr-pipeline"},
        timeout=httpx.Timeout(seconds),
        transport=BoundedTransport(
            connections=1, addresses=addresses_of if is_allowed else _public, kept_seconds=KEPT_SECONDS
        ),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        trust_env=False,  # a proxy would look the name up itself, and reach what we may not
    )


def _public(host: str, port: int, seconds: float | None) -> list[str]:
    """Where a connection may go, each time one is opened: a name may lead elsewhere by then."""
    found = addresses_of(host, port, seconds)
    public = [each for each in found if is_public(each)]
    if not public:
        raise OSError(_forbidden(_bare(host), found[0]))
    return public


def _parsed(url: Any) -> httpx.URL:
    try:
        parsed = httpx.URL(str(url))
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not _HOST.fullmatch(parsed.raw_host.decode("ascii")):
        raise SettingError("url must be a URL such as https://host/path")
    return parsed


def _check_url(url: httpx.URL, ours: Ours) -> None:
    host = _bare(url.host)
    if host in ours.allowed_hosts:
        return
    if url.scheme != "https":
        raise SettingError(
            f"url must begin with https://, for what is sent is about people; {host} may be without in "
            "FEED_WEBHOOK_ALLOWED_HOSTS"
        )
    try:
        # Every form of a number that a resolver would take for an address.
        address = str(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except OSError:
        return  # a name
    if not is_public(address):
        raise SettingError(f"url cannot be that: {_forbidden(host, address)}")


def _forbidden(host: str, address: str) -> str:
    is_there = "" if host == address else f" is {address}, which"
    return f"{host}{is_there} is not of the public network, and FEED_WEBHOOK_ALLOWED_HOSTS does not name {host}"


def _bare(host: str) -> str:
    return host.lower().rstrip(".")


def _secret_parts(url: httpx.URL) -> Iterator[str]:
    """What of a URL the other side may repeat, and is a secret perhaps: its login, and what is no word in its path."""
    yield from secrets_of(str(url.copy_with(path="/", query=None)))
    for part in filter(is_unmistakable, re.split("[/?&=]", url.raw_path.decode("ascii"))):
        yield from (part, unquote(part))


def _start_of(response: httpx.Response) -> str:
    """What the answer begins with; how it ends, and whether, changes nothing."""
    body = bytearray()
    with contextlib.suppress(httpx.HTTPError):
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > ANSWER_BYTES:
                break
    return bytes(body[:ANSWER_BYTES]).decode(errors="replace")
