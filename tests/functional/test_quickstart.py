"""docs/quickstart.md does what it says: its own commands, in their order."""

from __future__ import annotations

import re

from pipeline.sandbox.stack import ROOT
from tests.functional.conftest import balance, eventually

PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
TARIFF = ROOT / "pipeline" / "sandbox" / "tariff.csv"


def blocks():
    """The commands of each part, without what starts and what is sourced."""
    found = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found[0] == "make up\n"
    return [re.sub(r"^\. var/.*\n", "", block, flags=re.MULTILINE) for block in found[1:]]


def test_the_commands_lead_where_the_page_says(stack):
    """1.19 for the call, nothing for its repeat, three failures dealt with, 1.36 for the version accepted."""
    loaded = stack.run("pipeline", "tariff", "load", str(TARIFF))
    assert loaded.returncode == 0, loaded.stderr
    stack.start(["ingestor", "worker", "beat"])
    definitions, *parts = blocks()

    def shell(commands):
        # What a person takes a moment for.
        slowly = re.sub(r"^(put .*)$", r"\1; sleep 3", commands, flags=re.MULTILINE)
        done = stack.run("bash", "-euc", f"{definitions}\n{slowly}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first, again, wrong, deal, look = parts
    assert "1.19" in shell(first)
    repeated = shell(again)
    assert re.search(r"duplicate +1", repeated)
    assert re.search(r"charged ZAR +1\.19", repeated)
    assert shell(wrong).count("normalize") == 3
    assert "has the new version" in shell(deal)
    sheet = eventually(lambda: (found := balance(stack))["pending"]["records"] == 0 and found)
    places = ("received", "processed", "duplicate", "discarded")
    assert [sheet[place]["records"] for place in places] == [5, 2, 2, 1]
    assert sheet["closes"]
    assert "1.36" in shell(look)
