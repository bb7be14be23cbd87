"""``/v1/contacts``: who was reached, whichever of their numbers answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from pipeline.access.rules.masking import masked
from pipeline.access.rules.scopes import Grant, Scope
from pipeline.api.asking import caller
from pipeline.api.means import means_of
from pipeline.api.problems import COMMON, ProblemError, bad_parameter, described
from pipeline.api.query import ContactQuery
from pipeline.api.shapes import ContactPage, ToldContacts, answer
from pipeline.batches.completeness import complete_through
from pipeline.contacts.listing import ContactFilter, list_contacts, place_text, read_place
from pipeline.contacts.reading import contacts_named, inbound_of
from pipeline.contacts.told import as_dict, with_calls

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.contacts.reading import Contact, InboundCall, Key

router = APIRouter(prefix="/v1/contacts", tags=["contacts"])


@router.get("", summary="Find contacts", responses={200: {"model": ContactPage}, **described(*COMMON)})
def many(
    request: Request, asked: Annotated[ContactQuery, Query()], grant: Annotated[Grant, caller(Scope.CONTACTS)]
) -> Response:
    """The contacts that match all that is asked for, in the order of their references.

    Where few of very many match, a page ends when its time is up, full or not; `next` says where to go on.
    """
    wanted = ContactFilter(
        *(asked.contact_ref, asked.campaign, asked.source, asked.outcome, asked.final),
        sources=grant.only_sources,
        campaigns=grant.only_campaigns,
    )
    after = _place(asked.after)
    with means_of(request).engine.connect() as connection:
        complete = complete_through(connection, sources=grant.only_sources)
        page = list_contacts(connection, wanted, limit=asked.limit, after=after)
    return answer(
        {
            "contacts": [seen_of_contact(grant, as_dict(each)) for each in page.contacts],
            "next": None if page.next is None else place_text(page.next),
            "complete_through": complete,
        }
    )


@router.get(
    "/{source}/{contact_ref}",
    summary="All that is known of a contact",
    responses={200: {"model": ToldContacts}, **described(*COMMON, "not-found")},
)
def one(
    request: Request,
    source: Annotated[str, Path(description="The dialler.", min_length=1, max_length=1_000)],
    contact_ref: Annotated[str, Path(description="Your own reference.", min_length=1, max_length=1_000)],
    grant: Annotated[Grant, caller(Scope.CONTACTS)],
) -> Response:
    """Its outcome with each of its calls: one contact, unless campaigns share the reference, which they ought not.

    Calls that came in from one of its numbers are told as `inferred`, to whoever may see numbers and all campaigns.
    """
    with means_of(request).engine.connect() as connection:
        complete = complete_through(connection, sources=grant.only_sources)
        found = [] if "\0" in source + contact_ref else contacts_named(connection, contact_ref, source=source)
        told = [
            seen_of_contact(grant, with_calls(each, _inbound(connection, grant, each)))
            for each in found
            if _sees(grant, each.key)
        ]
    if not told:
        raise ProblemError("not-found", "There is no such contact, or none that this token may see.")
    return answer({"contacts": told, "complete_through": complete})


def _place(text: str | None) -> Key | None:
    try:
        return None if text is None else read_place(text)
    except ValueError as error:
        raise bad_parameter(("after", str(error))) from None


def _sees(grant: Grant, key: Key) -> bool:
    sources, campaigns = grant.only_sources, grant.only_campaigns
    return (sources is None or key.source in sources) and (campaigns is None or key.campaign_ref in campaigns)


def _inbound(connection: Connection, grant: Grant, contact: Contact) -> list[InboundCall]:
    """Who called in. What is inferred from a number may be of any campaign, and tells that two numbers are the same."""
    found = inbound_of(connection, contact)
    all_of_them = grant.may(Scope.NUMBERS) and grant.only_campaigns is None
    return [each for each in found if all_of_them or each.linked == "named"]


def seen_of_contact(grant: Grant, told: dict[str, Any]) -> dict[str, Any]:
    """What somebody may see of what is told of a contact: no campaign behind the wall, no number, nor their order.

    Args:
        grant: who asks.
        told: as ``pipeline.contacts.told`` has it, or a part of that.
    """
    if grant.only_campaigns is not None and "also_in" in told:
        told = told | {"also_in": [each for each in told["also_in"] if each in grant.only_campaigns]}
    if grant.may(Scope.NUMBERS):
        return told
    if "numbers" in told:
        by_time = sorted(told["numbers"], key=lambda each: (str(each["last_at"]), each["attempts"], each["outcome"]))
        told = told | {"numbers": by_time[::-1]}
    return masked(told)
