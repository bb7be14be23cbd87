"""What the tabs share: who is asking, what they may do, and questions to the database beside Flower's own loop."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlparse

from flower.views import BaseHandler
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from tornado.escape import to_unicode, xhtml_escape
from tornado.web import HTTPError

from pipeline.database.engine import is_outage, make_engine
from pipeline.flower.guard import credentials
from pipeline.instants import Clock
from pipeline.logs.rules.visible import visible, visible_lines
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

Answer = TypeVar("Answer")

READ_SECONDS = 20
"""The longest a question from a page may keep the database."""


class RefusalError(HTTPError):
    """A request that cannot be met; its sentence is for whoever asked."""

    def __init__(self, status_code: int, sentence: str) -> None:
        super().__init__(status_code, log_message=sentence.replace("%", "%%"))
        self.sentence = sentence


def shown(value: str | bytes) -> str:
    r"""A value in a page, as one line of text.

    >>> shown("<b>\u202e")
    '&lt;b&gt;\\u202e'
    """
    return xhtml_escape(visible(to_unicode(value)))


def lines(value: str | bytes) -> str:
    """A text of several lines in a page."""
    return xhtml_escape(visible_lines(to_unicode(value)))


def is_id(value: str) -> bool:
    """Whether a text is the number of a row: digits that fit PostgreSQL's bigint."""
    return value.isascii() and value.isdigit() and len(value) <= 18


@functools.cache
def engine() -> Engine:
    """Flower's own connections to the database."""
    return make_engine(current_settings().database_url, application="cdr-flower", pool_size=4, lock_timeout_seconds=10)


class TabHandler(BaseHandler):  # type: ignore[misc]
    """A page of ours inside Flower: its login, its cross-site check, its ``read_only``; no browser keeps it."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def get_template_namespace(self) -> dict[str, Any]:
        """Flower's, and how our templates show what they are given (see ``OverlayLoader``)."""
        ours = {"shown": shown, "lines": lines, "typed": xhtml_escape, "clock": self.clock}
        return {**super().get_template_namespace(), **ours}

    @property
    def clock(self) -> Clock:
        """The zone that times are typed and shown in."""
        return Clock(current_settings().pipeline_timezone)

    def check_xsrf_cookie(self) -> None:
        """Flower's check, and its refusal of other sites even where nobody has to log in."""
        site = self.request.headers.get("Sec-Fetch-Site")
        origin = self.request.headers.get("Origin")
        if site not in {None, "same-origin"} or (origin and urlparse(origin).netloc != self.request.host):
            raise HTTPError(403, "Cross-site request forbidden")
        super().check_xsrf_cookie()

    @property
    def person(self) -> str | None:
        """Who is logged in; None where Flower asks nobody for a name."""
        options = self.application.options
        if options.auth:
            return str(self.current_user) if self.current_user else None
        if options.basic_auth:
            login = credentials(self.request.headers.get("Authorization", ""))
            return login.partition(b":")[0].decode("utf-8", "replace") or None
        return None

    @property
    def why_not(self) -> str | None:
        """Why whoever asks may only look; None when they may act."""
        if self.application.options.read_only:
            return "This Flower is read-only (FLOWER_READ_ONLY)."
        if self.person is None:
            return (
                "Nobody is logged in, so nobody can be named for what is done: "
                "set FLOWER_BASIC_AUTH=user:password (or FLOWER_AUTH) to act from here."
            )
        return None

    def acting_person(self) -> str:
        """Who acts.

        Raises:
            RefusalError: nobody may.
        """
        if self.why_not is not None:
            raise RefusalError(403, self.why_not)
        assert self.person is not None
        return self.person

    async def ask(
        self, question: Callable[[Connection], Answer], *, seconds: int = READ_SECONDS, writes: bool = False
    ) -> Answer:
        """What a function finds in the database, in a thread of Flower's pool, in one transaction.

        Raises:
            RefusalError: the database is away, or the question took too long.
        """

        def answer() -> Answer:
            with engine().begin() as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = '{int(seconds)}s'"))
                if not writes:
                    connection.execute(text("SET TRANSACTION READ ONLY"))
                return question(connection)

        return await self.in_a_thread(answer)

    async def in_a_thread(self, work: Callable[[], Answer]) -> Answer:
        """Do what would block Flower's loop in a thread of its pool.

        Raises:
            RefusalError: the database is away, or something in it took too long.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self.application.executor, work)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            raise RefusalError(
                503,
                "The database does not answer, or not in time. Nothing is lost by it; try again in a moment, "
                "and ask for less at a time if it stays so.",
            ) from error

    def write_error(self, status_code: int, **details: Any) -> None:
        """A refusal is a page with its sentence; the rest is Flower's."""
        error = details.get("exc_info", (None, None))[1]
        if isinstance(error, RefusalError):
            if not hasattr(self, "_current_user"):
                self.current_user = None
            self.set_status(status_code)
            self.render("refused.html", sentence=error.sentence)
        else:
            super().write_error(status_code, **details)

    def given(self, names: tuple[str, ...]) -> dict[str, str]:
        """Arguments as they were typed; Flower's own ``get_argument`` would escape them a first time."""
        return {name: self.get_argument_as_typed(name) for name in names}

    def get_argument_as_typed(self, name: str) -> str:
        """One argument of the address or the form, empty when absent."""
        values = self.request.arguments.get(name, [b""])
        return str(values[-1], "utf-8", "replace").strip()

    def id_given(self, name: str) -> int | None:
        """An id among the arguments; None when absent.

        Raises:
            RefusalError: it is no id.
        """
        value = self.get_argument_as_typed(name)
        if not value:
            return None
        if not is_id(value):
            raise RefusalError(400, f"{name} is the id of a failure, a whole number.")
        return int(value)
