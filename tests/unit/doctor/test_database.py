"""What is said of the database."""

from __future__ import annotations

import pytest

from pipeline.doctor.rules.database import (
    DatabaseFacts,
    judge_database,
    judge_database_error,
    judge_disk,
    judge_tables,
    judge_tariff_zones,
)
from pipeline.doctor.rules.verdict import Level

GIB = 1024**3
GOOD = DatabaseFacts(
    version="18.1",
    version_number=180_001,
    read_only=False,
    encoding="UTF8",
    session_timezone="UTC",
    knows_timezone=True,
    fsync=True,
    synchronous_commit="on",
    connections=10,
    max_connections=100,
    size_bytes=GIB,
    disk_free=50 * GIB,
    disk_total=100 * GIB,
)


def levels(facts):
    return {verdict.check: verdict.level for verdict in judge_database(facts, "Africa/Johannesburg")}


def test_a_good_database_has_nothing_to_do():
    """All fine."""
    assert set(levels(GOOD).values()) == {Level.OK}


@pytest.mark.parametrize(
    ("change", "check", "level"),
    [
        ({"version_number": 130_010}, "database", Level.PROBLEM),
        ({"read_only": True}, "database", Level.PROBLEM),
        ({"encoding": "SQL_ASCII"}, "database settings", Level.PROBLEM),
        ({"session_timezone": "Africa/Johannesburg"}, "database settings", Level.PROBLEM),
        ({"knows_timezone": False}, "database settings", Level.PROBLEM),
        ({"fsync": False}, "database settings", Level.WARNING),
        ({"synchronous_commit": "off"}, "database settings", Level.WARNING),
        ({"connections": 90}, "database connections", Level.WARNING),
        ({"role": "cdr_read", "role_connections": 5, "role_limit": 5}, "database connections", Level.WARNING),
        ({"database_connections": 19, "database_limit": 20}, "database connections", Level.WARNING),
        ({"standbys": 1}, "database standbys", Level.WARNING),
        ({"standbys": 1, "synchronous": True}, "database standbys", Level.OK),
        ({"collations": ("2.31", "2.36")}, "database collation", Level.WARNING),
        ({"disk_free": None}, "database disk", Level.UNKNOWN),
        ({"disk_free": GIB // 20}, "database disk", Level.PROBLEM),
    ],
)
def test_each_fact_has_its_verdict(change, check, level):
    """One thing wrong, one verdict that is not fine."""
    found = levels(GOOD._replace(**change))
    assert found.pop(check) is level
    assert set(found.values()) == {Level.OK}


@pytest.mark.parametrize(
    ("free", "level"),
    [(50 * GIB, Level.OK), (10 * GIB, Level.OK), (9 * GIB, Level.WARNING), (GIB // 11, Level.PROBLEM)],
)
def test_a_disk_is_judged_by_share_and_bytes(free, level):
    """Little is less than a tenth; next to nothing is a problem."""
    assert judge_disk("disk", free, 100 * GIB, "it", "do").level is level


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ('FATAL:  password authentication failed for user "cdr"', "Correct the user and password"),
        ('FATAL:  database "cdr" does not exist', "Create the database"),
        ('FATAL:  role "cdr" does not exist', "Create the role"),
        ("connection refused\n\tIs the server running?", "Start PostgreSQL"),
        ("connection timeout expired", "Check the host"),
        ("FATAL:  sorry, too many clients already", "Raise max_connections"),
        ('no pg_hba.conf entry for host "1.2.3.4"', "Let this host"),
        ("fe_sendauth: no password supplied", "Put the password"),
        ("failed to resolve host 'nowhere'", "Correct the host"),
        ("permission denied for table calls", "Make its user the owner"),
        ("something else", "Check DATABASE_URL"),
    ],
)
def test_each_error_has_its_advice(said, advice):
    """What the driver said is shown, with what to do."""
    verdict = judge_database_error(OSError(said))
    assert verdict.level is Level.PROBLEM
    assert verdict.remedy.startswith(advice)
    assert "\n" not in verdict.says


@pytest.mark.parametrize(
    ("current", "level", "advice"),
    [
        ("2", Level.OK, ""),
        ("1", Level.PROBLEM, "Run `pipeline db upgrade`."),
        (None, Level.PROBLEM, "Run `pipeline db upgrade`."),
        ("3", Level.PROBLEM, "Install that version here too."),
    ],
)
def test_tables_are_those_of_this_version(current, level, advice):
    """Older ones are upgraded; newer ones are not ours to touch."""
    verdict = judge_tables(current, "2", frozenset("12"))
    assert (verdict.level, verdict.remedy) == (level, advice)


def test_a_tariff_of_another_zone_is_told():
    """Nothing to say of one that is rated by this process's clock; each other with what to do."""
    zone = "Africa/Johannesburg"
    assert not list(judge_tariff_zones([("default", zone)], zone))
    other, none = judge_tariff_zones([("default", "Europe/London"), ("old", None)], zone)
    assert (other.level, none.level) == (Level.WARNING, Level.WARNING)
    assert "loaded in Europe/London" in other.says
    assert "tariff old" in none.says
    assert zone in none.remedy
