"""``pipeline provider``: a provider's file from its preview to its withdrawal, as a person types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.database.roles import apply_roles
from tests.integration.flow import rows
from tests.warm import warm

EXAMPLES = Path(__file__).parents[3] / "deploy/examples/provider-mappings"
FILE, MAPPING = str(EXAMPLES / "semicolons-latin1.csv"), str(EXAMPLES / "semicolons-latin1.toml")
LOAD = ("provider", "load", FILE, "--mapping", MAPPING, "--provider", "acme", "--period", "2026-11", "--who", "thandi")


@pytest.fixture
def pipeline(settings_env):
    """Runs a command; its exit code, output and errors."""

    def run(*words):
        done = warm().pipeline(*words)
        assert "Traceback" not in done.stderr
        return done

    return run


def bad_file(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(Path(FILE).read_bytes().replace(b"09:14:05", b"quarter past nine"))
    return str(path)


def test_a_preview_needs_no_database():
    env = {**os.environ, "DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    done = warm().pipeline("provider", "preview", FILE, "--mapping", MAPPING, "--lines", "2", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    heading, first, second, third, zone = done.stdout.splitlines()
    assert heading.split("\t")[:4] == ["line", "number", "started", "seconds"]
    assert "left out: the heading" in first
    assert second.split("\t")[:6] == ["2", "+4930901820", "2026-11-02 09:14:05 CET", "65", "120", "0.0240 EUR"]
    assert third.endswith(";München")
    assert zone == "Times are of Europe/Berlin."


def test_a_preview_says_why_a_line_is_bad(tmp_path):
    words = ("provider", "preview", bad_file(tmp_path), "--mapping", MAPPING)
    done = warm().pipeline(*words)
    assert done.returncode == 1
    assert "started_at: must be written %d.%m.%Y %H:%M:%S, got '02.11.2026 quarter past nine'" in done.stdout
    found = json.loads(warm().pipeline(*words, "--json").stdout)
    assert [entry["line"] for entry in found if entry["bad"]] == [2]
    assert found[2]["call"]["started_at"] == "2026-11-02T08:15:00+00:00"


def test_a_file_from_loading_to_withdrawal(pipeline, engine):
    done = pipeline(*LOAD)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Loaded as provider file 1, by version 1 of the mapping." in done.stdout
    again = pipeline(*LOAD)
    assert again.returncode == 0
    assert again.stdout.startswith("These bytes are provider file 1 (semicolons-latin1.csv) already: loaded at ")
    (listed,) = json.loads(pipeline("provider", "files", "--provider", "acme", "--json").stdout)
    assert (listed["lines"], listed["money"], listed["stated"]["money"]) == (
        4,
        {"EUR": "1246.2240"},
        {"EUR": "1246.2240"},
    )
    shown = pipeline("provider", "files").stdout.splitlines()
    assert shown[1].split("\t")[:9:4] == ["1", "loaded", "1,246.2240 EUR"]
    lines = json.loads(pipeline("provider", "lines", "1", "--limit", "1", "--json").stdout)
    assert [(line["number"], line["amount"], line["started_at"]) for line in lines] == [
        ("+4930901820", "0.0240", "2026-11-02T08:14:05+00:00")
    ]
    skipped = pipeline("provider", "lines", "1", "--skipped", "--format", "csv").stdout
    assert "skipped by the mapping" in skipped
    assert pipeline("provider", "lines", "1", "--bad").stdout == "line\treason\traw\n"
    gone = pipeline("provider", "withdraw", "1", "--because", "another one came", "--who", "thandi")
    assert gone.stdout == "Provider file 1 (semicolons-latin1.csv of acme) is withdrawn.\n"
    assert pipeline("provider", "withdraw", "1", "--because", "again").returncode == 1
    told = "SELECT who, action, detail->>'reason' FROM actions ORDER BY id"
    assert rows(engine, told) == [
        ("thandi", "provider file loaded", None),
        ("thandi", "provider file withdrawn", "another one came"),
    ]


def test_bad_lines_are_loaded_beside_the_good_ones_and_told(pipeline, tmp_path):
    words = ("provider", "load", bad_file(tmp_path), "--mapping", MAPPING, "--provider", "acme")
    refused = pipeline(*words)
    assert refused.returncode == 1
    assert "the totals differ; nothing was loaded. The lines that cannot be read are in no sum." in refused.stderr
    assert "seconds: 3,804 are stated, the lines come to 3,739, -65" in refused.stderr
    done = pipeline(*words, "--despite-totals", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["loaded"], found["read"], found["bad"], found["bad_lines"][0]["line"]) == (True, 3, 1, 2)
    assert "started_at: must be written" in pipeline("provider", "lines", str(found["file_id"]), "--bad").stdout


def test_what_an_option_states_is_compared(pipeline):
    done = pipeline(*LOAD, "--lines", "5", "--amount", "1246.23")
    assert done.returncode == 1
    assert "amount: EUR 1,246.23 is stated, the lines come to EUR 1,246.2240, -0.0060" in done.stderr
    assert json.loads(pipeline("provider", "files", "--json").stdout) == []
    assert pipeline(*LOAD, "--lines", "4", "--seconds", "3804", "--amount", "EUR 1246.224").returncode == 0


def test_a_dry_run_may_be_made_by_whoever_only_reads(pipeline, engine, database_url):
    with engine.begin() as connection:
        apply_roles(connection, prefix="dry_")
        connection.execute(text("ALTER ROLE dry_cdr_read LOGIN"))
    url = make_url(database_url).set(username="dry_cdr_read").render_as_string(hide_password=False)
    env = {**os.environ, "DATABASE_URL": url}
    done = warm().pipeline(*LOAD, "--dry-run", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Nothing was written.\n")
    refused = warm().pipeline(*LOAD, env=env)
    assert refused.returncode == 3
    assert "lacks a right" in refused.stderr
    engine.dispose()
    server = create_engine(make_url(database_url), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        for role in ("ingest", "work", "flower", "api", "read"):
            connection.execute(text(f"DROP OWNED BY dry_cdr_{role}"))
            connection.execute(text(f"DROP ROLE dry_cdr_{role}"))
    server.dispose()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("load", "nowhere.csv", "--mapping", MAPPING, "--provider", "acme"), 2, "cannot read nowhere.csv"),
        (("load", FILE, "--mapping", "nowhere.toml", "--provider", "acme"), 2, "cannot read nowhere.toml"),
        (("load", FILE, "--mapping", FILE, "--provider", "acme"), 2, "cannot be used: 1 mistake\nis not UTF-8"),
        (("load", FILE, "--mapping", MAPPING, "--provider", "a b"), 2, "'--provider': must be 1 to 64"),
        (
            ("load", str(EXAMPLES / "plain-us.csv"), "--mapping", MAPPING, "--provider", "a"),
            2,
            "columns.number: the file has no column 'Rufnummer'",
        ),
        (("load", FILE, "--mapping", MAPPING, "--provider", "a", "--zone", "Mars"), 2, "must be a zone such as"),
        (("load", FILE, "--mapping", MAPPING, "--provider", "a", "--amount", "much"), 2, "must be a figure such as"),
        (("load", FILE, "--mapping", MAPPING, "--provider", "a", "--period", "May"), 2, "'--period': must be a month"),
        (("load", FILE, "--mapping", MAPPING, "--provider", "a", "--period", "2026-05"), 1, "none of its calls is in"),
        (("load", "/dev/null", "--mapping", MAPPING, "--provider", "a"), 1, "it is no file"),
        (("preview", str(EXAMPLES), "--mapping", MAPPING), 2, "cannot read"),
        (("lines", "4711"), 1, "there is no provider file 4711"),
        (("lines", "1", "--bad", "--skipped"), 2, "exclude each other"),
        (("withdraw", "4711", "--because", "x"), 1, "there is no provider file 4711"),
        (("withdraw", "1", "--because", " "), 2, "say why"),
        (("lines", "9" * 20), 2, "less than or equal to 9223372036854775807"),
        (("withdraw", "9" * 20, "--because", "x"), 2, "less than or equal to 9223372036854775807"),
    ],
)
def test_a_mistake_is_a_sentence_and_its_exit_code(pipeline, words, code, said):
    done = pipeline("provider", *words)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.replace("│", " ").split()) or said in done.stderr
