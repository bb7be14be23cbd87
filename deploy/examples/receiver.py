"""Takes webhooks, those alone whose signature proves that they are ours: a line of JSON each.

python receiver.py 8300 secret.txt >> calls.jsonl
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

port, secret_file = sys.argv[1:]
verifier = Webhook(Path(secret_file).read_text().strip())


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            verifier.verify(body, dict(self.headers), json_parse=False)
        except WebhookVerificationError:
            self.answer(401)
            return
        # One whose answer is lost comes again under the same id: whoever keeps calls by that id keeps each once.
        took = {"path": self.path, "id": self.headers["webhook-id"], "body": body.decode()}
        sys.stdout.write(json.dumps(took) + "\n")
        sys.stdout.flush()
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response_only(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver).serve_forever()
