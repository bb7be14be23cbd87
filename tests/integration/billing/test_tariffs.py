"""Tariffs on real PostgreSQL: loaded whole, found at once, quoted as the ledger would have them."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.batches.rules.failure import Failure
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from pipeline.batches.set_aside import set_aside
from pipeline.billing.bill import bill
from pipeline.billing.billed_calls import Selection
from pipeline.billing.load import TariffLoaded, UnknownTariffError, export_tariff, load_tariff, release_waiting
from pipeline.billing.quote import HypotheticalCall, Quote, quote
from pipeline.billing.rate_rows import rates_of
from pipeline.billing.rerate import compare
from pipeline.billing.rules.rating import DurationBasis, Rate, Rounding, rate_call
from pipeline.billing.rules.tariff_file import TariffFileError
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.tariff_cache import TariffCache
from pipeline.billing.tariff_rows import list_versions, zones_in_force
from pipeline.calls.classify import classify
from pipeline.calls.normalize import normalize
from pipeline.cli import app
from pipeline.errors import DataError, NoRateError
from pipeline.ingest.inbox import settle
from pipeline.lookup.rules.plain import plain
from pipeline.settings import current_settings
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import receive, tariff_in_force, walk

if TYPE_CHECKING:
    from sqlalchemy import Engine

ZONE = "Africa/Johannesburg"
AT = datetime.fromtimestamp(DIALED_AT, UTC)
SMALL = b"prefix,rate_per_minute,description\n27,0.60,South Africa\n2782,1.20,Mobile\n,9,Anywhere\n"


def load(engine: Engine, content: bytes = SMALL, **kwargs: Any) -> TariffLoaded:
    set_by_name = {name: kwargs.pop(name) for name in TariffSettings._fields if name in kwargs}
    arguments: dict[str, Any] = {
        "settings": TariffSettings(**set_by_name),
        "file_name": "t.csv",
        "loaded_by": "somebody",
        "default_currency": "ZAR",
        "timezone": ZONE,
    }
    return load_tariff(engine, content, **(arguments | kwargs))


def counts(engine: Engine) -> tuple[int, int, int]:
    """Tariffs, versions and rates there are."""
    query = (
        "SELECT (SELECT count(*) FROM tariffs), (SELECT count(*) FROM tariff_versions), (SELECT count(*) FROM rates)"
    )
    with engine.connect() as connection:
        tariffs, versions, rates = connection.execute(text(query)).one()
    return tariffs, versions, rates


def rates_in_force(engine: Engine) -> list[Rate]:
    with engine.connect() as connection:
        (newest,) = (each for each in list_versions(connection) if each.version.tariff == "default" and each.in_force)
        return list(rates_of(connection, newest.version.version_id))


def ask(engine: Engine, number: str, seconds: int, *, at: datetime = AT, **more: Any) -> Quote:
    with engine.connect() as connection:
        return quote(connection, HypotheticalCall(number, seconds, at, **more), region="ZA", timezone=ZONE)


def many_prefixes(count=200_000) -> bytes:
    lines = "".join(
        f"{prefix},{prefix % 997}.{prefix % 9973:04},Place {prefix % 3000},0.10,60,6\n"
        for prefix in range(100_000, 100_000 + count)
    )
    return f"prefix,rate_per_minute,description,connect_fee,first_increment,next_increment\n{lines}".encode()


def waiting_failures(engine: Engine, count: int) -> None:
    """Bill failures that wait for a rate, in batches of a hundred."""
    for _ in range(0, count, 100):
        with engine.begin() as connection:
            batch = settle(connection, uuid.uuid4(), "enigma", [b"{}"] * 100, resend_after_seconds=60)
            assert batch is not None
            first = batch.batch_id * 65_536
            reasons = [Failure(first + place, "reference", "no rate") for place in range(100)]
            set_aside(connection, "enigma", Step.BILL, reasons)
            connection.execute(text("UPDATE batches SET finished_at = now(), billed_at = now()"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def states(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT state, count(*) FROM failures GROUP BY state"))
        return {row[0]: row[1] for row in rows}


class TestLoading:
    def test_a_file_becomes_a_version(self, engine):
        """The first load makes the tariff, its version 1 and the rates with their lines."""
        loaded = load(engine)
        assert (loaded.tariff, loaded.version, loaded.rates, loaded.currency) == ("default", 1, 3, "ZAR")
        assert not loaded.already_loaded
        assert rates_in_force(engine) == [
            Rate("27", Decimal("0.60"), description="South Africa", id=2),
            Rate("2782", Decimal("1.20"), description="Mobile", id=3),
            Rate("", Decimal(9), description="Anywhere", id=4),
        ]

    def test_a_version_says_where_it_came_from(self, engine):
        """File, hash, loader and terms are kept with the version."""
        load(engine, rounding=Rounding.UP, decimals=4)
        with engine.connect() as connection:
            ((version, rates, in_force, *_),) = list_versions(connection)
        assert (version.file_name, version.loaded_by, rates, in_force) == ("t.csv", "somebody", 3, True)
        assert len(version.file_sha256) == 32
        assert version.terms == ("ZAR", Rounding.UP, 4, frozenset({"answered"}), DurationBasis.CALL, False)

    @pytest.mark.parametrize(("currency", "decimals"), [("ZAR", 2), ("JPY", 0), ("KWD", 3)])
    def test_decimals_are_those_of_the_currency(self, engine, currency, decimals):
        """Without --decimals an amount has the currency's own."""
        load(engine, default_currency=currency)
        with engine.connect() as connection:
            (listed,) = list_versions(connection)
        assert listed.version.terms.decimals == decimals

    def test_a_bad_line_loads_nothing(self, engine):
        """All or nothing: a good tariff stays in force, and the bad file leaves no trace."""
        load(engine)
        with pytest.raises(TariffFileError):
            load(engine, b"prefix,rate_per_minute\n27,1\n28,-1\n")
        assert counts(engine) == (1, 1, 3)

    def test_an_interrupted_load_loads_nothing(self, engine, monkeypatch):
        """What fails half way through the rates is rolled back with its version."""

        def break_off(connection, version_id):
            raise RuntimeError

        monkeypatch.setattr("pipeline.billing.rate_rows._row", break_off)
        with pytest.raises(RuntimeError):
            load(engine)
        assert counts(engine) == (0, 0, 0)

    def test_a_dry_run_writes_nothing(self, engine):
        """A dry run says what would come of the file."""
        assert load(engine, dry_run=True).version == 1
        assert counts(engine) == (0, 0, 0)
        load(engine)
        again = load(engine, dry_run=True)
        assert (again.version, again.already_loaded) == (1, True)
        assert load(engine, SMALL + b"1,1,\n", dry_run=True).version == 2
        assert counts(engine) == (1, 1, 3)

    def test_a_new_file_is_the_next_version_and_the_old_one_stays(self, engine):
        """Old charges keep their version: it is not touched."""
        load(engine)
        assert load(engine, b"prefix,rate_per_minute\n27,0.70\n").version == 2
        assert counts(engine) == (1, 2, 4)
        with engine.connect() as connection:
            assert [(one.version.version, one.in_force) for one in list_versions(connection)] == [
                (2, True),
                (1, False),
            ]

    def test_the_same_file_makes_no_second_version(self, engine):
        """A load that is repeated is reported as loaded already."""
        load(engine)
        again = load(engine)
        assert (again.version, again.rates, again.already_loaded) == (1, 3, True)
        assert counts(engine) == (1, 1, 3)

    @pytest.mark.parametrize(
        "change",
        [
            {"rounding": Rounding.UP},
            {"decimals": 4},
            {"default_currency": "EUR"},
            {"timezone": "Europe/London"},
            {"tariff": "other"},
        ],
    )
    def test_the_same_file_with_other_terms_is_another_version(self, engine, change):
        """Bytes alone do not make a tariff: terms and time zone change what they mean."""
        dated = b"prefix,rate_per_minute,valid_from\n27,1,2026-07-01\n"
        load(engine, dated)
        assert not load(engine, dated, **change).already_loaded
        assert counts(engine)[1] == 2

    def test_an_older_file_again_is_a_new_version(self, engine):
        """Going back to an earlier file is a change like any other."""
        load(engine)
        load(engine, b"prefix,rate_per_minute\n27,0.70\n")
        assert load(engine).version == 3

    def test_concurrent_loads_queue_up(self, engine):
        """Loads of one tariff at once get versions one after the other, and none is lost."""
        files = [f"prefix,rate_per_minute\n27,{number}\n".encode() for number in range(1, 7)]
        with ThreadPoolExecutor(6) as pool:
            loaded = list(pool.map(lambda content: load(engine, content), files))
        assert sorted(one.version for one in loaded) == [1, 2, 3, 4, 5, 6]

    def test_concurrent_loads_of_one_file_make_one_version(self, engine):
        """Whoever comes second finds it loaded."""
        with ThreadPoolExecutor(6) as pool:
            loaded = list(pool.map(lambda _: load(engine), range(6)))
        assert {one.version for one in loaded} == {1}
        assert sum(not one.already_loaded for one in loaded) == 1

    def test_not_utf8(self, engine):
        """A file in another encoding is refused with the line of its first strange byte."""
        with pytest.raises(TariffFileError, match="line 2: is not UTF-8"):
            load(engine, "prefix,rate_per_minute,description\n27,1,Zürich\n".encode("latin-1"))

    @pytest.mark.parametrize("change", [{"tariff": ""}, {"tariff": "a b"}, {"decimals": 11}, {"decimals": -1}])
    def test_bad_arguments(self, engine, change):
        """A tariff's name and the decimals have limits."""
        with pytest.raises(DataError):
            load(engine, **change)

    def test_two_hundred_thousand_prefixes(self, engine):
        """A whole A-Z tariff is loaded, found by a worker and quoted in seconds, with modest memory."""
        content = many_prefixes()
        assert load(engine, content).rates == 200_000
        cache = TariffCache(ZONE)
        before = resident_bytes()
        with engine.begin() as connection:
            tariff = tariff_in_force(cache, connection)
        assert resident_bytes() - before < 150_000_000
        assert tariff is not None
        assert len(tariff.deck) == 200_000
        with engine.begin() as connection:
            started = perf_counter()
            assert tariff_in_force(cache, connection) is tariff
            assert perf_counter() - started < 1
        found = tariff.deck.find("123456789012", AT)
        assert found is not None
        assert found.prefix == "123456"
        assert ask(engine, "+12345678901", 60).prefix == "123456"
        assert load(engine, content).already_loaded


