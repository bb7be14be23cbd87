"""What the audit ends with is what pip-audit ended with, for both lock files; words decide nothing."""

from __future__ import annotations

import http.server
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["deploy/requirements.lock", "requirements.lock"]

AUDITOR = """#!/bin/sh
for each; do last=$each; done
echo "$last" >> "$ASKED"
echo "cannot resolve host, proxy, connection timed out, HTTPError, status code 503"
[ "$last" = "$BAD" ] && exit 1
exit 0
"""


class Answers(http.server.BaseHTTPRequestHandler):
    """A server that refuses, which is an answer."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def audit(tmp_path, socket_enabled):
    """Runs the audit with an auditor of ours; its exit code, and the files it looked at."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    auditor = tmp_path / "pip-audit"
    asked = tmp_path / "asked"

    def run(*, bad="", url=None):
        asked.write_text("")
        auditor.write_text(AUDITOR)
        auditor.chmod(0o755)
        env = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "ASKED": str(asked), "BAD": bad}
        env["OSV_URL"] = url or f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run([ROOT / ".ci/audit"], env=env, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, asked.read_text().split(), done.stdout

    yield run
    server.shutdown()
    server.server_close()


def test_both_lock_files_are_looked_at(audit):
    """What runs, and what it is developed with."""
    code, asked, _ = audit()
    assert (code, asked) == (0, LOCKS)


@pytest.mark.parametrize("bad", LOCKS)
def test_a_finding_in_either_ends_with_its_code(audit, bad):
    """Though what was printed speaks of a proxy."""
    code, asked, said = audit(bad=bad)
    assert (code, asked) == (1, LOCKS)
    assert f"audit: {bad}: pip-audit ended with 1" in said


def test_what_could_not_be_asked_is_told_apart(audit):
    """Neither clean nor a finding."""
    code, asked, said = audit(url="http://127.0.0.1:1")
    assert (code, asked) == (75, [])
    assert said.startswith("audit not done: ")
