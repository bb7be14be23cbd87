"""The balance closes over what is true, and names each row that is not: false rows are put in as the tables' owner."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.billing.rules.rating import DurationBasis, Rounding
from pipeline.calls.rules.disposition import Disposition
from pipeline.cli import app
from pipeline.record_ids import PLACES
from tests.factories import make_record
from tests.integration.billing.test_billing import load as load_with
from tests.integration.flow import load, receive, rows, sheet, walk

BUSY = {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0}
VOICEMAIL = {"end_reason": "voicemail", "extension": None, "recording_url": None}

LINE = (
    "tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee, talk_seconds, rated_seconds, "
    "billable_seconds, reason"
)
REVERSED = (
    f"INSERT INTO ledger (call_id, revision, kind, unrounded, amount, currency, {LINE}) SELECT call_id, 1, 'reversal'"
)
CHARGED_ANEW = (
    f"INSERT INTO ledger (call_id, revision, kind, unrounded, amount, currency, {LINE}) "
    f"SELECT call_id, 2, 'charge', unrounded, amount, currency, {LINE} FROM ledger "
    "WHERE call_id = :first AND kind = 'charge'"
)
OF_THE_FIRST = f"{LINE} FROM ledger WHERE call_id = :first AND revision = 1"

FAILURE = "INSERT INTO failures (record_id, step, class, state, source, reason) VALUES (:first, "
MADE_REVERSAL = "UPDATE ledger SET kind = 'reversal', amount = -amount, unrounded = -unrounded "
OTHER_LINE = "UPDATE ledger SET talk_seconds = 120, rated_seconds = 120, billable_seconds = 120, "

NOT_OPPOSITE = "a reversal is not the exact opposite of a charge"
NOT_THERE = "a charge names a tariff version, or a rate, that is not there"
NOT_THE_SUM = "a charge is not what its rate, its seconds and its tariff's rounding give"
OTHER_SECONDS = "a charge is for other seconds than its call has"
NOT_TO_BE_BILLED = "a call is charged for its seconds, but its tariff does not bill what became of it"
ATTEMPT_ALONE = "a call is charged for the attempt alone, but its tariff bills what became of it"
NO_EXCUSE = "a call is not charged, for a reason that does not hold"
OF_NO_CALL = "a duplicate is of no call"
BEHIND_IT = "a call waits, or was given up, at a step that it has behind it"
FINISHED = "a failure is to be tried again, but its batch is finished"

FALSE_ROWS = {
    "a reversal of less": (NOT_OPPOSITE, [f"{REVERSED}, -unrounded, -0.10, currency, {OF_THE_FIRST}", CHARGED_ANEW]),
    "a reversal in another currency": (
        NOT_OPPOSITE,
        [f"{REVERSED}, -unrounded, -amount, 'USD', {OF_THE_FIRST}", CHARGED_ANEW],
    ),
    "a reversal of nothing": (
        NOT_OPPOSITE,
        [
            CHARGED_ANEW,
            f"{MADE_REVERSAL} WHERE call_id = :first AND revision = 1",
            CHARGED_ANEW.replace(", 2, ", ", 3, "),
        ],
    ),
    "other seconds in the call": (OTHER_SECONDS, ["UPDATE calls SET talk_seconds = 6100 WHERE id = :first"]),
    "a sound charge for other seconds": (
        OTHER_SECONDS,
        [
            f"{OTHER_LINE} unrounded = 1.4, amount = 1.40 WHERE call_id = :first",
        ],
    ),
    "an answered call of no seconds, it is said": (
        NO_EXCUSE,
        [
            "DELETE FROM ledger WHERE call_id = :first",
            "INSERT INTO uncharged (call_id, reason) VALUES (:first, 'zero_seconds')",
        ],
    ),
    "an answered call that was too short, it is said": (
        NO_EXCUSE,
        [
            "DELETE FROM ledger WHERE call_id = :first",
            "INSERT INTO uncharged (call_id, reason) VALUES (:first, 'below_free_seconds')",
        ],
    ),
    "an answered call that came in, it is said": (
        NO_EXCUSE,
        [
            "DELETE FROM ledger WHERE call_id = :first",
            "INSERT INTO uncharged (call_id, reason) VALUES (:first, 'inbound calls are not billed')",
        ],
    ),
    "an answered call that was busy, it is said": (
        NO_EXCUSE,
        [
            "DELETE FROM ledger WHERE call_id = :first",
            "INSERT INTO uncharged (call_id, reason) VALUES (:first, 'a call that ended as busy is not billed')",
        ],
    ),
    "an answered call that is not billed, where every tariff bills those": (
        NO_EXCUSE,
        [
            "DELETE FROM ledger WHERE call_id = :first",
            "INSERT INTO uncharged (call_id, reason) VALUES (:first, 'a call that ended as answered is not billed')",
        ],
    ),
    "a busy call charged": (
        NOT_TO_BE_BILLED,
        [
            "UPDATE ledger SET call_id = :first + 1, talk_seconds = 0 WHERE call_id = :first",
            "UPDATE uncharged SET call_id = :first",
        ],
    ),
    "a charged call found to have been busy": (
        NOT_TO_BE_BILLED,
        ["UPDATE dispositions SET disposition = 'busy' WHERE call_id = :first"],
    ),
    "a duplicate of no call": (OF_NO_CALL, ["UPDATE duplicates SET call_id = 999"]),
    "a version that is not there": (NOT_THERE, ["UPDATE ledger SET tariff_version_id = 777 WHERE call_id = :first"]),
    "another amount": (NOT_THE_SUM, ["UPDATE ledger SET amount = 100 WHERE call_id = :first"]),
    "another amount, before rounding too": (
        NOT_THE_SUM,
        ["UPDATE ledger SET amount = 100, unrounded = 100 WHERE call_id = :first"],
    ),
    "more seconds than its increments give": (
        NOT_THE_SUM,
        ["UPDATE ledger SET billable_seconds = 120, unrounded = 1.4, amount = 1.40 WHERE call_id = :first"],
    ),
    "a currency that is not its tariff's": (NOT_THE_SUM, ["UPDATE ledger SET currency = 'USD' WHERE call_id = :first"]),
    "a charged call that waits to be billed": (
        BEHIND_IT,
        [
            f"{FAILURE}'bill', 'bug', 'open', 'enigma', 'x')",
        ],
    ),
    "a charged call whose bill was given up": (
        BEHIND_IT,
        [
            f"{FAILURE}'bill', 'bug', 'discarded', 'enigma', 'x')",
        ],
    ),
    "a call in quarantine": (
        BEHIND_IT,
        [
            f"{FAILURE}'normalize', 'data', 'open', 'enigma', 'x')",
        ],
    ),
    "a retry that nobody makes": (
        FINISHED,
        [
            f"{FAILURE}'bill', 'bug', 'retrying', 'enigma', 'x')",
        ],
    ),
}


def _put_in(engine, statements, **values):
    """False rows, as somebody would who may do all: the triggers that refuse them are off meanwhile."""
    with engine.begin() as connection:
        for table in ("ledger", "duplicates"):
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            connection.execute(
                text(statement), {name: each for name, each in values.items() if f":{name}" in statement}
            )
        for table in ("ledger", "duplicates"):
            connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def _three_calls(engine):
    """A charged call, a busy one and another charged one, all of one batch, and a duplicate; the first one's id."""
    load(engine)
    batch = receive(engine, make_record(call_ref=1), make_record(call_ref=2, **BUSY), make_record(call_ref=3))
    walk(engine, batch)
    walk(engine, receive(engine, make_record(call_ref=1)))
    assert sheet(engine).closes
    return batch.batch_id * PLACES


