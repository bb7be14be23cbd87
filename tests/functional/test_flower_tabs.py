"""The tabs in Flower, used as an operator uses them: in a browser, beside everything the Procfile starts."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from pipeline.ingest.stops import raise_stop
from tests.factories import make_record
from tests.functional import looking
from tests.functional.conftest import TARIFF, as_new, balance, eventually, hurry, load_tariff
from tests.functional.hasty import hasten, hasten_page
from tests.receiver import Receiver

expect.set_options(timeout=30_000)

UNANSWERED = {"extension": None, "call_time": 0, "end_reason": "timeout", "end_code": "18"}
HEADER = TARIFF.splitlines()[0]
NARROW = f"{HEADER}\n1,0.60,0.20,60,1\n"
"""A tariff somebody broke: no prefix in it fits a South African number."""


def failures(engine, state="open"):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM failures WHERE state = :state"), {"state": state})


def stands_before_classify(engine):
    """By the batch's marks: what waits cannot be counted while a table is missing."""
    with engine.connect() as connection:
        return connection.scalar(
            text("SELECT count(*) FROM batches WHERE normalized_at IS NOT NULL AND classified_at IS NULL")
        )


def due_again(engine):
    """What was tried once and waits for its time to be tried again need not wait."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET due_at = now() WHERE finished_at IS NULL AND resends = 0"))


def answers(url):
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def open_tab(page, stack, path="/failed-calls"):
    page.goto(f"{stack.flower_url}{path}")


@pytest.fixture(scope="module")
def running(lasting_stack):
    """All processes up, and Flower answering, whose figures are good for a tenth of the time."""
    hasten(lasting_stack, "flower")
    lasting_stack.start()
    eventually(lambda: answers(f"{lasting_stack.flower_url}/healthcheck"), check=lasting_stack.check)
    return lasting_stack


@pytest.fixture
def everything(running):
    """The same, with nothing received yet."""
    as_new(running)
    return running


@pytest.fixture
def hasty_page(page):
    """What an open page does by itself it does ten times as often."""
    hasten_page(page)


@pytest.fixture
def database_url(running):
    """That of all tests here."""
    return running.settings["DATABASE_URL"]


def test_a_broken_record_is_found_edited_and_billed(everything, engine, page, push):
    """Filter, open, a bad edit that is refused with its reason and kept on the page, a good one, and the charge."""
    push(make_record(call_ref=41, call_time=-61, ref="spring"), make_record(call_ref=42, call_time=-1, ref="autumn"))
    eventually(lambda: failures(engine) == 2, check=everything.check)
    open_tab(page, everything)
    expect(page.locator("#total")).to_contain_text("2 failures match")
    page.get_by_label("campaign").fill("spring")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#total")).to_contain_text("1 failure matches")
    page.get_by_role("link", name="payload.call_time: must not be negative, got -61").click()

    editor = page.get_by_label("the record as it should have been")
    draft = editor.input_value()
    assert json.loads(draft)["payload"]["call_ref"] == 41
    editor.fill(draft.replace("-61", '"soon"'))
    page.get_by_role("button", name="Save and retry").click()
    expect(page.locator("#problem")).to_contain_text("payload.call_time")
    assert '"soon"' in editor.input_value()

    editor.fill(draft.replace("-61", "61"))
    page.get_by_role("button", name="Save and retry").click()
    expect(page.locator("#state")).to_have_text("resolved")
    expect(page.locator("#call")).to_contain_text("0.81 ZAR")
    expect(page.locator("#edited")).to_contain_text('"call_time": 61')
    expect(page.locator("#raw")).to_contain_text('"call_time": -61')
    expect(page.locator("#history")).to_contain_text("edit by operator")
    page.get_by_role("link", name="Failed calls").last.click()  # the way back is to the list as it was
    expect(page.get_by_label("campaign")).to_have_value("spring")
    expect(page.locator("#total")).to_contain_text("0 failures match")
    assert balance(everything)["quarantined"]["records"] == 1


@pytest.mark.usefixtures("hasty_page")
def test_a_broken_tariff_is_seen_and_heals_when_the_right_one_is_loaded(everything, engine, page, push):
    """Failures appear in the open tab by themselves, say what is missing, and are gone once it is there."""
    load_tariff(everything, NARROW)
    open_tab(page, everything)
    expect(page.locator("#failures-table")).to_contain_text("Nothing failed that matches.")
    push(*(make_record(call_ref=ref) for ref in range(1, 6)))
    expect(page.locator("#total")).to_contain_text("5 failures match")
    expect(page.locator("#failures-table")).to_contain_text("no rate for +27820001234 of campaign")
    load_tariff(everything, TARIFF)
    expect(page.locator("#failures-table")).to_contain_text("Nothing failed that matches.")
    eventually(lambda: balance(everything)["charged"] == {"ZAR": "4.05"}, check=everything.check)


def test_all_that_match_are_retried_in_the_background(everything, engine, page, push):
    """A thousand failures: their number is shown and confirmed, progress is seen, each is tried once more."""
    load_tariff(everything, NARROW)
    push(*(make_record(call_ref=ref, ref="spring") for ref in range(1_000)), make_record(call_ref=5_000, ref="autumn"))
    eventually(lambda: failures(engine) == 1_001, seconds=60, check=everything.check)
    open_tab(page, everything, "/failed-calls?campaign=spring")
    page.get_by_role("link", name="Retry all that match …").click()
    expect(page.locator("#count")).to_contain_text("1,000 open failures match")
    page.get_by_role("button", name="Retry all 1,000").click()
    expect(page.locator("#ended")).to_have_text("Finished.")
    expect(page.locator("#done")).to_have_text("1,000")
    assert "campaign=spring" in page.get_by_role("link", name="Back to what waits").get_attribute("href")

    def tried_again():
        with engine.connect() as connection:
            return connection.execute(
                text("SELECT campaign_ref, attempts, count(*) FROM failures WHERE state = 'open' GROUP BY 1, 2")
            ).all()

    eventually(lambda: sorted(tried_again()) == [("autumn", 1, 1), ("spring", 2, 1_000)], check=everything.check)
    with engine.connect() as connection:
        assert connection.execute(
            text("SELECT who, action, count(*) FROM actions WHERE action = 'retry' GROUP BY 1, 2")
        ).all() == [("operator", "retry", 1_000)]


def test_some_are_ticked_and_discarded_and_pages_turn(everything, engine, page, push):
    """Fifty a page. What is ticked is discarded with a reason, by the button and not by Enter, and restored again."""
    push(*(make_record(call_ref=ref, call_time=-1) for ref in range(120)))
    eventually(lambda: failures(engine) == 120, check=everything.check)
    open_tab(page, everything)
    rows = page.locator("#failures-table tbody tr")
    expect(rows).to_have_count(50)
    page.locator("#older").click()
    page.locator("#older").click()
    expect(rows).to_have_count(20)
    expect(page.locator("#older")).to_have_count(0)
    page.locator("#tick-all").check()
    expect(page.locator("#ticked")).to_have_text("20 ticked")
    reason = page.get_by_label("reason", exact=True)
    page.get_by_role("button", name="Discard selected").click()
    assert reason.evaluate("field => field.matches(':invalid:focus')")
    reason.evaluate("field => field.required = false")  # as where the browser does not look
    page.get_by_role("button", name="Discard selected").click()
    expect(page.get_by_role("alert")).to_have_text("Give a reason: it is kept with what is discarded.")
    expect(page.locator("#failures-table input[name=id]:checked")).to_have_count(20)
    reason.fill("a test of the dialler's")
    reason.press("Enter")
    expect(reason).to_have_value("a test of the dialler's")
    page.get_by_role("button", name="Discard selected").click()
    expect(page.locator(".alert-success")).to_contain_text("20 failures discarded.")
    expect(page.locator("#total")).to_contain_text("100 failures match")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT action, count(*) FROM actions GROUP BY 1")).all() == [("discard", 20)]
    assert balance(everything)["discarded"]["records"] == 20
    open_tab(page, everything, "/failed-calls?state=discarded")
    page.locator("#tick-all").check()
    page.get_by_role("button", name="Restore selected").click()
    expect(page.locator(".alert-success")).to_contain_text("20 failures restored.")
    assert balance(everything)["discarded"]["records"] == 0


def test_a_filter_that_cannot_be_lists_nothing(everything, engine, page, push):
    """It says so at the field, and offers nothing to be done to all."""
    push(make_record(call_time=-1))
    eventually(lambda: failures(engine) == 1, check=everything.check)
    open_tab(page, everything, "/failed-calls?class=data&since=yesterday")
    expect(page.get_by_label("failed since")).to_have_accessible_description(
        "since is a date and time in Africa/Johannesburg, such as 2026-03-31T14:30; yesterday is none"
    )
    assert page.locator("#failures-table, [id$=-all], [id$=-selected]").count() == 0
    assert page.get_by_label("class").input_value() == "data"


def test_all_records_of_a_kind_are_edited_alike(everything, engine, page, push):
    """From the count of their reason: a change that cannot be, one that is seen first, and then all are billed."""
    wrong = [make_record(call_ref=ref).replace(b'"call_time"', b'"duration"') for ref in range(3)]
    push(*wrong, make_record(call_ref=9, call_time=-1))
    eventually(lambda: failures(engine) == 4, check=everything.check)
    open_tab(page, everything)
    page.get_by_role("link", name="Edit all … payload.call_time: is missing").click()
    page.get_by_label("the field").fill("duration")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_label("to the name or value")).to_have_accessible_description(
        "to the name or value: give the new name"
    )
    page.get_by_label("to the name or value").fill("call_time")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#mended")).to_contain_text("3 of 3 would be good records")
    page.get_by_role("button", name="Edit and retry those it mends").click()
    expect(page.locator("#ended")).to_have_text("Finished.")
    eventually(lambda: balance(everything)["charged"] == {"ZAR": "2.43"}, check=everything.check)
    assert failures(engine) == 1


def test_a_conflict_shows_both_versions_and_is_accepted(everything, engine, page, push):
    """What differs is told by field and in money; taking the new one says what is coming, and then it is there."""
    push(make_record(call_ref=7, call_time=61))
    eventually(lambda: balance(everything)["charged"] == {"ZAR": "0.81"}, check=everything.check)
    push(make_record(call_ref=7, call_time=600))
    eventually(lambda: failures(engine) == 1, check=everything.check)
    open_tab(page, everything, "/failed-calls?class=conflict")
    page.get_by_role("link", name="call 7 is already stored").click()
    expect(page.locator("#differing tbody tr")).to_have_text(
        [re.compile(r"^\s*payload.call_time\s*61\s*600\s*$"), re.compile(r"^\s*charged\s*0.81 ZAR\s*6.20 ZAR\s*$")]
    )
    expect(page.get_by_role("region", name="Take the new version")).to_contain_text("+5.39 ZAR")
    page.get_by_role("button", name="Take the new version").click()
    expect(page.locator("#state")).to_have_text("resolved")
    expect(page.locator("#call")).to_contain_text("6.20 ZAR for 600 s")
    expect(page.locator("#coming")).to_have_count(0)
    eventually(lambda: balance(everything)["charged"] == {"ZAR": "6.20"}, check=everything.check)


SCRIPT = "</pre></td>'\"><script>window.pwned=1</script><img src=x onerror='window.pwned=1'>{{ 1 }}"


def test_scripts_in_records_do_not_run(everything, engine, page, push):
    """A payload in every field, and as the whole record: each page shows it as text."""
    fields = ("extension", "number", "dial_number", "recording_url", "contact_ref", "end_reason", "ref", "call_dir")
    hostile = [make_record(call_ref=ref, call_time=-1, **{field: SCRIPT}) for ref, field in enumerate(fields, 1)]
    hostile += [make_record(call_ref=SCRIPT, call_time=-1), SCRIPT.encode(), b"\xff\x00" + SCRIPT.encode()]
    hostile += [make_record(call_ref=9_000, ref=SCRIPT[:60]), make_record(call_ref=9_000, ref=SCRIPT[:59])]
    push(*hostile)
    eventually(lambda: failures(engine) == len(hostile) - 1, check=everything.check)
    open_tab(page, everything)
    expect(page.locator("#failures-table")).to_contain_text("<script>")
    ids = [
        int(each)
        for each in page.locator("#failures-table input[name=id]").evaluate_all("all => all.map(e => e.value)")
    ]
    assert len(ids) == len(hostile) - 1
    pages = [f"/failed-calls/{each}" for each in ids]
    pages += ["/failed-calls?campaign=" + SCRIPT, "/failed-calls?problem=" + SCRIPT, "/failed-calls?since=" + SCRIPT]
    pages += ["/failed-calls/bulk?action=discard&text=" + SCRIPT, "/failed-calls/bulk?action=" + SCRIPT]
    pages += [
        f"/failed-calls/bulk?action=edit&change=set&field={SCRIPT}&to={SCRIPT}",
        "/failed-calls/bulk?action=accept",
    ]
    pages += ["/pipeline", "/pipeline/figures?balance=" + SCRIPT, "/tasks"]
    for path in pages:
        open_tab(page, everything, path)
        assert page.evaluate("window.pwned") is None, path
        assert page.locator("img[src=x]").count() == 0, path


def test_flowers_own_pages_work_under_the_policies(everything, page, push):
    """Workers refresh by themselves, tasks are listed and opened, and there is no button whose API is off."""
    push(*(make_record(call_ref=ref) for ref in range(3)))
    open_tab(page, everything, "/workers")
    expect(page.locator("#workers-table")).to_contain_text("worker@")
    expect(page.locator("#workers-refresh-status")).not_to_contain_text("Connecting")
    assert page.evaluate("autorefresh") == 1
    page.locator("#theme-toggle").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    open_tab(page, everything, "/tasks")
    expect(page.locator("#tasks-table")).to_contain_text("cdr.bill")
    page.locator("#tasks-table tbody a", has_text="-").first.click()
    expect(page.locator("#task-page")).to_contain_text("Keyword arguments")
    for button in ("#task-terminate", "#task-revoke"):
        assert page.locator(button).count() == 0
    open_tab(page, everything, "/workers")
    page.locator("#workers-table .worker-name-link").first.click()
    expect(page.locator("#workername")).to_contain_text("@")
    for button in ("#worker-shutdown", "#worker-pool-restart", "#worker-add-consumer", "[id^=task-rate-limit]"):
        assert page.locator(button).count() == 0
    page.get_by_role("tab", name="Config").click()
    expect(page.locator("#tab-config")).to_be_visible()
    open_tab(page, everything, "/broker")
    expect(page.locator("table")).to_contain_text("recordings.enigma")


@pytest.mark.usefixtures("hasty_page")
def test_the_pipeline_tab_moves_by_itself(everything, engine, page, push):
    """The balance, what came in and was finished, and the recordings, without reloading; of all diallers or of one."""
    open_tab(page, everything, "/pipeline")
    expect(page.locator("#closes")).to_contain_text("It closes")
    push(*(make_record(call_ref=ref) for ref in range(30)))
    processed = page.locator("#balance tr[data-place=processed] td")
    expect(processed).to_have_text("30")
    expect(page.locator("#recordings")).to_contain_text("30")
    expect(page.locator("#finished-now")).to_contain_text("at most 3")
    expect(page.locator("#finished text")).to_have_count(6)
    with engine.begin() as connection:
        raise_stop(connection, "other", "wrong_list", "the list carries <b>queue_calls</b>")
    standing = page.locator("#standing")
    expect(standing).to_contain_text("The ingestor of other has stopped claiming: the list carries <b>queue_calls</b>")
    expect(standing.locator("code")).to_have_text("pipeline stops release --source other")
    page.evaluate("document.querySelector('#standing > *').id = 'said-once'")
    before = page.locator("#as-of").text_content()
    expect(page.locator("#as-of")).not_to_have_text(before)
    expect(page.locator("#said-once")).to_have_count(1)  # a screen reader is not told anew what stands as it stood
    page.get_by_label("dialler").select_option("other")
    expect(processed).to_have_text("0")
    expect(page).to_have_url(re.compile(r"/pipeline\?source=other$"))
    page.reload()
    expect(page.get_by_label("dialler")).to_have_value("other")
    page.get_by_label("dialler").select_option("enigma")
    expect(processed).to_have_text("30")
    expect(standing).to_be_empty()


@pytest.mark.usefixtures("hasty_page")
def test_the_traffic_of_two_days_is_drawn(everything, engine, page, push):
    """By hour, of all diallers or of one; hours without a call break the line of rates, and one alone is a dot."""
    now = int(time.time())
    calls = [(now - 7_200, {}), (now - 7_200, UNANSWERED), (now - 30 * 3_600, {}), (now - 60 * 3_600, {})]
    push(*(make_record(call_ref=ref, dialed_at=at, **more) for ref, (at, more) in enumerate(calls)))
    eventually(lambda: balance(everything)["processed"]["records"] == 4, check=everything.check)
    with engine.begin() as connection:  # nobody was told of its calls yet, as of all for a minute
        for table in ("batches", "calls"):
            connection.execute(text(f"UPDATE {table} SET source = 'north'"))
    eventually(lambda: page.request.get(f"{everything.flower_url}/pipeline/figures?source=north").ok)
    open_tab(page, everything, "/pipeline?source=north")
    expect(page.locator("#dialled-now")).to_have_text("3 calls, at most 2 an hour")
    expect(page.locator("#answered-now")).to_have_text("66.7 % of all")
    expect(page.locator("#dialled rect")).to_have_count(2)
    expect(page.locator("#answered polyline")).to_have_count(2)
    expect(page.get_by_role("img", name=re.compile("^Calls dialled an hour from .*: 3 calls"))).to_be_visible()
    with engine.begin() as connection:
        raise_stop(connection, "other", "fuse", "bad")
    page.reload()
    page.get_by_label("dialler").select_option("other")
    expect(page.locator("#answered-now")).to_have_text("there were no calls")
    expect(page.locator("#answered polyline")).to_have_count(0)


@pytest.mark.usefixtures("hasty_page")
def test_a_count_leads_to_the_failed_calls_it_counts(everything, engine, page, push):
    """By class, with the dialler that is looked at; and from the balance."""
    push(make_record(call_ref=1, call_time=-1), make_record(call_ref=2), make_record(call_ref=3, call_time=-1))
    eventually(lambda: failures(engine) == 2, check=everything.check)
    open_tab(page, everything, "/pipeline?source=enigma")
    expect(page.locator("#balance tr[data-place=quarantined] a")).to_have_text("2")
    page.get_by_role("link", name="2: show the failed calls of class data").click()
    expect(page.locator("#total")).to_contain_text("2 failures match")
    expect(page).to_have_url(re.compile(r"class=data&source=enigma"))


@pytest.mark.usefixtures("hasty_page")
def test_a_batch_that_stands_still_is_seen_and_sent_again(everything, engine, page, push):
    """A step's table is missing: the tab says where the batch stands and why, and sends it again once it is back."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE dispositions RENAME TO elsewhere"))
    try:
        push(make_record(call_ref=7))
        open_tab(page, everything, "/pipeline")
        eventually(lambda: due_again(engine) or stands_before_classify(engine), check=everything.check)
        hurry(everything)
        standing = page.locator("#standing-batches")
        expect(standing).to_contain_text("waits: the database is away")
        expect(standing.get_by_role("link")).to_have_attribute("href", re.compile(r"/task/[0-9a-f-]{36}$"))
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO dispositions"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET due_at = now() + interval '1 hour'"))
    standing.get_by_role("button", name="Send again now").click()
    eventually(lambda: balance(everything)["charged"] == {"ZAR": "0.81"}, check=everything.check)
    expect(page.locator("#charged")).to_contain_text("0.81 ZAR")
    expect(standing).to_be_hidden()