class TestReleasingFailures:
    def test_waiting_calls_are_tried_again(self, engine):
        """A call that found no rate is charged once one is loaded."""
        with engine.begin() as connection:
            batch = settle(connection, uuid.uuid4(), "enigma", [make_record()], resend_after_seconds=0)
        assert batch is not None
        cache = TariffCache(ZONE)
        works = {
            Step.NORMALIZE: lambda connection, each: normalize(connection, each, region="ZA", now=AT),
            Step.CLASSIFY: classify,
            Step.BILL: lambda connection, each: bill(connection, each, cache),
        }
        for step, work in works.items():
            run_step(engine, batch.batch_id, step, work, resend_after_seconds=1)
        assert states(engine) == {"open": 1}
        assert load(engine).retried == 1
        run_step(engine, batch.batch_id, Step.BILL, works[Step.BILL], resend_after_seconds=1)
        assert states(engine) == {"resolved": 1}
        with engine.connect() as connection:
            line = connection.execute(text("SELECT * FROM ledger")).one()
        quoted = ask(engine, "082 000 1234", 61)
        assert (line.prefix, line.rate_per_minute, line.connect_fee, line.billable_seconds) == (
            quoted.prefix, quoted.rate_per_minute, quoted.connect_fee, quoted.billable_seconds)  # fmt: skip
        assert (line.unrounded, line.amount, line.currency) == (
            quoted.unrounded,
            quoted.amount,
            quoted.currency,
        )

    def test_the_same_file_releases_too(self, engine):
        """A load that was interrupted before the release is finished by doing it again."""
        load(engine)
        waiting_failures(engine, 100)
        again = load(engine)
        assert (again.already_loaded, again.retried) == (True, 100)

    def test_a_dry_run_releases_nothing(self, engine):
        """Failures wait on after a dry run."""
        waiting_failures(engine, 100)
        assert load(engine, dry_run=True).retried == 0
        assert states(engine) == {"open": 100}

    def test_it_goes_part_by_part(self, engine):
        """Every failure is released, whatever the size of a part."""
        waiting_failures(engine, 500)
        assert release_waiting(engine, at_once=70) == 500
        assert states(engine) == {"retrying": 500}

    def test_what_fails_again_meanwhile_does_not_hold_up_the_rest(self, engine):
        """Each failure is released once at least, and it ends, though workers fail them again at once."""
        waiting_failures(engine, 600)
        done = threading.Event()

        def fail_again():
            while not done.is_set():
                with engine.begin() as connection:
                    connection.execute(
                        text(
                            "UPDATE failures SET state = 'open', attempts = attempts + 1, "
                            "last_failed_at = now() WHERE state = 'retrying'"
                        )
                    )
                sleep(0.001)

        worker = threading.Thread(target=fail_again)
        worker.start()
        try:
            assert release_waiting(engine, at_once=50) == 600
        finally:
            done.set()
            worker.join()
        with engine.connect() as connection:
            untouched = connection.scalar(text("SELECT count(*) FROM failures WHERE state = 'open' AND attempts = 1"))
        assert untouched == 0

    def test_a_batch_billed_meanwhile_is_waited_for(self, engine):
        """A batch that read the old version and fails after the load is released by that load."""
        waiting_failures(engine, 100)
        cache = TariffCache(ZONE)
        with engine.begin() as connection:
            assert tariff_in_force(cache, connection) is None
            with ThreadPoolExecutor(1) as pool:
                loading = pool.submit(load, engine)
                until = monotonic() + 10
                while counts(engine)[1] == 0 and monotonic() < until:
                    sleep(0.01)
                assert counts(engine)[1] == 1
                records = range(65_536 * 9_000, 65_536 * 9_000 + 3)
                late = [Failure(record, "reference", "no rate") for record in records]
                set_aside(connection, "enigma", Step.BILL, late)
                sleep(0.2)
                assert not loading.done()
                connection.commit()
                assert loading.result(10).retried == 103
        assert states(engine) == {"retrying": 103}


