"""The dialler's recordings over HTTP (contract section 2), with faults to order."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from pipeline.sandbox.audio import recording_body
from pipeline.sandbox.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.sandbox.calls import SimulatedCall

PLACE: Final = "/sandbox/calls"
"""Not the vendor's: POST has the simulated dialler place ``?calls=N``."""

MOST_CALLS: Final = 100_000
"""At once."""

_PATH = "/calls/recording/"
_Connection: TypeAlias = socket.socket


@dataclass(slots=True)
class Faults:
    """What goes wrong; set at any time, it holds from the next request on.

    At most one of the shares strikes a request, so together they should not exceed 1.

    Attributes:
        latency_seconds: before every answer.
        unavailable_share: 503.
        throttled_share: 429 with `Retry-After`.
        retry_after_seconds: what that says.
        truncated_share: 200 and half the body, then the connection ends.
        wrong_length_share: 200 with a `Content-Length` 64 bytes too small.
        html_share: 200 with a proxy's login page.
        dropped_share: the connection is reset instead of an answer.
        down: every connection is reset.
    """

    latency_seconds: float = 0.0
    unavailable_share: float = 0.0
    throttled_share: float = 0.0
    retry_after_seconds: int = 1
    truncated_share: float = 0.0
    wrong_length_share: float = 0.0
    html_share: float = 0.0
    dropped_share: float = 0.0
    down: bool = False

    def draw(self, chance: float) -> str | None:
        """The fault that strikes at this `chance`, 0 to 1.

        >>> Faults(html_share=0.25).draw(0.2), Faults(html_share=0.25).draw(0.3), Faults(down=True).draw(0.9)
        ('html', None, 'dropped')
        """
        if self.down:
            return "dropped"
        for name in ("unavailable", "throttled", "truncated", "wrong_length", "html", "dropped"):
            share: float = getattr(self, f"{name}_share")
            if chance < share:
                return name
            chance -= share
        return None


class _Entry(NamedTuple):
    call: SimulatedCall
    ready_at: float  # time.monotonic()


