"""The tabs hang on how Flower 2.2 is built; a Flower that is built otherwise must be noticed at once."""

from __future__ import annotations

import pytest
from flower import urls
from flower.views import BaseHandler

from pipeline.flower import extension
from pipeline.flower.extension import FLOWER_TEMPLATES, HANDLERS, FlowerMovedError, install, navbar_with_tabs


@pytest.fixture
def untouched(monkeypatch):
    """Flower's lists as they are before anybody installs anything."""
    monkeypatch.setattr(urls, "handlers", [each for each in urls.handlers if each not in HANDLERS])
    monkeypatch.setattr(urls, "settings", {k: v for k, v in urls.settings.items() if k != "template_loader"})
    monkeypatch.setattr(extension.urls, "handlers", urls.handlers)


def test_this_flower_is_built_as_the_tabs_know_it(untouched):
    """Handlers before the catch-all, our templates before Flower's, and twice is once."""
    install()
    install()
    assert urls.handlers[-1][0] == r".*"
    assert [each for each in urls.handlers if each in HANDLERS] == HANDLERS
    assert len(urls.handlers) == len({id(each) for each in urls.handlers})
    loader = urls.settings["template_loader"]
    assert loader.load("failed_calls.html").name == "failed_calls.html"


def test_flowers_own_views_have_what_ours_lean_on():
    """The cross-site check, the login and the options behind them."""
    for name in ("check_xsrf_cookie", "get_current_user", "set_default_headers", "write_error", "render"):
        assert callable(vars(BaseHandler)[name]), name
    assert set(urls.settings) >= {"template_path", "static_path", "cookie_secret", "login_url", "xsrf_cookies"}


def test_the_bar_has_both_tabs():
    """Beside the broker's, once each."""
    bar = navbar_with_tabs((FLOWER_TEMPLATES / "navbar.html").read_text())
    for route, title in extension.TABS.items():
        assert bar.count(f"reverse_url('{route}')") == 1
        assert bar.count(f">{title}<") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda bar: bar.replace("reverse_url('broker')", "reverse_url('queues')"),
        lambda bar: bar.replace(">Broker<", ">Queues<"),
        lambda bar: bar.replace('<li class="nav-item">', "<li>"),
        lambda bar: bar + bar,
    ],
)
def test_a_bar_that_moved_is_refused_in_a_sentence(change):
    """Rather than tabs that are silently missing."""
    with pytest.raises(FlowerMovedError, match=r"Flower 2\.2\.\d+ has another navigation bar.*requirements\.lock"):
        navbar_with_tabs(change((FLOWER_TEMPLATES / "navbar.html").read_text()))


def test_a_list_of_handlers_that_moved_is_refused_in_a_sentence(untouched, monkeypatch):
    """Appended after the catch-all, ours would never be reached."""
    monkeypatch.setattr(urls, "handlers", urls.handlers[:-1])
    with pytest.raises(FlowerMovedError, match="catch-all"):
        install()
