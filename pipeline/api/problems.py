"""What a request that cannot be met is answered with: a problem as RFC 9457 describes one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, Field
from starlette.responses import Response

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "urn:enigma-cdr:problem:"

TITLES: Final[Mapping[str, tuple[int, str]]] = {
    "bad-parameter": (400, "A parameter cannot be meant"),
    "token-in-address": (400, "A token does not belong into an address"),
    "no-token": (401, "No valid token"),
    "missing-scope": (403, "The token does not allow this"),
    "not-found": (404, "There is no such thing"),
    "no-recording": (404, "The call has no recording"),
    "method-not-allowed": (405, "Not by this method"),
    "gone": (410, "What was there is gone"),
    "range": (416, "There are no such bytes"),
    "too-many-requests": (429, "Too many requests"),
    "fault": (500, "This program has a fault"),
    "broken-recording": (502, "The recording is broken"),
    "away": (503, "Something that is needed is away"),
    "not-logged": (503, "It cannot be written down who asks"),
}
"""Every kind of problem there is, with its status and its title."""


COMMON: Final = ("bad-parameter", "token-in-address", "no-token", "missing-scope", "too-many-requests", "away")
"""Those of every endpoint that needs a token."""


class ParameterProblem(BaseModel):
    """What is wrong with one parameter."""

    parameter: str
    says: str


class ProblemDetails(BaseModel):
    """A problem as RFC 9457 describes one."""

    type: str = Field(description=f"Which problem: `{PREFIX}` and its name. Programs go by this.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do about it, for a person.")
    errors: list[ParameterProblem] | None = Field(default=None, description="Of `bad-parameter`: each one.")


class ProblemError(PipelineError):
    """A request that cannot be met.

    Args:
        kind: which problem, one of `TITLES`.
        detail: a sentence for whoever asked.
        errors: the parameters that are wrong, each with its sentence.
        headers: what the answer has besides.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def response(self) -> Response:
        """What is answered."""
        status, title = TITLES[self.kind]
        said: dict[str, Any] = {"type": PREFIX + self.kind, "title": title, "status": status, "detail": self.detail}
        if self.errors:
            said["errors"] = [{"parameter": name, "says": says} for name, says in self.errors]
        return Response(json.dumps(said), status, headers=self.headers, media_type=MEDIA_TYPE)


def bad_parameter(*errors: tuple[str, str]) -> ProblemError:
    """Parameters that cannot be meant, each with its sentence."""
    return ProblemError("bad-parameter", "; ".join(f"{name}: {says}" for name, says in errors), errors=errors)


def away(detail: str, *, seconds: int = 5) -> ProblemError:
    """Something that the answer needs is away.

    Args:
        detail: what.
        seconds: when to ask again.
    """
    return ProblemError("away", detail, headers={"Retry-After": str(seconds)})


def not_logged(error: Exception) -> ProblemError:
    """What is not given out, for it could not be written down."""
    return ProblemError("not-logged", f"{error}.", headers={"Retry-After": "5"})


def described(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Problems as the OpenAPI document has them, by their status."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = TITLES[kind]
        before = f"{found[status]['description']}; `{kind}`: " if status in found else f"`{kind}`: "
        schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
        found[status] = {"description": before + title, "content": {MEDIA_TYPE: {"schema": schema}}}
    return found
