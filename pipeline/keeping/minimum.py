"""Which minimum stands against erasing a number: what erasing rewrites or deletes must be kept for a while yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from pipeline.database.narrowing import among
from pipeline.database.tables import batches, calls, recordings
from pipeline.keeping.rule_rows import rules_of
from pipeline.keeping.rules.ages import Group, kept_until
from pipeline.keeping.rules.policy import EVERY, Kind, Scope
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from pipeline.keeping.rules.ages import Kept
    from pipeline.keeping.rules.policy import Rule
    from pipeline.recordings.rules.encrypted import KeyName

REWRITTEN: Final = (Kind.RAW_RECORDS, Kind.CALLS, Kind.RECORDINGS)
"""What erasing changes. Charges hold no number and stay, and who heard what keeps all but the number."""

_HAS_FILE: Final = ("stored", "scheduled", "downloading")
"""Recordings that have a file, or get one if they are let."""


def against_erasing(connection: Connection, call_ids: Sequence[int], record_ids: Sequence[int] = ()) -> list[str]:
    """The minima that are not over for calls of a number, as an answer names them, each with its last day.

    Args:
        connection: the database.
        call_ids: the number's calls.
        record_ids: records that hold it and are no call of it: raw records of no known campaign, as old as their
            receipt.
    """
    rules = {kind: rules_of(connection, kind) for kind in REWRITTEN}
    if not any(rule.at_least for by in rules.values() for rule in by.values()):
        return []
    now = connection.scalars(select(func.now())).one()
    groups = {kind: _groups(connection, call_ids, with_file=kind is Kind.RECORDINGS) for kind in REWRITTEN}
    groups[Kind.RAW_RECORDS] += _received(connection, record_ids)
    return [said for kind in REWRITTEN for said in _said(kind, rules[kind], groups[kind], now)]


def against_shredding(connection: Connection, name: KeyName) -> list[str]:
    """The minima that are not over for recordings of a month whose key is to be destroyed.

    Args:
        connection: the database.
        name: the key.
    """
    rules = rules_of(connection, Kind.RECORDINGS)
    if not any(rule.at_least for rule in rules.values()):
        return []
    of, file = calls.c, recordings.c
    rows = connection.execute(
        select(of.source, of.campaign_ref, func.max(of.dialed_at))
        .join(recordings, file.call_id == of.id)
        .where(file.source == name.source, file.key_month == name.month, file.deleted_at.is_(None))
        .group_by(of.source, of.campaign_ref)
    )
    groups = [Group(Scope(source, campaign), newest) for source, campaign, newest in rows]
    now = connection.scalars(select(func.now())).one()
    return [
        f"{kept.says(Kind.RECORDINGS)}: until {_first_day(kept.until):%Y-%m-%d} (UTC)"
        for kept in _not_over(rules, groups, now)
    ]


def _said(kind: Kind, rules: Mapping[Scope, Rule], groups: Iterable[Group], now: datetime) -> list[str]:
    return [
        f"{kept.says(kind)}, so it may be erased from {_first_day(kept.until):%Y-%m-%d} on (UTC)"
        for kept in _not_over(rules, groups, now)
    ]


def _not_over(rules: Mapping[Scope, Rule], groups: Iterable[Group], now: datetime) -> list[Kept]:
    return [kept for kept in kept_until(rules, groups) if kept.until > now]


def _first_day(until: datetime) -> datetime:
    """The first day that begins when it is over."""
    day = until.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == until else day + timedelta(days=1)


def _groups(connection: Connection, call_ids: Sequence[int], *, with_file: bool) -> list[Group]:
    of, file = calls.c, recordings.c
    query = select(of.source, of.campaign_ref, func.max(of.dialed_at)).where(among(of.id, call_ids))
    if with_file:
        query = query.join(recordings, file.call_id == of.id).where(
            file.state.in_(_HAS_FILE), file.deleted_at.is_(None)
        )
    rows = connection.execute(query.group_by(of.source, of.campaign_ref))
    return [Group(Scope(source, campaign), newest) for source, campaign, newest in rows]


def _received(connection: Connection, record_ids: Sequence[int]) -> list[Group]:
    of = batches.c
    ids = sorted({batch_of(each) for each in record_ids})
    rows = connection.execute(select(of.source, func.max(of.received_at)).where(among(of.id, ids)).group_by(of.source))
    return [Group(Scope(source, EVERY), newest) for source, newest in rows]