@pytest.fixture
def receiver():
    with contextlib.closing(Receiver()) as found:
        yield found


@pytest.fixture
def shop(everything, receiver, tmp_path):
    """Somebody who subscribed by a webhook, in batches, with the order of each call."""
    secret, url = tmp_path / "secret", tmp_path / "url"
    secret.write_text("whsec_" + base64.b64encode(bytes(range(32))).decode())
    url.write_text(f"http://127.0.0.1:{receiver.port}/hook")
    subscribe(everything, "shop", "--sink", "webhook", "--set", "batch=10", f"--secret-file=url={url}",
              f"--secret-file=secret={secret}")  # fmt: skip
    return receiver


def subscribe(stack, name, *words):
    added = stack.run("pipeline", "subscriber", "add", name, "--source", "*", "--campaign", "*",
                      "--kind", "call.finished", *words)  # fmt: skip
    assert added.returncode == 0, added.stderr


def waits_refused(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM feed_refusals WHERE state = 'open'"))


@pytest.mark.usefixtures("hasty_page")
def test_refused_events_are_retried_one_selected_and_all(everything, engine, page, push, shop):
    """From the tab Integrators to the failed calls of one subscriber; each is delivered again by the feed's process."""
    shop.refuses = lambda body: b'"subject": "2' in body
    push(*(make_record(call_ref=ref) for ref in (1, 20, 21, 22, 23, 24, 3)))
    eventually(lambda: waits_refused(engine) == 5, seconds=60, check=everything.check)
    open_tab(page, everything, "/integrators")
    row = page.locator("tr[data-subscriber=shop]")
    expect(row).to_contain_text("active")
    row.get_by_role("link", name="5 events refused by shop: show them").click()
    expect(page.locator("#total")).to_contain_text("5 failures match")
    expect(page.get_by_label("subscriber")).to_have_value("shop")
    page.get_by_role("link", name="shop: 127.0.0.1 answered 422").last.click()
    expect(page.locator("#answer")).to_contain_text("the field phone is missing")
    expect(page.locator("#request")).to_contain_text('"subject": "2')
    assert "whsec" not in page.content()
    shop.refuses = lambda _: False
    before = len(shop.got)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#state")).to_have_text("resolved")
    expect(page.locator("#history")).to_contain_text("retry by operator")
    assert len(shop.got) == before + 1

    open_tab(page, everything, "/failed-calls?class=delivery&subscriber=shop")
    for tick in page.locator("#failures-table input[name=id]").all()[:2]:
        tick.check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.locator(".alert-success")).to_contain_text("2 failures released to be tried again.")
    expect(page.locator("#total")).to_contain_text("2 failures match")
    page.get_by_role("link", name="Retry all that match …").click()
    page.get_by_role("button", name="Retry all 2").click()
    expect(page.locator("#ended")).to_have_text("Finished.")
    eventually(lambda: waits_refused(engine) == 0, check=everything.check)
    open_tab(page, everything, "/integrators")
    expect(row.locator("td[data-label=delivered]")).to_have_text("7")
    expect(row.locator("td[data-label=refused]")).to_have_text("0")


