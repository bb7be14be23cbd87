"""Failures as an operator looks for them: by filter, by page, one with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class FailureFilter(NamedTuple):
    """What to look for; a field that is None does not narrow the search.

    Attributes:
        failure_class: ``data``, ``conflict``, ``reference`` or ``bug``.
        step: the step that failed.
        states: e.g. ``("open",)``.
        source: the dialler.
        call_ref: of the call.
        campaign_ref: of the campaign.
        about: the field or the kind of error that ``failure_stats`` counts by; empty for those that name none.
        contains: found anywhere in the reason, case-insensitively.
        since: failed last at this instant or later.
        until: failed last before this instant.
        ids: these failures only.
        up_to: of no greater id, which leaves out what failed for the first time later.
    """

    failure_class: str | None = None
    step: str | None = None
    states: tuple[str, ...] | None = ("open", "retrying")
    source: str | None = None
    call_ref: str | None = None
    campaign_ref: str | None = None
    contains: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] | None = None
    up_to: int | None = None
    about: str | None = None

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """SQL and its values; only what narrows is in it, so that the indexes are used."""
        parts, values = ["true"], dict[str, Any]()
        for name, condition in _CONDITIONS.items():
            value = getattr(self, name)
            if value is not None:
                parts.append(condition)
                values[name] = list(value) if isinstance(value, tuple) else value
        if self.contains is not None:
            escaped = self.contains.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            values["contains"] = f"%{escaped}%"
        return " AND ".join(parts), values


_ABOUT = "coalesce(field, error_type, '')"

_CONDITIONS = {
    "failure_class": "class = :failure_class",
    "step": "step = :step",
    "states": "state = ANY(cast(:states AS text[]))",
    "source": "source = :source",
    "call_ref": "call_ref = :call_ref",
    "campaign_ref": "campaign_ref = :campaign_ref",
    "contains": "reason ILIKE :contains",
    "since": "last_failed_at >= :since",
    "until": "last_failed_at < :until",
    "ids": "id = ANY(cast(:ids AS bigint[]))",
    "up_to": "id <= :up_to",
    "about": f"{_ABOUT} = :about",
}

_LISTED = (
    "id, record_id, class, step, state, source, call_ref, campaign_ref, field, reason, attempts, "
    "first_failed_at, last_failed_at, retry_at"
)


def list_failures(connection: Connection, wanted: FailureFilter, *, limit: int, after: int = 0) -> list[dict[str, Any]]:
    """A page of failures by id, from the one after ``after`` on."""
    where, values = wanted.conditions()
    rows = connection.execute(
        text(f"SELECT {_LISTED} FROM failures WHERE {where} AND id > :after ORDER BY id LIMIT :limit"),
        {**values, "after": after, "limit": limit},
    )
    return [dict(row) for row in rows.mappings()]


class Page(NamedTuple):
    """Some failures, the newest first, and whether there are others on either side of them."""

    failures: list[dict[str, Any]]
    newer: bool
    older: bool


def page_failures(
    connection: Connection, wanted: FailureFilter, *, limit: int, before: int | None = None, after: int | None = None
) -> Page:
    """A page for somebody who leafs through failures, found by key: as quick at the hundred thousandth as at the first.

    Args:
        connection: the database.
        wanted: which failures.
        limit: the most on a page.
        before: only failures of smaller ids, the page that follows one ending with this id.
        after: only failures of greater ids, the page that comes before one beginning with this id.
    """
    where, values = wanted.conditions()
    backwards = after is not None
    boundary = {"before": "AND id < :before", "after": "AND id > :after"}
    rows = connection.execute(
        text(
            f"SELECT {_LISTED} FROM failures WHERE {where} "
            f"{boundary['after'] if backwards else boundary['before'] if before is not None else ''} "
            f"ORDER BY id {'' if backwards else 'DESC'} LIMIT :limit"
        ),
        {**values, "before": before, "after": after, "limit": limit + 1},
    )
    found = [dict(row) for row in rows.mappings()]
    more = len(found) > limit
    found = found[:limit]
    if backwards:
        return Page(found[::-1], newer=more, older=True)
    return Page(found, newer=before is not None, older=more)


def count_failures(connection: Connection, wanted: FailureFilter) -> int:
    """How many failures match."""
    where, values = wanted.conditions()
    return int(connection.scalar(text(f"SELECT count(*) FROM failures WHERE {where}"), values) or 0)


class Stats(NamedTuple):
    """What failures there are, by kind.

    Attributes:
        rows: the kinds with the most failures.
        kinds: how many kinds there are in all.
    """

    rows: list[dict[str, Any]]
    kinds: int


def failure_stats(connection: Connection, wanted: FailureFilter, *, limit: int) -> Stats:
    """How many failures match, by class, step, state and reason's kind, the most first, and at most so many kinds.

    A record chooses the name of the field that is wrong with it, so there may be as many kinds as failures.
    """
    where, values = wanted.conditions()
    rows = connection.execute(
        text(
            f"SELECT class, step, state, {_ABOUT} AS about, count(*) AS failures, "
            "  min(first_failed_at) AS oldest, max(last_failed_at) AS newest, min(reason) AS example, "
            "  count(*) OVER () AS kinds "
            f"FROM failures WHERE {where} GROUP BY 1, 2, 3, 4 ORDER BY failures DESC, 1, 2, 3, 4 LIMIT :limit"
        ),
        {**values, "limit": limit},
    )
    found = [dict(row) for row in rows.mappings()]
    kinds = [row.pop("kinds") for row in found]
    return Stats(found, kinds[0] if kinds else 0)


class FailureState(NamedTuple):
    """Where a failure is."""

    state: str
    attempts: int


def state_of_failure(connection: Connection, failure_id: int) -> FailureState | None:
    """Where a failure is, for whoever waits for it to move; None if there is none of this id."""
    row = connection.execute(
        text("SELECT state, attempts FROM failures WHERE id = :id"), {"id": failure_id}
    ).one_or_none()
    return None if row is None else FailureState(row.state, row.attempts)


def read_failure(connection: Connection, failure_id: int) -> dict[str, Any] | None:
    """One failure with its traceback, its raw record as received and as edited, and who did what; None if unknown."""
    row = (
        connection.execute(
            text(f"SELECT {_LISTED}, error_type, traceback FROM failures WHERE id = :id"), {"id": failure_id}
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    failure = dict(row)
    record_id = failure["record_id"]
    raw = connection.scalar(text("SELECT raw FROM inbox WHERE record_id = :id"), {"id": record_id})
    edited = connection.scalar(
        text("SELECT raw FROM edits WHERE record_id = :id ORDER BY revision DESC LIMIT 1"), {"id": record_id}
    )
    received_at = connection.scalar(text("SELECT received_at FROM batches WHERE id = :id"), {"id": batch_of(record_id)})
    actions = connection.execute(
        text("SELECT at, who, action, detail FROM actions WHERE record_id = :id ORDER BY id"), {"id": record_id}
    )
    return {
        **failure,
        "received_at": received_at,
        "raw": None if raw is None else bytes(raw),
        "edited": None if edited is None else bytes(edited),
        "stored": _stored_version(connection, failure) if failure["class"] == "conflict" else None,
        "actions": [dict(action) for action in actions.mappings()],
    }


def _stored_version(connection: Connection, failure: dict[str, Any]) -> bytes | None:
    """The record a conflict's call was last made of: as received, as edited, or as accepted over the one before."""
    raw = connection.scalar(
        text(
            "SELECT coalesce((SELECT raw FROM edits WHERE edits.record_id = made_of.id "
            "                 ORDER BY edits.revision DESC LIMIT 1), inbox.raw) "
            "FROM calls CROSS JOIN LATERAL (SELECT coalesce("
            "  (SELECT record_id FROM revisions WHERE call_id = calls.id ORDER BY accepted_at DESC LIMIT 1), calls.id"
            ") AS id) AS made_of JOIN inbox ON inbox.record_id = made_of.id "
            "WHERE calls.call_ref = :call_ref AND calls.source = :source"
        ),
        {"call_ref": failure["call_ref"], "source": failure["source"]},
    )
    return None if raw is None else bytes(raw)
