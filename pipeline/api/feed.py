"""``/v1/feed``: what happened to calls, for programs that would rather ask than be told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from pipeline.access.rules.masking import masked
from pipeline.access.rules.scopes import Grant, Scope
from pipeline.api.asking import caller
from pipeline.api.contacts import seen_of_contact
from pipeline.api.means import means_of
from pipeline.api.problems import COMMON, ProblemError, bad_parameter, described
from pipeline.api.query import FeedQuery
from pipeline.api.shapes import FeedPart, answer
from pipeline.batches.completeness import complete_through
from pipeline.feed.pull import PullError, pull
from pipeline.feed.rules.event import CHANGED, KINDS, RECEIVED
from pipeline.feed.rules.filter import ALL, Filter
from pipeline.feed.rules.shape import THIN

if TYPE_CHECKING:
    from pipeline.feed.rules.event import Event

router = APIRouter(prefix="/v1/feed", tags=["feed"])


@router.get("", summary="What happened", responses={200: {"model": FeedPart}, **described(*COMMON)})
def events(
    request: Request, asked: Annotated[FeedQuery, Query()], grant: Annotated[Grant, caller(Scope.FEED)]
) -> Response:
    """The events behind a cursor, in their order; the cursor is yours to keep.

    `call.*` and `recording.ended` need `calls:read` besides, and `contact.changed` needs `contacts:read`, but in the
    shape `thin`. `call.received`, which is the record itself, needs `calls:numbers`.
    """
    wanted = Filter(
        _within(grant.only_sources, asked.source), _within(grant.only_campaigns, asked.campaign), _kinds(grant, asked)
    )
    try:
        with means_of(request).engine.connect() as connection:
            complete = complete_through(connection, sources=grant.only_sources)
            pulled = pull(connection, wanted, asked.shape, after=asked.after, limit=asked.limit)
    except PullError as error:
        raise bad_parameter(("after", str(error).removeprefix("after "))) from None
    return answer(
        {
            "events": [_seen(grant, each) for each in pulled.events],
            "next": pulled.next,
            "more": pulled.more,
            "hole": pulled.hole,
            "complete_through": complete,
        }
    )


def _within(seen: tuple[str, ...] | None, asked: str | None) -> tuple[str, ...]:
    """What is let through: what was asked for, as far as it may be seen."""
    if asked is None:
        return (ALL,) if seen is None else seen
    return (asked,) if asked != ALL and (seen is None or asked in seen) else ()


def _kinds(grant: Grant, asked: FeedQuery) -> tuple[str, ...]:
    allowed = tuple(kind for kind in KINDS if not _lacks(grant, kind, asked.shape))
    if asked.kind is None:
        return allowed
    if asked.kind not in allowed:
        raise ProblemError("missing-scope", f"{asked.kind} needs the scope {_lacks(grant, asked.kind, asked.shape)}.")
    return (asked.kind,)


def _lacks(grant: Grant, kind: str, shape: str) -> Scope | None:
    """The scope that an event of this kind needs and the token has not."""
    needed = []
    if kind == RECEIVED:
        needed.append(Scope.NUMBERS)  # its id is made of all that the record says
    if shape != THIN:
        needed.append(Scope.CONTACTS if kind == CHANGED else Scope.CALLS)
    return next((scope for scope in needed if not grant.may(scope)), None)


def _seen(grant: Grant, event: Event) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(event.body)
    if event.kind == CHANGED and "contact" in told["data"]:
        told["data"]["contact"] = seen_of_contact(grant, told["data"]["contact"])
    return told if grant.may(Scope.NUMBERS) else masked(told)
