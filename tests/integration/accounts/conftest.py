"""A provider with a tariff, and what a test says of its calls and its file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from sqlalchemy import text

from pipeline.accounts.reconcile import reconcile
from pipeline.accounts.reconcile_rows import Wanted
from tests.commands import call as command

SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
MONTH = Wanted("acme", SINCE, UNTIL, "UTC")

CALLS = """
INSERT INTO calls (id, source, call_ref, campaign_ref, client_number, client_number_is_e164, dial_number,
                   dial_number_is_e164, direction, dialed_at, talk_seconds, end_reason, recording_url_sent,
                   content_hash)
VALUES (:id, 'enigma', :ref, 'campaign001', :number, true, '+27123456789', true, 'outbound', :at, :seconds, 'hungup',
        false, '\\x00');
"""
CHARGE = """
INSERT INTO ledger (call_id, kind, revision, side, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                    talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
SELECT :id, 'charge', 1, :side, v.id, 2, '27', 0.60, 0, :seconds, :seconds, :seconds,
       cast(:amount AS numeric), cast(:amount AS numeric), 'ZAR', 'rated'
FROM tariff_versions AS v JOIN tariffs AS t ON t.id = v.tariff_id WHERE t.provider = :provider
"""


class Side(NamedTuple):
    """What a test makes."""

    engine: object
    url: str

    def run(self, sql, **values):
        with self.engine.begin() as connection:
            return connection.execute(text(sql), values)

    def rows(self, sql, **values):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def tariff(self, provider):
        """A provider, at a cent a second."""
        self.run("INSERT INTO tariffs (name, side, provider) VALUES (:name, 'provider', :name)", name=provider)
        self.run(
            "INSERT INTO tariff_versions (tariff_id, version, currency, rounding, decimals, billable_dispositions, "
            "  timezone, file_name, file_sha256, loaded_by) "
            "SELECT id, 1, 'ZAR', 'half_up', 2, '{answered}', 'UTC', 'x.csv', '\\x00', 'test' FROM tariffs "
            "WHERE name = :name",
            name=provider,
        )
        self.run(
            "INSERT INTO rates (tariff_version_id, line, prefix, rate_per_minute, connect_fee, first_increment, "
            "  next_increment) SELECT v.id, 2, '27', 0.60, 0, 1, 1 FROM tariff_versions AS v "
            "JOIN tariffs AS t ON t.id = v.tariff_id WHERE t.name = :name",
            name=provider,
        )

    def call(self, number, at, seconds=60, *, provider="acme", side="provider", charged=True):
        """A call that is charged a cent a second."""
        call_id = 65_536 + number
        about = {"id": call_id, "seconds": seconds}
        self.run(CALLS, ref=f"c{number}", number=f"+2782{number:07}", at=at, **about)
        self.run(
            "INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, "
            "  can_be_billed, can_have_audio) VALUES (:id, 'answered', false, '', true, true, true, true)",
            id=call_id,
        )
        if charged:
            self.run(CHARGE, side=side, amount=Decimal(seconds).scaleb(-2), provider=provider, **about)
        return call_id

    def file(self, lines, *, name="acme.csv", provider="acme", since=SINCE, until=UNTIL, state="loaded"):
        """A file of lines, each a number, a time, seconds and an amount."""
        self.run(
            "INSERT INTO provider_mappings (provider, version, content, sha256, loaded_by) "
            "VALUES (:provider, 1, '{}', 'x', 'test') ON CONFLICT DO NOTHING",
            provider=provider,
        )
        file_id = self.run(
            "INSERT INTO provider_files (provider, sha256, name, mapping_id, since, until, zone, lines, read_lines, "
            "  bad_lines, skipped_lines, seconds, money, first_at, last_at, state, loaded_by) "
            "VALUES (:provider, encode(sha256(cast(:name AS text)::bytea), 'hex'), :name, "
            "  (SELECT id FROM provider_mappings WHERE provider = :provider), :since, :until, 'UTC', "
            "  :lines, :lines, 0, 0, 0, '{}', :first, :last, :state, 'test') RETURNING id",
            first=min((at for _, at, _, _ in lines), default=None),
            last=max((at for _, at, _, _ in lines), default=None),
            provider=provider,
            name=name,
            since=since,
            until=until,
            lines=len(lines),
            state=state,
        ).scalar_one()
        for place, (number, at, seconds, amount) in enumerate(lines, start=2):
            self.run(
                "INSERT INTO provider_lines (file_id, line, number, started_at, seconds, amount, currency, raw) "
                "VALUES (:file, :line, :number, :at, :seconds, :amount, 'ZAR', :raw)",
                file=file_id,
                line=place,
                number=f"+2782{number:07}",
                at=at,
                seconds=seconds,
                amount=Decimal(amount),
                raw=f"0{number};{at};{seconds};{amount}",
            )
        return file_id

    def reconcile(self, wanted=MONTH):
        return reconcile(self.engine, wanted, who="accountant")

    def command(self, *words):
        return command(*words, env={"DATABASE_URL": self.url, "PIPELINE_TIMEZONE": "UTC", "PATH": "/usr/bin"})


def at(day, hour=9, **more):
    """A time of the month."""
    return SINCE + timedelta(days=day, hours=hour, **more)


@pytest.fixture
def acme(engine, database_url):
    """A provider with a tariff, ten calls on ten days and a file that has the same of each."""
    side = Side(engine, database_url)
    side.tariff("acme")
    for number in range(10):
        side.call(number, at(number))
    return side


SAME = [(number, at(number), 60, "0.60") for number in range(10)]