class RecordingsApi:
    """Serves the recordings of the calls it was told about, on loopback, one thread a connection.

    Attributes:
        faults: what goes wrong.
        requests: by `call_ref` as it stands in the path, how often it was asked for.
        served: by `call_ref`, how often its whole recording was sent with no fault.
        listing: what it says of campaigns, contacts and their calls.
        place: what a POST to `PLACE` calls, with how many.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> None:
        """Nothing listens yet.

        Args:
            host: address to listen on.
            port: port to listen on; 0 takes a free one.
            seed: of the chance by which faults strike.
        """
        self.faults = Faults()
        self.listing = Listing()
        self.requests: Counter[str] = Counter()
        self.served: Counter[int] = Counter()
        self.place: Callable[[int], list[SimulatedCall]] | None = None
        self._host, self._port = host, port
        self._rng = Random(seed)
        self._entries: dict[int, _Entry] = {}
        self._counting = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, the same after a stop and a start."""
        return f"http://{self._host}:{self._port}"

    def start(self) -> None:
        """Listen. Connections are accepted from here on.

        Raises:
            OSError: the port is taken.
        """
        self._server = _Server((self._host, self._port), self)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="sandbox-api", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and end every connection; what was counted stays. Does nothing when not started."""
        if self._server and self._thread:
            self._server.close()
            self._thread.join()
        self._server = self._thread = None

    def add(self, calls: Iterable[SimulatedCall], *, ready_after: float = 0.0) -> None:
        """Make calls known.

        Args:
            calls: with or without a recording.
            ready_after: seconds from now until their recordings are there.
        """
        ready_at = time.monotonic() + ready_after
        self._entries.update((call.call_ref, _Entry(call, ready_at)) for call in calls)

    def forget(self, call_ref: int) -> None:
        """Delete a call, as deleting its campaign does."""
        self._entries.pop(call_ref, None)

    def find(self, reference: str) -> SimulatedCall | str:
        """The call whose recording is there, or the error that the dialler answers instead."""
        entry = self._entries.get(int(reference)) if reference.isdecimal() else None
        if entry is None:
            return f"Call Error: Call ID[{reference}] does not exist"
        if not entry.call.has_recording or time.monotonic() < entry.ready_at:
            return "Call Error: Recording not found"
        return entry.call

    def draw_fault(self, reference: str) -> str | None:
        """Count a request and draw the fault that strikes it."""
        with self._counting:
            self.requests[reference] += 1
            return self.faults.draw(self._rng.random())

    def count_served(self, call_ref: int) -> None:
        """Count a recording that was sent whole."""
        with self._counting:
            self.served[call_ref] += 1


class _Server(ThreadingHTTPServer):
    """Knows its connections, so that stopping ends them."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], api: RecordingsApi) -> None:
        self.api = api
        self.closing = threading.Event()
        self._connections: set[_Connection] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the name look-up that http.server adds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not an error of ours; the rest is told on standard error, as usual."""
        if not self.closing.is_set():
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._connections:
                _end(connection)
            self._changed.wait_for(lambda: not self._connections, timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Goliath", ""
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024  # headers and body in one packet
    server: _Server

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (ConnectionError, ValueError):  # reset by us or by the client
            self.close_connection = True

    def do_GET(self) -> None:
        api = self.server.api
        if (listed := api.listing.answer(self.path)) is not None:
            self._answer(listed.status, listed.kind, listed.body)
            return
        if not self.path.startswith(_PATH):
            self._errors(HTTPStatus.NOT_FOUND, "Not Found")
            return
        reference = self.path.removeprefix(_PATH)
        fault = api.draw_fault(reference)
        if api.faults.latency_seconds:
            self.server.closing.wait(api.faults.latency_seconds)
        found = api.find(reference)
        match fault:
            case "dropped":
                self._reset()
            case "unavailable":
                self._errors(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")
            case "throttled":
                wait = str(api.faults.retry_after_seconds)
                self._errors(HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests", ("Retry-After", wait))
            case "html":
                page = b"<!DOCTYPE html><html><body><h1>Log in</h1></body></html>"
                self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page)
            case _ if isinstance(found, str):
                self._errors(HTTPStatus.NOT_FOUND, found)
            case _:
                self._recording(found, fault)

    def do_POST(self) -> None:
        asked = urlsplit(self.path)
        count = parse_qs(asked.query).get("calls", ["0"])[0]
        if asked.path != PLACE or self.server.api.place is None:
            self._errors(HTTPStatus.NOT_FOUND, "Not Found")
        elif not count.isdecimal() or not 1 <= int(count) <= MOST_CALLS:
            self._errors(HTTPStatus.BAD_REQUEST, f"calls: 1 to {MOST_CALLS}")
        else:
            placed = self.server.api.place(int(count))
            recorded = [call.call_ref for call in placed if call.has_recording]
            told = {"first": placed[0].call_ref, "last": placed[-1].call_ref, "recorded": recorded}
            self._answer(HTTPStatus.OK, "application/json", json.dumps(told).encode())

    def _recording(self, call: SimulatedCall, fault: str | None) -> None:
        body = recording_body(call.call_ref, call.hold_seconds + call.talk_seconds)
        length = len(body)
        if fault == "truncated":
            body = body[: length // 2]
        elif fault == "wrong_length":
            length -= 64
        disposition = ("Content-Disposition", f"attachment; filename={call.call_ref}.WAV")
        self.close_connection = self.close_connection or length != len(body)
        if length == len(body):
            self.server.api.count_served(call.call_ref)
        self._answer(HTTPStatus.OK, "application/octet-stream", body, disposition, length=length)

    def _errors(self, status: HTTPStatus, message: str, *headers: tuple[str, str]) -> None:
        body = json.dumps({"errors": [message]}, separators=(",", ":")).encode()
        self._answer(status, "application/json", body, *headers)

    def _answer(
        self, status: HTTPStatus, kind: str, body: bytes, *headers: tuple[str, str], length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), *headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """Make the closing of this connection a RST: nothing was answered, and the client sees an error."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _end(connection: _Connection) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        return
