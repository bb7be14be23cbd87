"""One deadline over a whole exchange of HTTP, held at the socket.

A library's timeouts are of one read each, so whoever sends a byte now and then is never too slow for them, and what has
no end of its own (a status line, headers, interim answers, the parts between the chunks, trailers) may go on for ever.
Here every wait for the socket, whatever it is for, may last only as long as what is left of the exchange.
"""

from __future__ import annotations

import contextlib
import functools
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import httpcore
import httpx

from pipeline.dialler.names import addresses_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    Addresses = Callable[[str, int, float | None], list[str]]

HEAD_BYTES: Final = 256 * 1024
"""The most bytes before the answer itself has begun; interim answers (1xx) are among them."""


class Exchange:
    """What one request and its answer may take.

    Args:
        until: when all of it must be over, by the monotonic clock.
        head_seconds: the longest from the request to the end of the answer's head, interim answers included.
    """

    def __init__(self, *, until: float, head_seconds: float) -> None:
        self._until = until
        self._head_seconds = head_seconds
        self._head_until: float | None = None
        self._answered = False
        self._bytes = 0
        self.flooded = False
        """Too much came before the answer."""

    def asked(self) -> None:
        """The request goes out: from now on its answer is waited for."""
        if self._head_until is None:
            self._head_until = time.monotonic() + self._head_seconds

    def answered(self) -> None:
        """The answer's head has come; its body follows."""
        self._answered = True

    def lacks_its_answer(self) -> bool:
        return not self._answered

    def left(self, timeout: float | None, late: type[Exception]) -> float:
        """How many seconds the socket may be waited for; raises ``late`` when there are none."""
        until = self._until
        if self._head_until is not None and not self._answered:
            until = min(until, self._head_until)
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise late("the time of the exchange is over")
        return seconds if timeout is None else min(timeout, seconds)

    def count(self, came: int) -> None:
        """So many bytes came.

        Raises:
            httpcore.ReadError: they are too many for what is no answer yet.
        """
        if self._answered:
            return
        self._bytes += came
        if self._bytes > HEAD_BYTES:
            self.flooded = True
            raise httpcore.ReadError("too much came before the answer")


# A connection serves one thread at a time, and which exchange that is about is known to the thread alone.
_CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


@contextlib.contextmanager
def bounded(exchange: Exchange) -> Iterator[None]:
    """Hold what this thread does on a `BoundedTransport` to the exchange's bounds."""
    token = _CURRENT.set(exchange)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    exchange = _CURRENT.get()
    return timeout if exchange is None else exchange.left(timeout, late)


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait is bounded."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))
        exchange = _CURRENT.get()
        if exchange is not None:
            exchange.count(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        exchange = _CURRENT.get()
        if exchange is not None:
            exchange.asked()
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # Python holds a handshake, and each record, to the timeout as a whole.
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    """Opens such connections; finding the host's addresses and trying one after the other is part of the wait."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        ends = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return _left(None if ends is None else max(ends - time.monotonic(), 0.001), httpcore.ConnectTimeout)

        try:
            addresses = self._addresses(host, port, left())
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        for tried, address in enumerate(addresses[:-1]):
            seconds = left()
            share = None if seconds is None else seconds / (len(addresses) - tried)
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _Stream(super().connect_tcp(address, port, share, local_address, socket_options))
        return _Stream(super().connect_tcp(addresses[-1], port, left(), local_address, socket_options))


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Whom TLS connections trust, read once a process: reading it takes longer than a hundred small requests."""
    return httpx.create_ssl_context(trust_env=False)


class BoundedTransport(httpx.HTTPTransport):
    """httpx's own transport over connections whose every wait is bounded.

    Args:
        connections: the most at once.
        addresses: where a host may be, asked for each connection, which goes to one of those; raises OSError to allow
            none. As `addresses_of`.
        kept_seconds: how long a connection is kept that nothing goes over.
    """

    def __init__(self, *, connections: int, addresses: Addresses = addresses_of, kept_seconds: float = 5.0) -> None:
        super().__init__(verify=_trusted(), trust_env=False)
        # httpx has no setting for the network's side of it.
        self._pool = httpcore.ConnectionPool(
            ssl_context=_trusted(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=kept_seconds,
            network_backend=_Backend(addresses),
        )
