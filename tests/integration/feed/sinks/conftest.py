"""A receiver of webhooks, and the sink that sends them to it."""

from __future__ import annotations

import contextlib

import pytest

from pipeline.feed.sinks import check_settings, webhook
from tests.integration.webhooks import ALLOWED, SECRET, Receiver


@pytest.fixture
def receiver():
    with contextlib.closing(Receiver()) as found:
        yield found


@pytest.fixture
def opened(receiver):
    with contextlib.ExitStack() as stack:

        def open_(*, url=None, ours=ALLOWED, seconds=5.0, **settings):
            settings = {"url": url or f"http://127.0.0.1:{receiver.port}/hook", "secret": SECRET} | settings
            check_settings("webhook", settings, ours)
            sink = webhook.Webhook(settings, subscriber="crm.1", ours=ours, seconds=seconds)
            return stack.enter_context(contextlib.closing(sink))

        yield open_
