"""What answers look like, for the OpenAPI document: made of the subjects' own rows, in which each field is named."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, get_type_hints

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.contacts.reading import InboundCall
from pipeline.contacts.rules.outcome import NumberTried
from pipeline.lookup.found_calls import FoundCall
from pipeline.lookup.rules.history import CallRow, DispositionRow, FailureRow, LineRow, Version
from pipeline.lookup.rules.plain import plain
from pipeline.lookup.told import Event
from pipeline.recordings.rules.row import RecordingOfCall

_KNOWN: Final = {"datetime": datetime, "Decimal": Decimal}
"""What the rows' modules import for their types alone."""

_AS_JSON: Final[dict[Any, Any]] = {bytes: str, bytes | None: str | None}


def shape(name: str, row: type, **other: Any) -> type[BaseModel]:
    """The model of a row: a NamedTuple or a dataclass.

    Args:
        name: what the document calls it.
        row: what the subject gives.
        other: fields that are otherwise in an answer, or besides; None: not in it.
    """
    hints = get_type_hints(row, localns=_KNOWN)
    fields = {field: _AS_JSON.get(kind, kind) for field, kind in hints.items()} | other
    model: type[BaseModel] = create_model(
        name,
        __config__=ConfigDict(extra="forbid"),
        **{field: (kind, ...) for field, kind in fields.items() if kind is not None},  # type: ignore[call-overload]
    )
    return model


COMPLETE: Final = "Up to when everything that was received is done: what came later may still be on its way."

_Call: Any = shape("Call", CallRow)
_Disposition: Any = shape("Disposition", DispositionRow)
_ChargeLine: Any = shape("ChargeLine", LineRow)
_Recording: Any = shape("Recording", RecordingOfCall)
_Failure: Any = shape("Failure", FailureRow, failure_class=None, **{"class": str})
_CallVersion: Any = shape("CallVersion", Version, call=_Call)
_Event: Any = shape("Event", Event)


class ToldCall(BaseModel):
    """All that is known of a call: what `pipeline explain --json` says, and `complete_through`."""

    model_config = ConfigDict(extra="forbid")

    call: _Call
    net: dict[str, Decimal] = Field(description="What its charges come to, by currency.")
    not_charged: str | None = Field(description="Why it costs nothing.")
    disposition: _Disposition | None
    charges: list[_ChargeLine]
    recording: _Recording | None
    failures: list[_Failure]
    versions: list[_CallVersion]
    history: list[_Event]
    complete_through: datetime = Field(description=COMPLETE)


_NumberTried: Any = shape("NumberTried", NumberTried)
_InboundCall: Any = shape("InboundCall", InboundCall)
_FoundCall: Any = shape("FoundCall", FoundCall, call_id=None)


class ArchivedDays(BaseModel):
    """Days of a month of which calls are in the archive, and not in the database any more."""

    model_config = ConfigDict(extra="forbid")

    source: str
    month: str = Field(description="Of UTC, as its days.")
    first_day: date
    last_day: date


class CallPage(BaseModel):
    """Some calls, the newest dialled first."""

    model_config = ConfigDict(extra="forbid")

    calls: list[_FoundCall]
    older: str | None = Field(
        description="Give it as `after` to go on to older calls; null: there are none. A page may be short, or empty, "
        "and still have one: where few of many match, it ends when its time is up."
    )
    newer: str | None = Field(description="Give it as `before` to go on to newer calls.")
    complete_through: datetime = Field(description=COMPLETE)
    archived: list[ArchivedDays] = Field(
        description="Days of the time asked for of which not every call can be found: the others are in the archive. "
        "Without `since` all such days are listed."
    )


class Contact(BaseModel):
    """A contact: what its calls come to."""

    model_config = ConfigDict(extra="forbid")

    source: str
    campaign_ref: str
    contact_ref: str
    outcome: str | None = Field(
        description="How its best call ended; null where there are too many to be one person's."
    )
    final: bool | None = Field(description="Whether it need not be called again.")
    attempts: int
    crowd: bool = Field(description="Whether so many calls name it that it is nobody.")
    numbers: list[_NumberTried]
    first_at: datetime | None
    last_at: datetime | None
    reached_at: datetime | None = Field(description="When somebody picked up for the first time.")
    agent: str | None
    talk_seconds: int | None
    charges: dict[str, Decimal]
    best_call: str | None = Field(description="The call_ref of the call that decides.")
    also_in: list[str] = Field(description="Other campaigns that use the same reference, which ought to be of one.")
    changed_at: datetime


class ContactsCall(BaseModel):
    """One call of a contact."""

    model_config = ConfigDict(extra="forbid")

    call_ref: str
    dialed_at: datetime
    number: str | None
    disposition: str
    uncertain: bool
    why: str
    agent: str | None
    talk_seconds: int
    charges: dict[str, Decimal]


class ToldContact(Contact):
    """A contact with each of its calls."""

    calls: list[ContactsCall]
    inbound: list[_InboundCall]


class ContactPage(BaseModel):
    """Some contacts, in the order of their references: a full page, or a short one, or none where few match."""

    model_config = ConfigDict(extra="forbid")

    contacts: list[Contact]
    next: str | None = Field(description="Give it as `after` to go on, also behind a short page; null: no more.")
    complete_through: datetime = Field(description=COMPLETE)


class ToldContacts(BaseModel):
    """The contacts of a reference: one, unless campaigns share it."""

    model_config = ConfigDict(extra="forbid")

    contacts: list[ToldContact]
    complete_through: datetime = Field(description=COMPLETE)


class CloudEvent(BaseModel):
    """An event, as CloudEvents has it."""

    model_config = ConfigDict(extra="forbid")

    specversion: str
    id: str = Field(description="The same whenever the event is told.")
    source: str
    type: str
    subject: str
    time: datetime
    position: int
    place: int
    datacontenttype: str
    data: Any = None
    data_base64: str | None = None


class FeedPart(BaseModel):
    """Some events, in their order."""

    model_config = ConfigDict(extra="forbid")

    events: list[CloudEvent]
    next: str = Field(description="Give it as `after` with the next question.")
    more: bool = Field(description="Whether to ask again at once; an answer without events may have more behind it.")
    hole: tuple[int, int] | None = Field(
        description="The first and the last position that are gone: they were kept for as long as the feed is, and you "
        "will not get them. `next` is behind them."
    )
    complete_through: datetime = Field(description=COMPLETE)


class Health(BaseModel):
    """That the API answers, and so does its database."""

    status: str = "ok"


def answer(value: Any) -> Response:
    """A value as JSON: amounts as strings, instants in ISO-8601."""
    return Response(json.dumps(value, default=plain, ensure_ascii=False), media_type="application/json")
