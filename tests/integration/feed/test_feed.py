"""What happens to calls comes to everybody who subscribed, in one order, once."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen

from pipeline.batches.progress import mark_done
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_all_steps
from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import rerate
from pipeline.billing.tariff_cache import TariffCache
from pipeline.failures.operator import accept, edit
from pipeline.feed import subscribers
from pipeline.feed.cursors import take
from pipeline.feed.deliver import MOST_EVENTS
from pipeline.feed.retention import drop_old, expire
from pipeline.feed.rules.event import CHANGED, CORRECTED, ENDED, FINISHED, RECEIVED
from pipeline.feed.sequence import SEQUENCER_LOCK, place
from pipeline.recordings.operator import retry
from pipeline.recordings.rows import claim, settle, take_due
from pipeline.recordings.rules.outcome import LOST_AT_MOST, Decision, RecordingState
from tests.factories import make_record
from tests.integration.flow import NOW, handing, load, receive, rows, walk, walk_overdue
from tests.integration.recording_rows import change, scheduled
from tests.patience import eventually


def test_a_batch_is_one_row_a_kind_whichever_way_it_goes(engine):
    """Step by step, or all steps at once."""
    walk(engine, receive(engine, make_record(), make_record()))
    assert run_all_steps(
        engine, receive(engine, make_record()).batch_id, handing(engine), at_most=10, resend_after_seconds=10
    )
    found = rows(engine, "SELECT batch_id, kind FROM feed ORDER BY batch_id, kind")
    kinds = sorted((FINISHED, RECEIVED, CHANGED))
    assert [tuple(row) for row in found] == [(batch, kind) for batch in (1, 2) for kind in kinds]


def test_every_call_comes_once_and_in_order(engine, feed):
    load(engine)
    feed.add()
    for refs in (("1", "2"), ("3",)):
        walk(engine, receive(engine, *(make_record(call_ref=ref) for ref in refs)))
    assert feed.deliver().outcome == "up to date"
    both = [(kind, ref) for kind in (RECEIVED, FINISHED) for ref in ("1", "2")]
    assert feed.refs() == [*both, (RECEIVED, "3"), (FINISHED, "3")]
    assert [each["at"] for each in feed.got()] == [[1, 0], [1, 1], [3, 0], [3, 1], [4, 0], [6, 0]]
    assert feed.deliver().delivered == 0
    assert feed.show().delivered == 6
    assert feed.show().rows_behind == 0


def test_a_sequencer_that_stands_still_holds_nobody_up_for_long(engine):
    """As the reconciler comes by every two seconds, each child of a worker would soon wait for it."""
    receive(engine, make_record())
    with engine.begin() as frozen:
        frozen.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SEQUENCER_LOCK})
        began = time.monotonic()
        assert place(engine) == 0
        assert time.monotonic() - began < 10
    assert place(engine) == 1


def test_what_commits_late_is_not_passed_over(engine, feed):
    """The trap of every cursor over ids: the first batch's row has the lower id, and is seen after the second's."""
    feed.add(kinds=(RECEIVED,))
    late = engine.connect()
    late.execute(text("INSERT INTO batches (claim, source, records, due_at) VALUES (gen_random_uuid(), 'e', 1, now())"))
    late.execute(text('INSERT INTO inbox VALUES (65536, convert_to(\'{"payload":{"call_ref":"late"}}\', \'UTF8\'))'))
    late.execute(text("INSERT INTO feed (kind, source, batch_id) VALUES ('call.received', 'e', 1)"))
    receive(engine, make_record(call_ref="early"))
    feed.deliver()
    assert feed.refs() == [(RECEIVED, "early")]
    late.commit()
    late.close()
    feed.deliver()
    assert feed.refs() == [(RECEIVED, "early"), (RECEIVED, "late")]
    assert [row.position for row in rows(engine, "SELECT position FROM feed ORDER BY id")] == [2, 1]


def test_batches_that_finish_out_of_order_are_each_told_once(engine, feed):
    """By the statement that finishes them: what was written first is seen last, after a cursor has gone on.

    Were positions the ids, or taken when a row is written, the cursor would stand behind the first batch's row when
    that is seen, and none of its calls would ever be told finished.
    """
    load(engine)
    feed.add(kinds=(FINISHED,))
    batches = [receive(engine, make_record(call_ref=f"{n}.1"), make_record(call_ref=f"{n}.2")) for n in range(4)]
    *before, last = Step
    for batch in batches:
        walk(engine, batch, tuple(before))
    held = [engine.connect() for _ in batches[:3]]
    for connection, batch in zip(held, batches, strict=False):
        connection.begin()
        mark_done(connection, batch.batch_id, last, resend_after_seconds=10)
    walk(engine, batches[3])
    told = []
    for connection in (None, held[1], held[2], held[0]):
        if connection is not None:
            connection.commit()
            connection.close()
        assert feed.deliver().outcome == "up to date"
        told.append([ref for _, ref in feed.refs()][len(told) * 2 :])
    assert told == [[f"{n}.1", f"{n}.2"] for n in (3, 1, 2, 0)]
    by_id = rows(engine, f"SELECT batch_id FROM feed WHERE kind = '{FINISHED}' ORDER BY id")
    assert [batch_id for (batch_id,) in by_id] == [1, 2, 3, 4]
    assert feed.show().rows_behind == 0


def test_sequencers_at_once_leave_no_gap(engine):
    """Eight of them, while rows come in."""
    for _ in range(40):
        receive(engine, make_record())
    threads = [threading.Thread(target=place, args=(engine,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        receive(engine, make_record())
    for thread in threads:
        thread.join()
    place(engine)
    assert [row.position for row in rows(engine, "SELECT position FROM feed ORDER BY 1")] == list(range(1, 51))


def test_raw_is_what_was_received_byte_for_byte(engine, feed):
    """What is no call, too: an integrator's consumer sees what it saw before."""
    feed.add(kinds=(RECEIVED,), shape="raw")
    elements = [make_record(), b"{broken", make_record(call_ref="twice"), make_record(call_ref="twice")]
    receive(engine, *elements)
    feed.deliver()
    assert [each["body"].encode() for each in feed.got()] == elements


