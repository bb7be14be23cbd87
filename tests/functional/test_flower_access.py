"""Who may see the tabs and who may act: Flower as the Procfile starts it, asked over HTTP."""

from __future__ import annotations

import base64
import html
import json
import re
import time

import httpx
import kombu
import pytest
from celery.events.event import get_exchange
from sqlalchemy import text
from tornado.web import create_signed_value

from pipeline.ingest.stops import raise_stop
from tests.factories import make_record
from tests.functional.conftest import eventually
from tests.functional.looking import until_it_answers
from tests.integration.flow import receive, walk

LOGIN = ("operator", "sandbox")
ACTIONS = ("/failed-calls/1/retry", "/failed-calls/1/discard", "/failed-calls/1/edit", "/failed-calls/selected",
           "/failed-calls/bulk", "/pipeline/batches/1/send")  # fmt: skip
PAGES = ("/failed-calls", "/failed-calls/1", "/failed-calls/1/state", "/failed-calls/bulk?action=retry", "/pipeline",
         "/pipeline/figures", "/calls/file", "/calls/enigma/1/audio")  # fmt: skip
FORM = {"action": "discard", "reason": "a test", "id": "1", "record": "{}"}


@pytest.fixture
def flower(stack, engine):
    """Starts Flower with settings of the test's own, beside one open failure; returns a client."""
    clients = []

    def start(auth=LOGIN, prefix="", **settings):
        walk(engine, receive(engine, make_record(call_ref=41, call_time=-61)))
        stack.env.update(settings)
        stack.start(["flower"])
        client = httpx.Client(base_url=f"{stack.flower_url}{prefix}", auth=auth)
        clients.append(client)
        until_it_answers(client, stack)
        return client

    yield start
    for client in clients:
        client.close()


def state(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT state FROM failures WHERE id = 1"))


def test_nobody_gets_in_without_the_password(flower, engine):
    """Every page and every action of the tabs answers 401, and nothing is done."""
    client = flower(auth=None)
    for auth in (None, ("operator", "wrong"), ("nobody", "sandbox")):
        assert {client.get(path, auth=auth).status_code for path in PAGES} == {401}
        assert {client.post(path, auth=auth, data=FORM).status_code for path in ACTIONS} == {401}
    assert state(engine) == "open"


def test_another_site_cannot_make_the_browser_act(flower, engine):
    """A logged-in operator's browser that a foreign page sends here is refused; so is acting by GET."""
    client = flower()
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ):
        assert {client.post(path, data=FORM, headers=headers).status_code for path in ACTIONS} == {403}, headers
    assert client.get("/failed-calls/1/retry").status_code == 405
    assert client.get("/failed-calls/selected", params=FORM).status_code == 405
    assert state(engine) == "open"


def test_an_operator_acts_by_post(flower, engine):
    """The same forms from Flower's own pages do what they say, and the row says who did it."""
    client = flower()
    answer = client.post("/failed-calls/1/discard", data=FORM, headers={"Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/failed-calls/1")
    assert state(engine) == "discarded"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT who, action, detail->>'reason' FROM actions")).all() == [
            ("operator", "discard", "a test")
        ]
    again = client.post("/failed-calls/1/retry")
    assert (again.status_code, "is no longer open" in again.text) == (422, True)


def test_read_only_and_nobody_logged_in_may_only_look(flower, engine, stack):
    """Pages are shown, with the reason why there are no buttons; actions are refused with the same sentence."""
    client = flower(FLOWER_READ_ONLY="true")
    assert "read-only" in client.get("/failed-calls").text
    assert 'id="retry-all"' not in client.get("/failed-calls").text
    assert {client.post(path, data=FORM).status_code for path in ACTIONS} == {403}
    stack.stop(["flower"])
    anonymous = flower(auth=None, FLOWER_READ_ONLY="false", FLOWER_BASIC_AUTH="")
    assert "Nobody is logged in" in anonymous.get("/failed-calls").text
    assert {anonymous.post(path, data=FORM).status_code for path in ACTIONS} == {403}
    assert {
        anonymous.post(path, data=FORM, headers={"Sec-Fetch-Site": "cross-site"}).status_code for path in ACTIONS
    } == {403}
    assert state(engine) == "open"


