"""Who asks, whether they may, and that they ask for nothing that nobody understands."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pipeline.access.rules.scopes import SAYS, Grant, Scope
from pipeline.access.tokens import PREFIX, grant_of
from pipeline.api.means import means_of
from pipeline.api.problems import ProblemError, bad_parameter
from pipeline.database.access_log import API, Visitor
from pipeline.lookup.rules.call_filter import Wall

TOKEN_NAMES: Final = frozenset(
    {"token", "access_token", "api_token", "api_key", "apikey", "key", "auth", "authorization", "bearer"}
)

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    bearerFormat=f"{PREFIX}…",
    description="A token made by `pipeline token create`, in the header `Authorization: Bearer …` and nowhere else.",
)


def caller(*needed: Scope) -> Any:
    """What an endpoint depends on to know who asks, who must have all of these scopes."""

    def who_asks(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]) -> Grant:
        no_token_in_address(request)
        grant = _grant(request, given)
        if wait := means_of(request).rate.wait(grant.name):
            seconds = max(1, math.ceil(wait))
            raise ProblemError(
                "too-many-requests",
                f"This token has asked too often: go on in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )
        for scope in needed:
            if not grant.may(scope):
                raise ProblemError("missing-scope", f"This needs the scope {scope}: {SAYS[scope]}.")
        only_known_parameters(request)
        return grant

    return Depends(who_asks)


def _grant(request: Request, given: HTTPAuthorizationCredentials | None) -> Grant:
    if given is not None:
        with means_of(request).engine.connect() as connection:
            grant = grant_of(connection, given.credentials)
        if grant is not None:
            return grant
    raise ProblemError(
        "no-token",
        "Send a token that is not revoked or expired, as `Authorization: Bearer …`.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def no_token_in_address(request: Request) -> None:
    """Refuse a token where logs and histories keep it.

    Raises:
        ProblemError: there is one, or something named like one.
    """
    for name, value in request.query_params.multi_items():
        if name.lower() in TOKEN_NAMES or PREFIX in value:
            raise ProblemError(
                "token-in-address",
                "Addresses are kept in logs and histories: send the token as `Authorization: Bearer …`, and if this "
                "one was valid, have it revoked.",
            )


def only_known_parameters(request: Request) -> None:
    """Refuse parameters that the OpenAPI document has not: a misspelt filter would narrow nothing.

    Raises:
        ProblemError: there are some, or one is there twice.
    """
    known = _parameters(request)
    given = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(given) - known)
    if unknown:
        hint = f"there are {', '.join(sorted(known))}" if known else "there are none here"
        raise bad_parameter(*((name[:100], f"is no parameter of this; {hint}") for name in unknown[:10]))
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise bad_parameter(*((name, "is there more than once") for name in twice))


def _parameters(request: Request) -> frozenset[str]:
    route = request.scope["route"]
    operation = request.app.openapi()["paths"][route.path_format][request.method.lower()]
    return frozenset(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")


def visitor(request: Request, grant: Grant, because: str | None = None) -> Visitor:
    """Who asks, as it is written down."""
    return Visitor(grant.name, API, request.client.host if request.client else None, because)


def wall_of(grant: Grant) -> Wall:
    """What somebody may see of calls, as the searches take it."""
    return Wall(grant.only_sources, grant.only_campaigns, numbers=grant.may(Scope.NUMBERS))
