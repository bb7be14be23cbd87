"""Rerating on real PostgreSQL: a corrected tariff becomes reversals and new charges, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.batches.progress import lock_step
from pipeline.batches.rules.steps import Step
from pipeline.billing import rerate as rerating
from pipeline.billing.assign import assign_tariff
from pipeline.billing.billed_calls import Selection
from pipeline.billing.load import load_tariff
from pipeline.billing.rerate import Preview, compare, rerate
from pipeline.billing.rules.rating import DurationBasis
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.tariff_cache import TariffCache
from pipeline.cli import app
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import receive, rows, sheet, walk
from tests.patience import eventually

ZONE = "Africa/Johannesburg"
AT = datetime.fromtimestamp(DIALED_AT, UTC)
ALL = Selection(AT - timedelta(days=365), AT + timedelta(days=365))
BUSY = {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0}


def load(engine, rates, *, tariff="default", columns="prefix,rate_per_minute", **settings):
    return load_tariff(
        engine,
        f"{columns}\n{rates}\n".encode(),
        file_name="t.csv",
        tariff=tariff,
        loaded_by="somebody",
        default_currency="ZAR",
        timezone=ZONE,
        settings=TariffSettings(**settings),
    )


def again(engine, selection=ALL, tariffs=None):
    """What `pipeline rerate` does: how many calls it rerated, and the comparison before."""
    tariffs = tariffs or TariffCache(ZONE)
    seen = []
    comparison = compare(engine, selection, tariffs, progress=lambda done, of: seen.append((done, of)))
    rerated = rerate(engine, selection, tariffs, who="accountant", progress=lambda *_: None)
    assert all(done <= of for done, of in seen)
    assert rerated == comparison.changed
    return rerated, comparison


def net(engine):
    """What each call is charged, all lines taken together; and what is not charged."""
    charged = rows(engine, "SELECT call_ref, sum(amount) FROM ledger JOIN calls ON id = call_id GROUP BY 1 ORDER BY 1")
    free = rows(engine, "SELECT call_ref, reason FROM uncharged JOIN calls ON id = call_id ORDER BY 1")
    return dict(map(tuple, charged)), dict(map(tuple, free))


def lines(engine):
    return rows(engine, "SELECT kind, revision, amount, reason FROM ledger ORDER BY call_id, revision, kind")


def test_a_corrected_tariff_reverses_and_charges_anew(engine):
    """A call whose amount changes gets a reversal and a new line, which say who rerated; the books still balance."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, make_record(call_ref=1, call_time=60)))
    load(engine, "27,0.90")
    rerated, comparison = again(engine)
    assert rerated == 1
    difference = comparison.differences["campaign001", "ZAR"]
    assert (difference.calls, difference.changed, difference.before, difference.after, difference.difference) == (
        1, 1, Decimal("0.60"), Decimal("0.90"), Decimal("0.30"))  # fmt: skip
    assert lines(engine) == [
        ("charge", 1, Decimal("0.60"), "rated"),
        ("reversal", 1, Decimal("-0.60"), "rerated"),
        ("charge", 2, Decimal("0.90"), "rated"),
    ]
    (job,) = rows(engine, "SELECT DISTINCT who, action FROM actions JOIN ledger ON ledger.rerate_id = actions.id")
    assert job == ("accountant", "rerate")
    closed = sheet(engine)
    assert closed.closes
    assert closed.charged == {"ZAR": Decimal("0.90")}


def test_rerating_twice_changes_nothing(engine):
    """The second run finds every call as the tariff has it."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, *(make_record(call_time=seconds) for seconds in range(60, 80))))
    load(engine, "27,0.95")
    assert again(engine)[0] == 20
    before = lines(engine)
    assert again(engine)[0] == 0
    assert lines(engine) == before
    assert sheet(engine).closes


def test_a_call_that_comes_to_the_same_is_left_alone(engine):
    """Another version, another prefix and another uncharged reason are no reason for a correction."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, make_record(call_time=60), make_record(**BUSY)))
    load(engine, "27,9\n2782,0.60")
    assert again(engine)[0] == 0
    assert len(lines(engine)) == 1