def test_the_tabs_follow_the_url_prefix(flower, engine):
    """Links, forms, redirects and files stay below the prefix, which is the only way in."""
    client = flower(FLOWER_URL_PREFIX="mon", prefix="/mon")
    page = client.get("/failed-calls/1")
    assert page.status_code == 200
    own = re.findall(r'(?:href|action|src|data-state-url)="(/[^"]*)"', page.text)
    assert [link for link in own if not link.startswith("/mon/")] == []
    assert "/mon/pipeline/static/failed_calls.js" in own
    assert {client.get(link.removeprefix("/mon")).status_code for link in own if "static" in link} == {200}
    assert client.post("/failed-calls/1/discard", data=FORM).headers["location"] == "/mon/failed-calls/1"
    assert httpx.get(str(client.base_url).replace("/mon/", "/failed-calls"), auth=LOGIN).status_code == 404


def test_oauth_users_act_with_the_token_of_the_page_only(flower, engine):
    """With OAuth the session is a cookie, so a form needs the page's own token; the address is who did it."""
    secret = "a secret of this test"
    client = flower(
        auth=None,
        FLOWER_BASIC_AUTH="",
        FLOWER_AUTH="thandi@example.com",
        FLOWER_AUTH_PROVIDER="flower.views.auth.GoogleAuth2LoginHandler",
        FLOWER_COOKIE_SECRET=secret,
    )
    assert client.get("/failed-calls").status_code == 302
    for who, status in (("mallory@example.com", 302), ("thandi@example.com", 200)):
        client.cookies.set("user", create_signed_value(secret, "user", who).decode())
        assert client.get("/failed-calls").status_code == status
    page = client.get("/failed-calls/1")
    assert client.post("/failed-calls/1/discard", data=FORM).status_code == 403
    token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
    assert token is not None
    assert client.post("/failed-calls/1/discard", data={**FORM, "_xsrf": token[1]}).status_code == 302
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT who FROM actions")) == "thandi@example.com"


RUBBISH = (
    "/failed-calls?class=nope",
    "/failed-calls?since=yesterday",
    "/failed-calls?before=-1",
    "/failed-calls?before=99999999999999999999",
    "/failed-calls?text=%00",
    "/failed-calls/bulk?action=explode",
    "/failed-calls/bulk",
    "/pipeline/figures?balance=century",
    "/pipeline/figures?of=everything",
)


def test_rubbish_in_an_address_is_answered_in_a_sentence(flower):
    """No traceback, no 500: what is wrong is said."""
    client = flower()
    for path in RUBBISH:
        answer = client.get(path)
        assert answer.status_code == 400, path
        assert "Traceback" not in answer.text, path
        assert 'role="alert"' in answer.text, path


def test_a_database_that_is_away_is_said(flower, engine, stack, servers):
    """The page says that nothing is lost, and Flower itself goes on."""
    client = flower(DATABASE_URL=servers.postgres.url.rpartition("/")[0] + "/no_such_database")
    answer = client.get("/failed-calls")
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text
    assert client.get("/workers").status_code == 200


HIDING = "spring\x1b[2J\x9b\u202egnirps\u2066\u200b\r\n0 fake"
SEEN = r"spring\u001b[2J\u009b\u202egnirps\u2066\u200b\r\n0 fake"


