"""How the tabs get into Flower, which has no hook for it: handlers in its list, templates before its own.

Flower runs its configuration file (``deploy/flowerconfig.py``) before it builds its application, and builds it from the
list and the settings of ``flower.urls``. Whatever a later Flower moves of this is noticed here, at start.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flower
from flower import urls
from tornado.template import Loader, Template
from tornado.web import StaticFileHandler, url

from pipeline.errors import PipelineError
from pipeline.flower import events, guard, integrators, overview
from pipeline.flower.accounts import pages as accounts
from pipeline.flower.calls import audio
from pipeline.flower.calls import list as calls
from pipeline.flower.calls import one as call
from pipeline.flower.failures import bulk as all_that_match
from pipeline.flower.failures import list as failed_calls
from pipeline.flower.failures import one as failed_call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
FLOWER_TEMPLATES = Path(urls.settings["template_path"])

TABS = {
    "calls": "Calls",
    "failed_calls": "Failed calls",
    "pipeline": "Pipeline",
    "integrators": "Integrators",
    "accounts": "Accounts",
}
"""Each tab's route and what it is called."""

HANDLERS = [
    url(r"/failed-calls", failed_calls.ListHandler, name="failed_calls"),
    url(r"/failed-calls/(\d{1,18})", failed_call.DetailHandler, name="failed_call"),
    url(r"/failed-calls/(\d{1,18})/state", failed_call.StateHandler, name="failed_call_state"),
    url(
        r"/failed-calls/(\d{1,18})/(retry|discard|restore|edit|accept)", failed_call.ActHandler, name="failed_call_act"
    ),
    url(r"/failed-calls/selected", failed_calls.SelectedHandler, name="failed_calls_selected"),
    url(r"/failed-calls/bulk", all_that_match.BulkHandler, name="failed_calls_bulk"),
    url(r"/failed-calls/bulk/(\d{1,18})", all_that_match.ProgressHandler, name="failed_calls_progress"),
    url(
        r"/failed-calls/bulk/(\d{1,18})/state", all_that_match.ProgressStateHandler, name="failed_calls_progress_state"
    ),
    url(r"/calls", calls.ListHandler, name="calls"),
    url(r"/calls/file", calls.FileHandler, name="calls_file"),
    url(r"/calls/([^/]+)/([^/]+)/audio", audio.AudioHandler, name="call_audio"),
    url(r"/calls/([^/]+)/([^/]+)", call.OneHandler, name="call"),
    url(r"/pipeline", overview.OverviewHandler, name="pipeline"),
    url(r"/pipeline/figures", overview.FiguresHandler, name="pipeline_figures"),
    url(r"/pipeline/batches/(\d{1,18})/send", overview.SendAgainHandler, name="pipeline_send_again"),
    url(r"/integrators", integrators.ListHandler, name="integrators"),
    url(r"/integrators/([a-z0-9_-]{1,48})/(pause|resume)", integrators.ActHandler, name="integrator_act"),
    url(r"/accounts", accounts.MonthHandler, name="accounts"),
    url(r"/accounts/file", accounts.FileHandler, name="accounts_file"),
    url(r"/pipeline/static/(.*)", StaticFileHandler, {"path": str(HERE / "static")}, name="pipeline_static"),
]


class FlowerMovedError(PipelineError):
    """Flower is not built as these tabs know it; its text says what moved."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"Flower {getattr(flower, '__version__', '')} {what}. The tabs of this pipeline fit Flower 2.2: "
            "install the version that requirements.lock names"
        )


def install() -> None:
    """Put the tabs into Flower; once or several times, to the same effect.

    Raises:
        FlowerMovedError: this Flower is built in another way.
    """
    handlers = urls.handlers
    if HANDLERS[0] in handlers:
        return
    if not handlers or not isinstance(handlers[-1], tuple) or handlers[-1][0] != r".*":
        raise FlowerMovedError("no longer ends its list of handlers with a catch-all")
    loader = OverlayLoader([HERE / "templates", FLOWER_TEMPLATES])
    for name in ("base.html", "404.html", *CHANGED):
        loader.load(name)
    guard.install()
    events.install()
    handlers[:] = [guard.only_looking(handler) for handler in handlers]
    handlers[-1:-1] = HANDLERS
    urls.settings["template_loader"] = loader


class OverlayLoader(Loader):
    """Templates from the first folder that has them, and some of Flower's as they are changed here.

    Args:
        folders: where to look, in this order.
    """

    def __init__(self, folders: Sequence[Path], **options: Any) -> None:
        super().__init__(str(folders[-1]), **options)
        self._folders = folders

    def _create_template(self, name: str) -> Template:
        path = next((path for folder in self._folders if (path := folder / name).is_file()), self._folders[-1] / name)
        source = path.read_text()
        if name in CHANGED:
            source = CHANGED[name](source)
        # What is shown in ours is text, line by line; Flower's own know their way of escaping.
        ours = path.parent != self._folders[-1]
        return Template(source, name=name, loader=self, autoescape="shown" if ours else self.autoescape)


def navbar_with_tabs(source: str) -> str:
    """Flower's navigation bar with one more item a tab, each made like the one for the broker.

    Raises:
        FlowerMovedError: the bar has no such item.
    """
    items = re.findall(r"<li class=\"nav-item\">(?:(?!</li>).)*?reverse_url\('broker'\).*?</li>", source, re.DOTALL)
    if len(items) != 1 or not re.search(r">\s*Broker\s*<", items[0]):
        raise FlowerMovedError("has another navigation bar")
    item = items[0]
    tabs = [
        re.sub(r">\s*Broker\s*<", f">{title}<", item.replace("'broker'", f"'{route}'")) for route, title in TABS.items()
    ]
    return source.replace(item, "\n        ".join((item, *tabs)))


def without_buttons(source: str) -> str:
    """Flower's page of a worker or a task as it is where Flower is read-only: the API behind its buttons is off.

    Raises:
        FlowerMovedError: the page asks for that in another way.
    """
    if "{% if not read_only %}" not in source:
        raise FlowerMovedError("has other pages of workers and tasks")
    return source.replace("{% if not read_only %}", "{% if False %}")


def with_nonce(source: str) -> str:
    """Flower's page of workers with leave for the one script that is written into it.

    Raises:
        FlowerMovedError: the page has another script.
    """
    script = '<script type="text/javascript">'
    if source.count("<script") != 1 or script not in source:
        raise FlowerMovedError("has another page of workers")
    return source.replace(script, '<script type="text/javascript" nonce="{{ handler.script_nonce }}">')


CHANGED: dict[str, Callable[[str], str]] = {
    "navbar.html": navbar_with_tabs,
    "worker.html": without_buttons,
    "task.html": without_buttons,
    "workers.html": with_nonce,
}
"""Flower's templates that are changed, and how."""