def test_from_charged_to_uncharged_and_back(engine):
    """Exactly one of a charge in force and a reason for none, whichever way it goes; reasons stay in the history."""
    load(engine, "27,0.60", billable_dispositions=frozenset({"answered", "busy"}), columns="prefix,rate_per_minute")
    walk(engine, receive(engine, make_record(call_ref=1, call_time=60)))
    load(engine, "27,0.60", billable_dispositions=frozenset({"busy"}))
    assert again(engine)[0] == 1
    assert net(engine) == ({"1": 0}, {"1": "a call that ended as answered is not billed"})
    assert sheet(engine).closes
    load(engine, "27,0.70", billable_dispositions=frozenset({"answered"}))
    assert again(engine)[0] == 1
    assert net(engine) == ({"1": Decimal("0.70")}, {})
    assert [(kind, revision) for kind, revision, _, _ in lines(engine)] == [
        ("charge", 1),
        ("reversal", 1),
        ("charge", 2),
    ]
    ((detail,),) = rows(engine, "SELECT detail ->> 'reason' FROM actions WHERE record_id IS NOT NULL")
    assert detail == "was not charged: a call that ended as answered is not billed"
    assert sheet(engine).closes
    assert again(engine)[0] == 0


def test_a_call_without_a_rate_now_keeps_its_charge(engine):
    """Nothing is given away because a prefix is missing in the new file; it is reported."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, make_record(call_time=60)))
    load(engine, "44,0.60")
    rerated, comparison = again(engine)
    assert (rerated, comparison.unratable, len(comparison.reasons)) == (0, 1, 1)
    assert "no rate for +27820001234" in comparison.reasons[0]
    assert len(lines(engine)) == 1


def test_a_call_still_to_be_billed_is_none_of_its_business(engine):
    """A call that waits for a rate, or was not billed yet, is left to the bill step."""
    walk(engine, receive(engine, make_record()))
    walk(engine, receive(engine, make_record()), (Step.NORMALIZE, Step.CLASSIFY))
    load(engine, "27,0.60")
    assert again(engine)[0] == 0
    assert lines(engine) == []


def test_another_currency_is_a_change(engine):
    """0.60 EUR is not 0.60 ZAR, and the differences are told apart."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, make_record(call_time=60)))
    load(engine, "27,0.60,EUR", columns="prefix,rate_per_minute,currency")
    _, comparison = again(engine)
    assert {key: each.difference for key, each in comparison.differences.items()} == {
        ("campaign001", "ZAR"): Decimal("-0.60"),
        ("campaign001", "EUR"): Decimal("0.60"),
    }
    assert sheet(engine).charged == {"ZAR": 0, "EUR": Decimal("0.60")}
    assert again(engine)[0] == 0


def test_only_what_was_selected(engine):
    """From an instant up to before another, by when a call was dialled, and one campaign where one is named."""
    load(engine, "27,0.60")
    records = [make_record(call_ref=ref, call_time=60, dialed_at=DIALED_AT + ref) for ref in range(4)]
    walk(engine, receive(engine, *records, make_record(call_ref=9, call_time=60, ref="other")))
    load(engine, "27,0.90")
    assert again(engine, Selection(AT + timedelta(seconds=1), AT + timedelta(seconds=3)))[0] == 2
    assert again(engine, ALL._replace(campaign="other"))[0] == 1
    charged, _ = net(engine)
    assert charged == {
        "0": Decimal("0.60"), "1": Decimal("0.90"), "2": Decimal("0.90"), "3": Decimal("0.60"), "9": Decimal("0.90"),
    }  # fmt: skip


def test_each_campaign_by_its_own_tariff(engine):
    """A tariff assigned after billing takes effect on old calls by rerating them."""
    load(engine, "27,0.60")
    load(engine, "27,0.10", tariff="cheap")
    walk(engine, receive(engine, make_record(call_ref=1, call_time=60), make_record(call_ref=2, call_time=60, ref="b")))
    assign_tariff(engine, "b", "cheap", assigned_by="me")
    assert again(engine)[0] == 1
    assert net(engine)[0] == {"1": Decimal("0.60"), "2": Decimal("0.10")}


