"""Which part of a batch a careful worker has in hand, so that its successor knows where it died."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.batches.rules.parts import Part

if TYPE_CHECKING:
    import uuid

    from sqlalchemy import Connection

    from pipeline.batches.rules.steps import Step


class Found(NamedTuple):
    """What whoever was careful with a step left behind."""

    part: Part
    lost: bool
    """Whether its process went with the part in hand, and not because the database server did."""


def read_part(connection: Connection, batch_id: int, step: Step) -> Found | None:
    """The part to go on with; None when nobody was careful with this step of the batch. The caller holds the step."""
    row = connection.execute(
        text(
            "SELECT place, size, until, deaths, alone, "
            "  coalesce(in_hand IS NOT NULL AND server_started_at = pg_postmaster_start_time(), false) "
            "FROM probes WHERE batch_id = :batch_id AND step = :step"
        ),
        {"batch_id": batch_id, "step": step.value},
    ).one_or_none()
    return None if row is None else Found(Part(*row[:-1]), row[-1])


def take_in_hand(connection: Connection, batch_id: int, step: Step, part: Part, taking: uuid.UUID) -> None:
    """Say what is about to be taken in hand, under a number that only whoever takes it knows."""
    connection.execute(
        text(
            "INSERT INTO probes (batch_id, step, place, size, until, deaths, alone, in_hand, server_started_at) "
            "VALUES (:batch_id, :step, :place, :size, :until, :deaths, :alone, :taking, pg_postmaster_start_time()) "
            "ON CONFLICT (batch_id, step) DO UPDATE SET place = excluded.place, size = excluded.size, "
            "  until = excluded.until, deaths = excluded.deaths, alone = excluded.alone, began_at = now(), "
            "  in_hand = excluded.in_hand, server_started_at = excluded.server_started_at"
        ),
        {"batch_id": batch_id, "step": step.value, "taking": taking, **part._asdict()},
    )


def give_back(connection: Connection, batch_id: int, step: Step, taking: uuid.UUID) -> None:
    """Say that the part is no longer in hand, unless somebody else has taken it up since."""
    connection.execute(
        text("UPDATE probes SET in_hand = NULL WHERE batch_id = :batch_id AND step = :step AND in_hand = :taking"),
        {"batch_id": batch_id, "step": step.value, "taking": taking},
    )
