"""The tab "Accounts" as an accountant uses it: over HTTP and in a browser, beside Flower alone, for it only reads."""

from __future__ import annotations

import csv
import html
import io
import os
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from pipeline.accounts import reconcile_rows as rows
from pipeline.accounts.reconcile import reconcile
from pipeline.sandbox.stack import ROOT
from tests.factories import make_record
from tests.functional import looking
from tests.integration.flow import receive, walk_overdue

expect.set_options(timeout=30_000)

LOGIN = ("operator", "sandbox")
MONTH = "/accounts?provider=acme&month=2026-10"
EXAMPLES = ROOT / "deploy" / "examples" / "accounts"
SEEDED = {
    *("seconds", "rate", "missing here", "missing there", "answered there only", "duplicate there", "unread"),
}


@pytest.fixture
def start(stack):
    """Starts Flower with settings of the test's own, and gives a client."""
    clients = []

    def begin(**settings):
        stack.env.update(settings)
        stack.start(["flower"])
        client = httpx.Client(base_url=stack.flower_url, auth=LOGIN)
        clients.append(client)
        looking.until_it_answers(client, stack)
        return client

    yield begin
    for client in clients:
        client.close()


def done(stack, *words, code=0):
    ended = stack.run("pipeline", *words)
    assert ended.returncode == code, ended.stdout + ended.stderr


def priced(stack, engine):
    """The calls of the example, on both sides of the ledger."""
    done(stack, "tariff", "load", str(EXAMPLES / "clients.csv"))
    rates = ("--side", "provider", "--provider", "acme", "--tariff", "acme")
    done(stack, "tariff", "load", str(EXAMPLES / "acme-rates.csv"), *rates)
    done(stack, "tariff", "assign", "--side", "provider", "acme", "--everything")
    done(stack, "import", str(EXAMPLES / "calls.jsonl"), "--no-wait")
    while walk_overdue(engine):
        pass


def loaded(stack):
    file, mapping = EXAMPLES / "acme-2026-10.csv", EXAMPLES / "acme.toml"
    words = ("--provider", "acme", "--mapping", str(mapping), "--period", "2026-10")
    done(stack, "provider", "load", str(file), *words, code=1)


@pytest.fixture
def reconciled(stack, engine):
    """The month that docs/accounting.md walks through, up to its run."""
    priced(stack, engine)
    loaded(stack)
    done(stack, "reconcile", "run", "--provider", "acme", "--month", "2026-10")


def exported(answer):
    return list(csv.DictReader(io.StringIO(answer.text)))


def ids(page):
    return set(re.findall(r'id="([a-z-]+)"', page))


def test_it_says_what_to_do_next(start, stack, engine):
    """From no provider at all to a month that is not reconciled: each time the command that comes next."""
    client = start()
    assert "pipeline tariff load FILE --side provider --provider NAME" in client.get("/accounts").text
    assert "There is no provider x&amp;y." in client.get("/accounts", params={"provider": "x&y"}).text
    priced(stack, engine)
    page = client.get(MONTH).text
    assert "pipeline provider load FILE --provider acme --mapping MAPPING.toml --period 2026-10" in page
    assert "next" in ids(page)
    loaded(stack)
    assert "pipeline reconcile run --provider acme --month 2026-10" in client.get(MONTH).text
    assert "No call dialled in 2026-09 is charged on either side." in client.get("/accounts?month=2026-09").text


def test_a_month_is_shown_with_both_sides_and_its_classes(start, reconciled):
    """The figures of the walk; of nothing in particular, the newest run."""
    client = start()
    page = client.get("/accounts").text
    assert "acme, 2026-10: run 1 of" in page
    assert re.search(r'data-label="client"[^>]*>20\.68<.*>10\.62<.*>10\.06<', re.sub(r"\s+", " ", page))
    assert "clock against ours: -1:59:57: 13 of 13 lines agree" in page
    assert "acme-2026-10.csv: 15 lines, 1 of them unread." in page
    assert 'aria-label="asked for there, 17.22 ZAR: equal 7.02, rounding 0.78, seconds 1.44, rate 6.00,' in page
    assert 'aria-label="lines and calls, 29: equal 17, rounding 2' in page
    assert 'aria-label="expected here, 10.62 ZAR: equal 7.02' in page
    assert "units agree, cost 10.00 times" in page
    assert not {"next", "run-failed", "run-locked"} & ids(page)


def test_disputes_are_narrowed_and_exported_as_the_command_does(start, stack, reconciled, tmp_path):
    """By class, in the address; the file has the command's bytes."""
    client = start()
    page = client.get(f"{MONTH}&class=rate").text
    table = page[page.index('id="items"') :]
    assert table.count("<tr>") == 2
    assert "+27820010433" in table
    assert "+27820010396" not in table
    assert '<option value="rate" selected>' in page
    for narrowed, words in (("", ()), ("&class=rate", ("--class", "rate")), ("&class=weak", ("--class", "weak"))):
        done(stack, "reconcile", "export", "--output", str(tmp_path / "disputes.csv"), *words)
        answer = client.get(f"/accounts/file?provider=acme&month=2026-10{narrowed}")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.content == (tmp_path / "disputes.csv").read_bytes()
    assert {line["class"] for line in exported(client.get("/accounts/file"))} == SEEDED
    assert "Nothing is of this class." in client.get(f"{MONTH}&class=weak").text


