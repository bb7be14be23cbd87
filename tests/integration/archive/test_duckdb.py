"""What docs/keeping.md says that one can ask is asked, of files that were written."""

from __future__ import annotations

import re
from decimal import Decimal

import duckdb
import pytest

from pipeline.archive.rules.places import Place
from pipeline.billing.rules.months import month_in
from pipeline.billing.statements import GroupBy, charges_by, totals
from pipeline.sandbox.stack import ROOT
from tests.integration.archive.conftest import MONTH

PAGE = (ROOT / "docs" / "keeping.md").read_text()
EXAMPLES = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def duck(september):
    """DuckDB with the page's first example, in the folder of this test."""
    for month in ("2026-08", "2026-09", "2026-10"):
        september.run(Place("enigma", month))
    september.run(Place("south", "2026-09"))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(EXAMPLES[0].replace("/srv/archive", str(september.folder)))
    yield connection
    connection.close()


def example(words):
    (found,) = (each for each in EXAMPLES if words in each)
    return found


def test_every_example_runs(duck):
    for each in EXAMPLES[1:]:
        for statement in filter(str.strip, each.split(";")):
            assert duck.execute(statement).description


def test_rates_and_talk_by_campaign_and_hour(duck, september):
    asked = duck.execute(example("acd_seconds")).fetchall()
    counted = september.rows(
        "SELECT campaign_ref, date_trunc('hour', dialed_at), count(*), "
        "  round(100.0 * count(*) FILTER (WHERE talk_seconds > 0) / count(*), 1)::float8, "
        "  round(avg(talk_seconds) FILTER (WHERE talk_seconds > 0), 1)::float8 "
        "FROM calls GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert len(asked) > 20
    assert [row[:4] for row in asked] == [row[:4] for row in counted]
    for row, other in zip(asked, counted, strict=True):
        assert row[4] == pytest.approx(other[4], abs=0.051) or row[4] is other[4] is None


def test_money_by_campaign_and_hour(duck, september):
    asked = duck.execute(example("AS cost")).fetchall()
    counted = september.rows(
        "SELECT side, currency, sum(amount) FROM ledger GROUP BY 1, 2 HAVING sum(amount) <> 0 ORDER BY 1, 2"
    )
    client = sum((row[3] for row in asked if row[3] is not None), Decimal(0))
    provider = sum((row[5] for row in asked if row[5] is not None), Decimal(0))
    assert counted == [("client", "ZAR", client), ("provider", "USD", provider)]


def test_a_statement_of_another_zone(duck, september):
    asked = duck.execute(example("AS amount")).fetchall()
    with september.engine.connect() as connection:
        month = month_in("2026-09", "Africa/Johannesburg")
        entries = totals(charges_by(connection, month, GroupBy.CAMPAIGN))
    assert asked == [(each.currency, each.calls, each.billable_seconds, each.amount) for each in entries]


def test_the_folders_are_columns(duck):
    asked = duck.execute("SELECT source, month, count(*) FROM archived GROUP BY ALL ORDER BY ALL").fetchall()
    assert asked == [
        ("enigma", "2026-08", 1),
        ("enigma", "2026-09", 41),
        ("enigma", "2026-10", 1),
        ("south", "2026-09", 9),
    ]


def test_a_file_that_no_manifest_names_is_not_read(duck, september):
    """A run that was killed may leave one behind."""
    folder = september.folder / MONTH.folder
    (folder / "part-99.parquet").write_bytes((folder / "part-1.parquet").read_bytes())
    duck.execute(
        EXAMPLES[0].replace("/srv/archive", str(september.folder)).replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    )
    assert duck.execute("SELECT count(*) FROM archived").fetchone() == (52,)