def test_a_call_comes_as_explain_has_it(engine, feed):
    load(engine)
    feed.add(kinds=(FINISHED,), shape="call", fields=("call.call_ref", "net", "disposition"))
    walk(engine, receive(engine, make_record(call_ref="7")))
    feed.deliver()
    [got] = feed.got()
    envelope = json.loads(got["body"])
    assert (envelope["specversion"], envelope["type"], envelope["subject"]) == ("1.0", FINISHED, "7")
    assert envelope["id"] == got["id"]
    data = envelope["data"]
    assert set(data) == {"call", "net", "disposition"}
    assert data["call"] == {"call_ref": "7"}
    assert data["net"] == {"ZAR": "0.81"}


def test_the_filter_is_a_wall(engine, feed):
    """Two integrators of one dialler do not see each other's contacts, in no shape and of no kind."""
    load(engine)
    feed.add("one", campaigns=("sales",), shape="raw")
    feed.add("two", campaigns=("service",), shape="raw")
    walk(engine, receive(engine, make_record(call_ref="s", ref="sales"), make_record(call_ref="v", ref="service")))
    walk(engine, receive(engine, b"no campaign can be read in this"))
    feed.deliver("one")
    feed.deliver("two")
    assert set(feed.refs("one")) == {(RECEIVED, "s"), (FINISHED, "s")}
    assert set(feed.refs("two")) == {(RECEIVED, "v"), (FINISHED, "v")}


def test_dispositions_narrow(engine, feed):
    load(engine)
    feed.add(kinds=(FINISHED,), dispositions=("answered",))
    walk(
        engine,
        receive(
            engine,
            make_record(call_ref="a"),
            make_record(call_ref="b", end_reason="busy", end_code="17", call_time=0, extension=None),
        ),
    )
    feed.deliver()
    ended = dict(
        rows(engine, "SELECT call_ref, disposition FROM calls JOIN dispositions ON call_id = id ORDER BY call_ref")
    )
    assert set(ended.values()) > {"answered"}
    assert feed.refs() == [(FINISHED, ref) for ref, disposition in ended.items() if disposition == "answered"]
    assert feed.show().filtered == sum(disposition != "answered" for disposition in ended.values())