class TestCache:
    def test_no_tariff(self, engine):
        """Before the first load there is none."""
        with engine.begin() as connection:
            assert tariff_in_force(TariffCache(ZONE), connection) is None

    def test_a_new_version_is_seen_at_once(self, engine):
        """The next batch of every worker is rated by what was loaded last."""
        caches = [TariffCache(ZONE), TariffCache(ZONE)]
        for version, price in enumerate(("0.60", "0.70", "0.80"), 1):
            load(engine, f"prefix,rate_per_minute\n27,{price}\n".encode())
            for cache in caches:
                with engine.begin() as connection:
                    tariff = tariff_in_force(cache, connection)
                assert tariff is not None
                rate = tariff.deck.find("27820001234", AT)
                assert rate is not None
                assert (tariff.version, rate.rate_per_minute) == (version, Decimal(price))

    def test_a_version_is_read_once_and_none_is_kept_that_was_replaced(self, engine):
        """A process holds one version of a tariff, and asks only for ids while nothing changes."""
        cache = TariffCache(ZONE)
        seen = []
        for price in range(4):
            load(engine, f"prefix,rate_per_minute\n27,{price}\n".encode())
            for _ in range(2):
                with engine.begin() as connection:
                    seen.append(tariff_in_force(cache, connection))
        assert seen[0] is seen[1]
        assert [tariff.version for tariff in cache._loaded.values()] == [4]

    def test_a_load_that_is_not_committed_is_not_seen(self, engine, monkeypatch):
        """Batches go on with the version before while a new one is being written."""
        load(engine)
        cache = TariffCache(ZONE)
        seen = []

        def look(connection, tariff_id, rates, **kwargs):
            with engine.begin() as other:
                seen.append(tariff_in_force(cache, other))
            raise RuntimeError

        monkeypatch.setattr("pipeline.billing.load.insert_version", look)
        with pytest.raises(RuntimeError):
            load(engine, b"prefix,rate_per_minute\n27,1\n")
        assert seen[0] is not None
        assert seen[0].version == 1

    def test_another_tariff_rates_nothing(self, engine):
        """Only the tariff `default` rates the calls of campaigns that no other is assigned to."""
        load(engine, tariff="reseller")
        with engine.begin() as connection:
            assert tariff_in_force(TariffCache(ZONE), connection) is None


