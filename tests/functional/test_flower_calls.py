"""The tab "Calls" as a supervisor uses it: in a browser, beside Flower alone, for it reads the database and no more."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from pipeline.recordings.file_store import RecordingStore
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import KeyName
from pipeline.sandbox.audio import recording_body
from tests.factories import make_record
from tests.functional import looking
from tests.integration import flow
from tests.integration.flow import receive, walk

expect.set_options(timeout=30_000)

LOGIN = ("operator", "sandbox")
ALL = "/calls?since=2020-01-01"
TODAY = int(datetime.now(tz=UTC).timestamp())
NO_AGENT = {"extension": None, "call_time": 0}
ENDS = (
    {"end_reason": "agent_hungup"},
    {"end_reason": "busy", "end_code": "17", **NO_AGENT},
    {"end_reason": "noanswer", "end_code": "19", **NO_AGENT},
)


def attempts(many):
    """Calls of a campaign a second apart, three a contact, on three numbers."""
    chance = random.Random(1)
    return [
        make_record(
            call_ref=10_000 + n,
            ref="spring",
            contact_ref=f"account_{n // 3}",
            number=f"08200{10_000 + n}",
            dialed_at=TODAY - n,
            **({"call_time": chance.randrange(20, 400)} | ENDS[n % 3]),
        )
        for n in range(many)
    ]


@pytest.fixture
def start(stack, engine, monkeypatch):
    """Starts Flower with settings of the test's own beside calls of today, and gives a client."""
    clients = []
    monkeypatch.setattr(flow, "NOW", datetime.now(tz=UTC))

    def begin(many=120, **settings):
        walk(engine, receive(engine, *attempts(many)))
        stack.env.update(settings)
        stack.start(["flower"])
        client = httpx.Client(base_url=stack.flower_url, auth=LOGIN)
        clients.append(client)
        looking.until_it_answers(client, stack)
        return client

    yield begin
    for client in clients:
        client.close()


def test_a_supervisor_finds_a_call_and_what_became_of_it(start, stack, page):
    """By the contact: all its attempts, one of them with its charge, and back; and pages turn both ways."""
    start()
    page.goto(f"{stack.flower_url}/calls")
    expect(page.get_by_label("dialled since")).to_have_value(re.compile("T00:00"))  # of today, where nothing is asked
    page.goto(f"{stack.flower_url}{ALL}")
    rows = page.locator("#calls-table tbody tr")
    expect(page.locator("#total")).to_contain_text("120 calls match")
    expect(page.locator("#through")).to_contain_text("Complete through")
    expect(rows).to_have_count(50)
    first = rows.first.inner_text()
    page.locator("#older").click()
    page.locator("#older").click()
    expect(rows).to_have_count(20)
    expect(page.locator("#older")).to_have_count(0)
    page.locator("#newer").click()
    page.locator("#newer").click()
    expect(rows).to_have_count(50)
    assert rows.first.inner_text() == first
    expect(page.locator("#newer")).to_have_count(0)

    page.get_by_label("contact").fill("account_7")
    page.get_by_label("dialled since").fill("")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="10021").click()
    expect(page.get_by_role("heading", name="Call 10021")).to_be_visible()
    expect(page.locator("#net")).to_contain_text("ZAR")
    expect(page.locator("#history")).to_contain_text("received")
    expect(page.locator("#attempts tbody tr")).to_have_count(3)
    page.locator("#attempts").get_by_role("link", name="10022").click()
    expect(page.locator("#outcome")).to_contain_text("busy")
    expect(page.locator("#net")).to_contain_text("Nothing: a call that ended as busy is not billed.")
    page.get_by_role("navigation", name="breadcrumb").get_by_role("link", name="Calls").click()
    expect(page.get_by_label("contact")).to_have_value("account_7")
    expect(rows).to_have_count(3)


def test_by_keyboard_alone_and_on_a_small_screen(start, stack, page):
    """Search by the end of a number, open, and come back, without a mouse, at 390 pixels."""
    start(9)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stack.flower_url}/calls")
    page.get_by_label("number, or *1234 for its end").focus()
    page.keyboard.type("*0005")
    page.keyboard.press("Enter")
    expect(page.locator("#total")).to_contain_text("1 call matches")
    link = page.get_by_role("link", name="10005")
    for _ in range(60):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Call 10005")).to_be_visible()
    page.go_back()
    expect(page.locator("#total")).to_contain_text("1 call matches")


def test_what_matches_is_downloaded(start, stack, page):
    """As CSV: all of it and not the page alone, in the order of the list, and safe in a spreadsheet."""
    start(60)
    page.goto(f"{stack.flower_url}/calls?campaign=spring&since=2020-01-01")
    with page.expect_download() as coming:
        page.locator("#download").click()
    lines = list(csv.DictReader(io.StringIO(Path(coming.value.path()).read_text())))
    assert [line["call_ref"] for line in lines] == [str(10_000 + n) for n in range(60)]
    assert lines[0]["number"] == "'+27820010000"
    assert coming.value.suggested_filename == "calls.csv"