def test_what_waited_is_told_when_it_is_done(engine, feed):
    """A call without a rate is not finished; with the tariff it is, and the others are not told again."""
    feed.add(kinds=(FINISHED,))
    load(engine, b"prefix,rate_per_minute\n44,1\n")
    walk(engine, receive(engine, make_record(call_ref="waits"), make_record(call_ref="uk", number="+447700900123")))
    feed.deliver()
    assert feed.refs() == [(FINISHED, "uk")]
    load(engine, b"prefix,rate_per_minute\n27,1\n44,1\n")
    assert walk_overdue(engine)
    feed.deliver()
    assert feed.refs() == [(FINISHED, "uk"), (FINISHED, "waits")]


def test_what_waited_is_told_although_nobody_knows_any_more_what_did(engine, feed):
    """The row that says it is past its retention, or the batch was finished by a version that wrote none."""
    load(engine, b"prefix,rate_per_minute\n44,1\n")
    walk(engine, receive(engine, make_record(call_ref="waits"), make_record(call_ref="uk", number="+447700900123")))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM feed"))
    feed.add(kinds=(FINISHED,))
    load(engine, b"prefix,rate_per_minute\n27,1\n44,1\n")
    assert walk_overdue(engine)
    feed.deliver()
    assert feed.refs() == [(FINISHED, "waits")]


def test_a_record_that_is_mended_is_a_finished_call(engine, feed):
    """Once, whatever was done to others of its batch before and after."""
    load(engine)
    feed.add(kinds=(FINISHED,))
    broken = [make_record(call_ref=ref, call_time=-1) for ref in ("1", "2")]
    walk(engine, receive(engine, make_record(call_ref="0"), *broken))
    for failure_id, ref in rows(engine, "SELECT id, call_ref FROM failures ORDER BY id"):
        edit(engine, failure_id, make_record(call_ref=ref), who="thandi", region="ZA", now=NOW)
        assert walk_overdue(engine)
        feed.deliver()
    assert feed.refs() == [(FINISHED, "0"), (FINISHED, "1"), (FINISHED, "2")]


def test_an_accepted_conflict_is_one_event_and_comes_when_it_is_charged(engine, feed):
    load(engine)
    feed.add(shape="call", kinds=(FINISHED, CORRECTED))
    walk(engine, receive(engine, make_record(call_ref="7", call_time=61)))
    walk(engine, receive(engine, make_record(call_ref="7", call_time=121)))
    feed.deliver()
    assert feed.refs() == [(FINISHED, "7")]
    [(failure_id,)] = rows(engine, "SELECT id FROM failures WHERE class = 'conflict'")
    accept(engine, failure_id, who="thandi")
    feed.deliver()
    assert feed.refs() == [(FINISHED, "7")]
    walk_overdue(engine)
    feed.deliver()
    assert feed.refs() == [(FINISHED, "7"), (CORRECTED, "7")]
    assert json.loads(feed.got()[-1]["body"])["data"]["net"] == {"ZAR": "1.41"}


def test_a_rerating_is_one_event_a_call_that_changes(engine, feed):
    load(engine)
    feed.add(kinds=(CORRECTED,))
    walk(engine, receive(engine, make_record(call_ref="7"), make_record(call_ref="8", call_time=0, end_code="17")))
    load(engine, b"prefix,rate_per_minute\n27,9\n")
    selection = Selection(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), None, None)
    assert rerate(engine, selection, TariffCache("UTC"), who="me", progress=lambda *_: None) == 1
    feed.deliver()
    assert feed.refs() == [(CORRECTED, "7")]
    assert rerate(engine, selection, TariffCache("UTC"), who="me", progress=lambda *_: None) == 0
    assert feed.deliver().delivered == 0


def test_a_crash_between_delivery_and_cursor_repeats_by_the_same_id(engine, feed):
    feed.add(kinds=(RECEIVED,))
    receive(engine, make_record(call_ref="1"), make_record(call_ref="2"))

    def crash():
        raise KeyboardInterrupt

    feed.options["one"] = {"then": crash}
    with pytest.raises(KeyboardInterrupt):
        feed.deliver()
    feed.options["one"].clear()
    feed.deliver()
    first, second, *again = [each["id"] for each in feed.got()]
    assert again == [first, second]


def test_requests_in_quick_succession_are_one_commit(engine, feed):
    feed.add(kinds=(RECEIVED,))
    feed.options["one"] = {"most_events": 1}
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(8)))
    said = []
    listen(engine, "before_cursor_execute", lambda *execute: said.append(execute[2]))
    assert feed.deliver(settle_seconds=60).delivered == 8
    assert sum("delivered = delivered +" in each for each in said) == 1
    assert (feed.show().delivered, feed.show().rows_behind) == (8, 0)


