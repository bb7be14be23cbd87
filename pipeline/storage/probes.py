"""Which part of a batch a careful worker has in hand, so that its successor knows where it died."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.storage.progress import Step


class Probe(NamedTuple):
    """A part of a batch in hand.

    Attributes:
        place: of its first record.
        size: how many records it holds.
        until: below this place a part has killed its worker, so parts do not grow before it.
        deaths: how many workers the batch has cost.
    """

    place: int
    size: int
    until: int = 0
    deaths: int = 0


def read_probe(connection: Connection, batch_id: int, step: Step) -> Probe | None:
    """The part in hand, None when nobody is or was careful with this step of the batch."""
    row = connection.execute(
        text("SELECT place, size, until, deaths FROM probes WHERE batch_id = :batch_id AND step = :step"),
        {"batch_id": batch_id, "step": step.value},
    ).one_or_none()
    return None if row is None else Probe(*row)


def write_probe(connection: Connection, batch_id: int, step: Step, probe: Probe) -> None:
    """Say what is about to be taken in hand."""
    connection.execute(
        text(
            "INSERT INTO probes (batch_id, step, place, size, until, deaths) "
            "VALUES (:batch_id, :step, :place, :size, :until, :deaths) "
            "ON CONFLICT (batch_id, step) DO UPDATE SET place = excluded.place, size = excluded.size, "
            "  until = excluded.until, "
            "  deaths = excluded.deaths, began_at = now()"
        ),
        {"batch_id": batch_id, "step": step.value, **probe._asdict()},
    )


def delete_probe(connection: Connection, batch_id: int, step: Step) -> None:
    """The whole batch is through this step."""
    connection.execute(
        text("DELETE FROM probes WHERE batch_id = :batch_id AND step = :step"),
        {"batch_id": batch_id, "step": step.value},
    )
