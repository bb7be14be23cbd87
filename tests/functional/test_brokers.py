"""The same way over the other brokers: RabbitMQ, Redis over TLS, Redis behind Sentinel. Only settings differ."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import ssl
from datetime import UTC, datetime, timedelta

import amqp
import kombu
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu.exceptions import OperationalError

from pipeline.sandbox.redis_server import RedisServer
from pipeline.sandbox.server import ServerError, free_port
from tests.chaos.harness import QUEUES
from tests.factories import make_record
from tests.functional.conftest import balance, eventually
from tests.functional.test_forged_messages import (
    BOMBS,
    COMMANDS,
    FORGED,
    HEADERS,
    HOSTILE,
    HUGE,
    message,
    peak_megabytes,
    still_works,
)

OURS = "pipeline.worker.rabbitmq:Transport"


def queue_type_is(url, queue, kind):
    """RabbitMQ refuses a declaration that says another type than the queue has."""
    with kombu.Connection(url) as connection, connection.channel() as channel:
        try:
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
        except amqp.PreconditionFailed:
            return False
        return True


def delayed_queues(url):
    """Those that Celery makes for messages with a delay, which nothing here sends; 28, and an exchange each."""
    names = [f"celery_delayed_{level}" for level in range(28)]
    with kombu.Connection(url) as connection:
        for name in names:
            with connection.channel() as channel, contextlib.suppress(amqp.NotFound):
                channel.queue_declare(name, passive=True)
                yield name


def processed(stack, records, seconds=60):
    sheet = eventually(
        lambda: (s := balance(stack))["processed"]["records"] == records and s, seconds=seconds, check=stack.check
    )
    assert sheet["closes"], sheet


def test_rabbitmq_carries_everything(stack, dialler, rabbitmq):
    """Quorum queues by the URL alone; what a killed worker held comes again, and everything ends when told to."""
    stack.env["CELERY_BROKER_URL"] = rabbitmq
    with kombu.Connection(rabbitmq) as connection, connection.channel() as channel:
        for name in list(delayed_queues(rabbitmq)):  # a former version's
            channel.queue_delete(name)
    stack.start()
    calls = dialler.place_calls(300, bad_share=0.05)
    eventually(lambda: balance(stack)["received"]["records"] > 0, check=stack.check)
    stack.kill("worker")
    stack.start(["worker"])
    processed(stack, 300)
    stored = len([call for call in calls if call.has_recording])
    eventually(lambda: len([*(stack.folder / "recordings").rglob("*.wav")]) == stored, seconds=60, check=stack.check)
    assert all(queue_type_is(rabbitmq, queue, "quorum") for queue in QUEUES)
    assert not queue_type_is(rabbitmq, "cdr.bill", "classic")
    assert not list(delayed_queues(rabbitmq))
    assert "elayed" not in stack.log_of("worker").read_text()
    seconds = stack.stop()
    assert max(seconds.values()) < 5, seconds


def test_rabbitmqs_messages_are_looked_at_too(stack, push, engine, rabbitmq):
    """Headers come as AMQP's own types, and bodies are opened by the same decoders: the same worker goes on."""
    stack.env["CELERY_BROKER_URL"] = rabbitmq
    stack.start(["worker"])
    eventually(lambda: "ready" in stack.log_of("worker").read_text(), check=stack.check)
    worker = stack.processes["worker"].pid
    before = peak_megabytes(worker)
    with kombu.Connection(rabbitmq) as connection:
        producer = kombu.Producer(connection.default_channel, kombu.Exchange("pipeline", type="direct"))
        control = kombu.Producer(
            connection.default_channel, kombu.Exchange("celery.pidbox", type="fanout", durable=False)
        )
        for forged in (*FORGED.values(), *hostile_headers()):
            about = {name: value for name, value in forged.items() if name != "body"}
            producer.publish(forged["body"], routing_key="cdr.bill", **about)
        for name, bomb in BOMBS.items():
            headers = message(compression=name)["headers"]
            about = {"content_type": "application/json", "content_encoding": "binary", "headers": headers}
            producer.publish(bomb, routing_key="cdr.bill", **about)
            control.publish(bomb, headers={"compression": name})
        for method, arguments in COMMANDS.items():
            control.publish({"method": method, "arguments": arguments}, headers={"clock": 2**63 - 1})
    still_works(stack, push, engine, check=stack.check)
    assert stack.processes["worker"].pid == worker
    assert peak_megabytes(worker) < before + 60
    assert not stack.log_of("worker").read_text().count("Unrecoverable")