def test_a_preview_writes_nothing_and_keeps_settings(engine):
    """A file that is not loaded is compared as if it were, with the settings its tariff has."""
    load(engine, "27,0.60", duration_basis=DurationBasis.CALL_AND_HOLD)
    walk(engine, receive(engine, make_record(call_time=50, hold_time=10)))
    assert net(engine)[0].popitem()[1] == Decimal("0.60")
    preview = Preview(TariffCache(ZONE), b"prefix,rate_per_minute\n27,1.20\n", default_currency="ZAR", timezone=ZONE)
    comparison = compare(engine, ALL, preview, progress=lambda *_: None)
    assert comparison.differences["campaign001", "ZAR"].after == Decimal("1.20")
    assert len(lines(engine)) == 1
    assert rows(engine, "SELECT count(*) FROM tariff_versions") == [(1,)]


def test_chunks_and_batches(engine, monkeypatch):
    """Many small batches and chunks that end in the middle of one come to the same as one."""
    monkeypatch.setattr(rerating, "CALLS_AT_ONCE", 7)
    monkeypatch.setattr(rerating, "BATCHES_AT_ONCE", 2)
    load(engine, "27,0.60")
    for size in (1, 1, 3, 10, 1, 2, 9):
        walk(engine, receive(engine, *(make_record(call_time=60) for _ in range(size))))
    load(engine, "27,0.90")
    assert again(engine)[0] == 27
    assert again(engine)[0] == 0
    assert sheet(engine).charged == {"ZAR": 27 * Decimal("0.90")}


