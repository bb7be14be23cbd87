"""What accepting conflicts comes to in money is what it then does come to."""

from __future__ import annotations

from decimal import Decimal

from pipeline.failures.listing import FailureFilter, list_failures
from pipeline.failures.operator import accept
from pipeline.failures.stakes import charge_to_come, stakes_of, total_of
from pipeline.lookup.history import history_of
from tests.factories import make_record
from tests.integration.flow import load, receive, sheet, walk, walk_overdue

ZONE = "Africa/Johannesburg"


def read_stakes(engine):
    with engine.connect() as connection:
        return stakes_of(connection, FailureFilter(states=("open",)), timezone=ZONE)


def test_what_is_foreseen_is_what_is_charged(engine):
    """Another length, no longer billable, billable for the first time, without a rate, twice for the same call."""
    load(engine)
    busy = {"end_reason": "busy", "end_code": 17, "extension": None, "call_time": 0}
    stored = [{"call_time": 61}, {"call_time": 61}, busy, {}, {}]
    walk(engine, receive(engine, *(make_record(call_ref=ref, **said) for ref, said in enumerate(stored))))
    new = [
        (0, {"call_time": 600}),
        (1, busy),
        (2, {}),
        (3, {"number": "+15551234567"}),
        (4, {"call_time": 1}),
        (4, {"call_time": 700}),
    ]
    walk(engine, receive(engine, *(make_record(call_ref=ref, **said) for ref, said in new)))
    before = sheet(engine).charged["ZAR"]
    total = total_of(read_stakes(engine))
    assert (total.calls, total.unknown, total.before) == (5, 1, {"ZAR": before})
    assert [getattr(stake.new, "amount", None) for stake in read_stakes(engine)] == [
        Decimal("6.20"), None, Decimal("0.81"), None, Decimal("0.80"), Decimal("7.20")
    ]  # fmt: skip
    with engine.connect() as connection:
        conflicts = list_failures(connection, FailureFilter(failure_class="conflict"), limit=10)
    for conflict in conflicts:
        accept(engine, conflict.id, who="thandi")
    with engine.connect() as connection:
        call = history_of(connection, "0", "enigma").call
        assert charge_to_come(connection, call._asdict(), timezone=ZONE).amount == Decimal("6.20")
    walk_overdue(engine)
    assert sheet(engine).charged == total.after
    assert read_stakes(engine) == []


def test_a_version_nobody_has_read_is_not_foreseen(engine):
    """A release before did not keep what it says."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7)))
    walk(engine, receive(engine, make_record(call_ref=7, call_time=600)))
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM conflicts")
    (stake,) = read_stakes(engine)
    assert (stake.stored.amount, stake.new) == (Decimal("0.81"), None)
    assert total_of([stake]).unknown == 1
