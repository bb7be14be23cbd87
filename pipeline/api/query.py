"""What may be asked of calls, as parameters of an address."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator

from pipeline.api.problems import bad_parameter
from pipeline.feed.pull import HIGHEST_LIMIT, LIMIT
from pipeline.feed.rules.event import KINDS
from pipeline.lookup.rules.call_filter import CHOICES, LONGEST, CallFilter, Cursor, number_forms

MOST: Final = 1_000
"""The most on a page."""

PARAMETER: Final = {"numbers": "number", "dial_numbers": "dial_number"}
"""What fields of a filter are called here, where it differs."""

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def read_instant(text: Any) -> datetime:
    """An instant with its offset, in UTC.

    >>> read_instant("2026-11-24T21:00:00+02:00").isoformat()
    '2026-11-24T19:00:00+00:00'

    Raises:
        ValueError: it is none; its text is a sentence that begins with "must be".
    """
    try:
        if isinstance(text, str) and _INSTANT.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an instant with its offset, such as 2026-11-24T19:00:00Z (a + in an address is %2B)")


def without_nul(text: str | None) -> str | None:
    """A text that the database can hold.

    Raises:
        ValueError: it has a NUL.
    """
    if text is not None and "\0" in text:
        raise ValueError("must not hold NUL")
    return text


Instant = Annotated[datetime, BeforeValidator(read_instant)]
Text = Annotated[str, Field(max_length=LONGEST)]


def words(field: str) -> Any:
    """The type of a parameter that is one of a few words."""
    return Literal[CHOICES[field]]


class CallQuery(BaseModel):
    """Which calls, and which page of them."""

    since: Instant | None = Field(None, description="Dialled at this instant or later.")
    until: Instant | None = Field(None, description="Dialled before this instant.")
    source: Text | None = Field(None, description="The dialler.")
    call_ref: Text | None = Field(None, description="The dialler's internal call reference.")
    contact_ref: Text | None = Field(None, description="Your own reference (custom_call_ref).")
    campaign: Text | None = Field(None, description="The campaign's reference.")
    agent: Text | None = Field(None, description="The agent's extension.")
    number: Text | None = Field(None, description="The other side's number, national or with its country.")
    number_ends: Text | None = Field(None, description="The last 4 to 15 digits of it.", pattern="^[0-9]{4,15}$")
    dial_number: Text | None = Field(None, description="The dialler's own number.")
    disposition: words("disposition") | None = Field(None, description="How it ended.")  # type: ignore[valid-type]
    direction: words("direction") | None = Field(None, description="Who called.")  # type: ignore[valid-type]
    recording: words("recording") | None = Field(None, description="Where its recording is.")  # type: ignore[valid-type]
    charged: words("charged") | None = Field(None, description="Whether it was charged.")  # type: ignore[valid-type]
    why_not: Text | None = Field(None, description="Why it costs nothing, word for word as an answer says it.")
    limit: int = Field(100, ge=1, le=MOST, description="The most on a page.")
    after: Text | None = Field(None, description="`older` of a page before: go on behind it.")
    before: Text | None = Field(None, description="`newer` of a page before; not both.")

    def filter(self, region: str) -> CallFilter:
        """The same as the search takes it.

        Args:
            region: that of numbers without a country.
        """
        same: dict[str, Any] = {
            name: getattr(self, name) for name in CallFilter._fields if name in CallQuery.model_fields
        }
        forms: dict[str, Any] = {
            field: number_forms(typed, region)
            for field, name in PARAMETER.items()
            if (typed := getattr(self, name)) is not None
        }
        return CallFilter(**(same | forms))

    def place(self, name: Literal["after", "before"]) -> Cursor | None:
        """Where to go on.

        Raises:
            ProblemError: there is no such place, or there are two.
        """
        if self.after is not None and self.before is not None:
            raise bad_parameter(("before", "must not be there beside after"))
        text = getattr(self, name)
        try:
            return None if text is None else Cursor.read(text)
        except ValueError as error:
            raise bad_parameter((name, str(error))) from None


class ContactQuery(BaseModel):
    """Which contacts, and which page of them."""

    source: Text | None = Field(None, description="The dialler.")
    campaign: Text | None = Field(None, description="The campaign's reference.")
    contact_ref: Text | None = Field(None, description="Your own reference (custom_call_ref).")
    outcome: words("disposition") | None = Field(None, description="What it came to.")  # type: ignore[valid-type]
    final: bool | None = Field(None, description="Whether it need not be called again.")
    limit: int = Field(100, ge=1, le=MOST, description="The most on a page.")
    after: Text | None = Field(None, description="`next` of the page before: go on behind it.")

    _no_nul = field_validator("source", "campaign", "contact_ref")(without_nul)


class FeedQuery(BaseModel):
    """Which events, and from where on."""

    after: Text | None = Field(None, description="`next` of the answer before; left out, from the oldest there is.")
    limit: int = Field(LIMIT, ge=1, le=HIGHEST_LIMIT, description="The most events.")
    shape: Literal["call", "thin"] = Field("call", description="All that is known of the call, or ids alone.")
    kind: Literal[KINDS] | None = Field(None, description="Of this kind alone.")  # type: ignore[valid-type]
    source: Text | None = Field(None, description="Of this dialler alone.")
    campaign: Text | None = Field(None, description="Of this campaign alone.")

    _no_nul = field_validator("source", "campaign")(without_nul)