def test_before_each_part_others_may_come_first(engine, feed):
    """Nothing is held meanwhile, and what they left no time for goes on another time."""
    feed.add(kinds=(RECEIVED,))
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(2 * MOST_EVENTS + 1)))
    rests = []

    def rest(*, until):
        rests.append(engine.pool.checkedout())
        if len(rests) == 3:
            time.sleep(max(0.0, until - time.monotonic()))

    done = feed.deliver(seconds=3, rest=rest)
    assert (done.outcome, done.delivered, rests) == ("goes on", 2 * MOST_EVENTS, [0, 0, 0])
    assert feed.deliver(rest=rest).delivered == 1


@pytest.mark.parametrize("trouble", [{"away_after": 3}, {"refuses": ("3",)}])
def test_what_was_taken_before_a_trouble_is_not_sent_again(engine, feed, trouble):
    """Although no commit was due yet."""
    feed.add(kinds=(RECEIVED,), ordering="strict")
    feed.options["one"] = {"most_events": 1} | trouble
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(8)))
    assert feed.deliver(settle_seconds=60).delivered == 3
    assert (feed.show().delivered, feed.show().place) == (3, 2)
    feed.options["one"] = {"most_events": 1}
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET due_at = now()"))
    assert feed.deliver(settle_seconds=60).outcome == "up to date"
    assert [each["ref"] for each in feed.got()] == [str(ref) for ref in range(8)]
    assert feed.show().delivered == 8


def test_two_deliverers_at_once_deliver_once(engine, feed):
    feed.add(kinds=(RECEIVED,))
    receive(engine, make_record(call_ref="1"))
    inside, go = threading.Event(), threading.Event()
    feed.options["one"] = {"then": lambda: (inside.set(), go.wait(10))}
    first = threading.Thread(target=feed.deliver)
    first.start()
    assert inside.wait(10)
    assert feed.deliver().outcome == "nothing to do"
    go.set()
    first.join()
    assert feed.refs() == [(RECEIVED, "1")]


def test_a_lease_of_a_deliverer_that_is_gone_runs_out(engine, feed):
    feed.add(kinds=(RECEIVED,))
    receive(engine, make_record(call_ref="1"))
    with engine.begin() as connection:
        assert take(connection, "one") is not None
    assert feed.deliver().outcome == "nothing to do"
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET leased_until = now() - interval '1 s'"))
    assert feed.deliver().delivered == 1


def test_one_that_is_away_is_put_off_ever_longer_and_then_gets_all(engine, feed):
    feed.add(kinds=(RECEIVED,))
    receive(engine, make_record(call_ref="1"))
    feed.options["one"] = {"away": True}
    for misses in (1, 2, 3):
        delivery = feed.deliver()
        assert (delivery.outcome, feed.show().misses) == ("away", misses)
        assert feed.deliver().outcome == "nothing to do"
        with engine.begin() as connection:
            connection.execute(text("UPDATE subscribers SET due_at = now()"))
    assert "hush" not in (feed.show().last_error or "")
    assert "nobody answers" in (feed.show().last_error or "")
    feed.options["one"].clear()
    assert feed.deliver().delivered == 1
    assert (feed.show().misses, feed.show().last_error) == (0, None)


def test_one_that_took_nothing_is_offered_little_until_it_takes_some(engine, feed):
    """What it will not take is read in vain, each time that it is tried, from everybody's database."""
    feed.add(kinds=(RECEIVED,))
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(40)))
    offered: list[int] = []
    feed.options["one"] = {"offered": offered, "away": True}
    for _ in range(2):
        assert feed.deliver().outcome == "away"
        with engine.begin() as connection:
            connection.execute(text("UPDATE subscribers SET due_at = now()"))
    feed.options["one"]["away"] = False
    assert feed.deliver().delivered == 40
    assert offered == [40, 1, 1, 39]
    assert [ref for _, ref in feed.refs()] == [str(ref) for ref in range(40)]


