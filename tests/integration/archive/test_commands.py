"""What a person types and is told; and what `explain` and `calls` say of calls that are archived."""

from __future__ import annotations

import json
import sys

import pytest

from tests.integration.archive.conftest import MONTH


@pytest.fixture
def archived(september):
    done = september.command("archive", "run")
    assert done.returncode == 0, done.stderr
    return september


def test_all_months_that_are_over_are_archived(archived):
    """Of every dialler; and again there is nothing to do."""
    listed = json.loads(archived.command("archive", "list", "--json").stdout)
    assert [(each["source"], each["month"], each["days"]) for each in listed] == [
        ("enigma", "2026-08", 1),
        ("enigma", "2026-09", 4),
        ("enigma", "2026-10", 1),
        ("south", "2026-09", 1),
    ]
    assert listed[1]["folder"] == "source=enigma/month=2026-09"
    again = json.loads(archived.command("archive", "run", "--json").stdout)
    assert [each["written_days"] for each in again] == [0] * 4
    assert again[1]["manifest"]["sums"]["rows"] == 41


def test_one_month_of_one_dialler(september):
    done = september.command("archive", "run", "--month", "2026-09", "--source", "south")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in september.folder.iterdir() if path.name != ".partial"] == ["source=south"]


def test_a_month_that_is_not_over_is_noted(september):
    september.change("UPDATE calls SET dialed_at = now() - interval '1 second' WHERE call_ref = '2001'")
    ((month,),) = september.rows("SELECT to_char(now() - interval '1 second', 'YYYY-MM')")
    done = september.command("archive", "run", "--month", month, "--source", "enigma")
    assert done.returncode == 0, done.stderr
    assert f"{month} of enigma is not over" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "settings", "code", "said"),
    [
        (("run", "--month", "2026-13"), {}, 2, "must be a month such as 2026-11"),
        (("run", "--month", "rubbish"), {}, 2, "must be a month such as 2026-11"),
        (("restore", "2026-9", "--source", "enigma"), {}, 2, "must be a month such as 2026-11"),
        (("run", "--anew"), {}, 2, "say which month"),
        (("run", "--source", "nobody"), {}, 1, "nothing was ever received from a dialler nobody"),
        (("restore", "2026-09", "--source", "enigma"), {}, 1, "2026-09 of enigma is not in this archive"),
        (("verify",), {}, 1, "nothing of that is archived"),
        (("verify", "--month", "2026-01"), {}, 1, "nothing of that is archived"),
        (("run",), {"ARCHIVE_URL": None}, 2, "the archive is off: ARCHIVE_URL is not set"),
        (("verify",), {"ARCHIVE_URL": ""}, 2, "the archive is off: ARCHIVE_URL is not set"),
        (("run",), {"ARCHIVE_URL": "archive"}, 2, "ARCHIVE_URL: must be a URL such as file:///srv/archive"),
        (("run",), {"ARCHIVE_URL": "nonsense://here"}, 2, "got one that begins with nonsense://"),
        (("run",), {"ARCHIVE_URL": "file:///proc/archive"}, 3, "the archive's store: cannot"),
        (("run",), {"ARCHIVE_STORAGE_OPTIONS": "[]"}, 2, "ARCHIVE_STORAGE_OPTIONS: must be a JSON object"),
    ],
)
def test_what_is_wrong_is_said(september, words, settings, code, said):
    done = september.command("archive", *words, **settings)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_without_the_library_it_is_said_what_to_install(september, monkeypatch):
    """Every other command works as before."""
    from pipeline.archive.arrow import arrow  # noqa: PLC0415

    arrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    try:
        done = september.command("archive", "run")
        assert done.returncode == 1
        assert "the archive needs pyarrow: pip install 'enigma-cdr-pipeline[archive]'" in done.stderr
        assert september.command("explain", "1038").returncode == 0
        assert september.command("archive", "list").returncode == 0
    finally:
        arrow.cache_clear()


def test_verifying_ends_with_1_when_something_is_wrong(archived):
    done = archived.command("archive", "verify", "--month", "2026-09", "--json")
    assert done.returncode == 0, done.stderr
    assert [each["problems"] for each in json.loads(done.stdout)] == [[], []]
    (archived.folder / MONTH.folder / "part-1.parquet").unlink()
    done = archived.command("archive", "verify")
    assert done.returncode == 1
    assert "2026-09 of enigma cannot be relied on as it stands" in done.stderr
    assert "source=enigma/month=2026-09/part-1.parquet is not there" in done.stderr


