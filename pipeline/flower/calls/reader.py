"""What whoever is logged in to Flower may see of calls, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.database.access_log import FLOWER, NotLoggedError, Visitor, note_search
from pipeline.flower.handlers import RefusalError, TabHandler, engine
from pipeline.lookup.rules.call_filter import Cursor, Wall
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.lookup.rules.call_filter import CallFilter

EVERYBODY = "*"
NOBODY = "(nobody logged in)"


def is_named(person: str | None, users: str) -> bool:
    """Whether a setting names a user of Flower.

    >>> is_named("thandi", "thandi,sipho"), is_named(None, "thandi"), is_named(None, "*"), is_named("x", "")
    (True, False, True, False)
    """
    return users == EVERYBODY or (person is not None and person in users.split(","))


class CallsHandler(TabHandler):
    """A page of the tab, for one reader."""

    @property
    def wall(self) -> Wall:
        """All diallers and campaigns; numbers for whom PIPELINE_FLOWER_NUMBERS names."""
        return Wall(numbers=is_named(self.person, current_settings().pipeline_flower_numbers))

    @property
    def may_listen(self) -> bool:
        """Whether they may hear recordings: who is named by PIPELINE_FLOWER_LISTENING, and logged in by a name."""
        return self.person is not None and is_named(self.person, current_settings().pipeline_flower_listening)

    def visitor(self, because: str | None = None) -> Visitor:
        """Who asks, as it is written down."""
        return Visitor(self.person or NOBODY, FLOWER, self.request.remote_ip, because)

    async def note_search(self, wanted: CallFilter) -> None:
        """Write down that somebody looks for a number, if they do.

        Raises:
            RefusalError: it cannot be written.
        """
        # By the names that the API's searches are written down with; as it was typed, which is the last form.
        number = wanted.numbers[-1] if wanted.numbers else None
        asked = {"number": number, "number_ends": wanted.number_ends}
        looked_for = {name: value for name, value in asked.items() if value is not None}
        if not looked_for:
            return
        visitor = self.visitor()
        try:
            await self.in_a_thread(lambda: note_search(engine(), visitor, detail=looked_for))
        except NotLoggedError as error:
            raise RefusalError(503, f"{str(error).capitalize()}.") from error

    def cursor_given(self, name: str) -> Cursor | None:
        """A place among calls, out of the address; None when absent.

        Raises:
            RefusalError: it is none.
        """
        given = self.get_argument_as_typed(name)
        try:
            return Cursor.read(given) if given else None
        except ValueError as error:
            raise RefusalError(400, f"{name} {error}.") from None