def test_one_that_took_nothing_is_not_kept_by_what_it_does_not_want(engine, feed):
    feed.add(kinds=(RECEIVED,), campaigns=("sales",))
    others = [make_record(call_ref=str(ref), ref="other") for ref in range(40)]
    receive(engine, *others, make_record(call_ref="40", ref="sales"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET misses = 3"))
    assert feed.deliver().delivered == 1
    assert (feed.show().filtered, feed.show().misses) == (40, 0)


def test_a_refused_event_is_found_and_the_rest_goes_on(engine, feed):
    feed.add(kinds=(RECEIVED,))
    feed.options["one"] = {"refuses": ("4",)}
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(8)))
    delivery = feed.deliver()
    assert (delivery.delivered, delivery.refused) == (7, 1)
    assert sorted(ref for _, ref in feed.refs()) == ["0", "1", "2", "3", "5", "6", "7"]
    with engine.connect() as connection:
        [refused] = subscribers.refusals_of(connection, "one", limit=10)
    assert (refused.call_ref, refused.reason) == ("4", "too large")
    assert (feed.show().delivered, feed.show().refused, feed.show().rows_behind) == (7, 1, 0)


def test_nothing_overtakes_a_refused_event_where_the_order_is_strict(engine, feed):
    feed.add(kinds=(RECEIVED,), ordering="strict")
    feed.options["one"] = {"refuses": ("1",)}
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(3)))
    assert feed.deliver().outcome == "stands"
    assert feed.refs() == [(RECEIVED, "0")]
    feed.options["one"].clear()
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET due_at = now()"))
    feed.deliver()
    assert feed.refs() == [(RECEIVED, "0"), (RECEIVED, "1"), (RECEIVED, "2")]


def test_later_events_of_a_refused_call_do_not_overtake_it_where_the_order_is_per_call(engine, feed):
    load(engine)
    feed.add(ordering="per call")
    feed.options["one"] = {"refuses": ("1",)}
    walk(engine, receive(engine, make_record(call_ref="1"), make_record(call_ref="2")))
    feed.deliver()
    feed.options["one"].clear()
    walk(engine, receive(engine, make_record(call_ref="1", contact_ref="other")))
    feed.deliver()
    assert {ref for _, ref in feed.refs()} == {"2"}
    with engine.connect() as connection:
        assert len(subscribers.refusals_of(connection, "one", limit=10)) == feed.show().refused == 3


def test_paused_and_resumed(engine, feed):
    feed.add(kinds=(RECEIVED,))
    with engine.begin() as connection:
        subscribers.pause(connection, "one", who="thandi", reason="their maintenance")
    receive(engine, make_record(call_ref="1"))
    assert feed.deliver().outcome == "nothing to do"
    assert feed.show().rows_behind == 1
    with engine.begin() as connection:
        subscribers.resume(connection, "one", who="thandi")
    assert feed.deliver().delivered == 1
    said = [row.action for row in rows(engine, "SELECT action FROM actions ORDER BY id")]
    assert said == ["subscriber added", "subscriber paused", "subscriber resumed"]


def test_one_paused_while_it_is_delivered_to_keeps_what_it_took(engine, feed):
    feed.add(kinds=(RECEIVED,))
    receive(engine, *(make_record() for _ in range(120)))

    def pause():
        with engine.begin() as connection:
            subscribers.pause(connection, "one", who="thandi", reason=None)

    feed.options["one"] = {"then": pause}
    assert feed.deliver().outcome == "stopped"
    feed.options["one"].clear()
    with engine.begin() as connection:
        subscribers.resume(connection, "one", who="thandi")
    feed.deliver()
    assert len({each["id"] for each in feed.got()}) == len(feed.got()) == 120


def test_one_that_falls_behind_is_told_the_hole(engine, feed):
    feed.add(kinds=(RECEIVED,))
    feed.add("two", kinds=(RECEIVED,))
    for ref in range(4):
        receive(engine, make_record(call_ref=str(ref)))
    feed.deliver("two")
    with engine.begin() as connection:
        connection.execute(text("UPDATE feed SET at = now() - interval '31 days' WHERE position <= 2"))
    assert drop_old(engine, days=30) == 2
    [expired] = expire(engine)
    assert tuple(expired) == ("one", 1, 2)
    assert feed.deliver().outcome == "nothing to do"
    with engine.begin() as connection, pytest.raises(subscribers.SubscriberError, match=r"1 to 2.*--skip-hole"):
        subscribers.resume(connection, "one", who="thandi")
    with engine.begin() as connection:
        subscribers.resume(connection, "one", who="thandi", skip_hole=True)
    feed.deliver()
    assert feed.refs() == [(RECEIVED, "2"), (RECEIVED, "3")]