@pytest.mark.usefixtures("hasty_page")
def test_an_integrator_is_paused_and_resumed(everything, engine, page, push, shop):
    """By whoever is logged in, with a reason; the tab moves by itself, and says what is wrong with each."""
    open_tab(page, everything, "/integrators")
    row = page.locator("tr[data-subscriber=shop]")
    row.locator("summary").click()
    row.get_by_label("reason to pause shop").fill("their maintenance")
    row.get_by_role("button", name="Pause shop").click()
    expect(page.locator(".alert-success")).to_have_text("shop is paused.")
    expect(row).to_contain_text("by operator: their maintenance")
    push(*(make_record(call_ref=ref) for ref in range(3)))
    expect(row.locator("td[data-label='events behind']")).to_have_text("3")
    assert not shop.got
    row.locator("summary").click()
    row.get_by_role("button", name="Resume shop").click()
    expect(page.locator(".alert-success")).to_have_text("shop goes on.")
    expect(row.locator("td[data-label=delivered]")).to_have_text("3")
    expect(row.locator("td[data-label='a minute']")).to_have_text(re.compile(r"\d"))
    with engine.begin() as connection:
        said = connection.execute(text("SELECT who, action FROM actions WHERE action LIKE 'subscriber%' ORDER BY id"))
        assert said.all()[1:] == [("operator", "subscriber paused"), ("operator", "subscriber resumed")]
        connection.execute(
            text("UPDATE subscribers SET state = 'expired', hole_from = 3, hole_to = 41, state_reason = 'behind'")
        )
    expect(row).to_contain_text("Positions 3 to 41 are gone")
    expect(row.locator("code")).to_have_text("pipeline subscriber resume shop --skip-hole")
    expect(row.locator("form")).to_have_count(0)