def test_the_bill_step_is_held(engine):
    """While a worker has the bill step of a batch, its calls are not rerated; afterwards they are."""
    load(engine, "27,0.60")
    batch = receive(engine, make_record(call_time=60))
    walk(engine, batch)
    load(engine, "27,0.90")
    with engine.begin() as connection:
        lock_step(connection, batch.batch_id, Step.BILL)
        thread = threading.Thread(
            target=rerate, args=(engine, ALL, TariffCache(ZONE)), kwargs={"who": "me", "progress": lambda *_: None}
        )
        thread.start()
        eventually(lambda: rows(engine, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        assert len(lines(engine)) == 1
    thread.join(10)
    assert len(lines(engine)) == 3


def test_two_at_once_correct_once(engine):
    """Two people who rerate the same month at the same time change each call once."""
    load(engine, "27,0.60")
    for _ in range(5):
        walk(engine, receive(engine, *(make_record(call_time=60) for _ in range(40))))
    load(engine, "27,0.90")
    done = []
    threads = [
        threading.Thread(
            target=lambda: done.append(rerate(engine, ALL, TariffCache(ZONE), who="me", progress=lambda *_: None))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 200
    assert rows(engine, "SELECT count(*) FROM ledger") == [(600,)]
    assert sheet(engine).charged == {"ZAR": 200 * Decimal("0.90")}


KILLED = """
import os, signal, sys
from datetime import datetime
from pipeline.billing import rerate as rerating
from pipeline.billing.tariff_cache import TariffCache
from pipeline.database.engine import make_engine
from pipeline.billing.billed_calls import Selection

rerating.CALLS_AT_ONCE = 50
writes = 0
write = rerating._write

def dies(*args, **kwargs):
    global writes
    writes += 1
    done = write(*args, **kwargs)
    if writes == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # written, and not committed
    return done

rerating._write = dies
selection = Selection(*map(datetime.fromisoformat, sys.argv[2:4]))
engine = make_engine(sys.argv[1], application="killed")
rerating.rerate(engine, selection, TariffCache("UTC"), who="me", progress=lambda *_: None)
"""


def test_killed_in_the_middle_it_goes_on(engine, database_url):
    """SIGKILL between a chunk's write and its commit leaves whole chunks; another run does the rest."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, *(make_record(call_time=60) for _ in range(300))))
    load(engine, "27,0.90")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, database_url, ALL.since.isoformat(), ALL.until.isoformat()],
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert rows(engine, "SELECT count(*) FROM ledger WHERE kind = 'reversal'") == [(100,)]
    assert sheet(engine).closes
    assert again(engine)[0] == 200
    closed = sheet(engine)
    assert closed.closes
    assert closed.charged == {"ZAR": 300 * Decimal("0.90")}


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


WINDOW = ("--since", "2026-09-01", "--until", "2026-10-01")


class TestCommand:
    def test_a_dry_run_then_the_real_one(self, run, engine):
        """The difference a campaign comes first; only without --dry-run is anything written."""
        load(engine, "27,0.60")
        walk(engine, receive(engine, make_record(call_time=60), make_record(call_time=60, ref="b")))
        load(engine, "27,0.90")
        dry = run("rerate", *WINDOW, "--dry-run")
        assert dry.exit_code == 0, dry.output
        assert "Calls that would be rerated: 2. Nothing was written." in dry.output
        assert "+0.60" in dry.output
        assert len(lines(engine)) == 2
        assert "Calls rerated: 1." in run("rerate", *WINDOW, "--campaign", "b").output
        answer = json.loads(run("rerate", *WINDOW, "--json").output)
        assert answer["rerated"] == 1
        nothing = {"calls": 1, "changed": 0, "unratable": 0, "before": "0.90", "after": "0.90", "difference": "0.00"}
        assert answer["differences"] == [
            {"campaign": "b", "currency": "ZAR"} | nothing,
            {"campaign": "campaign001", "currency": "ZAR"}
            | nothing
            | {"changed": 1, "before": "0.60", "difference": "0.30"},
        ]
        assert "Calls rerated: 0." in run("rerate", *WINDOW).output

    def test_the_price_preview(self, run, engine, tmp_path):
        """--tariff-file shows what a file would mean, and goes only with --dry-run."""
        load(engine, "27,0.60")
        walk(engine, receive(engine, make_record(call_time=60)))
        file = tmp_path / "next.csv"
        file.write_text("prefix,rate_per_minute\n27,1.60\n")
        preview = run("rerate", *WINDOW, "--dry-run", "--tariff-file", file, "--json")
        assert json.loads(preview.output)["differences"][0]["difference"] == "1.00"
        assert run("rerate", *WINDOW, "--tariff-file", file).exit_code == 2
        file.write_text("prefix,rate_per_minute\n27,-1\n")
        bad = run("rerate", *WINDOW, "--dry-run", "--tariff-file", file)
        assert (bad.exit_code, "line 2: rate_per_minute" in bad.output) == (1, True)
        assert run("rerate", *WINDOW, "--dry-run", "--tariff-file", tmp_path / "none.csv").exit_code == 2
        assert len(lines(engine)) == 1

    def test_a_month_without_calls(self, run, engine):
        """Nothing to look at is said, and is no error."""
        outcome = run("rerate", "--since", "2020-01-01", "--until", "2020-02-01")
        assert (outcome.exit_code, "No charged or uncharged call" in outcome.output) == (0, True)

    @pytest.mark.parametrize(
        "window",
        [
            ("--since", "2026-09-01"),
            ("--since", "soon", "--until", "2026-10-01"),
            (*WINDOW[:2], "--until", "2026-09-01"),
        ],
    )
    def test_bad_windows(self, run, window):
        """Both ends are needed, and in their order."""
        assert run("rerate", *window).exit_code == 2

    def test_as_a_process(self, engine, settings_env):
        """No traceback and no colours in a pipe; calls without a rate are told on standard error."""
        load(engine, "27,0.60")
        walk(engine, receive(engine, make_record(call_time=60)))
        load(engine, "44,0.60")
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "rerate", *WINDOW],
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Calls rerated: 0." in done.stdout
        assert "keep what they have: 1. The first:" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_ledger_is_immutable_even_so(engine):
    """Rerating needs no exception from the rule: the database refuses a change as ever."""
    load(engine, "27,0.60")
    walk(engine, receive(engine, make_record(call_time=60)))
    load(engine, "27,0.90")
    again(engine)
    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(text("DELETE FROM ledger WHERE kind = 'reversal'"))


def test_a_transaction_locks_no_more_batches_than_postgresql_has_room_for():
    """However many batches a correction touches, each part of it touches a few hundred."""
    call_ids = [batch_id << 16 | place for batch_id in range(1, 1_301) for place in range(2)]
    found = list(rerating._of_few_batches(call_ids))
    assert [call_id for part in found for call_id in part] == call_ids
    assert max(len({call_id >> 16 for call_id in part}) for part in found) <= 1_000
