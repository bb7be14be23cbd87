"""A server on this machine that webhooks are sent to."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Receiver:
    """A server that keeps what it is asked, and answers what a test wants."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.headers: dict[str, str] = {}
        self.status, self.body = 204, b""
        self.refuses: Callable[[bytes], bool] = lambda _: False
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                receiver.connections += 1

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if receiver.refuses(body):
                    self._refuse()
                    return
                self.send_response_only(receiver.status)  # a test says what time it is
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                if receiver.status != 204:
                    self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def _refuse(self):
                said = b'{"error": "the field phone is missing"}'
                self.send_response_only(422)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer((address, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def answers(self, status, body=b"", **headers):
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