@pytest.fixture
def integrators(everything, engine, shop):
    """Five subscribers; the function puts each in another state."""
    url = everything.settings["ENIGMA_REDIS_URL"]
    for name in ("archive", "call-centre-wallboard", "crm", "data-lake"):
        subscribe(everything, name, "--sink", "redis-list", "--set", f"list=to:{name}", "--set", f"url={url}")

    changes = {
        "archive": "state = 'paused', state_reason = 'by thandi: their migration'",
        "call-centre-wallboard": "state = 'expired', hole_from = 3, hole_to = 41",
        "crm": "misses = 4, due_at = now() + interval '1 hour', last_error = 'list to:crm has no room'",
        "data-lake": "state = 'disabled', state_reason = 'example.com answered 410: nobody is to send there'",
    }

    def changed(name):
        """Unless it is just being delivered to, which would take it back."""
        statement = f"UPDATE subscribers SET {changes[name]} WHERE name = :name AND leased_by IS NULL"
        with engine.begin() as connection:
            return connection.execute(text(statement), {"name": name}).rowcount

    def change():
        for name in changes:
            eventually(functools.partial(changed, name))

    return change


@pytest.fixture
def a_batch_that_stands(everything, engine):
    """One that nobody will take up before the test is over, and then it is gone."""
    with engine.begin() as connection:
        batch_id = connection.scalar(
            text(
                "INSERT INTO batches (claim, source, records, due_at, resends) "
                "VALUES (gen_random_uuid(), 'enigma', 1, now() + interval '1 hour', 4) RETURNING id"
            )
        )
    yield
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM batches WHERE id = :id"), {"id": batch_id})


