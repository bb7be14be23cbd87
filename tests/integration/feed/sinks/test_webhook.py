"""Webhooks to a real server: signatures that the official library verifies, all answers, forbidden addresses."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from pipeline.dialler import names
from pipeline.feed.deliver import deliver
from pipeline.feed.rules.event import RECEIVED
from pipeline.feed.rules.shape import RAW_TYPE
from pipeline.feed.sequence import place
from pipeline.feed.sinks import check_settings, open_sink, webhook
from pipeline.feed.sinks.base import Ours, RefusedError, SettingError, SinkAwayError
from pipeline.sandbox.servers import free_port
from tests.factories import make_record
from tests.integration.feed_events import event, events
from tests.integration.flow import receive
from tests.integration.webhooks import ALLOWED, SECRET, Receiver

NEXT_SECRET = "whsec_" + base64.b64encode(bytes([2]) * 32).decode()


def test_an_event_is_a_request_that_the_official_library_verifies(opened, receiver):
    [told] = some = events(1)
    sink = opened()
    assert (sink.most_events, sink.delivered()) == (1, None)
    sink.deliver(some)
    [(path, headers, body)] = receiver.got
    assert (path, body, headers["content-type"]) == ("/hook", told.body, told.content_type)
    assert headers["webhook-id"] == str(told.event_id)
    assert Verifier(SECRET).verify(body, headers) == json.loads(told.body)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body + b" ", headers)


def test_whoever_has_the_old_secret_or_the_new_one_verifies_while_it_is_rotated(opened, receiver):
    """First the old one, then both, then the new one: no request between that a receiver cannot verify."""
    for secret, known in (
        (SECRET, [SECRET]),
        (f"{NEXT_SECRET} {SECRET}", [SECRET, NEXT_SECRET]),
        (f"{NEXT_SECRET}\n", [NEXT_SECRET]),
    ):
        opened(secret=secret).deliver(events(1))
        _, headers, body = receiver.got[-1]
        assert len(headers["webhook-signature"].split(" ")) == len(known)
        for each in (SECRET, NEXT_SECRET):
            if each in known:
                Verifier(each).verify(body, headers)
            else:
                with pytest.raises(WebhookVerificationError):
                    Verifier(each).verify(body, headers)


def test_a_try_again_has_the_same_id_and_its_own_time(opened, receiver, monkeypatch):
    sink, some = opened(batch=3), events(3)
    receiver.answers(503)
    with pytest.raises(SinkAwayError):
        sink.deliver(some)
    receiver.answers(200)
    opened(batch=3).deliver(some)
    first, second = (headers for _, headers, _ in receiver.got)
    assert first["webhook-id"] == second["webhook-id"]
    assert abs(int(second["webhook-timestamp"]) - time.time()) < 5


def test_many_events_are_one_request(opened, receiver):
    sink, some = opened(batch=500), events(500)
    assert sink.most_events == 500
    sink.deliver(some)
    [(_, headers, body)] = receiver.got
    assert headers["content-type"] == "application/cloudevents-batch+json"
    assert [each["id"] for each in Verifier(SECRET).verify(body, headers)] == [str(each.event_id) for each in some]


def test_bytes_that_are_no_text_are_signed_and_come_whole(opened, receiver):
    opened().deliver([event(content_type=RAW_TYPE, body=b"\xff\xfe\x00")])
    [(_, headers, body)] = receiver.got
    assert base64.b64decode(Verifier(SECRET).verify(body, headers)["data_base64"]) == b"\xff\xfe\x00"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_other_side_will_not_have_is_refused_with_its_answer(opened, receiver, status):
    receiver.answers(status, b"no such contact\n")
    with pytest.raises(RefusedError, match=f"127.0.0.1 answered {status}") as refused:
        opened().deliver(events(1))
    assert refused.value.answer == "no such contact"


@pytest.mark.parametrize("status", [301, 307, 401, 404, 429, 500, 503])
def test_what_is_about_the_moment_or_the_place_is_tried_again(opened, receiver, status):
    receiver.answers(status, b"not now", Retry_After="120", Location=f"http://127.0.0.1:{receiver.port}/other")
    with pytest.raises(SinkAwayError, match=f"answered {status}") as away:
        opened().deliver(events(1))
    assert (away.value.retry_after_seconds, away.value.disabled) == (120, False)
    assert len(receiver.got) == 1, "a redirect was followed"


def test_a_moment_to_come_back_at_is_heeded(opened, receiver):
    receiver.answers(503, Date="Sun, 01 Mar 2026 00:00:00 GMT", Retry_After="Sun, 01 Mar 2026 00:02:00 GMT")
    with pytest.raises(SinkAwayError) as away:
        opened().deliver(events(1))
    assert away.value.retry_after_seconds == pytest.approx(120, abs=2)


def test_gone_is_for_ever(opened, receiver):
    receiver.answers(410)
    with pytest.raises(SinkAwayError, match="answered 410") as gone:
        opened().deliver(events(1))
    assert gone.value.disabled


def test_no_cookie_no_proxy_no_netrc(opened, receiver, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login cdr password hush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    receiver.answers(200, Set_Cookie="a=b; Path=/")
    sink = opened()
    sink.deliver(events(1))
    sink.deliver(events(1))
    assert len(receiver.got) == 2
    assert not {"cookie", "authorization"} & {name for _, headers, _ in receiver.got for name in headers}
    assert receiver.connections == 1, "a connection is used again"


def test_the_next_delivery_goes_over_the_same_connection_while_all_is_well(opened, receiver):
    for _ in range(2):
        with contextlib.closing(opened()) as sink:
            sink.deliver(events(1))
    assert receiver.connections == 1
    receiver.status = 500
    with contextlib.closing(opened()) as sink, pytest.raises(SinkAwayError):
        sink.deliver(events(1))
    receiver.status = 204
    with contextlib.closing(opened()) as sink:
        sink.deliver(events(1))
    assert receiver.connections == 2


def test_a_login_in_the_url_is_sent_and_never_shown(opened, receiver, caplog):
    caplog.set_level(logging.DEBUG)
    receiver.answers(500, b"Basic hush-hush-hush and /hook/t0ken-of-mine are unknown, as is " + SECRET.encode())
    sink = opened(url=f"http://crm:hush-hush-hush@127.0.0.1:{receiver.port}/hook/t0ken-of-mine?key=an0ther-one")
    with pytest.raises(SinkAwayError) as away:
        sink.deliver(events(1))
    [(path, headers, _)] = receiver.got
    assert path == "/hook/t0ken-of-mine?key=an0ther-one"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"crm:hush-hush-hush").decode()
    for said in (str(away.value), repr(away.value.__cause__)):
        assert not {each for each in ("hush", "t0ken", "an0ther", SECRET[6:]) if each in said}
    assert "hush-hush-hush" not in caplog.text


def test_secrets_are_in_no_answer_that_is_kept(opened, receiver):
    receiver.answers(422, f"signed with {SECRET} and {SECRET[6:]}".encode() + b"x" * 100_000)
    with pytest.raises(RefusedError) as refused:
        opened().deliver(events(1))
    assert refused.value.answer.startswith("signed with *** and ***x")
    assert len(refused.value.answer) <= 300


# --- where it may not go


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "169.254.169.254", "10.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1]"),
        *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    ],
)
def test_an_address_that_is_not_public_is_refused_in_any_form(host):
    settings = {"url": f"https://{host}/hook", "secret": SECRET}
    with pytest.raises(SettingError, match=r"is not of the public network|url must be a URL"):
        check_settings("webhook", settings, Ours())


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_it_is_refused_when_connecting_too(host):
    """Where settings were changed behind our back."""
    with (
        contextlib.closing(open_unchecked(f"https://{host}/hook")) as sink,
        pytest.raises(SinkAwayError, match="is not of the public network"),
    ):
        sink.deliver(events(1))


def open_unchecked(url):
    return webhook.Webhook({"url": url, "secret": SECRET}, subscriber="x", ours=Ours())


def resolver(monkeypatch, *answers):
    """The system's resolver, that gives one answer after the other, then the last."""
    left, asked, real = list(answers), [], socket.getaddrinfo

    def look_up(host, port, *args, **options):
        if host != "hooks.example":
            return real(host, port, *args, **options)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(names.socket, "getaddrinfo", look_up)
    return asked