def test_a_month_that_cannot_be_does_not_stop_the_others(archived):
    (archived.folder / MONTH.folder / "manifest.json").unlink()
    archived.change("UPDATE calls SET campaign_ref = 'x' WHERE source = 'south'")
    done = archived.command("archive", "run")
    assert done.returncode == 1
    assert "the store has no manifest of it" in done.stderr
    assert "south" in done.stdout


class TestACallThatIsArchived:
    """Whoever asks for it is told where it is."""

    def test_one_that_is_in_the_database_too(self, archived):
        said = archived.command("explain", "1038").stdout
        assert "archived in source=enigma/month=2026-09/part-1.parquet, written at " in said
        told = json.loads(archived.command("explain", "1038", "--json").stdout)
        assert told["archived"]["file"] == "source=enigma/month=2026-09/part-1.parquet"

    def test_one_that_came_after_its_day_was_written(self, archived):
        archived.change("UPDATE calls SET normalized_at = now() + interval '1 hour' WHERE call_ref = '1038'")
        assert json.loads(archived.command("explain", "1038", "--json").stdout)["archived"] is None

    def test_one_that_only_the_archive_has(self, archived):
        before = json.loads(archived.command("explain", "1900", "--json").stdout)
        archived.drop("source = 'enigma'")
        said = archived.command("explain", "1900")
        assert said.returncode == 0, said.stderr
        assert "Call 1900 of enigma, in the archive alone" in said.stdout
        assert "pipeline archive restore 2026-09 --source enigma" in said.stdout
        (told,) = json.loads(archived.command("explain", "1900", "--json").stdout)["archived"]
        assert told["file"].startswith("source=enigma/month=2026-09/part-")
        assert told["call"]["client_amount"] == before["net"]["ZAR"]
        clients = [line for line in told["call"]["lines"] if line["side"] == "client"]
        assert [line["amount"] for line in clients] == [line["amount"] for line in before["charges"]]

    def test_one_that_nobody_has(self, archived):
        archived.drop("source = 'enigma'")
        done = archived.command("explain", "4711")
        assert done.returncode == 1
        assert "no call has the reference 4711" in done.stderr

    def test_where_the_archive_is_off_it_is_said_that_it_may_be_there(self, archived):
        archived.drop("source = 'enigma'")
        done = archived.command("explain", "1900", ARCHIVE_URL=None)
        assert done.returncode == 1
        assert "It may be archived: 6 days are" in done.stderr

    def test_a_search_says_which_days_are_not_whole(self, archived):
        words = ("calls", "--since", "2026-09-01", "--until", "2026-10-01", "--source", "enigma")
        assert "any more" not in (done := archived.command(*words)).stdout + done.stderr
        archived.drop("source = 'enigma' AND dialed_at < '2026-09-10'")
        done = archived.command(*words)
        sentence = "Not all of 2026-09-01 to 2026-09-05 is in the database any more: "
        assert sentence in done.stdout + done.stderr
        assert "pipeline archive restore 2026-09 --source enigma" in done.stdout + done.stderr
        told = json.loads(archived.command(*words, "--json").stdout)["archived"]
        assert [(each["month"], each["days"], each["folder"]) for each in told] == [("2026-09", 2, MONTH.folder)]


def test_a_month_is_restored(archived):
    before = archived.contents()
    archived.drop("source = 'enigma'")
    for month in ("2026-08", "2026-09", "2026-10"):
        done = archived.command("archive", "restore", month, "--source", "enigma")
        assert done.returncode == 0, done.stderr
    assert archived.contents() == before
    done = archived.command("archive", "restore", "2026-09", "--source", "enigma")
    assert "All 41 calls of 2026-09 of enigma are in the database." in done.stdout
    archived.change("UPDATE calls SET campaign_ref = 'x' WHERE call_ref = '1038'")
    done = archived.command("archive", "restore", "2026-09", "--source", "enigma")
    assert done.returncode == 1
    assert "calls: 1 rows differ" in done.stderr