def test_the_tabs_are_for_everybody(everything, engine, page, push, a_batch_that_stands):
    """Checked by axe, in both themes and at both widths: names, contrast, headings, targets, nothing off the screen."""
    load_tariff(everything, NARROW)
    push(*(make_record(call_ref=ref, ref="spring") for ref in range(845, 852)))
    push(make_record(call_ref=901, call_time=-5, ref="autumn"), make_record(call_ref=902))
    eventually(lambda: failures(engine) == 9, check=everything.check)
    push(make_record(call_ref=902, call_time=7))
    eventually(lambda: failures(engine) == 10, check=everything.check)
    with engine.begin() as connection:
        raise_stop(connection, "north", "fuse", "74 of the last 100 records were bad, the last one: payload is missing")
        connection.execute(
            text(
                "INSERT INTO recording_pauses (source, kind, reason, since, until, call_id) "
                "VALUES ('enigma', 'refused', '401 Unauthorized', now(), now() + interval '1 hour', 1)"
            )
        )
        of_class = dict(connection.execute(text("SELECT class, max(id) FROM failures GROUP BY 1")).all())
    pages = {
        "failed-calls": "/failed-calls",
        "failure": f"/failed-calls/{of_class['data']}",
        "conflict": f"/failed-calls/{of_class['conflict']}",
        "bulk": "/failed-calls/bulk?action=discard",
        "refused": "/failed-calls/bulk?action=nothing",
        "pipeline": "/pipeline",
    }
    found = []
    for name, path in pages.items():
        open_tab(page, everything, path)
        if name == "pipeline":
            expect(page.locator("#standing-batches")).to_be_visible()
            expect(page.locator("#recordings")).to_contain_text("scheduled")
            expect(page.locator("#dialled text")).to_have_count(6)
        found += looking.problems(page, name)
        found += [f"{name}: {each}" for each in looking.lost_on_the_way(page)]
    assert not found, "\n".join(found)


