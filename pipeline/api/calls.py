"""``/v1/calls``: calls, each with all that is known of it, and its recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from pipeline.access.rules.masking import masked
from pipeline.access.rules.scopes import Grant, Scope
from pipeline.api.asking import caller, visitor, wall_of
from pipeline.api.audio import AudioResponse
from pipeline.api.means import means_of
from pipeline.api.problems import COMMON, ProblemError, away, bad_parameter, described, not_logged
from pipeline.api.query import PARAMETER, CallQuery
from pipeline.api.shapes import ArchivedDays, CallPage, ToldCall, answer
from pipeline.batches.completeness import complete_through
from pipeline.database.access_log import NoReasonError, NotLoggedError, note_search
from pipeline.lookup.archived import only_archived
from pipeline.lookup.history import call_id_of, histories_of
from pipeline.lookup.rules.call_filter import FilterRefusedError, check_filter
from pipeline.lookup.search import search_calls
from pipeline.lookup.told import as_dict
from pipeline.recordings.decoding import BrokenAudioError, BusyError
from pipeline.recordings.fetching import DiffersError, find_recordings
from pipeline.recordings.listening import MEDIA_TYPES, Wanted, listen
from pipeline.recordings.rules.encrypted import CannotDecryptError
from pipeline.recordings.store_trouble import NoSuchFileError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.recordings.fetching import CallsRecording
    from pipeline.recordings.listening import Answer
    from pipeline.recordings.retention_rows import KeptFile

router = APIRouter(prefix="/v1/calls", tags=["calls"])

Source = Annotated[str, Path(description="The dialler.", min_length=1, max_length=1_000)]
CallRef = Annotated[str, Path(description="The dialler's internal call reference.", min_length=1, max_length=1_000)]

NOT_FOUND = "There is no such call, or none that this token may see."


@router.get("", summary="Find calls", responses={200: {"model": CallPage}, **described(*COMMON, "not-logged")})
def many(
    request: Request, asked: Annotated[CallQuery, Query()], grant: Annotated[Grant, caller(Scope.CALLS)]
) -> Response:
    """The calls that match all that is asked for, the newest dialled first.

    `since` is needed, unless a call, a contact or a number is named. Numbers are asked for with the scope
    `calls:numbers` alone; that somebody looked for one is written down. A page goes on behind the one before, however
    many there are: nothing is counted.
    """
    asked_for_numbers = [name for name in ("number", "number_ends", "dial_number") if getattr(asked, name) is not None]
    if asked_for_numbers and not grant.may(Scope.NUMBERS):
        raise ProblemError("missing-scope", f"{asked_for_numbers[0]} needs the scope {Scope.NUMBERS}.")
    means = means_of(request)
    try:
        wanted, after, before = asked.filter(means.region), asked.place("after"), asked.place("before")
        check_filter(wanted, wall_of(grant))
        _note_search(request, grant, asked)
        with means.engine.connect() as connection:
            complete = complete_through(connection, sources=grant.only_sources)
            page = search_calls(connection, wanted, wall_of(grant), limit=asked.limit, after=after, before=before)
            archived = only_archived(connection, wanted, wall_of(grant))
    except FilterRefusedError as error:
        raise bad_parameter(*((PARAMETER.get(name, name), says) for name, says in error.problems.items())) from None
    found = [{name: value for name, value in each._asdict().items() if name != "call_id"} for each in page.calls]
    return answer(
        {
            "calls": found if grant.may(Scope.NUMBERS) else [masked(each) for each in found],
            "older": page.older and page.older.text,
            "newer": page.newer and page.newer.text,
            "complete_through": complete,
            # How many, and where, may be of campaigns that this token sees nothing of.
            "archived": [{name: getattr(each, name) for name in ArchivedDays.model_fields} for each in archived],
        }
    )


def _note_search(request: Request, grant: Grant, asked: CallQuery) -> None:
    looked_for = {name: value for name in ("number", "number_ends") if (value := getattr(asked, name)) is not None}
    if looked_for:
        try:
            note_search(means_of(request).engine, visitor(request, grant), detail=looked_for)
        except NotLoggedError as error:
            raise not_logged(error) from error


@router.get(
    "/{source}/{call_ref}",
    summary="All that is known of a call",
    responses={200: {"model": ToldCall}, **described(*COMMON, "not-found")},
)
def one(request: Request, source: Source, call_ref: CallRef, grant: Annotated[Grant, caller(Scope.CALLS)]) -> Response:
    """What `pipeline explain --json` says: what happened, how it ended, its charges, its recording, its history.

    Without the scope `calls:numbers` numbers are `***`, and so is what one could be read from.
    """
    with means_of(request).engine.connect() as connection:
        complete = complete_through(connection, sources=grant.only_sources)
        call_id = _id(connection, grant, source, call_ref)
        told = as_dict(histories_of(connection, [call_id])[call_id])
    return answer((told if grant.may(Scope.NUMBERS) else masked(told)) | {"complete_through": complete})


def _id(connection: Connection, grant: Grant, source: str, call_ref: str) -> int:
    nothing = "\0" in source + call_ref  # which no text of the database can hold
    found = None if nothing else call_id_of(connection, call_ref, source, wall_of(grant))
    if found is None:
        raise ProblemError("not-found", NOT_FOUND)
    return found


_AUDIO: dict[str, Any] = {
    "content": {
        each: {"schema": {"type": "string", "format": "binary"}}
        for each in (*sorted(set(MEDIA_TYPES.values())), "application/octet-stream")
    }
}


@router.get(
    "/{source}/{call_ref}/recording",
    summary="A call's recording",
    response_class=Response,
    responses={
        200: {"description": "All of it.", **_AUDIO},
        206: {"description": "The part that `Range` asked for.", **_AUDIO},
        **described(*COMMON, "not-found", "no-recording", "range", "broken-recording", "not-logged"),
    },
)
async def recording(
    request: Request,
    source: Source,
    call_ref: CallRef,
    grant: Annotated[Grant, caller(Scope.LISTEN)],
    as_: Annotated[
        Literal["stored", "wav"],
        Query(alias="as", description="`stored`: its bytes as they came; `wav`: decoded to PCM, which browsers play."),
    ] = "stored",
    because: Annotated[
        str | None,
        Query(description="Why, for the record; needed where `RECORDINGS_LISTENING_REASON` says so.", max_length=500),
    ] = None,
) -> Response:
    """Its bytes, or those that `Range` asks for; `ETag` is the SHA-256 of what is stored.

    Who hears what is written down before the first byte is sent.
    """
    wanted = Wanted(as_ == "wav", request.headers.get("Range"), request.headers.get("If-Range"))
    threads = means_of(request).listeners
    answered = await anyio.to_thread.run_sync(
        _listen, request, grant, source, call_ref, wanted, because, limiter=threads
    )
    return AudioResponse(answered, threads)


def _listen(request: Request, grant: Grant, source: str, call_ref: str, wanted: Wanted, because: str | None) -> Answer:
    means = means_of(request)
    file = _file(request, grant, source, call_ref)
    try:
        who = visitor(request, grant, because)
        who = who.with_reason() if means.reason_needed else who
        answered = listen(means.engine, means.store, means.decoder, file, wanted, visitor=who)
    except NoReasonError:
        raise bad_parameter(("because", "is missing: here it has to be said why a recording is heard")) from None
    except NotLoggedError as error:
        raise not_logged(error) from error
    except (BrokenAudioError, CannotDecryptError, DiffersError) as error:
        raise ProblemError("broken-recording", f"What is stored of it cannot be given out: {error}") from error
    except NoSuchFileError as error:
        raise ProblemError("broken-recording", "The store has no such file.") from error
    except BusyError as error:
        raise away(f"{error}.") from error
    except StoreError as error:
        raise away("The store of recordings does not answer as it should.") from error
    if answered.status == 416:
        length = {"Content-Range": answered.headers["Content-Range"]}
        raise ProblemError("range", "The recording is shorter than that.", headers=length)
    return answered


def _file(request: Request, grant: Grant, source: str, call_ref: str) -> KeptFile:
    with means_of(request).engine.connect() as connection:
        call_id = _id(connection, grant, source, call_ref)
        [found] = [each for each in find_recordings(connection, call_ref, source) if each.call_id == call_id]
    if found.file is None:
        raise ProblemError("no-recording", _why_none(found))
    return found.file


def _why_none(call: CallsRecording) -> str:
    if call.deleted_at is not None:
        return f"Its recording was deleted at {call.deleted_at.isoformat()}."
    if call.state is None:
        return "Its recording is not scheduled yet." if call.can_have_audio else "The dialler records no such call."
    return {
        "scheduled": "Its recording is not here yet.",
        "downloading": "Its recording is just being downloaded.",
        "absent": "The dialler has no recording of it.",
        "expired": "Its recording was given up after its time.",
        "failed": "Its recording could not be stored.",
    }[call.state]
