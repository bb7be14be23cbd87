"""An action on all that match: the choice is fixed when it is asked for, and it survives whoever does it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import text

from pipeline.failures.bulk import run_bulk, standing
from pipeline.failures.bulk_rows import ask_for, read_bulk_action, recent_bulk_actions
from pipeline.failures.leafing import beside, page_failures
from pipeline.failures.listing import FailureFilter
from pipeline.failures.rules.change import Change
from pipeline.failures.stakes import stakes_of, total_of
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, walk_overdue


@pytest.fixture
def thirty(engine, monkeypatch):
    """Thirty calls without a rate, and chunks of seven."""
    monkeypatch.setattr("pipeline.failures.bulk.CHUNK", 7)
    walk(engine, receive(engine, *(make_record() for _ in range(30))))


def ask(engine, action="retry", wanted=FailureFilter(), reason=None, change=None):  # noqa: B008 - it never changes
    with engine.begin() as connection:
        return ask_for(connection, action, wanted, who="thandi", reason=reason, change=change)


def read(engine, bulk_id):
    with engine.connect() as connection:
        return read_bulk_action(connection, bulk_id)


def test_all_that_matched_are_retried_and_nothing_later_is(engine, thirty):
    """What fails for the first time after the click is left out, and the row says how far it went."""
    bulk_id = ask(engine)
    walk(engine, receive(engine, make_record()))
    result = run_bulk(engine, bulk_id, seconds=60, region="ZA")
    assert result == (True, 30)
    bulk = read(engine, bulk_id)
    assert (bulk.total, bulk.looked_at, bulk.done, bulk.share, bulk.who) == (30, 30, 30, 1.0, "thandi")
    assert bulk.ended_at is not None
    assert rows(engine, "SELECT state, count(*) FROM failures GROUP BY 1 ORDER BY 1") == [("open", 1), ("retrying", 30)]
    assert rows(engine, "SELECT action, who, count(*) FROM actions GROUP BY 1, 2") == [("retry", "thandi", 30)]


def test_it_goes_on_where_a_run_stopped(engine, thirty):
    """Out of time after each part, it is done after as many runs as it has parts, and nothing twice."""
    bulk_id = ask(engine, "discard", reason="a test")
    runs = [run_bulk(engine, bulk_id, seconds=1e-9, region="ZA") for _ in range(6)]
    assert [run.done for run in runs] == [7, 7, 7, 7, 2, 0]
    assert [run.ended for run in runs] == [False] * 5 + [True]
    assert rows(engine, "SELECT detail->>'reason', count(*) FROM actions GROUP BY 1") == [("a test", 30)]


def test_a_part_that_fails_leaves_no_trace_and_is_done_again(engine, thirty, monkeypatch):
    """The rows, the log and how far it is are one transaction."""
    bulk_id = ask(engine)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.failures.bulk.move_on", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_bulk(engine, bulk_id, seconds=60, region="ZA")
    assert (read(engine, bulk_id).looked_at, rows(engine, "SELECT count(*) FROM actions")) == (0, [(0,)])
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA").done == 30


def test_two_workers_do_not_both_do_it(engine, thirty):
    """While one holds the action the other lets go at once."""
    bulk_id = ask(engine)
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM bulk_actions WHERE id = :id FOR UPDATE"), {"id": bulk_id})
        assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 0)
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 30)
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 0)


def test_one_that_stands_still_is_sent_again(engine, thirty):
    """Its message was lost, or its worker died: the reconciler finds it, until it has ended."""
    bulk_id = ask(engine)
    assert standing(engine, after_seconds=10) == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE bulk_actions SET moved_at = now() - interval '11 seconds'"))
    assert standing(engine, after_seconds=10) == [bulk_id]
    run_bulk(engine, bulk_id, seconds=60, region="ZA")
    with engine.begin() as connection:
        connection.execute(text("UPDATE bulk_actions SET moved_at = now() - interval '11 seconds'"))
    assert standing(engine, after_seconds=10) == []


def test_what_was_discarded_is_restored_in_bulk(engine, thirty):
    """All that match of what is discarded, and nothing else."""
    run_bulk(engine, ask(engine, "discard", reason="a mistake"), seconds=60, region="ZA")
    walk(engine, receive(engine, make_record()))
    bulk_id = ask(engine, "restore", FailureFilter(step="bill"), reason="none")
    assert read(engine, bulk_id).total == 30
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 30)
    assert rows(engine, "SELECT state, count(*) FROM failures GROUP BY 1") == [("open", 31)]


def test_a_field_is_renamed_in_all_records_that_it_mends(engine, monkeypatch):
    """What was received is kept, who did what is written down, and what is no good record either is left as it is."""
    monkeypatch.setattr("pipeline.failures.bulk.CHUNK", 2)
    load(engine)

    def wrong(ref, **more):
        return make_record(call_ref=ref, **more).replace(b'"call_time"', b'"duration"')

    batch = receive(engine, *(wrong(ref) for ref in range(5)), wrong(5, end_reason=None), make_record(call_time=-1))
    walk(engine, batch)
    missing = FailureFilter(about="payload.call_time", problem="payload.call_time: is missing")
    change = Change("rename", "duration", "call_time")
    bulk_id = ask(engine, "edit", missing, reason="an old dialler", change=change)
    assert (read(engine, bulk_id).total, read(engine, bulk_id).change) == (6, change)
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 5)
    walk_overdue(engine)
    assert rows(engine, "SELECT count(*), sum(talk_seconds) FROM calls") == [(5, 5 * 61)]
    assert rows(engine, "SELECT state, count(*) FROM failures GROUP BY 1 ORDER BY 1") == [("open", 2), ("resolved", 5)]
    assert rows(engine, "SELECT DISTINCT edited_by, revision FROM edits") == [("thandi", 1)]
    assert rows(engine, "SELECT DISTINCT who, action, detail->>'reason' FROM actions") == [
        ("thandi", "edit", "rename duration to call_time; an old dialler")
    ]
    assert rows(engine, "SELECT count(*) FROM inbox WHERE convert_from(raw, 'UTF8') LIKE '%duration%'") == [(6,)]
    assert sheet(engine).closes


def test_all_conflicts_are_accepted_in_bulk(engine, monkeypatch):
    """Each call is charged for its newest version, and all adds up; what is no conflict is left alone."""
    monkeypatch.setattr("pipeline.failures.bulk.CHUNK", 3)
    load(engine)
    refs = [*range(7), 3]
    for first, records in ((True, refs[:7]), (False, refs)):
        walk(engine, receive(engine, *(make_record(call_ref=ref, call_time=61 if first else 600) for ref in records)))
    walk(engine, receive(engine, make_record(call_ref=3, call_time=61 + 59), b"rubbish"))
    with engine.connect() as connection:
        total = total_of(stakes_of(connection, FailureFilter(), timezone="UTC"))
    bulk_id = ask(engine, "accept")
    assert read(engine, bulk_id).total == 9
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 9)
    walk_overdue(engine)
    closed = sheet(engine)
    assert closed.closes, closed.violations
    assert closed.charged == total.after == {"ZAR": 6 * Decimal("6.20") + Decimal("1.40")}
    assert (closed.quarantined.records, rows(engine, "SELECT DISTINCT accepted_by FROM revisions")) == (
        1,
        [("thandi",)],
    )
    assert ask(engine, "accept", FailureFilter(failure_class="data")) > bulk_id
    assert read(engine, bulk_id + 1).total == 0


def test_a_worker_of_a_version_before_refuses_what_it_does_not_know(engine):
    """It would discard whatever is not to be retried; a filter with a name it has none for is an error."""
    for action in ("restore", "accept", "edit"):
        ask(engine, action, change=Change("set", "end_code", "16") if action == "edit" else None)
    for (wanted,) in rows(engine, "SELECT wanted FROM bulk_actions"):
        assert set(wanted) - set(FailureFilter._fields) == {"change"}


def test_every_field_of_a_filter_is_kept_as_it_was(engine):
    """Texts, instants and lists come back out of the row as they went in."""
    wanted = FailureFilter(
        failure_class="data", step="bill", source="a", call_ref="7", campaign_ref="c", contains="50%",
        problem="no tariff", since=datetime(2026, 1, 1, 12, tzinfo=UTC), until=datetime(2026, 2, 1, tzinfo=UTC),
        ids=(1, 2), about="",
    )  # fmt: skip
    ask(engine, wanted=wanted)
    with engine.connect() as connection:
        (bulk,) = recent_bulk_actions(connection, limit=5)
    assert bulk.wanted == wanted._replace(states=("open",), up_to=0)


def test_pages_lead_to_and_fro(engine, thirty):
    """Newest first; every failure is on exactly one page, and the way back shows the same pages."""

    def page(**place):
        with engine.connect() as connection:
            return page_failures(connection, FailureFilter(), limit=12, **place)

    def ids(found):
        return [failure.id for failure in found.failures]

    first = page()
    second = page(before=ids(first)[-1])
    third = page(before=ids(second)[-1])
    assert [len(each.failures) for each in (first, second, third)] == [12, 12, 6]
    assert ids(first) + ids(second) + ids(third) == sorted(ids(first) + ids(second) + ids(third), reverse=True)
    assert [(each.newer, each.older) for each in (first, second, third)] == [(False, True), (True, True), (True, False)]
    assert ids(page(after=ids(third)[0])) == ids(second)
    assert (ids(page(after=ids(second)[0])), page(after=ids(second)[0]).newer) == (ids(first), False)
    walked = ids(first)[:1]
    with engine.connect() as connection:
        assert beside(connection, FailureFilter(), walked[0]).newer is None
        while (older := beside(connection, FailureFilter(), walked[-1]).older) is not None:
            assert beside(connection, FailureFilter(), older).newer == walked[-1]
            walked.append(older)
    assert walked == ids(first) + ids(second) + ids(third)
