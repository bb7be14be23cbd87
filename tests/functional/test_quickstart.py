"""docs/quickstart.md does what it says: its own commands, in their order."""

from __future__ import annotations

import re

from sqlalchemy import text

from pipeline.sandbox.stack import ROOT
from tests.functional.conftest import balance, eventually

PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
TARIFF = ROOT / "pipeline" / "sandbox" / "tariff.csv"


# What a person takes a moment for: to see that what was put on the list is through.
PATIENT = """
eval "at_once_$(declare -f put)"
put() { at_once_put "$1"; echo >> "$PUT_SO_FAR"; python -c "$UNTIL_DONE"; }
"""
UNTIL_DONE = """
import os, time, psycopg
put = len(open(os.environ["PUT_SO_FAR"]).readlines())
with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", ""), autocommit=True) as connection:
    while connection.execute("SELECT sum(records), count(finished_at) - count(*) FROM batches").fetchone() != (put, 0):
        time.sleep(0.05)
"""

ARRIVED = text(
    "SELECT count(*) FROM recordings JOIN calls ON calls.id = call_id "
    "WHERE state = 'stored' AND calls.call_ref::text = :call_ref"
)


def blocks():
    """The commands of each part, without what starts and what is sourced."""
    found = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found[0] == "make up\n"
    return [re.sub(r"^\. var/.*\n", "", block, flags=re.MULTILINE) for block in found[1:]]


def test_the_commands_lead_where_the_page_says(stack, engine, tmp_path):
    """1.19 for the call, nothing for its repeat, three failures, 1.36 for the version accepted; a recording."""
    loaded = stack.run("pipeline", "tariff", "load", str(TARIFF))
    assert loaded.returncode == 0, loaded.stderr
    stack.start(["ingestor", "worker", "beat", "recordings"])
    definitions, *parts = blocks()

    definitions += PATIENT
    stack.env |= {"PUT_SO_FAR": str(tmp_path / "put"), "UNTIL_DONE": UNTIL_DONE}

    def shell(commands):
        done = stack.run("bash", "-euc", f"{definitions}\n{commands}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first, again, wrong, deal, look, place = parts
    assert "1.19" in shell(first)
    repeated = shell(again)
    assert re.search(r"duplicate\s+1", repeated)
    assert re.search(r"charged ZAR\s+1\.19", repeated)
    assert shell(wrong).count("normalize") == 3
    assert "has the new version" in shell(deal)
    sheet = eventually(lambda: (found := balance(stack))["pending"]["records"] == 0 and found)
    places = ("received", "processed", "duplicate", "discarded")
    assert [sheet[place]["records"] for place in places] == [5, 2, 2, 1]
    assert sheet["closes"]
    assert "1.36" in shell(look)
    recorded = shell(place).rpartition("such as: ")[2].split()
    assert recorded[:2] == ["pipeline", "explain"]

    def arrived():
        with engine.connect() as connection:
            return connection.scalar(ARRIVED, {"call_ref": recorded[2]})

    eventually(arrived, check=stack.check)