@pytest.mark.parametrize("case", FALSE_ROWS)
def test_the_balance_names_what_is_false(engine, case):
    """A row that says what is not so breaks its rule, and the sheet names the call."""
    rule, statements = FALSE_ROWS[case]
    first = _three_calls(engine)
    _put_in(engine, statements, first=first)
    broken = sheet(engine)
    assert not broken.closes
    ids = {violation.rule: violation.ids for violation in broken.violations}
    assert rule in ids, ids
    assert ids[rule][0] in (first, first + 1, first + PLACES)


SWAPPED = {
    "dispositions": (1, "UPDATE dispositions SET call_id = :first + 3 WHERE call_id = :first + 1"),
    "recordings": (0, "UPDATE recordings SET call_id = :first + 1 WHERE call_id = :first"),
}


@pytest.mark.parametrize("table", SWAPPED)
def test_the_right_number_of_the_wrong_rows_does_not_do(engine, table):
    """As many as there should be, but one of another call: the counts agree, the checksums do not."""
    place, swap = SWAPPED[table]
    first = _three_calls(engine)
    _put_in(engine, [swap], first=first)
    broken = sheet(engine)
    assert not broken.closes
    lacking = "a finished batch has a call that lacks its disposition, its one charge or its recording"
    assert {violation.rule: violation.ids for violation in broken.violations}[lacking] == (first + place,)


