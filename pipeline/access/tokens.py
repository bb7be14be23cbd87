"""Tokens of the HTTP API: made, listed, revoked, and recognized. A token itself is in no table: its hash is.

A token is 256 bits of chance, so that its plain SHA-256 can be looked up and cannot be turned back.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.access.rules.scopes import ALL, Grant, Scope
from pipeline.database.audit import record_action
from pipeline.database.tables import api_tokens
from pipeline.errors import PipelineError, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

PREFIX: Final = "ecdr_"
"""What each begins with, so that whoever looks for secrets in files finds them."""

_TOKEN: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


class TokenError(PipelineError):
    """A token cannot be made or revoked as it was asked for."""


class NewToken(NamedTuple):
    """A token as it is asked for."""

    name: str
    scopes: Sequence[str]
    sources: Sequence[str]
    campaigns: Sequence[str]
    expires_at: datetime | None = None


class Token(NamedTuple):
    """All that is known of a token; instants are aware."""

    name: str
    scopes: list[str]
    sources: list[str]
    campaigns: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    state: str
    """``active``, ``expired`` or ``revoked``."""


def create(connection: Connection, new: NewToken, *, who: str) -> str:
    """Make a token; returns it, which nobody can do again.

    Args:
        connection: the transaction.
        new: the token.
        who: makes it, for the record.

    Raises:
        TokenError: it cannot be meant, or the name is taken.
    """
    _check(new)
    token = PREFIX + secrets.token_urlsafe(32)
    row = insert(api_tokens).values(
        name=new.name,
        token_hash=_hash(token),
        scopes=sorted(set(new.scopes)),
        sources=sorted(set(new.sources)),
        campaigns=sorted(set(new.campaigns)),
        created_by=who,
        expires_at=new.expires_at,
    )
    made = connection.execute(row.on_conflict_do_nothing(index_elements=["name"]).returning(api_tokens.c.name))
    if made.first() is None:
        raise TokenError(
            f"there is, or was, a token {new.name}: names are never used again, for the access log has them"
        )
    detail = {"name": new.name, "scopes": sorted(set(new.scopes))}
    record_action(connection, who, "token created", detail)
    return token


def revoke(connection: Connection, name: str, *, who: str, reason: str | None = None) -> None:
    """Have a token let nobody in any more, from the next request on.

    Args:
        connection: the transaction.
        name: the token's.
        who: revokes it, for the record.
        reason: why.

    Raises:
        TokenError: there is none of that name, or it is revoked.
    """
    done = connection.execute(
        update(api_tokens)
        .where(api_tokens.c.name == name, api_tokens.c.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_by=who)
    )
    if not done.rowcount:
        known = connection.scalar(select(api_tokens.c.revoked_by).where(api_tokens.c.name == name))
        raise TokenError(f"there is no token {shown(name)}" if known is None else f"{known} has revoked it before")
    record_action(connection, who, "token revoked", {"name": name} | ({} if reason is None else {"reason": reason}))


def all_tokens(connection: Connection) -> list[Token]:
    """Every token that there is or was, by name."""
    columns = [api_tokens.c[name] for name in Token._fields[:-1]]
    rows = connection.execute(select(*columns, api_tokens.c.expires_at <= func.now()).order_by(api_tokens.c.name))
    return [Token._make((*row[:-1], _state(row.revoked_at, expired=row[-1]))) for row in rows]


def _state(revoked_at: datetime | None, *, expired: bool | None) -> str:
    if revoked_at is not None:
        return "revoked"
    return "expired" if expired else "active"


def look(connection: Connection) -> None:
    """Ask for nothing: that the database answers, is upgraded, and lets this role see who may ask."""
    connection.execute(select(api_tokens.c.name).limit(0))


def grant_of(connection: Connection, token: str) -> Grant | None:
    """What a token allows; None: it is none, or none any more."""
    if not _TOKEN.fullmatch(token):
        return None
    of = api_tokens.c
    row = connection.execute(
        select(of.name, of.scopes, of.sources, of.campaigns).where(
            of.token_hash == _hash(token),
            of.revoked_at.is_(None),
            or_(of.expires_at.is_(None), of.expires_at > func.now()),
        )
    ).one_or_none()
    if row is None:
        return None
    # A scope of a later version says nothing here.
    known = frozenset(Scope(each) for each in row.scopes if each in set(Scope))
    return Grant(row.name, known, tuple(row.sources), tuple(row.campaigns))


def _check(new: NewToken) -> None:
    if not _NAME.fullmatch(new.name):
        raise TokenError(
            f"a name is 1 to 63 small letters, digits, - and _, and begins with neither: got {shown(new.name)}"
        )
    if unknown := sorted(set(new.scopes) - set(Scope)):
        raise TokenError(f"there is no scope {shown(unknown[0])}, only {', '.join(Scope)}")
    for what, named in (("scope", new.scopes), ("source", new.sources), ("campaign", new.campaigns)):
        if not named:
            raise TokenError(f"name at least one {what}: a token sees nothing that is not named")
        if ALL in named and len(named) > 1:
            raise TokenError(f"a {what} is a name, or {ALL} alone")
        if odd := [each for each in named if each != ALL and (ALL in each or not each.strip() or "\0" in each)]:
            raise TokenError(f"a {what} is a whole name, or {ALL} alone for all: got {shown(odd[0])}")


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
