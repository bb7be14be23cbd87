"""0029: seldom dispositions are given when their calls were dialled, piece by piece, however often it is cut off."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.database.migrations import upgrade

CALLS = """
INSERT INTO calls (id, source, call_ref, campaign_ref, client_number, client_number_is_e164, dial_number,
                   dial_number_is_e164, direction, dialed_at, talk_seconds, end_reason, recording_url_sent,
                   content_hash)
SELECT n, 'enigma', n, 'spring', '+27821234567', true, '+27123456789', true, 'outbound',
       to_timestamp(1760000000 + n), 0, 'busy', true, '\\x00' FROM generate_series(1, 20000) AS n
"""
DISPOSITIONS = """
INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                          can_have_audio)
SELECT n, (ARRAY['busy', 'failed', 'abandoned', 'answered', 'unknown'])[1 + n % 5], false, '', false, false, false,
       false
FROM generate_series(1, 20000) AS n
"""
WRONG = """
SELECT count(*) FROM dispositions AS d JOIN calls AS c ON c.id = d.call_id
WHERE d.call_dialed_at IS DISTINCT FROM CASE WHEN disposition IN ('busy', 'answered') THEN NULL ELSE c.dialed_at END
"""


@pytest.fixture
def old(empty):
    """A database of the version before, with calls in it."""
    upgrade(empty, "0028")
    with empty.begin() as connection:
        connection.execute(text(CALLS))
        connection.execute(text(DISPOSITIONS))
    return empty


def value(engine, query):
    with engine.connect() as connection:
        return connection.scalar(text(query))


def test_all_of_them_in_pieces_and_no_other(old):
    upgrade(old, "0029")
    assert value(old, "SELECT count(*) FROM dispositions WHERE call_dialed_at IS NOT NULL") == 12_000
    assert value(old, WRONG) == 0


def test_one_that_was_cut_off_goes_on(old):
    """Some rows are filled, and the index was begun."""
    with old.begin() as connection:
        stops = "CONSTRAINT stops CHECK (disposition <> 'unknown') NOT VALID"
        connection.execute(text(f"ALTER TABLE dispositions ADD {stops}"))
    with pytest.raises(DBAPIError):
        upgrade(old, "0029")
    assert value(old, "SELECT count(*) FROM dispositions WHERE call_dialed_at IS NOT NULL") == 5_000
    with old.begin() as connection:
        connection.execute(text("ALTER TABLE dispositions DROP CONSTRAINT stops"))
        connection.execute(text("CREATE INDEX dispositions_seldom_dialed_idx ON dispositions (call_id)"))
    upgrade(old, "0029")
    assert value(old, WRONG) == 0
    indexed = "SELECT indexdef FROM pg_indexes WHERE indexname = 'dispositions_seldom_dialed_idx'"
    assert "(disposition, call_dialed_at, call_id)" in value(old, indexed)
