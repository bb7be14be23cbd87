"""What was erased stays so, when a backup or a file brings it back."""

from __future__ import annotations

import pytest

from pipeline.calls.rules.erasure_key import ErasureKey, ErasureKeyError
from pipeline.erasure import marks as marks_module
from pipeline.erasure.marks import InUseError, all_marks, load, marked_numbers
from pipeline.erasure.rules.marks_file import MarksFileError, read, written
from tests.integration.erasure.conftest import KEY, NUMBER, SECRET, nowhere, run
from tests.integration.flow import rows


def marks_of(engine):
    with engine.connect() as connection:
        return all_marks(connection)


def found(engine):
    with engine.connect() as connection:
        return marked_numbers(connection, KEY, "ZA")


def test_marks_are_written_and_read(person):
    """They say no number, and loading them twice adds none."""
    person.erase()
    marks = marks_of(person.engine)
    content = "".join(written(marks)).encode()
    assert b"31234567" not in content
    assert read(content) == marks
    with person.engine.begin() as connection:
        assert load(connection, marks, KEY) == 0


def test_a_copy_of_before_is_put_right(person, engine):
    """The marks come from outside: in the copy nobody knows of them."""
    mark = KEY.mark(NUMBER)
    assert found(engine) == []
    with engine.begin() as connection:
        line = f'{{"mark": "{mark.hex()}", "key_id": "{KEY.id}", "erased_at": "2026-11-01T00:00:00+00:00"}}\n'
        assert load(connection, read(line.encode()), KEY) == 1
    assert found(engine) == [NUMBER]
    person.erase(because="restored")
    assert nowhere(person) == []
    assert found(engine) == []


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO provider_skipped_lines VALUES (2, 1, '083 123 4567;1;0.5', 'a total')",
        "INSERT INTO ported_numbers VALUES ('27831234567', 'Blue', '2020-01-01', NULL)",
        "INSERT INTO actions (who, action, detail) VALUES ('ann', 'x', '{\"reason\": \"(083) 123-4567\"}')",
    ],
    ids=["line", "port", "action"],
)
def test_what_a_file_or_a_person_brings_back_is_found(person, engine, sql):
    """Wherever a number may be quoted."""
    person.erase()
    assert found(engine) == []
    run(engine, sql)
    assert found(engine) == [NUMBER]
    person.erase()
    assert nowhere(person) == []


def test_marks_of_another_key_are_refused(engine):
    """They would be known by nobody."""
    marks = read(f'{{"mark": "{"0" * 64}", "key_id": "{KEY.id}", "erased_at": "2026-11-01"}}'.encode())
    with engine.begin() as connection, pytest.raises(ErasureKeyError, match="not the key"):
        load(connection, marks, ErasureKey(SECRET + "x"))
    assert rows(engine, "SELECT count(*) FROM erased_numbers") == [(0,)]


def test_a_backup_that_runs_is_not_waited_for_without_end(person, engine, monkeypatch):
    """It reads the table of marks until it is done, and steps would wait behind."""
    monkeypatch.setattr(marks_module, "LOCK_SECONDS", 0.1)
    with engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE erased_numbers IN ACCESS SHARE MODE")
        with pytest.raises(InUseError, match="nothing was begun"):
            person.erase()
    assert rows(engine, "SELECT count(*) FROM erasures") == [(0,)]


@pytest.mark.parametrize("content", [b"x", b"{}", b"[]", b'{"mark": "00", "key_id": "a", "erased_at": "b"}', b"\xff"])
def test_a_file_that_is_none_of_marks_is_refused(content):
    """By the line that is wrong."""
    with pytest.raises(MarksFileError, match="line 1 is no mark"):
        read(content)
