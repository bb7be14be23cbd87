"""Secrets are in no text that is shown."""

from __future__ import annotations

import pytest

from pipeline.logs.rules.secrets import mask, secret_values, secrets_of

HUSH = "hush%40Pass"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{HUSH}@host:6379/0",
        f"rediss://cdr:{HUSH}@host:6379/0",
        f"sentinel://:{HUSH}@a:26379/0;sentinel://:{HUSH}@b:26379/0",
        f"amqps://cdr:{HUSH}@host:5671//",
        f"postgresql+psycopg://cdr:{HUSH}@host:5432/cdr",
        f"postgresql+psycopg://cdr@host/cdr?password={HUSH}",
        f"https://cdr:{HUSH}@host/dialler",
    ],
)
def test_a_password_in_a_url_is_never_shown(url):
    """Neither as it stands there nor as it is sent, in the URL or out of it."""
    secrets = secrets_of(url)
    for text in (url, f"Error 111 connecting to {url}.", f"said {HUSH}", "said hush@Pass", f"password='{HUSH}' host=x"):
        shown = mask(text, secrets)
        assert "hush" not in shown
        assert "***" in shown


def test_a_url_is_masked_even_where_its_secret_is_not_known():
    """Whatever a library quotes, a password in a URL or behind its name goes."""
    assert mask("cannot open amqp://guest:guest@x//") == "cannot open amqp://guest:***@x//"
    assert mask('{"password": "hush", "user": "me"}') == '{"password": ***, "user": "me"}'


def test_nothing_else_is_touched():
    """A URL without a password stays readable."""
    text = "redis://localhost:8001/0 and http://dialler:8000 at 12:30:00, mail a@b"
    assert mask(text, secrets_of("redis://localhost:8001/0", "http://user@dialler:8000")) == text


def test_options_hold_secrets_at_any_depth():
    """By their names, and everything below such a name."""
    options = {"key": "AK", "client_kwargs": {"endpoint_url": "http://x", "auth": {"a": "b"}}, "n": 3}
    assert sorted(secret_values(options)) == ["AK", "b"]
