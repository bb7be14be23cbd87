"""Who may see the tabs and who may act: Flower as the Procfile starts it, asked over HTTP."""

from __future__ import annotations

import re

import httpx
import pytest
from sqlalchemy import text
from tornado.web import create_signed_value

from tests.factories import make_record
from tests.functional.conftest import eventually
from tests.integration.flow import receive, walk

LOGIN = ("operator", "sandbox")
ACTIONS = ("/failed-calls/1/retry", "/failed-calls/1/discard", "/failed-calls/1/edit", "/failed-calls/selected",
           "/failed-calls/bulk", "/pipeline/batches/1/send")  # fmt: skip
PAGES = ("/failed-calls", "/failed-calls/1", "/failed-calls/1/state", "/failed-calls/bulk?action=retry", "/pipeline",
         "/pipeline/figures")  # fmt: skip
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

        def answers():
            try:
                return client.get("/healthcheck").status_code == 200
            except httpx.TransportError:
                return False

        eventually(answers, check=stack.check)
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
