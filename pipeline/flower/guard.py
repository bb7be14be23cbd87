"""What holds for every page of Flower, its own and ours: who is let in, from where, and what a browser may do with it.

Flower asks its `BaseHandler`, from which all its pages and our tabs descend; what is asked there is put in its place.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import math
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from flower.api import BaseApiHandler
from flower.utils.authentication import authenticate
from flower.views import BaseHandler
from flower.views.monitor import Healthcheck
from tornado.httputil import split_host_and_port
from tornado.web import HTTPError, RequestHandler, authenticated

from pipeline.flower.wrong_logins import WrongLogins
from pipeline.logs.rules.visible import visible
from pipeline.logs.setup import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

log = get_logger(__name__)

LONGEST_LOGIN: Final = 64
"""How much of a name that was tried is logged, in characters."""

wrong_logins = WrongLogins()


class SwitchedOffHandler(BaseApiHandler):  # type: ignore[misc]
    """What Flower's API would let a login do to workers and queues, which this pipeline needs nobody to do."""

    @authenticated
    def post(self, *_: str) -> None:
        """Say so."""
        raise HTTPError(
            403,
            "This part of Flower's API is switched off: act in the tabs Failed calls, Pipeline and Integrators, "
            "or by commands.",
        )


def only_looking(handler: Any) -> Any:
    """An entry of Flower's list of handlers; one of its API that acts, whatever it does, is switched off."""
    pattern, target = handler[:2] if isinstance(handler, tuple) else (handler.regex.pattern, handler.handler_class)
    acts = issubclass(target, BaseApiHandler) and target.post is not RequestHandler.post
    return (pattern, SwitchedOffHandler) if acts else handler


def install() -> None:
    """Put the guard before every page; once or several times, to the same effect."""
    for kind, name, ours in (
        (BaseHandler, "set_default_headers", _set_default_headers),
        (BaseHandler, "get_current_user", _get_current_user),
        (BaseHandler, "prepare", _refuse_strange_hosts),
        (BaseApiHandler, "prepare", _prepare_api),
    ):
        setattr(kind, name, ours)


_flowers_default_headers = BaseHandler.set_default_headers
_flowers_api_prepare = BaseApiHandler.prepare


def _set_default_headers(handler: Any) -> None:
    """Flower's, and what keeps a browser from running or framing what is not ours."""
    _flowers_default_headers(handler)
    handler.script_nonce = secrets.token_urlsafe(16)  # Flower writes one script into a page itself
    # What a record says is escaped wherever it is shown; should that fail once, no script of it runs.
    handler.set_header(
        "Content-Security-Policy",
        f"default-src 'self'; script-src 'self' 'nonce-{handler.script_nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    )
    handler.set_header("X-Frame-Options", "DENY")
    handler.set_header("Referrer-Policy", "same-origin")
    if wait := getattr(handler, "retry_after_seconds", 0):
        handler.set_header("Retry-After", str(math.ceil(wait)))


def _get_current_user(handler: Any) -> Any:
    """As Flower's, but that a login may be of any bytes, and that a wrong one is told and slowed."""
    options = handler.application.options
    if options.basic_auth:
        _judge(handler, options.basic_auth)
    if not options.auth:
        return True
    user = handler.get_secure_cookie("user")
    return user.decode() if user and authenticate(options.auth, user.decode()) else None


def _judge(handler: Any, logins: Sequence[str]) -> None:
    """Whether a request has one of these logins.

    Raises:
        HTTPError: it has none, a wrong one, or its address had too many wrong ones.
    """
    header = handler.request.headers.get("Authorization")
    if not header:
        raise HTTPError(401)
    address, now = handler.request.remote_ip or "", time.monotonic()
    handler.retry_after_seconds = wrong_logins.wait_seconds(address, now)
    if handler.retry_after_seconds:
        raise HTTPError(429, reason="Too many wrong logins from this address")
    given = credentials(header)
    if not any(hmac.compare_digest(login.encode(), given) for login in logins):
        wrong_logins.add(address, now)
        who = given.partition(b":")[0].decode("utf-8", "replace")
        log.warning("login_refused", login=visible(who)[:LONGEST_LOGIN], address=address)
        raise HTTPError(401)


def credentials(header: str) -> bytes:
    """The user's name, a colon and the password, as bytes; empty when the header is none of HTTP's basic login.

    >>> credentials("Basic b3BlcmF0b3I6c2FuZGJveA=="), credentials("Basic"), credentials("Bearer x")
    (b'operator:sandbox', b'', b'')
    """
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""


def _prepare_api(handler: Any) -> None:
    _refuse_strange_hosts(handler)
    _flowers_api_prepare(handler)


def _refuse_strange_hosts(handler: Any) -> None:
    """Answer to no name but our own where nobody logs in: a foreign page may have had its name pointed here.

    Raises:
        HTTPError: the name is not ours.
    """
    options = handler.application.options
    if options.basic_auth or options.auth or options.unix_socket or isinstance(handler, Healthcheck):
        return
    name, _ = split_host_and_port(handler.request.host)
    if not is_own_name(name, options.address):
        raise HTTPError(403, "Without a login Flower answers to localhost and to addresses only, not to another name.")


def is_own_name(name: str, address: str) -> bool:
    """Whether nobody else can have made this name of ours: an address, localhost, or what we were told to listen on.

    >>> [is_own_name(name, "") for name in ("LOCALHOST", "127.0.0.1", "[::1]", "localhost.evil.example")]
    [True, True, True, False]
    """
    if name.lower() in ("localhost", address.lower()):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