SETTINGS = [{"rounding": rounding, "decimals": decimals} for rounding in Rounding for decimals in (0, 2, 3)] + [
    {"duration_basis": DurationBasis.CALL_AND_HOLD},
    {"billable_dispositions": frozenset({Disposition.VOICEMAIL, Disposition.BUSY})},
    {"inbound_rated": True},
]
RATES = (
    "27,0.65,0,60,45,,,,,0.05\n2782,0.615,0.005,1,1,,,,,\n2783,1.00,0,30,6,5.00,9.00,,,\n"
    "2784,0.60,0,1,1,,,30,10,0.01\n,1,1,1,1,,,,,"
)
COLUMNS = (
    "prefix,rate_per_minute,connect_fee,first_increment,next_increment,minimum_charge,maximum_charge,"
    "minimum_seconds,free_below_seconds,attempt_fee"
)


def _named(chosen: dict[str, object]) -> str:
    """The name of a case, the same in every process: a set is shown in order."""
    return ",".join(f"{name}={sorted(v) if isinstance(v, frozenset) else v}" for name, v in chosen.items())


@pytest.mark.parametrize("chosen", SETTINGS, ids=_named)
def test_whatever_the_bill_step_writes_is_sound(engine, chosen):
    """Each way to round, to count and to be let off: what billing writes by a tariff breaks no rule."""
    load_with(engine, RATES, columns=COLUMNS, **chosen)
    numbers = ("0820001234", "0830001234", "0840001234", "0710001234", "0010001234")
    ends = ({}, BUSY, VOICEMAIL, {"call_dir": "inbound", "dial_number": "27710001234"}, {"hold_time": 7})
    records = [
        make_record(number=number, **end | ({"call_time": seconds} if end.get("call_time") != 0 else {}))
        for number in numbers
        for end in ends
        for seconds in (0, 3, 29, 61, 1_234)
    ]
    walk(engine, receive(engine, *records))
    assert sheet(engine).violations == ()
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]


def test_a_corrected_call_is_sound(engine):
    """Rerated in another currency and accepted anew: reversals that fit, and charges of several versions."""
    first = _three_calls(engine)
    _put_in(engine, [f"{REVERSED}, -unrounded, -amount, currency, {OF_THE_FIRST}", CHARGED_ANEW], first=first)
    assert sheet(engine).closes


def test_lines_older_than_their_columns_are_sound(engine):
    """A line of the first version names neither its rate nor what was rated."""
    _three_calls(engine)
    _put_in(engine, ["UPDATE ledger SET rate_line = NULL, rated_seconds = NULL"])
    assert sheet(engine).closes


def test_an_attempt_fee_for_an_answered_call_is_false(engine):
    """The fee alone is for what the tariff does not bill."""
    load_with(engine, "27,0.60,0.05", columns="prefix,rate_per_minute,attempt_fee")
    walk(engine, receive(engine, make_record(), make_record(**BUSY)))
    assert sheet(engine).closes
    _put_in(
        engine,
        ["UPDATE ledger SET billable_seconds = 0, unrounded = 0.05, amount = 0.05, reason = 'attempt'"],
    )
    assert ATTEMPT_ALONE in {violation.rule for violation in sheet(engine).violations}


def test_talk_seconds_that_nobody_pays_are_shown_by_disposition(engine, settings_env):
    """They keep nothing from closing: a person looks whether the tariff, or the dialler, means them so."""
    load(engine)
    records = [make_record(**VOICEMAIL | {"call_time": seconds}) for seconds in (30, 12)]
    records += [make_record(call_dir="inbound", call_time=5), make_record(**BUSY), make_record()]
    walk(engine, receive(engine, *records))
    closed = sheet(engine)
    assert closed.closes
    assert closed.as_dict()["unbilled"] == {
        "answered": {"records": 1, "talk_seconds": 5},
        "voicemail": {"records": 2, "talk_seconds": 42},
    }
    assert closed.charged == {"ZAR": Decimal("0.81")}
    shown = CliRunner().invoke(app, ["balance"])
    assert shown.exit_code == 0, shown.output
    assert "not billed: voicemail" in shown.output
    as_json = CliRunner().invoke(app, ["balance", "--json"])
    assert json.loads(as_json.stdout)["unbilled"]["voicemail"] == {"records": 2, "talk_seconds": 42}
