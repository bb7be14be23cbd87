"""The words a column may hold are those the code knows by name."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import CheckConstraint

from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.rating import DurationBasis
from pipeline.billing.rules.sides import Side
from pipeline.database import tables
from pipeline.recordings.rules.outcome import PauseKind, RecordingState


@pytest.mark.parametrize(
    ("column", "known"),
    [
        (tables.ledger.c.kind, LineKind),
        (tables.recordings.c.state, RecordingState),
        (tables.recording_pauses.c.kind, PauseKind),
        (tables.tariff_versions.c.duration_basis, DurationBasis),
        (tables.tariffs.c.side, Side),
        (tables.ledger.c.side, Side),
        (tables.uncharged.c.side, Side),
    ],
    ids=str,
)
def test_a_column_holds_the_words_of_its_enum(column, known):
    """The page of tables knows no subject, so it spells them."""
    (check,) = (each for each in column.constraints if isinstance(each, CheckConstraint))
    assert re.findall(r"'([^']+)'", str(check.sqltext)) == list(known)