def test_pages_are_by_key(start, engine, reconciled):
    """Sixty more disputes: two pages, each item once, in the order of the file."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO reconcile_items (run_id, item, item_class, cause) "
                "SELECT 1, 1000 + n, CASE WHEN n % 2 = 0 THEN 'weak' ELSE 'rate' END, 'n' || n "
                "FROM generate_series(1, 60) AS n"
            )
        )
    client = start()
    first = client.get(MONTH).text
    [more] = re.findall(r'id="more" href="([^"#]+)', first)
    second = client.get(f"/accounts{more.replace('&amp;', '&')}").text
    causes = re.findall(r'class="cdr-reason">([^<]*)<', first + second)
    assert len(causes) == len(set(causes)) == 67
    assert [html.unescape(each) for each in causes] == [
        each["cause"] for each in exported(client.get("/accounts/file"))
    ]
    assert ("first" in ids(second), "more" in ids(second)) == (True, False)


def test_a_run_that_failed_and_one_that_is_locked_say_so(start, engine, stack, reconciled):
    client = start()
    done(stack, "reconcile", "lock", "1", "--because", "Acme credits 7.56")
    assert "Acme credits 7.56. It stays as it is" in client.get(MONTH).text
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # what was agreed upon stays
        connection.execute(text("UPDATE reconcile_runs SET state = 'done'"))
        connection.execute(text("DELETE FROM provider_lines WHERE line = 2"))
        [run] = rows.runs(connection)
    reconcile(engine, rows.Wanted("acme", run.since, run.until, run.zone), who="accountant")
    page = client.get(MONTH).text
    assert "run-failed" in ids(page)
    assert "the files were loaded with 15, and 14 are there" in page


def test_who_is_not_to_see_numbers_sees_none(start, engine, reconciled):
    """Not in the list, the causes or the file, whatever class it is of."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO reconcile_items (run_id, item, item_class, cause) "
                "VALUES (1, 1000, 'rate', 'no rate for +27820010433 in tariff acme')"
            )
        )
    client = start(PIPELINE_FLOWER_NUMBERS="thandi")
    for path in (MONTH, f"{MONTH}&class=unread", "/accounts/file", "/accounts/file?class=rate"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.search(r"820010\d|2711555", answer.text), path
        assert "***" in answer.text
    assert "no rate for *** in tariff acme" in client.get(MONTH).text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/accounts?month=2026-13", 400, "month must be a month such as 2026-11"),
        ("/accounts?class=equal", 400, "class must be one of: rounding, seconds, rate"),
        ("/accounts?after=x", 400, "after is the number of an item"),
        ("/accounts?after=99999999999", 400, "after is the number of an item"),
        ("/accounts?provider=%00", 400, "provider must be"),
        ("/accounts/file", 404, "There is no run of that provider and month"),
        ("/accounts/file?class=nonsense", 404, "or no such class"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(refusing, path, status, said):
    answer = refusing.get(path)
    assert (answer.status_code, said in answer.text) == (status, True)


@pytest.fixture(scope="module")
def refusing(lasting_stack):
    """Flower with nothing in the database."""
    lasting_stack.start(["flower"])
    with httpx.Client(base_url=lasting_stack.flower_url, auth=LOGIN) as client:
        looking.until_it_answers(client, lasting_stack)
        yield client


def test_nobody_gets_in_without_the_password(refusing):
    for path in ("/accounts", "/accounts/file"):
        assert refusing.get(path, auth=("operator", "wrong")).status_code == 401
        assert refusing.post(path).status_code in {403, 405}


def test_the_tab_is_for_everybody(start, stack, engine, page, reconciled):
    """Checked by axe, in both themes and at both widths; from a class to its disputes and to a call."""
    start()
    odd = make_record(call_ref="<script>window.pwned=1</script>", dialed_at=1_790_900_000)
    receive(engine, odd)
    page.goto(f"{stack.flower_url}{MONTH}")
    page.get_by_role("link", name="seconds", exact=True).click()
    expect(page.locator("#items tbody tr")).to_have_count(1)
    expect(page.get_by_label("disputes of class")).to_have_value("seconds")
    with page.expect_download() as download:
        page.locator("#download").click()
    assert "13 s more there" in Path(download.value.path()).read_text()
    page.locator("#items a").click()
    expect(page.locator("h1")).to_contain_text("7009")
    found = []
    pages = {"accounts": MONTH, "accounts-rate": f"{MONTH}&class=rate", "accounts-next": "/accounts?month=2026-09"}
    for name, path in pages.items():
        page.goto(f"{stack.flower_url}{path}")
        expect(page.locator(".cdr h1").first).to_be_visible()
        found += looking.problems(page, name)
        found += [f"{name}: {each}" for each in looking.lost_on_the_way(page)]
    assert not found, "\n".join(found)


def test_the_screenshot_of_the_docs(start, stack, page, reconciled, tmp_path):
    """The tab as docs/flower.md shows it; with CDR_SCREENSHOTS set to a folder it is kept there."""
    start()
    folder = Path(os.environ.get("CDR_SCREENSHOTS", tmp_path))
    page.goto(f"{stack.flower_url}{MONTH}")
    page.locator("#items").wait_for()
    page.screenshot(path=folder / "accounts.png")
    assert (folder / "accounts.png").stat().st_size > 20_000