def test_a_search_that_cannot_be_says_why_at_its_field(start):
    client = start(3)
    answer = client.get("/calls", params={"campaign": "spring"})
    assert answer.status_code == 400
    assert "is missing: say since when, or name a call, a contact or a number" in answer.text
    assert "calls-table" not in answer.text
    assert client.get("/calls", params={"since": "2020-01-01", "after": "here"}).status_code == 400
    assert client.get("/calls/file", params={"campaign": "spring"}).status_code == 400
    for path in ("/calls/enigma/none", "/calls/none/10000", "/calls/enigma/%00"):
        assert client.get(path).status_code == 404
    assert client.get("/calls/enigma/10000").status_code == 200


HEARD = """async (at) => {
  const player = document.getElementById("player");
  const until = (event) => new Promise((done, failed) => {
    player.addEventListener(event, done, {once: true}); player.addEventListener("error", failed, {once: true}); });
  const ready = until("loadedmetadata");
  player.preload = "auto"; player.load(); await ready;
  const sought = until("seeked");
  player.currentTime = at; await sought;
  const whole = await (await fetch(player.src)).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 8000, 8000).decodeAudioData(whole);
  const first = Math.floor(player.currentTime * sound.sampleRate);
  const samples = sound.getChannelData(0).subarray(first, first + sound.sampleRate / 4);
  return {at: player.currentTime, long: player.duration, loud: Math.hypot(...samples) / Math.sqrt(samples.length)};
}"""


@pytest.fixture
def recorded(stack, engine):
    """Has a recording as the dialler's are, GSM, stored for a call of today, and gives its file."""

    def store(call_ref):
        content = recording_body(call_ref, 60)
        file = Path(stack.settings["RECORDINGS_URL"].removeprefix("file://")) / f"{call_ref}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE recordings SET state = 'stored', due_at = NULL, ended_at = now(), path = :path, "
                    "size_bytes = :size, sha256 = :sha256 WHERE call_ref = :call_ref"
                ),
                {
                    "path": file.name,
                    "size": len(content),
                    "sha256": hashlib.sha256(content).digest(),
                    "call_ref": str(call_ref),
                },
            )
        return file

    return store


def listened(engine):
    """Who listened, as it was written down."""
    with engine.connect() as connection:
        return connection.execute(
            text("SELECT who, via, call_ref, reason FROM access_log WHERE action = 'listen'")
        ).all()


def test_a_recording_is_sought_in_and_heard(start, stack, engine, page, recorded):
    """GSM plays in no browser; what comes is PCM, with sound at the place that was sought, and it is written down."""
    start(3, PIPELINE_FLOWER_LISTENING="operator")
    recorded(10_000)
    page.goto(f"{stack.flower_url}/calls/enigma/10000")
    assert listened(engine) == []  # nobody has, who only looks
    heard = page.evaluate(HEARD, 1.2)
    assert heard["at"] == pytest.approx(1.2, abs=0.1)
    assert heard["long"] == pytest.approx(92 * 320 / 8000, abs=0.1)
    assert heard["loud"] > 0.01
    assert set(listened(engine)) == {("operator", "flower", "10000", None)}
    with page.expect_download() as coming:
        page.locator("#stored").click()
    assert Path(coming.value.path()).read_bytes() == recording_body(10_000, 60)


