"""Batches received and walked through the steps, without processes: what most integration tests start from."""

from __future__ import annotations

import functools
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.balance.sheet import Balance, balance_sheet
from pipeline.batches.progress import take_overdue
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from pipeline.billing.assignment_rows import EVERYTHING
from pipeline.billing.bill import bill
from pipeline.billing.load import load_tariff
from pipeline.billing.tariff_cache import TariffCache
from pipeline.calls.classify import classify
from pipeline.calls.in_hand import InHand
from pipeline.calls.normalize import normalize
from pipeline.contacts.update import update_contacts
from pipeline.ingest.inbox import settle
from pipeline.recordings.scheduling import schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.batches.rules.batch import Batch
    from pipeline.billing.rules.terms import LoadedTariff

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TARIFF = b"prefix,rate_per_minute,connect_fee,first_increment,next_increment\n27,0.60,0.20,60,1\n"


def works(engine: Engine, in_hand: InHand | None = None) -> dict[Step, Any]:
    """What each step does, as the tasks put it together."""
    cache = TariffCache(timezone="Africa/Johannesburg")

    def schedule_all(connection, span):
        schedule(connection, span, delay_seconds=5, in_hand=in_hand)
        return []

    def update(connection, span):
        update_contacts(connection, span)
        return []

    return {
        Step.NORMALIZE: functools.partial(normalize, region="ZA", now=NOW, in_hand=in_hand),
        Step.CLASSIFY: functools.partial(classify, in_hand=in_hand),
        Step.BILL: functools.partial(bill, tariffs=cache, in_hand=in_hand),
        Step.SCHEDULE_RECORDINGS: schedule_all,
        Step.UPDATE_CONTACTS: update,
    }


def handing(engine: Engine) -> Callable[[Batch], dict[Step, Any]]:
    """The same for a batch that goes through all steps at once, where they hand each other its calls."""
    return lambda batch: works(engine, InHand(batch.records))


def tariff_in_force(cache: TariffCache, connection: Connection, campaign: str = EVERYTHING) -> LoadedTariff | None:
    """The tariff that rates one campaign's calls in this transaction; None when there is none."""
    version_id = cache.in_force(connection, [campaign]).get(campaign)
    return None if version_id is None else cache.version(connection, version_id)


def receive(engine: Engine, *records: bytes, source: str = "enigma") -> Batch:
    """Settle records as one batch."""
    with engine.begin() as connection:
        batch = settle(connection, uuid.uuid4(), source, records, resend_after_seconds=0)
    assert batch is not None
    return batch


def walk(engine: Engine, batch: Batch, steps: tuple[Step, ...] = tuple(Step), **options: Any) -> list[str]:
    """Do steps of a batch; returns how each ended."""
    return [
        run_step(engine, batch.batch_id, step, works(engine)[step], resend_after_seconds=10, **options).outcome
        for step in steps
    ]


def walk_overdue(engine: Engine) -> int:
    """What the reconciler and the workers do with everything that is overdue; returns how many batches that was."""
    with engine.begin() as connection:
        overdue = take_overdue(connection, limit=1_000, resend_after_seconds=10)
    for progress in overdue:
        walk(engine, progress.batch, tuple(step for step in Step if step in progress.undone))
    return len(overdue)


def load(engine: Engine, content: bytes = TARIFF) -> Any:
    """Load the default tariff."""
    return load_tariff(
        engine,
        content,
        file_name="t.csv",
        loaded_by="test",
        default_currency="ZAR",
        timezone="Africa/Johannesburg",
    )


def rows(engine: Engine, query: str) -> list[Any]:
    """A query's rows."""
    with engine.connect() as connection:
        return list(connection.execute(text(query)).all())


def sheet(engine: Engine) -> Balance:
    """The balance sheet of everything."""
    with engine.connect() as connection:
        return balance_sheet(connection)