class TestQuote:
    @pytest.mark.parametrize(
        ("increments", "seconds", "billable", "amount"),
        [
            # rating.md B.2, 0.60 a minute
            ("60,60", 1, 60, "0.60"),
            ("60,60", 61, 120, "1.20"),
            ("30,6", 29, 30, "0.30"),
            ("30,6", 31, 36, "0.36"),
            ("30,6", 85, 90, "0.90"),
            ("1,1", 59, 59, "0.59"),
            ("60,45", 91, 105, "1.05"),
            ("20,6", 29, 32, "0.32"),
        ],
    )
    def test_the_worked_numbers(self, engine, increments, seconds, billable, amount):
        """The numbers of rating.md hold through a file, the database and a quote."""
        load(engine, f"prefix,rate_per_minute,first_increment,next_increment\n27,0.60,{increments}\n".encode())
        quoted = ask(engine, "+27820001234", seconds)
        assert (quoted.billable_seconds, quoted.amount) == (billable, Decimal(amount))

    def test_it_explains_itself(self, engine):
        """The steps name tariff, version and prefix, then the sum."""
        load(engine)
        quoted = ask(engine, "082 000 1234", 61)
        assert quoted.steps == (
            "+27820001234 by tariff default, version 1: prefix 2782 (Mobile)",
            "61 s talked",
            "in increments of 1/1: 61 s",
            "61 s * 1.20 / 60 s = 1.22",
            "rounded half_up to 2 decimals: 1.22",
        )

    def test_a_number_that_is_not_e164_has_the_default_rate(self, engine):
        """An extension or a name is rated by the empty prefix only."""
        load(engine)
        quoted = ask(engine, "2001", 60)
        assert (quoted.prefix, quoted.amount) == ("", Decimal("9.00"))

    @pytest.mark.parametrize(
        ("seconds", "disposition", "step"),
        [
            (0, "answered", "no seconds talked, so no usage is charged"),
            (60, "busy", "not charged: a call that ended as busy is not billed"),
        ],
    )
    def test_what_costs_nothing(self, engine, seconds, disposition, step):
        """A call that is not charged is quoted as nothing, with the reason."""
        load(engine)
        quoted = ask(engine, "+27820001234", seconds, disposition=disposition)
        assert (quoted.billable_seconds, str(quoted.amount), quoted.prefix) == (0, "0.00", "2782")
        assert quoted.steps[1] == step

    def test_the_time_of_the_call_counts(self, engine):
        """The rate is the one valid when the call was dialled; before and after there is another, or none."""
        load(
            engine,
            b"prefix,rate_per_minute,valid_from,valid_to\n27,1,2026-01-01,2026-07-01\n27,2,2026-07-01,2027-01-01\n",
        )
        border = datetime(2026, 6, 30, 22, tzinfo=UTC)
        assert ask(engine, "+27820001234", 60, at=border).amount == 2
        assert ask(engine, "+27820001234", 60, at=border - timedelta(microseconds=1)).amount == 1
        with pytest.raises(NoRateError, match="in tariff 'default'"):
            ask(engine, "+27820001234", 60, at=datetime(2027, 1, 1, tzinfo=UTC))

    def test_no_tariff(self, engine):
        """Without a tariff there is no quote, and it says what to do."""
        with pytest.raises(NoRateError, match="no tariff"):
            ask(engine, "+27820001234", 60)

    def test_the_keys(self, engine):
        """The JSON has the keys the issue asks for, amounts as plain decimals."""
        load(engine, b"prefix,rate_per_minute\n27,0.0000001\n")
        quoted = ask(engine, "+27820001234", 60)._asdict()
        assert json.loads(json.dumps(quoted, default=plain)) == {
            "prefix": "27",
            "tariff": "default",
            "rate_per_minute": "0.0000001",
            "connect_fee": "0",
            "billable_seconds": 60,
            "unrounded": "0.0000001",
            "amount": "0.00",
            "currency": "ZAR",
            "steps": [
                "+27820001234 by tariff default, version 1: prefix 27",
                "60 s talked",
                "in increments of 1/1: 60 s",
                "60 s * 0.0000001 / 60 s = 0.0000001",
                "rounded half_up to 2 decimals: 0.00",
            ],
        }

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        seconds=st.integers(1, 100_000),
        rate=st.decimals(0, 1000, places=6),
        fee=st.decimals(0, 10, places=4),
        increments=st.tuples(st.integers(1, 90), st.integers(1, 90)),
        rounding=st.sampled_from(Rounding),
        decimals=st.integers(0, 6),
    )
    def test_it_is_what_rating_says(self, engine, seconds, rate, fee, increments, rounding, decimals):
        """A quote through file and database is exactly the pure function's charge."""
        first, next_ = increments
        header = "prefix,rate_per_minute,connect_fee,first_increment,next_increment"
        content = f"{header}\n27,{rate},{fee},{first},{next_}\n"
        load(engine, content.encode(), rounding=rounding, decimals=decimals)
        quoted = ask(engine, "+27820001234", seconds)
        charge = rate_call(Rate("27", rate, fee, first, next_), seconds, rounding=rounding, decimals=decimals)
        assert (quoted.billable_seconds, quoted.unrounded, quoted.amount) == (
            charge.billable_seconds,
            charge.unrounded,
            charge.amount,
        )