def hostile_headers():
    """Each header with each value that a table of AMQP can hold."""
    values = [value for value in HOSTILE if value != HUGE]
    return [message(**{header: value}) for header in HEADERS for value in values]


@pytest.fixture
def certificate(tmp_path):
    """A certificate of 127.0.0.1 that has signed itself, and its key; as two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the broker of a test")])
    now = datetime.now(tz=UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "broker.crt", tmp_path / "broker.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
def redis_over_tls(certificate, tmp_path):
    """A Redis that also listens with TLS; the URL names what to trust."""
    cert, key = certificate
    port = free_port()
    config = ["--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    server = RedisServer(
        tmp_path / "tls-redis", config=[*config, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no"]
    )
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"this redis-server has no TLS: {str(error).splitlines()[0]}")
    yield f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={cert}"
    server.stop()


def test_broker_and_dialler_over_tls(stack, redis_over_tls):
    """`rediss://` for both, in two databases of one server; a certificate nobody trusts is refused."""
    broker, dialler = (redis_over_tls.replace("/0?", f"/{database}?") for database in (0, 1))
    with pytest.raises(redis.ConnectionError) as refused:
        redis.Redis.from_url(redis_over_tls.partition("?")[0], socket_timeout=3).ping()
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value) or isinstance(refused.value.__cause__, ssl.SSLError)
    stack.env["CELERY_BROKER_URL"], stack.env["ENIGMA_REDIS_URL"] = broker, dialler
    stack.start(["ingestor", "worker", "beat"])
    with redis.Redis.from_url(dialler) as client:
        client.rpush("enigma:notifications:campaigns", *(make_record(call_ref=ref) for ref in range(50)))
    processed(stack, 50)
    with redis.Redis.from_url(broker) as client:
        assert client.keys("cdr:_kombu.binding.*")


@pytest.fixture
def sentinel(tmp_path):
    """A master, its replica, and a Sentinel that makes the replica the master when the master is gone for a second."""
    master = RedisServer(tmp_path / "master")
    master.start()
    replica = RedisServer(tmp_path / "replica", config=["--replicaof", "127.0.0.1", str(master.port)])
    replica.start()
    folder = tmp_path / "sentinel"
    folder.mkdir()
    (folder / "sentinel.conf").write_text(
        f"sentinel monitor broker 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds broker 1000\nsentinel failover-timeout broker 5000\n"
    )
    watcher = SentinelServer(folder)
    watcher.start()
    yield master, watcher
    for server in (watcher, replica, master):
        server.stop()


class SentinelServer(RedisServer):
    """Redis as a Sentinel: its configuration is a file, which it rewrites."""

    def _spawn(self, port):
        from pipeline.sandbox.process import spawn  # noqa: PLC0415

        command = [self._program, str(self.folder / "sentinel.conf"), "--sentinel", "--port", str(port)]
        return spawn([*command, "--bind", "127.0.0.1"], folder=self.folder, log=self.log)


def test_a_broker_behind_sentinel_fails_over(stack, push, sentinel):
    """The master is killed in the middle: everything goes on by itself on the replica."""
    master, watcher = sentinel
    stack.env["CELERY_BROKER_URL"] = f"sentinel://127.0.0.1:{watcher.port}/0"
    stack.env["CELERY_BROKER_SENTINEL_MASTER"] = "broker"
    stack.start(["ingestor", "worker", "beat"])
    push(*(make_record(call_ref=ref) for ref in range(50)))
    processed(stack, 50)
    os.kill(master.pid, signal.SIGKILL)
    push(*(make_record(call_ref=ref) for ref in range(100, 150)))
    processed(stack, 100, seconds=120)


def test_rabbitmq_refuses_a_login_as_it_is_expected_to(rabbitmq):
    """With a wrong password, and to a vhost that is not there: an outage, with what to do."""
    host = rabbitmq.rpartition("@")[2].partition("/")[0]
    for url, what_to_do in (
        (f"amqp://nobody:hush@{host}//", "Correct the user and password in CELERY_BROKER_URL."),
        (rabbitmq.rpartition(host)[0] + f"{host}/no-such", "Create the vhost (rabbitmqctl add_vhost)"),
    ):
        with kombu.Connection(url, transport=OURS) as connection, pytest.raises(OperationalError) as refused:
            connection.ensure_connection(max_retries=0)
        assert what_to_do in str(refused.value)
        assert "hush" not in str(refused.value)
