"""What whoever is logged in to Flower may see of calls, by the settings."""

from __future__ import annotations

from pipeline.flower.handlers import RefusalError, TabHandler
from pipeline.lookup.rules.call_filter import Cursor, Wall
from pipeline.settings import current_settings

EVERYBODY = "*"


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
