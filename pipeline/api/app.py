"""The application: its endpoints, its OpenAPI document, and what goes wrong as problems."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response  # noqa: TC002 - FastAPI reads the annotations

from pipeline.access.tokens import look
from pipeline.api import calls
from pipeline.api.asking import no_token_in_address, only_known_parameters
from pipeline.api.means import means_of
from pipeline.api.problems import ProblemDetails, ProblemError, away, bad_parameter, described
from pipeline.api.shapes import Health
from pipeline.database.engine import is_outage
from pipeline.logs.setup import OutageLog, get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pipeline.api.means import Means

log = get_logger(__name__)

THREADS: Final = 16
"""As many as there are connections to the database."""

LOOK_SECONDS: Final = 1.0
DESCRIPTION: Final = (
    "Calls with all that is known of them, and their recordings. Every answer is JSON or audio; every error is a "
    "problem as RFC 9457 describes it. What a token may not see is answered like what does not exist."
)


def make_app(means: Means) -> FastAPI:
    """The application.

    Args:
        means: what it works with.
    """
    app = FastAPI(
        title="Enigma CDR pipeline",
        version=importlib.metadata.version("enigma-cdr-pipeline"),
        description=DESCRIPTION,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=_living,
    )
    app.state.means = means
    app.include_router(calls.router)
    app.add_api_route(
        "/healthz",
        healthz,
        methods=["GET"],
        summary="Whether the API and its database answer",
        tags=["health"],
        responses={200: {"model": Health}, **described("bad-parameter", "token-in-address", "away")},
    )
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_middleware(Answered)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once: what FastAPI makes, with our problems in place of its own."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = made["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs") | {ProblemDetails.__name__: problem}
        for operation in (each for path in made["paths"].values() for each in path.values()):
            operation["responses"].pop("422", None)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _given(parameter["schema"])
        made["components"]["schemas"] = dict(sorted(schemas.items()))
        app.openapi_schema = made
    return app.openapi_schema


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema where it is given: no address says null."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return {name: value for name, value in schema.items() if name != "anyOf"} | kinds[0] if len(kinds) == 1 else schema


def healthz(request: Request) -> dict[str, str]:
    """For whoever balances load; no token is needed. The database is asked beside, once a second."""
    no_token_in_address(request)
    only_known_parameters(request)
    if not means_of(request).ready:
        raise away("The database does not answer.")
    return {"status": "ok"}


@contextlib.asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    """While it runs it gives signs of life and looks whether the database answers."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    means: Means = app.state.means
    outages = OutageLog(log)
    await _look(means, outages)
    task = asyncio.create_task(_turn(means, outages))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if means.sign is not None:
            means.sign.gone()


async def _turn(means: Means, outages: OutageLog) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await _look(means, outages)


async def _look(means: Means, outages: OutageLog) -> None:
    if means.sign is not None:
        means.sign.alive()
    means.decoder.tidy()
    try:
        await asyncio.to_thread(_ask, means)
    except SQLAlchemyError as error:
        means.ready = False
        outages.away("database", error)
    else:
        means.ready = True
        outages.back("database")
    if means.sign is not None:
        (means.sign.ready if means.ready else means.sign.not_ready)()


def _ask(means: Means) -> None:
    with means.engine.connect() as connection:
        look(connection)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


async def _not_valid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [(".".join(map(str, each["loc"][1:])), _lower(each["msg"])) for each in error.errors()]
    return bad_parameter(*found).response()


def _lower(says: str) -> str:
    says = says.removeprefix("Value error, ")
    return says[:1].lower() + says[1:]


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return ProblemError("method-not-allowed", "Everything here is read, by GET.", headers=error.headers).response()
    return ProblemError("not-found", "There is nothing at this address.").response()


async def _database(_: Request, error: Exception) -> Response:
    assert isinstance(error, SQLAlchemyError)
    if not is_outage(error):
        raise error
    return away("The database does not answer, or not in time.").response()


class Answered:
    """Around everything: what every answer has, a line in the log for each, and no fault without an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_headers_besides(message["headers"])]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end in silence
            log.error(  # noqa: TRY400 - a traceback without the values of its variables
                "api_fault", path=_route(scope), exception="".join(traceback.format_exception(error))
            )
            if not status:
                fault = ProblemError("fault", "It is in the log of this process; asking again will not help.")
                await fault.response()(scope, receive, sent)
        finally:
            seconds = round(time.monotonic() - began, 4)
            log.info("api_request", method=scope["method"], path=_route(scope), status=status, seconds=seconds)


def _route(scope: Scope) -> str:
    """The endpoint, without what was asked of it: there may be a number in that."""
    return getattr(scope.get("route"), "path_format", "?")


def _headers_besides(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    ours = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    return [each for each in ours if each[0] not in there]
