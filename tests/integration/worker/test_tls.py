"""Redis behind TLS, the dialler's and the broker: a certificate is checked, and a strange one refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from kombu import Connection

from pipeline.dialler.cdr_list import CdrList
from pipeline.sandbox.process import spawn
from pipeline.sandbox.server import free_port
from tests.conftest import LIST
from tests.patience import eventually

ROOT = Path(__file__).resolve().parents[3]
AUTHORITY = "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
REQUEST = "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost"
SIGN = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority of our own, and a server's certificate signed by it."""
    openssl = shutil.which("openssl") or pytest.skip("no openssl on PATH")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for words in (AUTHORITY, REQUEST, SIGN):
        subprocess.run([openssl, *words.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def tls_url(certificates):
    """A Redis that speaks TLS alone."""
    program = shutil.which("redis-server") or pytest.skip("no redis-server on PATH; the wheel's knows no TLS")
    port = free_port()
    names = {"cert-file": "server.pem", "key-file": "server.key", "ca-cert-file": "ca.pem", "auth-clients": "no"}
    options = {"port": "0", "tls-port": str(port), "bind": "127.0.0.1", "save": ""}
    options |= {f"tls-{name}": value for name, value in names.items()}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    log = certificates / "redis.log"
    server = spawn([Path(program), *flags], folder=certificates, log=log)
    try:
        eventually(lambda: server.poll() is not None or "Ready to accept" in log.read_text())
        if server.poll() is not None:
            pytest.skip("this redis-server was built without TLS")
        yield f"rediss://localhost:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def broker_url(url: str) -> str:
    """What Celery is told, in a process of its own: it reads its settings once."""
    asked = "import celeryconfig, json; print(json.dumps(celeryconfig.broker_url))"
    env = {**os.environ, "CELERY_BROKER_URL": url}
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    answer: str = json.loads(done.stdout)
    return answer


def test_a_certificate_of_our_own_authority_is_taken(tls_url, certificates):
    """The ingestor's connection and the broker's, with the settings of deploy/README.md."""
    url = f"{tls_url}?ssl_ca_certs={certificates / 'ca.pem'}"
    cdr_list = CdrList(url, LIST, owner="test")
    assert cdr_list.claim(1) is None
    cdr_list.close()
    with Connection(broker_url(url)) as connection:
        assert connection.channel().client.ping()


def test_a_strange_certificate_is_refused(tls_url):
    """Both say so, rather than talk to whoever answers."""
    cdr_list = CdrList(tls_url, LIST, owner="test")
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        cdr_list.waiting()
    cdr_list.close()
    with (
        Connection(broker_url(tls_url), connect_timeout=2) as connection,
        pytest.raises(connection.connection_errors, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connection.channel().client.ping()


def test_what_a_person_says_outright_stands(tls_url):
    """Certificates are not checked where the address says so."""
    url = f"{tls_url}?ssl_cert_reqs=none"
    assert broker_url(url) == url