def test_whoever_reads_after_the_retention_has_dropped_rows_notices(engine, feed):
    """Also when nobody has marked it."""
    feed.add(kinds=(RECEIVED,))
    for _ in range(3):
        receive(engine, make_record())
    place(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM feed WHERE position < 3"))
    delivery = feed.deliver()
    assert (delivery.outcome, delivery.hole) == ("expired", (1, 2))
    assert (feed.show().state, feed.show().hole_from, feed.show().hole_to) == ("expired", 1, 2)
    assert feed.got() == []


def test_positions_go_on_when_all_is_past_its_retention(engine, feed):
    for _ in range(3):
        receive(engine, make_record())
    place(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE feed SET at = now() - interval '31 days'"))
    drop_old(engine, days=30)
    receive(engine, make_record())
    place(engine)
    assert rows(engine, "SELECT max(position) FROM feed") == [(4,)]


def test_a_batch_larger_than_a_part_comes_whole(engine, feed):
    """Also when the time is up in the middle of it."""
    feed.add(kinds=(RECEIVED,))
    receive(engine, *(make_record() for _ in range(120)))
    assert feed.deliver(seconds=-1).outcome == "goes on"
    assert len(feed.got()) == 50
    eventually(lambda: feed.deliver(seconds=-1).outcome == "up to date")
    assert [each["at"] for each in feed.got()] == [[1, place_] for place_ in range(120)]


def test_who_takes_one_at_a_time_waits_for_none_of_the_others_calls(engine, feed):
    """A part is read at once, whatever the sink takes at once: 200 records that it passes over are one look."""
    feed.add(kinds=(RECEIVED,), campaigns=("rare",))
    feed.options["one"] = {"most_events": 1}
    receive(engine, *(make_record(call_ref=str(ref), ref="rare" if ref % 100 == 99 else "usual") for ref in range(200)))
    place(engine)
    looks = []
    listen(engine, "before_cursor_execute", lambda *said: looks.append(said[2]))
    assert feed.deliver().outcome == "up to date"
    assert feed.refs() == [(RECEIVED, "99"), (RECEIVED, "199")]
    assert sum("FROM feed LEFT JOIN batches" in each for each in looks) == 1
    assert (feed.show().delivered, feed.show().filtered) == (2, 198)


def test_what_is_passed_over_is_counted_with_the_cursor(engine, feed):
    """Although whoever delivered died in the middle of a part."""
    feed.add(kinds=(RECEIVED,), campaigns=("rare",))
    receive(engine, *(make_record(call_ref=str(ref), ref="rare" if ref % 2 else "usual") for ref in range(8)))
    left = [None, None]

    def then_die():
        if not left:
            raise KeyboardInterrupt
        left.pop()

    feed.options["one"] = {"most_events": 1, "then": then_die}
    with pytest.raises(KeyboardInterrupt):
        feed.deliver()
    assert (feed.show().delivered, feed.show().filtered, feed.show().place) == (2, 2, 3)
    feed.options["one"] = {"most_events": 1}
    assert feed.deliver().outcome == "up to date"
    assert (feed.show().delivered, feed.show().filtered) == (4, 4)


def test_steps_of_a_batch_that_is_done_again_tell_nothing_twice(engine, feed):
    """A message that comes twice."""
    load(engine)
    feed.add(kinds=(FINISHED,))
    batch = receive(engine, make_record())
    walk(engine, batch)
    assert walk(engine, batch) == ["done before"] * len(Step)
    assert feed.deliver().delivered == 1


def end(engine, call_id, state, reason):
    with engine.begin() as connection:
        held = claim(connection, call_id, source="enigma", lease_seconds=10, dispatched_at=None)
        assert held is not None
        assert settle(connection, held, Decision(state, reason, attempts=1), None)


def test_each_end_of_a_recording_is_one_event(engine, feed):
    """Also that of one that an operator had tried again; a try that is not the last is none."""
    feed.add(kinds=(ENDED,), shape="call", fields=("recording",))
    [call_id] = scheduled(engine, "7")
    with engine.begin() as connection:
        held = claim(connection, call_id, source="enigma", lease_seconds=10, dispatched_at=None)
        assert held is not None
        later = Decision(RecordingState.SCHEDULED, "not yet", attempts=1, wait_seconds=0)
        assert settle(connection, held, later, None)
    feed.deliver()
    assert feed.refs() == []
    end(engine, call_id, RecordingState.ABSENT, "there is none")
    feed.deliver()
    with engine.begin() as connection:
        retry(connection, who="thandi", reason=None)
    end(engine, call_id, RecordingState.FAILED, "broken")
    feed.deliver()
    assert feed.refs() == [(ENDED, "7"), (ENDED, "7")]
    assert len({each["id"] for each in feed.got()}) == 2
    assert [json.loads(each["body"])["data"]["recording"]["state"] for each in feed.got()] == ["absent", "failed"]


def test_a_recording_that_is_given_up_for_its_workers_is_told(engine, feed):
    feed.add(kinds=(ENDED,))
    scheduled(engine, "7")
    for _ in range(LOST_AT_MOST):
        change(engine, "state = 'downloading', due_at = now() - interval '1 s'")
        with engine.begin() as connection:
            take_due(connection, "enigma", limit=10, redispatch_after_seconds=10)
    feed.deliver()
    assert feed.refs() == [(ENDED, "7")]


def test_a_contact_that_changed_is_told_once_a_change(engine, feed):
    """With the call that did it; a batch's events of contacts stand where its calls do."""
    feed.add(kinds=(CHANGED,))
    walk(
        engine,
        receive(
            engine,
            *(
                make_record(call_ref=number, contact_ref=ref)
                for number, ref in ((1, "a"), (2, "a"), (3, None), (4, "b"))
            ),
        ),
    )
    feed.deliver()
    assert feed.refs() == [(CHANGED, "2"), (CHANGED, "4")]
    assert json.loads(feed.got()[0]["body"])["data"] == {
        "source": "enigma",
        "call_ref": "2",
        "campaign_ref": "campaign001",
        "contact_ref": "a",
    }
    walk(engine, receive(engine, make_record(call_ref=2, contact_ref="a"), make_record(call_ref=5, contact_ref="b")))
    feed.deliver()
    assert feed.refs()[2:] == [(CHANGED, "5")]


def test_a_contact_that_changed_is_told_with_what_it_comes_to(engine, feed):
    """In the shape `call`: all of it, or what a subscriber may have of calls; its outcome is let through, or not."""
    load(engine)
    feed.add("one", kinds=(CHANGED,), shape="call")
    feed.add("two", kinds=(CHANGED,), shape="call", fields=["disposition", "call.call_ref"], dispositions=("answered",))
    busy = {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0}
    walk(
        engine,
        receive(
            engine,
            make_record(call_ref=1, contact_ref="a"),
            make_record(call_ref=2, contact_ref="a", **busy),
            make_record(call_ref=3, contact_ref="b", **busy),
        ),
    )
    for name in ("one", "two"):
        feed.deliver(name)
    first, second = (json.loads(each["body"])["data"] for each in feed.got("one"))
    assert first["caused_by"] == {"source": "enigma", "call_ref": "2"}
    assert (first["contact"]["outcome"], first["contact"]["charges"]) == ("answered", {"ZAR": "0.81"})
    assert second["contact"]["numbers"][0]["number"] == "+27820001234"
    [only] = [json.loads(each["body"])["data"]["contact"] for each in feed.got("two")]
    assert only == {"outcome": "answered", "final": True, "reached_at": only["reached_at"], "best_call": "1"}


def test_a_call_that_moves_to_another_contact_is_told_of_both(engine, feed):
    """The one it leaves is named as it was; raw is the record as it came."""
    load(engine)
    feed.add(kinds=(CHANGED,))
    feed.add("two", kinds=(CHANGED,), shape="raw")
    record = make_record(call_ref=1, contact_ref="a")
    walk(engine, receive(engine, record))
    walk(engine, receive(engine, make_record(call_ref=1, contact_ref="b")))
    [(failure_id,)] = rows(engine, "SELECT id FROM failures WHERE class = 'conflict'")
    accept(engine, failure_id, who="test")
    walk_overdue(engine)
    for name in ("one", "two"):
        feed.deliver(name)
    got = feed.got()
    assert len({each["id"] for each in got}) == 3
    assert [json.loads(each["body"])["data"]["contact_ref"] for each in got[:1]] in (["a"], ["b"])
    assert sorted(json.loads(each["body"])["data"]["contact_ref"] for each in got[1:]) == ["a", "b"]
    assert [each["body"] for each in feed.got("two")] == [record.decode()] * 3
