"""The last run over each dialler's files, for whoever watches."""

from __future__ import annotations

from pipeline.recordings.verification_rows import begin_verification, end_verification, last_verifications


def test_the_last_run_of_each_dialler_is_told(engine):
    """The newest, whether it ended or not."""
    with engine.begin() as connection:
        assert last_verifications(connection) == []
        first, *_ = begin_verification(connection, who="ann", source="north", afresh=False)
        end_verification(connection, first)
        begin_verification(connection, who="bob", source="north", afresh=False)
        south, *_ = begin_verification(connection, who="eve", source="south", afresh=False)
        end_verification(connection, south)
        runs = last_verifications(connection)
    assert [(run.source, run.who, run.ended_at is not None) for run in runs] == [
        ("north", "bob", False),
        ("south", "eve", True),
    ]