def test_a_name_that_leads_here_is_refused(opened, receiver, monkeypatch):
    sink = opened(url=f"https://hooks.example:{receiver.port}/hook")
    resolver(monkeypatch, ["127.0.0.1"])
    with pytest.raises(SinkAwayError, match=r"hooks\.example is 127\.0\.0\.1, which is not of the public network"):
        sink.deliver(events(1))
    assert not receiver.connections


def test_a_name_that_leads_elsewhere_at_the_next_connection_is_refused(opened, receiver, monkeypatch):
    """Public when it was looked at, ours when the next connection is opened."""
    monkeypatch.setattr(webhook, "is_public", lambda address: address == "127.0.0.2")
    monkeypatch.setattr(webhook, "_check_url", lambda *_: None)
    with contextlib.closing(Receiver("127.0.0.2", receiver.port)) as public:
        asked = resolver(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
        public.headers = {"Connection": "close"}
        sink = opened(url=f"http://hooks.example:{receiver.port}/hook", ours=Ours())
        sink.deliver(events(1))
        with pytest.raises(SinkAwayError, match=r"hooks\.example is 127\.0\.0\.1"):
            sink.deliver(events(1))
        assert len(public.got) == 1
        assert public.got[0][1]["host"] == f"hooks.example:{receiver.port}", "the name stays in the request"
    assert not receiver.connections
    assert asked == ["hooks.example"] * 2, "looked up once a connection, which goes to what was found"


def test_of_several_addresses_only_public_ones_are_connected_to(opened, receiver, monkeypatch):
    monkeypatch.setattr(webhook, "is_public", lambda address: address == "127.0.0.2")
    monkeypatch.setattr(webhook, "_check_url", lambda *_: None)
    with contextlib.closing(Receiver("127.0.0.2", receiver.port)) as public:
        resolver(monkeypatch, ["127.0.0.1", "127.0.0.2"])
        opened(url=f"http://hooks.example:{receiver.port}/hook", ours=Ours()).deliver(events(1))
        assert len(public.got) == 1
    assert not receiver.connections


def test_a_host_that_the_settings_name_may_be_anywhere(opened, receiver):
    ours = Ours(allowed_hosts=frozenset({"localhost"}))
    opened(url=f"http://LocalHost:{receiver.port}/hook", ours=ours).deliver(events(1))
    assert len(receiver.got) == 1
    with pytest.raises(SettingError):
        opened(url=f"http://127.0.0.1:{receiver.port}/hook", ours=ours)


def self_signed(folder, name):
    """A certificate that no authority knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    no_password = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)
    (folder / "both.pem").write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return folder / "both.pem"


def test_a_server_must_prove_the_name_though_its_address_is_connected_to(opened, receiver, monkeypatch, tmp_path):
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, "hooks.example"))
    context.sni_callback = lambda _, name, __: asked.append(name)

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65_536)

    ours = Ours(allowed_hosts=frozenset({"hooks.example"}))
    resolver(monkeypatch, ["127.0.0.1"])
    with contextlib.closing(Raw(talk, greets=False)) as server:
        sink = opened(url=f"https://hooks.example:{server.port}/", ours=ours)
        with pytest.raises(SinkAwayError, match="certificate verify failed"):
            sink.deliver(events(1))
    assert asked == ["hooks.example"]


# --- what takes too long


class Raw:
    """Speaks byte by byte on each connection."""

    def __init__(self, talk, *, greets=True) -> None:
        self._greets = greets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._talk = talk
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    if self._greets:
                        connection.recv(65_536)
                    self._talk(connection)

    def close(self):
        self._listener.close()


def drip(text, *, every=0.05):
    def talk(connection):
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(every)

    return talk


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 O" + b"K" * 10_000,
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000,
        b"HTTP/1.1 103 E\r\n\r\n" * 9_999,
    ],
    ids=["status", "headers", "interim answers"],
)
def test_a_drip_ends_at_the_deadline(opened, text):
    with contextlib.closing(Raw(drip(text))) as slow:
        began = time.monotonic()
        with pytest.raises(SinkAwayError, match=r"gave no answer within 0\.5 s"):
            opened(url=f"http://127.0.0.1:{slow.port}/", seconds=0.5).deliver(events(1))
        assert time.monotonic() - began < 2


def test_a_body_that_drips_changes_nothing_and_ends_at_the_deadline(opened):
    head = b"HTTP/1.1 %s\r\nContent-Length: 100000\r\n\r\n"
    for status, outcome in (
        (b"200 OK", contextlib.nullcontext()),
        (b"422 No", pytest.raises(RefusedError)),
        (b"500 No", pytest.raises(SinkAwayError, match="answered 500")),
    ):

        def talk(connection, status=status):
            connection.sendall(head % status)
            drip(b"x" * 10_000)(connection)

        with contextlib.closing(Raw(talk)) as slow:
            began = time.monotonic()
            with outcome:
                opened(url=f"http://127.0.0.1:{slow.port}/", seconds=0.5).deliver(events(1))
            assert time.monotonic() - began < 2


def test_an_answer_without_an_end_is_not_read_to_it(opened):
    def talk(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with contextlib.closing(Raw(talk)) as endless:
        began = time.monotonic()
        opened(url=f"http://127.0.0.1:{endless.port}/", seconds=30).deliver(events(1))
        assert time.monotonic() - began < 25, "its thirty seconds are not waited for"


@pytest.mark.parametrize("text", [b"", b"SSH-2.0-hello\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000])
def test_what_is_no_answer_is_said(opened, text):
    with (
        contextlib.closing(Raw(lambda connection: connection.sendall(text))) as odd,
        pytest.raises(SinkAwayError, match=r"the connection to 127\.0\.0\.1 broke"),
    ):
        opened(url=f"http://127.0.0.1:{odd.port}/").deliver(events(1))


def test_nobody_there_is_said(opened):
    with pytest.raises(SinkAwayError, match=r"127\.0\.0\.1 cannot be reached"):
        opened(url=f"http://127.0.0.1:{free_port()}/").deliver(events(1))


# --- settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "hooks.example/t0ken"}, "url must be a URL"),
        ({"url": "ftp://hooks.example/t0ken"}, "url must be a URL"),
        ({"url": "https:///t0ken"}, "url must be a URL"),
        ({"url": "https://[t0ken"}, "url must be a URL"),
        ({"url": None}, "url must be a URL"),
        ({"url": "http://hooks.example/t0ken"}, "url must begin with https"),
        ({"secret": None}, "secret must be given"),
        ({"secret": " "}, "secret must be given"),
        ({"secret": "whsec_t0ken!"}, "secret must be whsec_ and base64"),
        ({"secret": "whsk_" + "A" * 44}, "must hold 32 bytes"),
        ({"secret": "whsec_" + base64.b64encode(b"t0ken").decode()}, "24 to 64 bytes in base64, got 5"),
        ({"secret": f"{SECRET} whsec_" + base64.b64encode(bytes(65)).decode()}, "got 65"),
        ({"batch": 0}, "batch must be a whole number from 1 to 500"),
        ({"batch": 501}, "batch must be a whole number from 1 to 500"),
        ({"batch": True}, "batch must be a whole number from 1 to 500"),
        ({"headers": {}}, "has no setting headers"),
    ],
)
def test_a_setting_that_cannot_be_is_said_without_what_is_secret(changes, said):
    settings = {"url": "https://hooks.example/t0ken", "secret": SECRET} | changes
    with pytest.raises(SettingError, match=said) as wrong:
        open_sink("webhook", settings, subscriber="crm.1")
    assert not {each for each in ("t0ken", SECRET[6:]) if each in str(wrong.value)}


def test_all_of_the_way(engine, feed, receiver):
    """From the inbox to a receiver that refuses one: it is found, and all others come once."""
    settings = {"url": f"http://127.0.0.1:{receiver.port}/hook", "batch": 4}
    feed.add("crm", sink="webhook", settings=settings, secrets={"secret": SECRET}, kinds=(RECEIVED,), shape="raw")
    receive(engine, *[make_record() for _ in range(6)])
    place(engine)

    def opener(*args, **options):
        return open_sink(*args, **options, ours=ALLOWED)

    receiver.answers(422, b"never")
    done = deliver(engine, "crm", open_sink=opener, seconds=10)
    assert (done.delivered, done.refused) == (0, 6)
    receiver.answers(200)
    receiver.got.clear()
    receive(engine, *(elements := [make_record() for _ in range(6)]))
    place(engine)
    done = deliver(engine, "crm", open_sink=opener, seconds=10)
    assert (done.outcome, done.delivered) == ("up to date", 6)
    bodies = [each for _, headers, body in receiver.got for each in Verifier(SECRET).verify(body, headers)]
    assert [base64.b64decode(each["data_base64"]) for each in bodies] == elements
    receiver.answers(410)
    receive(engine, make_record())
    place(engine)
    assert deliver(engine, "crm", open_sink=opener, seconds=10).outcome == "disabled"
