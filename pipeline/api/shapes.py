"""What answers look like, for the OpenAPI document: made of the subjects' own rows, in which each field is named."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, get_type_hints

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.lookup.found_calls import FoundCall
from pipeline.lookup.history import CallRow, DispositionRow, FailureRow, LineRow, Version
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


_FoundCall: Any = shape("FoundCall", FoundCall, call_id=None)


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


class Health(BaseModel):
    """That the API answers, and so does its database."""

    status: str = "ok"


def answer(value: Any) -> Response:
    """A value as JSON: amounts as strings, instants in ISO-8601."""
    return Response(json.dumps(value, default=plain, ensure_ascii=False), media_type="application/json")
