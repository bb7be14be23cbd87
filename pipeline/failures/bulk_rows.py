"""What is to be done to every failure that matches: the choice, fixed when it was asked for, and how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import func, insert, select, text, update

from pipeline.database.tables import bulk_actions
from pipeline.failures.both import DELIVERY, FAILED
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.failures.rules.change import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row, Select

Action = Literal["retry", "discard", "restore", "accept", "edit"]

DONE: dict[Action, str] = {
    "retry": "released to be tried again",
    "discard": "discarded",
    "restore": "restored",
    "accept": "accepted over the stored version",
    "edit": "edited and released to be tried again",
}
"""What can be done to many failures at once, and what they then are."""


class BulkAction(NamedTuple):
    """An action on many failures; instants are aware."""

    id: int
    action: Action
    wanted: FailureFilter
    who: str
    reason: str | None
    asked_at: datetime
    total: int
    """How many failures matched when it was asked for."""
    looked_at: int
    done: int
    """To how many it was done; fewer than were looked at when somebody else dealt with some of them first."""
    last_id: int
    moved_at: datetime
    ended_at: datetime | None
    change: Change | None = None
    """What is done to each record, where they are edited."""

    @property
    def share(self) -> float:
        """How far it is, from 0 to 1."""
        if self.ended_at is not None or not self.total:
            return 1.0
        return min(1.0, self.looked_at / self.total)


# What is done to each record has no column: it stands beside the filter.
_BULK_ACTIONS = select(*(bulk_actions.c[name] for name in BulkAction._fields if name != "change"))


def open_to(action: Action, wanted: FailureFilter) -> FailureFilter:
    """Those that match of the failures that an action can be done to; none where the filter leaves none of these."""
    needs = {"accept": ("conflict", None), "edit": ("data", "normalize")}.get(action, (None, None))
    for has, need in zip((wanted.failure_class, wanted.step), needs, strict=True):
        if None not in {has, need} and has != need:
            wanted = wanted._replace(ids=())
    return wanted._replace(
        states=("discarded",) if action == "restore" else ("open",),
        failure_class=needs[0] or wanted.failure_class,
        step=needs[1] or wanted.step,
    )


def ask_for(
    connection: Connection,
    action: Action,
    wanted: FailureFilter,
    *,
    who: str,
    reason: str | None,
    change: Change | None = None,
) -> int:
    """Write down that an action is to be done to those that match now of the failures it can be done to.

    What fails for the first time after this is left out.

    Returns:
        The id of the bulk action.
    """
    newest = connection.scalar(select(func.max(FAILED.c.id))) or 0
    wanted = open_to(action, wanted)._replace(up_to=newest)
    narrowing = _as_json(wanted)
    # A worker of a version before would discard what is not to be retried, and finds none of a class that is new to it;
    # a name that it does not know makes it refuse.
    if action not in {"retry", "discard"}:
        narrowing["change"] = None if change is None else change._asdict()
    if wanted.failure_class == DELIVERY:
        narrowing["subscriber"] = wanted.subscriber
    asked = insert(bulk_actions).values(
        action=action, wanted=narrowing, who=who, reason=reason, total=count_failures(connection, wanted)
    )
    return int(connection.scalars(asked.returning(bulk_actions.c.id)).one())


def read_bulk_action(connection: Connection, bulk_id: int) -> BulkAction | None:
    """One action; None if there is none of this id."""
    return _one(connection, _BULK_ACTIONS.where(bulk_actions.c.id == bulk_id))


def recent_bulk_actions(connection: Connection, *, limit: int) -> list[BulkAction]:
    """The latest actions, the newest first."""
    rows = connection.execute(_BULK_ACTIONS.order_by(bulk_actions.c.id.desc()).limit(limit))
    return [_bulk_action(row) for row in rows]


def take_bulk_action(connection: Connection, bulk_id: int) -> BulkAction | None:
    """Hold an action for this transaction; None when it has ended or somebody else has it."""
    under_way = _BULK_ACTIONS.where(bulk_actions.c.id == bulk_id, bulk_actions.c.ended_at.is_(None))
    return _one(connection, under_way.with_for_update(skip_locked=True))


def move_on(connection: Connection, bulk_id: int, *, looked_at: int, done: int, last_id: int) -> None:
    """Count a part in that was looked at up to the failure ``last_id``."""
    of = bulk_actions.c
    connection.execute(
        update(bulk_actions)
        .values(looked_at=of.looked_at + looked_at, done=of.done + done, last_id=last_id, moved_at=func.now())
        .where(of.id == bulk_id)
    )


def end(connection: Connection, bulk_id: int) -> None:
    """Nothing is left to be looked at."""
    connection.execute(
        update(bulk_actions).values(moved_at=func.now(), ended_at=func.now()).where(bulk_actions.c.id == bulk_id)
    )


_STANDS: Final = "ended_at IS NULL AND moved_at < now() - make_interval(secs => :standing)"
ANY_STANDING: Final = f"EXISTS (SELECT FROM bulk_actions WHERE {_STANDS})"
"""Whether `standing_bulk_actions` may find any after ``:standing`` seconds, as SQL."""


def standing_bulk_actions(connection: Connection, *, after_seconds: float) -> Sequence[int]:
    """Actions that have not moved for a while, because their message was lost or their worker died."""
    of = bulk_actions.c
    standing = select(of.id).where(text(_STANDS)).order_by(of.id)
    return connection.scalars(standing, {"standing": after_seconds}).all()


def _one(connection: Connection, query: Select[Any]) -> BulkAction | None:
    row = connection.execute(query).one_or_none()
    return None if row is None else _bulk_action(row)


def _bulk_action(row: Row[Any]) -> BulkAction:
    narrowing = dict(row.wanted)
    change = narrowing.pop("change", None)
    return BulkAction(
        **{**row._mapping, "wanted": _from_json(narrowing)},  # noqa: SLF001 - SQLAlchemy's name for it
        change=None if change is None else Change(**change),
    )


def _as_json(wanted: FailureFilter) -> dict[str, Any]:
    narrowing = {name: value for name, value in wanted._asdict().items() if value is not None}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in narrowing.items()}


def _from_json(narrowing: dict[str, Any]) -> FailureFilter:
    values = {"states": None, **narrowing}
    for name in ("states", "ids"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    for name in ("since", "until"):
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    return FailureFilter(**values)
