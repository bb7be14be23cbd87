"""docs/integrators.md: what it says to check a signature with does check one."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from pipeline.feed.sinks.signatures import PrivateKey
from tests.integration.feed_events import events
from tests.integration.webhooks import SECRET

PAGE = (Path(__file__).parents[4] / "docs" / "integrators.md").read_text(encoding="utf-8")
PRIVATE = "whsk_" + base64.b64encode(bytes(range(32))).decode()
PUBLIC = PrivateKey(PRIVATE).public


def snippets(language):
    part = PAGE[PAGE.index("### Checking a signature") : PAGE.index("### Requests and answers")]
    return re.findall(rf"^```{language}\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


@pytest.fixture
def request_(opened, receiver):
    """What came, signed by both kinds."""
    opened(secret=f"{PRIVATE} {SECRET}").deliver(events(1))
    _, headers, body = receiver.got[-1]
    return headers, body


def named(headers):
    return {
        "id": headers["webhook-id"],
        "timestamp": headers["webhook-timestamp"],
        "signatures": headers["webhook-signature"],
        "signature": headers["webhook-signature"].split()[0],
        "secret": SECRET,
        "public_key": PUBLIC,
    }


def run(words, text, headers, body, folder):
    (folder / "body").write_bytes(body)
    done = subprocess.run(
        words, input=text, cwd=folder, env=named(headers), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_python(request_):
    headers, body = request_
    by_secret, by_public_key = snippets("python")
    imports = {"Webhook": Webhook, "Ed25519PublicKey": Ed25519PublicKey, "base64": base64}
    for snippet, wrong in ((by_secret, WebhookVerificationError), (by_public_key, InvalidSignature)):
        exec(snippet, {**imports, **named(headers), "headers": headers, "body": body})
        with pytest.raises(wrong):
            exec(snippet, {**imports, **named(headers), "headers": headers, "body": body + b" "})


def test_shell(request_, tmp_path):
    headers, body = request_
    if not all(map(shutil.which, ("openssl", "xxd"))):
        pytest.skip("openssl or xxd is not installed")
    by_secret, by_public_key = snippets("bash")
    bash = str(shutil.which("bash"))
    assert run([bash], f"PATH=/usr/bin:/bin\n{by_secret}", headers, body, tmp_path)[1] == "good\n"
    assert run([bash], f"PATH=/usr/bin:/bin\n{by_secret}", headers, body + b" ", tmp_path)[1] == ""
    verified = run([bash], f"PATH=/usr/bin:/bin\n{by_public_key}", headers, body, tmp_path)
    assert (verified[0], verified[1].strip()) == (0, "Signature Verified Successfully"), verified
    assert run([bash], f"PATH=/usr/bin:/bin\n{by_public_key}", headers, body + b" ", tmp_path)[0] != 0


def test_javascript(request_, tmp_path):
    headers, body = request_
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    [snippet] = snippets("javascript")
    given = "const crypto = require('crypto'), body = require('fs').readFileSync('body')\n"
    given += "const { id, timestamp, signatures, secret } = process.env\n"
    said = f"{given}{snippet}\nconsole.log(good)"
    assert run([node, "-"], said, headers, body, tmp_path)[1] == "true\n"
    assert run([node, "-"], said, headers, body + b" ", tmp_path)[1] == "false\n"
