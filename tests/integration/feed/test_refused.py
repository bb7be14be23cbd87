"""What a subscriber's other side refused is a failure: seen, delivered again, given up, in the order promised."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook as Verifier

from pipeline.failures import operator
from pipeline.failures.bulk import run_bulk
from pipeline.failures.bulk_rows import ask_for
from pipeline.failures.leafing import page_failures
from pipeline.failures.listing import FailureFilter, count_failures, list_failures, read_failure
from pipeline.failures.stats import failure_stats
from pipeline.feed.cursors import due
from pipeline.feed.deliver import deliver
from pipeline.feed.retention import drop_old
from pipeline.feed.rules.event import FINISHED, RECEIVED
from pipeline.feed.sequence import place
from pipeline.feed.sinks import open_sink
from pipeline.feed.sinks.base import Ours
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, walk
from tests.receiver import Receiver
from tests.warm import warm

if TYPE_CHECKING:
    from pipeline.failures.listing import Failure, FailureDetail

DELIVERIES = FailureFilter(failure_class="delivery", states=None)


@pytest.fixture
def refused(engine, feed):
    """A function: these calls come in, and the events of some of them are refused."""

    load(engine)

    def refused(*refs, calls=5, **changes):
        feed.add(**({"kinds": (RECEIVED,)} | changes))
        feed.options["one"] = {"refuses": tuple(refs)}
        walk(engine, receive(engine, *(make_record(call_ref=str(ref), ref="sales") for ref in range(calls))))
        feed.deliver()

    return refused


def found(engine, wanted=DELIVERIES) -> list[Failure]:
    with engine.connect() as connection:
        return list_failures(connection, wanted, limit=100)


def shown(engine, failure_id) -> FailureDetail:
    with engine.connect() as connection:
        failure = read_failure(connection, failure_id)
    assert failure is not None
    return failure


def states(engine):
    return {each.call_ref: each.state for each in found(engine)}


def retry(engine, wanted=DELIVERIES, who="thandi"):
    return sum(operator.retry(engine, wanted, who=who))


def discard(engine, wanted=DELIVERIES):
    return sum(operator.discard(engine, wanted, who="thandi", reason="they never want it"))


def only(*refs):
    return [DELIVERIES._replace(call_ref=ref) for ref in refs]


def events_of(feed, name="one"):
    return [each["id"] for each in feed.got(name)]


def test_a_refused_event_is_a_failure_among_the_others(engine, feed, refused):
    """By class, subscriber, call and text; counted, leafed through, and numbered as they are."""
    refused("3")
    feed.add("two", kinds=(RECEIVED,))
    walk(engine, receive(engine, make_record(call_ref="broken", call_time=-1)))
    everything = found(engine, FailureFilter())
    assert [each.failure_class for each in everything] == ["delivery", "data"]
    assert everything[0].id < everything[1].id
    [event] = found(engine)
    assert (event.step, event.state, event.call_ref, event.campaign_ref) == ("deliver", "open", "3", "sales")
    assert (event.subscriber, event.reason, event.attempts) == ("one", "too large", 1)
    assert event.record_id == rows(engine, "SELECT id FROM calls WHERE call_ref = '3'")[0].id
    with engine.connect() as connection:
        assert count_failures(connection, FailureFilter(subscriber="one")) == 1
        assert count_failures(connection, FailureFilter(subscriber="two")) == 0
        assert count_failures(connection, FailureFilter(contains="TOO LARGE")) == 1
        page = page_failures(connection, FailureFilter(), limit=1)
        assert [(each.failure_class, page.older) for each in page.failures] == [("data", True)]
        [kind] = failure_stats(connection, DELIVERIES, limit=5).rows
        assert (kind.problem, kind.about, kind.failures) == ("one: too large", "one", 1)


def test_it_shows_what_was_sent(engine, feed, refused):
    refused("3", shape="call", settings={"password": "hush-hush"})
    failure = shown(engine, found(engine)[0].id)
    assert failure.delivery is not None
    assert (failure.delivery.kind, failure.delivery.is_kept) == (RECEIVED, True)
    assert "application/cloudevents+json" in (failure.delivery.request or "")
    assert str(failure.delivery.event_id) in (failure.delivery.request or "")
    assert json.loads(failure.raw or b"")["payload"]["call_ref"] == "3"


@pytest.mark.parametrize("ordering", ["none", "per call"])
def test_one_is_delivered_again_alone_by_the_same_id(engine, feed, refused, ordering):
    """The cursor stays where it is, and nothing else is delivered a second time."""
    refused("1", "3", ordering=ordering)
    before = feed.show()
    [first, _] = found(engine)
    event_id = str(shown(engine, first.id).delivery.event_id)
    feed.options["one"].clear()
    assert retry(engine, *only("1")) == 1
    with engine.connect() as connection:
        assert due(connection) == ["one"]
    delivery = feed.deliver()
    assert (delivery.outcome, delivery.delivered) == ("up to date", 1)
    assert events_of(feed)[-1] == event_id
    after = feed.show()
    assert (after.position, after.place) == (before.position, before.place)
    assert (before.delivered, before.refused, after.delivered, after.refused) == (3, 2, 4, 1)
    assert states(engine) == {"1": "resolved", "3": "open"}
    assert [action.who for action in shown(engine, first.id).actions] == ["thandi"]
    assert feed.deliver().delivered == 0


def test_selected_and_all(engine, feed, refused):
    """All that match is done by a worker, a part at a time, beside failures of records."""
    refused("0", "1", "2", "3", "4")
    walk(engine, receive(engine, *(make_record(call_ref=f"broken {n}", call_time=-1) for n in range(3))))
    feed.options["one"].clear()
    chosen = tuple(each.id for each in found(engine)[1:3])
    assert retry(engine, FailureFilter(states=None, ids=chosen)) == 2
    feed.deliver()
    assert {ref for _, ref in feed.refs()} >= {"1", "2"}
    with engine.begin() as connection:
        bulk_id = ask_for(connection, "retry", FailureFilter(), who="thandi", reason=None)
    assert run_bulk(engine, bulk_id, seconds=10, region="ZA").done == 6
    feed.deliver()
    assert set(states(engine).values()) == {"resolved"}
    assert feed.show().refused == 0


def test_one_that_is_refused_again_waits_again(engine, feed, refused):
    refused("1")
    feed.options["one"] = {"refuses": ("1",)}
    retry(engine)
    assert (feed.deliver().refused, feed.show().refused) == (1, 1)
    [failure] = found(engine)
    assert (failure.state, failure.attempts) == ("open", 2)


def test_one_that_nobody_takes_waits_for_the_sink(engine, feed, refused):
    """Away is not refused."""
    refused("1")
    retry(engine)
    feed.options["one"] = {"away": True}
    assert feed.deliver().outcome == "away"
    assert states(engine) == {"1": "retrying"}
    feed.options["one"].clear()
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET due_at = now()"))
    feed.deliver()
    assert states(engine) == {"1": "resolved"}


def test_discarded_and_restored(engine, feed, refused):
    refused("1", "2")
    assert discard(engine, *only("1")) == 1
    feed.options["one"].clear()
    assert (feed.deliver().delivered, feed.show().refused) == (0, 2)
    assert retry(engine, *only("1")) == 0
    assert sum(operator.restore(engine, only("1")[0], who="sipho", reason="they do")) == 1
    assert retry(engine, *only("1")) == 1
    feed.deliver()
    assert states(engine) == {"1": "resolved", "2": "open"}
    failure = found(engine)[0]
    told = [(each.action, each.who, (each.detail or {}).get("reason")) for each in shown(engine, failure.id).actions]
    assert told == [
        ("discard", "thandi", "they never want it"),
        ("restore", "sipho", "they do"),
        ("retry", "thandi", None),
    ]


def test_it_is_no_failure_of_its_record(engine, feed, refused):
    """Which is neither edited nor accepted for it, and of which nothing is said but by itself."""
    refused("1")
    walk(engine, receive(engine, make_record(call_ref="broken", call_time=-1)))
    refusal, broken = found(engine, FailureFilter())
    with pytest.raises(operator.RefusedError, match="an event that a subscriber refused: retry it or discard it"):
        operator.accept(engine, refusal.id, who="thandi")
    discard(engine, FailureFilter(states=None, ids=(refusal.id, broken.id)))
    assert [len(shown(engine, each.id).actions) for each in (refusal, broken)] == [1, 1]


def test_what_is_past_the_retention_says_so(engine, feed, refused):
    refused("1")
    receive(engine, make_record(call_ref="later"))
    place(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE feed SET at = now() - interval '31 days' WHERE position <= 2"))
    feed.deliver()
    drop_old(engine, days=30)
    [failure] = found(engine)
    kept = shown(engine, failure.id).delivery
    assert kept is not None
    assert (kept.is_kept, kept.request) == (False, None)
    feed.options["one"].clear()
    retry(engine)
    assert feed.deliver().delivered == 0
    [failure] = found(engine)
    assert failure.state == "open"
    assert "past the retention of the feed" in failure.reason


def test_the_wall_holds_for_what_is_delivered_again(engine, feed, refused):
    """A subscriber that was narrowed meanwhile."""
    refused("1")
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET campaigns = '{service}'"))
    feed.options["one"].clear()
    retry(engine)
    assert feed.deliver().delivered == 0
    assert "does not let it through" in found(engine)[0].reason


@pytest.fixture
def held(engine, feed):
    """A call of three events, the first refused and the others held back, beside one that is not."""
    load(engine)
    feed.add(ordering="per call")
    feed.options["one"] = {"refuses": ("1",)}
    walk(engine, receive(engine, make_record(call_ref="1"), make_record(call_ref="2")))
    feed.deliver()
    walk(engine, receive(engine, make_record(call_ref="1", contact_ref="other")))
    feed.deliver()
    assert [each.attempts for each in found(engine)] == [1, 0, 0]
    assert {ref for _, ref in feed.refs()} == {"2"}
    feed.options["one"].clear()
    return found(engine)


def places(feed, ref):
    return [each["at"] for each in feed.got() if each["ref"] == ref]


def test_what_was_held_back_goes_on_in_order_when_the_first_is_taken(engine, feed, held):
    assert retry(engine, FailureFilter(states=None, ids=(held[0].id,))) == 1
    assert feed.deliver().delivered == 3
    assert [each["kind"] for each in feed.got() if each["ref"] == "1"] == [RECEIVED, FINISHED, RECEIVED]
    assert places(feed, "1") == sorted(places(feed, "1"))
    assert {each.state for each in found(engine)} == {"resolved"}
    assert (feed.show().refused, feed.show().rows_behind) == (0, 0)


def test_what_was_held_back_goes_on_when_the_first_is_given_up(engine, feed, held):
    assert discard(engine, FailureFilter(states=None, ids=(held[0].id,))) == 1
    with engine.connect() as connection:
        assert due(connection) == ["one"]
    assert feed.deliver().delivered == 2
    assert [each.state for each in found(engine)] == ["discarded", "resolved", "resolved"]


def test_one_that_was_held_back_takes_those_before_it_along(engine, feed, held):
    """It never overtakes them."""
    assert retry(engine, FailureFilter(states=None, ids=(held[1].id,))) == 2
    feed.deliver()
    assert len(places(feed, "1")) == 3
    assert places(feed, "1") == sorted(places(feed, "1"))


def test_where_the_first_is_refused_again_the_others_stay(engine, feed, held):
    feed.options["one"] = {"refuses": ("1",)}
    retry(engine)
    feed.deliver()
    assert [(each.state, each.attempts) for each in found(engine)] == [("open", 2), ("open", 0), ("open", 0)]
    assert feed.deliver().outcome == "up to date"
    walk(engine, receive(engine, make_record(call_ref="1", contact_ref="third")))
    feed.options["one"].clear()
    feed.deliver()
    assert places(feed, "1") == []
    retry(engine, FailureFilter(states=None, ids=(held[0].id,)))
    feed.deliver()
    assert len(places(feed, "1")) == 4
    assert places(feed, "1") == sorted(places(feed, "1"))


def test_strict_a_refused_event_is_a_failure_and_nothing_overtakes_it(engine, feed, refused):
    """Retried, it goes at once and in its turn, however long the next try was put off."""
    refused("2", ordering="strict")
    assert feed.refs() == [(RECEIVED, "0"), (RECEIVED, "1")]
    [failure] = found(engine)
    assert (failure.state, failure.call_ref, feed.show().refused) == ("open", "2", 0)
    feed.options["one"].clear()
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET due_at = now() + interval '1 hour'"))
    assert feed.deliver().outcome == "nothing to do"
    assert retry(engine) == 1
    assert feed.deliver().delivered == 3
    assert [ref for _, ref in feed.refs()] == ["0", "1", "2", "3", "4"]
    assert states(engine) == {"2": "resolved"}
    assert (feed.show().delivered, feed.show().refused, feed.show().last_error) == (5, 0, None)


def test_strict_a_refused_event_that_is_given_up_is_passed_over(engine, feed, refused):
    """And counted, once; restored, it comes late and alone."""
    refused("2", "3", ordering="strict")
    discard(engine)
    feed.deliver()
    assert [ref for _, ref in feed.refs()] == ["0", "1"]
    assert states(engine) == {"2": "discarded", "3": "open"}
    discard(engine, *only("3"))
    assert feed.deliver().outcome == "up to date"
    assert [ref for _, ref in feed.refs()] == ["0", "1", "4"]
    shown_ = feed.show()
    assert (shown_.delivered, shown_.refused, shown_.rows_behind, shown_.misses) == (3, 2, 0, 0)
    feed.options["one"].clear()
    sum(operator.restore(engine, only("3")[0], who="thandi", reason=None))
    retry(engine, *only("3"))
    feed.deliver()
    assert [ref for _, ref in feed.refs()] == ["0", "1", "4", "3"]
    assert (feed.show().delivered, feed.show().refused) == (4, 1)


def test_what_is_no_text_is_written_down_all_the_same(engine, feed):
    """With the one character that PostgreSQL has no place for. Such records are of no call: none waits for another."""
    feed.add(kinds=(RECEIVED,), shape="raw", ordering="per call")
    feed.options["one"] = {"refuses": ("",)}
    receive(engine, b"\0 none", make_record(call_ref="2"), b"\0 neither")
    assert feed.deliver().refused == 2
    assert [each.attempts for each in found(engine)] == [1, 1]
    assert "\ufffd none" in (shown(engine, found(engine)[0].id).delivery.request or "")
    feed.options["one"].clear()
    retry(engine, FailureFilter(states=None, ids=(found(engine)[1].id,)))
    feed.deliver()
    assert [each.state for each in found(engine)] == ["open", "resolved"]


@pytest.fixture
def receiver():
    with contextlib.closing(Receiver()) as found:
        yield found


def test_a_webhook_that_refuses_one_event_of_a_batch_gets_it_again_by_itself(engine, feed, receiver):
    """Halved until it is found; what was sent and answered is shown without secrets; no other is sent again."""
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    url = f"http://127.0.0.1:{receiver.port}/hook/t0ps3cr3tt0k3n4711"
    feed.add(
        kinds=(RECEIVED,), shape="call", ordering="per call", sink="webhook",
        settings={"batch": 8}, secrets={"url": url, "secret": secret},
    )  # fmt: skip
    receiver.refuses = lambda body: b'"subject": "3"' in body
    receive(engine, *(make_record(call_ref=str(ref)) for ref in range(8)))
    opener = functools.partial(open_sink, ours=Ours(allowed_hosts=frozenset({"127.0.0.1"})))
    place(engine)
    done = deliver(engine, "one", open_sink=opener, seconds=10)
    assert (done.delivered, done.refused) == (7, 1)
    failure = shown(engine, found(engine)[0].id)
    assert failure.reason == "127.0.0.1 answered 422"
    assert failure.delivery is not None
    assert failure.delivery.answer == '{"error": "the field phone is missing"}'
    request = failure.delivery.request or ""
    assert request.startswith("POST to 127.0.0.1\nContent-Type: application/cloudevents-batch+json\nwebhook-id: ")
    assert '"subject": "3"' in request
    assert not any(hidden in repr(failure) for hidden in (secret, secret[6:], "t0ps3cr3tt0k3n4711"))
    receiver.refuses = lambda _: False
    before = len(receiver.got)
    retry(engine)
    assert deliver(engine, "one", open_sink=opener, seconds=10).delivered == 1
    [(_, headers, body)] = receiver.got[before:]
    assert Verifier(secret).verify(body, headers)[0]["id"] == str(failure.delivery.event_id)


@pytest.mark.usefixtures("settings_env")
def test_from_a_shell(engine, feed, refused):
    """Listed by subscriber, shown with what was sent, retried and discarded; and its exit codes."""
    refused("1", "2", shape="call")
    pipeline = warm().pipeline
    listed = json.loads(pipeline("failures", "list", "--subscriber", "one", "--json").stdout)
    assert [(each["class"], each["step"], each["call_ref"]) for each in listed] == [
        ("delivery", "deliver", ref) for ref in ("1", "2")
    ]
    assert json.loads(pipeline("failures", "list", "--subscriber", "two", "--json").stdout) == []
    first, second = (str(each["id"]) for each in listed)
    text_ = pipeline("failures", "show", first).stdout
    assert "one" in text_
    assert '"subject": "1"' in text_
    shown_ = json.loads(pipeline("failures", "show", first, "--json").stdout)
    assert (shown_["delivery"]["kind"], shown_["delivery"]["is_kept"]) == (RECEIVED, True)
    refusals = json.loads(pipeline("subscriber", "show", "one", "--json").stdout)["refusals"]
    assert {each["event_id"] for each in refusals} >= {shown_["delivery"]["event_id"]}
    assert "pipeline failures list --subscriber one" in pipeline("subscriber", "show", "one").stdout
    feed.options["one"].clear()
    assert pipeline("failures", "retry", first).returncode == 0
    assert pipeline("failures", "discard", second, "--because", "they never want it").returncode == 0
    assert pipeline("failures", "retry", second).returncode == 1
    feed.deliver()
    assert states(engine) == {"1": "resolved", "2": "discarded"}