def test_the_pages_of_the_feed_are_for_everybody(everything, engine, page, push, shop, integrators):
    """As the others: a refused event, and the tab Integrators with the forms of one that is tried again open."""
    shop.refuses = lambda body: b'"subject": "8' in body
    push(*(make_record(call_ref=ref) for ref in (80, 81)))
    eventually(lambda: waits_refused(engine) == 2, seconds=60, check=everything.check)
    integrators()
    with engine.connect() as connection:
        refusal = connection.scalar(text("SELECT min(id) FROM feed_refusals"))
    found = []
    for name, path in {"delivery": f"/failed-calls/{refusal}", "integrators": "/integrators"}.items():
        open_tab(page, everything, path)
        if name == "integrators":
            expect(page.locator("tr[data-subscriber=crm]")).to_contain_text("4 times in a row")
            page.locator("tr[data-subscriber=crm] details").evaluate_all("all => all.forEach(e => { e.open = true })")
        found += looking.problems(page, name)
        found += [f"{name}: {each}" for each in looking.lost_on_the_way(page)]
    assert not found, "\n".join(found)


def test_the_screenshot_of_the_readme(everything, engine, page, push, tmp_path, shop, integrators):
    """The tab as README shows it; with CDR_SCREENSHOTS set to a folder it is kept there."""
    shop.refuses = lambda body: b'"subject": "1239"' in body
    push(*(make_record(call_ref=ref) for ref in range(1_000, 1_240)))
    eventually(lambda: balance(everything)["processed"]["records"] == 240, check=everything.check)
    eventually(lambda: waits_refused(engine) == 1, seconds=60, check=everything.check)
    integrators()
    load_tariff(everything, NARROW)
    push(*(make_record(call_ref=ref, ref="spring") for ref in range(845, 852)))
    push(make_record(call_ref=901, call_time=-5, ref="autumn"), b'{"type": "cdr", "payload"', make_record(call_ref=902))
    eventually(lambda: failures(engine) == 10, check=everything.check)
    push(make_record(call_ref=902, call_time=7))
    eventually(lambda: failures(engine) == 11, check=everything.check)
    folder = Path(os.environ.get("CDR_SCREENSHOTS", tmp_path))
    for name, shown in (
        ("failed-calls", "#failures-table tbody tr:nth-child(12)"),
        ("pipeline", "#closes.cdr-good"),
        ("integrators", "tr[data-subscriber=shop]"),
    ):
        open_tab(page, everything, f"/{name}")
        page.locator(shown).first.wait_for()
        if name == "pipeline" and "CDR_SCREENSHOTS" in os.environ:
            page.set_viewport_size({"width": 1400, "height": 1000})
            expect(page.locator("#recordings")).to_contain_text(re.compile(r"\d{3}"))
        if name == "integrators":
            page.set_viewport_size({"width": 1400, "height": 620})
            expect(page.locator("td[data-label='a minute']").first).to_have_text(re.compile(r"\d"))
        page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size > 20_000