class TestExport:
    FILE = (
        "prefix,rate_per_minute,description,connect_fee,first_increment,next_increment,minimum_charge,"
        "maximum_charge,minimum_seconds,free_below_seconds,attempt_fee,currency,valid_from,valid_to,"
        "time_of_day,weekdays\n"
        '27,0.60,"Landline, =all",0.10,60,6,0.5,99,30,3,0.01,EUR,2026-01-01,2026-07-01T12:30:00+02:00,'
        '08:00-20:00,"1,2,3"\n'
        ",0.1234567891,,0,1,1,,,0,0,0,EUR,,,,\n"
    )

    def test_an_export_is_the_file_again(self, engine):
        """What a canonical file loads is exported byte for byte."""
        load(engine, self.FILE.encode())
        with engine.connect() as connection:
            assert "".join(export_tariff(connection, "default", timezone=ZONE)) == self.FILE

    def test_an_export_loads_as_the_same_rates(self, engine):
        """Export and load give the same rates, in a new version."""
        load(engine, SMALL)
        before = rates_in_force(engine)
        with engine.connect() as connection:
            exported = "".join(export_tariff(connection, "default", timezone=ZONE))
        assert load(engine, exported.encode()).version == 2
        assert [msgspec.structs.replace(rate, id=None) for rate in rates_in_force(engine)] == [
            msgspec.structs.replace(rate, id=None) for rate in before
        ]

    def test_an_old_version_can_be_exported(self, engine):
        """Every version stays available by its number."""
        load(engine, self.FILE.encode())
        load(engine)
        with engine.connect() as connection:
            assert "".join(export_tariff(connection, "default", version=1, timezone=ZONE)) == self.FILE

    @pytest.mark.parametrize(("tariff", "version"), [("other", None), ("default", 7)])
    def test_an_unknown_one(self, engine, tariff, version):
        """What was never loaded cannot be exported."""
        load(engine)
        with engine.connect() as connection, pytest.raises(UnknownTariffError, match="there is no"):
            export_tariff(connection, tariff, version=version, timezone=ZONE)


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def pipeline(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `pipeline ...` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestCommands:
    def test_load_list_quote_export(self, run, tmp_path):
        """The commands of a first day, one after the other."""
        file = tmp_path / "first.csv"
        file.write_bytes(SMALL)
        loaded = run("tariff", "load", file)
        assert loaded.exit_code == 0, loaded.output
        for word in ("default", "1 is loaded", "3", "ZAR"):
            assert word in loaded.output
        assert "1 is loaded already" in run("tariff", "load", file).output
        listed = run("tariff", "list").output
        for word in ("default", "in force", "first.csv", "half_up, 2 decimals"):
            assert word in listed
        quoted = run("quote", "0820001234", 61)
        assert "1.22 ZAR" in quoted.output
        exported = run("tariff", "export")
        assert exported.stdout.startswith("prefix,rate_per_minute,description,")
        assert exported.stdout.count("\n") == 4
        assert (
            "--rounding half_up --decimals 2 --billable answered --duration call_time --no-inbound" in exported.stderr
        )
        target = tmp_path / "out.csv"
        assert run("tariff", "export", "default", "--version", 1, "--output", target).exit_code == 0
        assert target.read_text() == exported.stdout

    def test_json(self, run, tmp_path):
        """Scripts get JSON of every command that shows something."""
        file = tmp_path / "t.csv"
        file.write_bytes(SMALL)
        assert json.loads(run("tariff", "load", file, "--dry-run", "--json").output)["dry_run"] is True
        assert json.loads(run("tariff", "load", file, "--json").output) == {
            "tariff": "default",
            "version": 1,
            "rates": 3,
            "currency": "ZAR",
            "retried": 0,
            "already_loaded": False,
            "dry_run": False,
        }
        (listed,) = json.loads(run("tariff", "list", "--json").output)
        assert (listed["version"], listed["rates"], listed["decimals"]) == (1, 3, 2)
        quoted = json.loads(run("quote", "+27820001234", 61, "--json", "--at", "2026-07-01T08:00").output)
        assert quoted["amount"] == "1.22"
        assert list(quoted) == [
            "prefix", "tariff", "rate_per_minute", "connect_fee", "billable_seconds", "unrounded", "amount",
            "currency", "steps",
        ]  # fmt: skip

    def test_terms(self, run, tmp_path):
        """Rounding and decimals are given when the tariff is loaded."""
        file = tmp_path / "t.csv"
        file.write_bytes(b"prefix,rate_per_minute\n27,0.1\n")
        assert run("tariff", "load", file, "--rounding", "up", "--decimals", 4).exit_code == 0
        assert json.loads(run("quote", "+27820001234", 1, "--json").output)["amount"] == "0.0017"

    def test_bad_lines_are_a_table(self, run, tmp_path):
        """Every mistake is shown with line, column and reason, as the file has it, and the exit code is 1."""
        file = tmp_path / "bad.csv"
        file.write_bytes(b'prefix,rate_per_minute\n27,"1,234.50"\n[red]x,1\n44\n')
        outcome = run("tariff", "load", file)
        assert outcome.exit_code == 1
        assert "thousands separator" in outcome.output
        assert "got '[red]x'" in outcome.output
        assert "rate_per_minute is missing" in outcome.output
        assert "3 mistakes; nothing was loaded" in outcome.output
        assert "No tariff was loaded yet" in run("tariff", "list").output
        answer = run("tariff", "load", file, "--json")
        assert [bad["line"] for bad in json.loads(answer.stdout)["bad_lines"]] == [2, 3, 4]

    def test_a_long_list_is_cut_for_people_only(self, run, tmp_path):
        """Thousands of mistakes are counted, and the first of them shown."""
        file = tmp_path / "bad.csv"
        file.write_bytes(b"prefix,rate_per_minute\n" + b"27,-1\n" * 1_500)
        outcome = run("tariff", "load", file)
        assert "500 more" in outcome.output
        assert "has 1,500 mistakes" in outcome.output

    @pytest.mark.parametrize("name", ["missing.csv", "."])
    def test_a_file_that_cannot_be_read(self, run, tmp_path, name):
        """A missing file or a folder is one clear line."""
        outcome = run("tariff", "load", tmp_path / name)
        assert outcome.exit_code == 2
        assert outcome.output.startswith("Error: cannot read")

    def test_a_folder_that_cannot_be_written(self, run, tmp_path):
        """An export that cannot be written is one clear line."""
        file = tmp_path / "t.csv"
        file.write_bytes(SMALL)
        run("tariff", "load", file)
        outcome = run("tariff", "export", "--output", tmp_path / "no" / "out.csv")
        assert (outcome.exit_code, outcome.output[:19]) == (2, "Error: cannot write")

    @pytest.mark.parametrize(
        "arguments", [("--at", "soon"), ("--disposition", "sleepy"), ("--at", "0001-01-01T00:00+05:00")]
    )
    def test_bad_options(self, run, arguments):
        """What cannot be meant is refused before anything is asked."""
        assert run("quote", "+27820001234", 60, *arguments).exit_code == 2

    def test_mistakes_end_as_a_sentence(self, settings_env, tmp_path):
        """No rate and no such tariff are told in one line, without a traceback."""
        for command in (("quote", "+27820001234", 60), ("tariff", "export", "nobody")):
            outcome = pipeline(*command)
            assert outcome.returncode == 1
            assert outcome.stderr.startswith("Error: ")
            assert "Traceback" not in outcome.stderr

    @pytest.mark.parametrize("command", [("tariff", "list"), ("tariff", "export"), ("quote", "+27820001234", 60)])
    def test_the_database_is_away(self, command):
        """An outage is told in one line, and the exit code is 3."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"postgresql+psycopg://postgres@127.0.0.1:{nobody.getsockname()[1]}/cdr"
            outcome = pipeline(*command, DATABASE_URL=url)
        assert outcome.returncode == 3
        assert outcome.stderr.startswith("Error: the database cannot be used")
        assert "Traceback" not in outcome.stderr

    def test_settings_are_used(self, run, monkeypatch, tmp_path):
        """Currency and time zone are those of the environment."""
        monkeypatch.setenv("PIPELINE_CURRENCY", "JPY")
        monkeypatch.setenv("PIPELINE_TIMEZONE", "Asia/Tokyo")
        current_settings.cache_clear()
        file = tmp_path / "t.csv"
        file.write_bytes(b"prefix,rate_per_minute,valid_from\n81,60.4,2026-07-01\n")
        run("tariff", "load", file)
        quoted = run("quote", "+81312345678", 60, "--at", "2026-07-01T00:00", "--json")
        assert json.loads(quoted.output)["amount"] == "60"
        assert run("quote", "+81312345678", 60, "--at", "2026-06-30T23:59:59").exit_code == 1


class TestTimeZone:
    """A version keeps the zone it was loaded in, whoever rates by it later."""

    HOURS = b"prefix,rate_per_minute,time_of_day\n27,1,08:00-20:00\n27,5,20:00-08:00\n"
    EVENING = datetime(2026, 9, 21, 19, tzinfo=UTC)  # 21:00 in Johannesburg, 15:00 in New York

    def test_any_process_rates_by_the_versions_zone(self, engine):
        """A quote, the bill step's cache and a rerating, all in processes of another zone."""
        load(engine, self.HOURS)
        with engine.connect() as connection:
            call = HypotheticalCall("+27820001234", 60, self.EVENING)
            assert quote(connection, call, region="ZA", timezone="America/New_York").amount == 5
        with engine.begin() as connection:
            tariff = tariff_in_force(TariffCache("America/New_York"), connection)
        assert tariff is not None
        rate = tariff.deck.find("27820001234", self.EVENING)
        assert rate is not None
        assert rate.rate_per_minute == 5

    def test_a_rerating_from_elsewhere_changes_nothing(self, engine):
        """A shell with another PIPELINE_TIMEZONE finds no call that costs something else."""
        load(engine, self.HOURS)
        walk(engine, receive(engine, make_record(dialed_at=int(self.EVENING.timestamp()))))
        selection = Selection(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
        compared = compare(engine, selection, TariffCache("America/New_York"), progress=lambda *_: None)
        assert (compared.changed, sum(each.calls for each in compared.differences.values())) == (0, 1)

    def test_the_same_hours_of_another_zone_are_another_version(self, engine):
        """The bytes are the same, what they say is not; a file without hours says the same everywhere."""
        load(engine, self.HOURS)
        assert load(engine, self.HOURS).already_loaded
        elsewhere = load(engine, self.HOURS, timezone="America/New_York")
        assert (elsewhere.already_loaded, elsewhere.version) == (False, 2)
        load(engine, tariff="plain")
        assert load(engine, tariff="plain", timezone="America/New_York").already_loaded

    def test_a_version_of_old_code_takes_the_zone_of_whoever_rates(self, engine):
        """Until it is loaded again, which gives it one."""
        load(engine, self.HOURS)
        with engine.begin() as connection:
            connection.execute(text("UPDATE tariff_versions SET timezone = NULL"))
        with engine.connect() as connection:
            call = HypotheticalCall("+27820001234", 60, self.EVENING)
            assert quote(connection, call, region="ZA", timezone="America/New_York").amount == 1
            assert zones_in_force(connection) == [("default", None)]
        again = load(engine, self.HOURS)
        assert (again.already_loaded, again.version) == (False, 2)
        with engine.connect() as connection:
            assert zones_in_force(connection) == [("default", ZONE)]

    def test_an_export_is_written_in_the_versions_zone(self, engine):
        """So that it loads as the same version again, in that zone."""
        dated = b"prefix,rate_per_minute,valid_from,time_of_day\n27,1,2026-07-01,08:00-20:00\n"
        load(engine, dated, timezone="America/New_York")
        with engine.connect() as connection:
            exported = "".join(export_tariff(connection, "default", timezone=ZONE))
        assert ",2026-07-01,,08:00-20:00," in exported