def test_what_hides_in_a_record_is_seen(flower, engine):
    """Characters of no width and those that turn a line around are written out, wherever somebody reads."""
    client = flower()
    walk(engine, receive(engine, make_record(call_ref=HIDING, ref=HIDING, contact_ref=HIDING, call_dir=HIDING)))
    with engine.begin() as connection:
        raise_stop(connection, HIDING, "fuse", HIDING)
        connection.execute(text("UPDATE failures SET traceback = :said WHERE id = 2"), {"said": f"one\n{HIDING}"})
    for path in ("/failed-calls", "/failed-calls/2", "/failed-calls/bulk?action=retry", "/pipeline/figures"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert page.text.replace("\n", "").isprintable(), path
    assert client.get("/failed-calls").text.count(SEEN) >= 2
    stop = client.get("/pipeline/figures").json()["stops"][0]
    assert (stop["source"], stop["kind"], stop["reason"]) == (SEEN, "fuse", SEEN)
    assert f"--source {SEEN}`" in stop["remedy"]
    assert "<b>" not in client.get("/failed-calls?class=<b>").text
    # What is sent back is as it is: a filter finds it, and an edit changes nothing that nobody changed.
    assert "1</strong>" in client.get("/failed-calls", params={"campaign": HIDING}).text
    editor = r'aria-label="the record as it should have been"[^>]*>\n(.*?)</textarea>'
    draft = re.search(editor, client.get("/failed-calls/2").text, re.DOTALL)
    assert draft is not None
    assert json.loads(html.unescape(draft[1]))["payload"]["ref"] == HIDING


def login(user, password):
    """The header of a login, in bytes of our choice."""
    return {"Authorization": "Basic " + base64.b64encode(user + b":" + password).decode()}


def test_any_bytes_may_be_tried_as_a_password_and_a_wrong_one_is_told(flower, stack):
    """A login that is no ASCII works; one that is wrong is 401 whatever it holds, is in the log, and is slowed."""
    client = flower(auth=None, FLOWER_BASIC_AUTH="opérateur:pâssword,operator:sandbox")
    right = login("opérateur".encode(), "pâssword".encode())
    assert client.get("/workers", headers=right).status_code == 200
    assert client.post("/failed-calls/1/discard", headers=right, data=FORM).status_code == 302
    tried = [
        (b"operator", "pâss".encode()),
        (b"operator", b"\xff\xfe"),
        (b"op\x1b[2J", b"x"),
        (b"", b""),
        (b"\xe9", b"\xe9"),
    ]
    assert {client.get("/workers", headers=login(*each)).status_code for each in tried} == {401}
    for header in ("Basic é", "Bearer x", "Basic " + "A" * 10_000):
        assert client.get("/workers", headers={"Authorization": header.encode()}).status_code == 401
    told = [json.loads(line) for line in stack.log_of("flower").read_text().splitlines() if "login_refused" in line]
    assert {line["login"] for line in told} >= {"operator", "op\\u001b[2J"}
    assert all(line["address"] == "127.0.0.1" and line["level"] == "warning" for line in told)
    assert "sandbox" not in str(told)
    answers = [client.get("/workers", headers=login(b"operator", b"%d" % number)) for number in range(40)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) in range(1, 61)
    assert client.get("/workers", headers=right).status_code == 429  # else guessing would go on
    assert client.get("/healthcheck").status_code == 200


def test_flowers_own_api_looks_and_does_not_act(flower):
    """What Flower would let a login do to workers and queues is not needed here, and is off; looking is not."""
    client = flower()
    post = [*("shutdown", "pool/restart", "pool/grow", "pool/shrink", "pool/autoscale"),
            *("queue/add-consumer", "queue/cancel-consumer")]  # fmt: skip
    paths = [f"/api/worker/{each}/worker@x?n=1&min=1&max=2&queue=q" for each in post]
    paths += [f"/api/task/{each}/pipeline.reconcile?workername=x" for each in
              ("apply", "async-apply", "send-task", "abort", "timeout", "rate-limit", "revoke")]  # fmt: skip
    for path in paths:
        answer = client.post(path, json={"args": []})
        assert (answer.status_code, "switched off" in answer.text) == (403, True), path
        assert client.post(path, json={}, auth=None).status_code == 401, path
    for path in ("/api/workers", "/api/tasks", "/api/task/types", "/api/queues/length"):
        assert client.get(path).status_code == 200, path
        assert client.get(path, auth=None).status_code == 401, path


def test_without_a_login_only_our_own_name_is_answered(flower, stack):
    """A page whose name is made to point here must not read records through the browser of somebody on this machine."""
    client = flower(auth=None, FLOWER_BASIC_AUTH="")
    port = client.base_url.port
    for host in (f"evil.example:{port}", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example"):
        answers = {client.get(path, headers={"Host": host}).status_code for path in (*PAGES, "/", "/tasks", "/metrics")}
        assert answers == {403}, host
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", "[::1]:80", "10.0.0.7"):
        assert client.get("/failed-calls", headers={"Host": host}).status_code == 200, host
    assert client.get("/healthcheck", headers={"Host": "anything"}).status_code == 200
    assert client.get("/api/tasks").status_code == 401


def test_an_open_api_keeps_flower_from_starting(stack):
    """FLOWER_UNAUTHENTICATED_API would let any page of any site ask what workers do."""
    stack.env["FLOWER_UNAUTHENTICATED_API"] = "1"
    done = stack.run("/bin/sh", "-c", f"exec {stack.commands['flower']}")
    assert done.returncode != 0
    assert "FLOWER_UNAUTHENTICATED_API" in done.stderr


def test_every_page_has_its_policies(flower):
    """Flower's own as well as ours: no frame, no script but files and what Flower itself wrote into the page."""
    client = flower()
    for path in ("/", "/workers", "/tasks", "/broker", "/nothing", "/failed-calls", "/api/workers"):
        headers = client.get(path).headers
        assert headers["x-frame-options"] == "DENY", path
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy, path
        script = re.search(r"script-src ([^;]*);", policy)
        assert script is not None
        assert "unsafe" not in script[1], path
    nonces = {client.get("/workers").headers["content-security-policy"] for _ in range(3)}
    assert len(nonces) == 3


def hostile_events():
    """Each beside what a heartbeat needs; those that would end a receiver at once come last."""
    return [
        *({"active": value} for value in ("x", [], {}, 1e400, -1, 10**400)),
        *({"freq": value} for value in ("x", [], None, "nan", 10**400)),
        *({name: "x"} for name in ("heartbeats", "event", "alive", "_fields", "loadavg", "processed")),
        *({"type": "task-received", name: value}
          for name in ("name", "args", "kwargs", "eta", "retries", "state", "worker", "received", "children", "root_id")
          for value in ([], {"a": 1}, 7.5)),
        *({"type": "task-succeeded", "runtime": value} for value in ("x", [], -1, 10**400)),
        *({"type": kind} for kind in ("task-", "task-nothing", "worker-x", "other", "task-as_dict", "")),
        *({"type": "task-received", "uuid": value, "name": "x"} for value in ([], {}, 7, None, "x" * 100_000)),
        *({"hostname": value} for value in ([], {}, 7, "x" * 100_000, "\x1b[2J", "")),
        *({"timestamp": value} for value in (10**400, -1, [], None, True)),
        *("no event", 7, None, [[]], {}, {"clock": "x"}, {"type": 7, "hostname": "x"}),
    ]  # fmt: skip


def test_hostile_events_break_no_page(flower, stack):
    """Whoever may write to the broker may lie to Flower; its pages go on, and what is true is still shown."""
    client = flower()
    with kombu.Connection(stack.env["CELERY_BROKER_URL"], transport_options={"global_keyprefix": "cdr:"}) as connection:
        exchange = get_exchange(connection)

        def tell(*bodies, **options):
            with connection.Producer(exchange=exchange, serializer="json") as producer:
                for body in bodies:
                    producer.publish(body, routing_key="worker.heartbeat", **options)

        def good(host):
            now = time.time()
            common = {"hostname": host, "timestamp": now, "utcoffset": 0, "pid": 7, "clock": 9}
            beat = {"type": "worker-heartbeat", "freq": 2.0, "active": 0, "processed": 0, "loadavg": [0.1, 0.2, 0.3]}
            task = {"uuid": f"u-{host}", "name": "cdr.bill", "args": "()", "kwargs": "{}", "retries": 0, "eta": None}
            return [{**common, **beat, "sw_ident": "py-celery", "sw_ver": "5", "sw_sys": "Linux"},
                    {**common, "type": "task-received", **task, "expires": None, "root_id": "r", "parent_id": None},
                    {**common, "type": "task-succeeded", "uuid": f"u-{host}", "runtime": 0.1}]  # fmt: skip

        def shown(host):
            tell(*good(host))
            said = client.get("/workers?json=1").text, client.get("/api/tasks").text
            return all(host in each for each in said)

        eventually(lambda: shown("worker@before"), check=stack.check)
        for number, each in enumerate(hostile_events()):
            beat = {**good(f"worker@hostile{number}")[0], "uuid": f"u{number}"}
            tell({**beat, **each} if isinstance(each, dict) and each else each)
        tell(b"\xff\xfe", content_type="application/json", content_encoding="utf-8", serializer=None)
        tell(b"x", content_type="application/x-python-serialize", content_encoding="binary", serializer=None)
        eventually(lambda: shown("worker@after"), check=stack.check)
    table = {"draw": 1, "start": 0, "length": 100, "search[value]": "", "order[0][dir]": "asc"}
    for column in ("name", "state", "received", "started", "runtime", "retries", "worker"):
        asked = client.get("/tasks/datatable", params={**table, "order[0][column]": 0, "columns[0][data]": column})
        assert asked.status_code == 200, (column, asked.text)
        assert "u-worker@after" in asked.text
    for path in ("/", "/workers", "/workers?json=1", "/tasks", "/metrics", "/api/tasks", "/task/u-worker@after"):
        assert client.get(path).status_code == 200, path
    assert {client.get(f"/task/u{number}").status_code for number in range(len(hostile_events()))} <= {200, 404}
    told = [line for line in stack.log_of("flower").read_text().splitlines() if "Traceback" in line]
    assert told == []
    assert stack.log_of("flower").stat().st_size < 100_000