def test_bytes_are_given_by_ranges_and_only_once_it_is_written_down(start, engine, recorded):
    """206, 416, and 503 while nobody can write; what is no audio is told so."""
    client = start(3, PIPELINE_FLOWER_LISTENING="*", RECORDINGS_LISTENING_REASON="required")
    file = recorded(10_000)
    audio = "/calls/enigma/10000/audio"
    assert client.get(audio).status_code == 403
    assert "why you listen" in client.get("/calls/enigma/10000").text
    asked = {"because": "a complaint"}
    part = client.get(audio, params=asked, headers={"Range": "bytes=44-143"})
    assert (part.status_code, len(part.content), part.headers["Content-Type"]) == (206, 100, "audio/wav")
    assert client.get(audio, params=asked, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert client.get(audio, params=asked, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/calls/enigma/10001/audio", params=asked).status_code == 404
    before = listened(engine)
    assert before[0] == ("operator", "flower", "10000", "a complaint")
    with engine.begin() as connection:
        connection.execute(text("LOCK access_log IN ACCESS EXCLUSIVE MODE"))
        refused = client.get(audio, params=asked, timeout=30)
        assert (refused.status_code, "Content-Range" in refused.headers) == (503, False)
        assert b"RIFF" not in refused.content
    assert listened(engine) == before
    file.write_bytes(b"x" * file.stat().st_size)
    assert client.get(audio, params={**asked, "form": "stored"}).status_code == 502


def test_an_encrypted_recording_is_heard_as_long_as_its_key_is_there(start, engine, recorded, tmp_path):
    """By ranges like any other; without its key a sentence says so."""
    (tmp_path / "keys").mkdir()
    keys = RecordingKeys((tmp_path / "keys").as_uri())
    client = start(3, PIPELINE_FLOWER_LISTENING="*", RECORDINGS_KEYS_URL=(tmp_path / "keys").as_uri())
    file = recorded(10_000)
    plain = file.read_bytes()
    store, key = RecordingStore(file.parent.as_uri(), keys=keys), KeyName("enigma", "2026-03")
    with store.recording(key) as partial:
        partial.write(plain)
        partial.seal()
        file.write_bytes(partial.path.read_bytes())
    with engine.begin() as connection:
        connection.execute(text("UPDATE recordings SET key_month = '2026-03' WHERE path IS NOT NULL"))
    audio, stored = "/calls/enigma/10000/audio", {"form": "stored"}
    assert client.get(audio, params=stored).content == plain
    part = client.get(audio, params=stored, headers={"Range": "bytes=44-143"})
    assert (part.status_code, part.content) == (206, plain[44:144])
    assert client.get(audio).content[:4] == b"RIFF"
    keys.destroy(key)
    refused = client.get(audio, params=stored)
    assert (refused.status_code, "the key of 2026-03 of enigma was destroyed" in refused.text) == (502, True)


def test_who_is_not_named_hears_nothing(start, engine, recorded):
    """As it is by default."""
    client = start(3)
    recorded(10_000)
    assert "This login may not listen" in client.get("/calls/enigma/10000").text
    assert client.get("/calls/enigma/10000/audio").status_code == 403
    assert listened(engine) == []
    client.get("/calls", params={"number": "*0000"})
    with engine.connect() as connection:
        row = connection.execute(text("SELECT who, via, action, detail FROM access_log")).one()
    assert tuple(row) == ("operator", "flower", "search", {"number_ends": "0000"})


def test_who_is_not_to_see_numbers_sees_none(start):
    """Not in the list, a call's page, the file, or by asking for one; nor for looking around without a login."""
    client = start(6, PIPELINE_FLOWER_NUMBERS="thandi")
    for path in (ALL, "/calls?contact_ref=account_0", "/calls/file?contact_ref=account_0", "/calls/enigma/10000"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.search(r"82001000\d|712345678", answer.text), path
        assert "***" in answer.text
    for given in ({"number": "0820010000"}, {"number": "*0000"}, {"since": "2020-01-01", "dial_number": "27123456789"}):
        for path in ("/calls", "/calls/file"):
            refused = client.get(path, params=given)
            assert refused.status_code == 400
            assert "you see no phone numbers" in refused.text


def test_the_tab_is_for_everybody(start, stack, engine, page):
    """Checked by axe, in both themes and at both widths: names, contrast, headings, targets, nothing off the screen."""
    start(40)
    script = "<script>window.pwned=1</script>"
    odd = make_record(call_ref=script, contact_ref="account_1", ref=script, dialed_at=TODAY, call_dir="inbound")
    walk(engine, receive(engine, odd, source="south"))
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE recordings SET state = 'stored', ended_at = now(), path = 'a.wav', size_bytes = 100000 "
                "WHERE call_id IN (SELECT call_id FROM recordings LIMIT 9)"
            )
        )
    pages = {
        "calls": ALL,
        "calls-none": "/calls?call_ref=none",
        "calls-refused": "/calls?campaign=spring&number=*1&charged=perhaps",
        "call": "/calls/enigma/10000",
        "call-odd": "/calls/south/%3Cscript%3Ewindow.pwned=1%3C%2Fscript%3E",
    }
    found = []
    for name, path in pages.items():
        page.goto(f"{stack.flower_url}{path}")
        expect(page.locator("main h1, .cdr h1").first).to_be_visible()
        assert page.evaluate("window.pwned") is None
        found += looking.problems(page, name)
        found += [f"{name}: {each}" for each in looking.lost_on_the_way(page)]
    assert not found, "\n".join(found)


def test_the_screenshot_of_the_readme(start, stack, page, tmp_path):
    """The tab as README shows it; with CDR_SCREENSHOTS set to a folder it is kept there."""
    start(240)
    folder = Path(os.environ.get("CDR_SCREENSHOTS", tmp_path))
    page.goto(f"{stack.flower_url}{ALL}")
    page.locator("#calls-table").wait_for()
    page.screenshot(path=folder / "calls.png")
    assert (folder / "calls.png").stat().st_size > 20_000
