"""docs/accounting.md walks through a month as it is: its own commands, on a real database, print what the page says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from decimal import Decimal
from itertools import pairwise

import pytest

from pipeline.sandbox.stack import ROOT
from tests import commands
from tests.integration.flow import walk_overdue

WALK = (ROOT / "docs" / "accounting.md").read_text(encoding="utf-8").partition("## A month walked through\n")[2]
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CHANGES = re.compile(r"(Complete through) .*")


def steps():
    """The page's blocks of commands, each with what it should print; None where the page does not show it."""
    blocks = [(each[1], each[2]) for each in BLOCK.finditer(WALK)]
    return [
        (said.replace("\\\n", " ").splitlines(), shown if kind == "text" else None)
        for (of, said), (kind, shown) in pairwise([*blocks, ("", "")])
        if of == "sh"
    ]


def told(text):
    """The lines of an output, whatever its columns are aligned by and its figures separated with."""
    lines = (re.sub(r"(?<=\d),(?=\d{3}\b)", "", " ".join(line.split())) for line in text.splitlines())
    return sorted(CHANGES.sub(r"\1", line) for line in lines if line)


@pytest.fixture
def shell(database_url, engine, tmp_path, monkeypatch):
    """Runs a command of the page where its files are; workers do what is to be done, as soon as it is."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    monkeypatch.chdir(tmp_path)
    env = {"DATABASE_URL": database_url, "PATH": os.environ["PATH"]}

    def run(line):
        program, *words = shlex.split(line)
        if program == "pipeline":
            done = commands.call(*words, env=env)
        else:
            done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        while walk_overdue(engine):
            pass
        return done

    return run


def test_the_walk_prints_what_the_page_says(shell):
    """Every figure of every command, in the page's order, and the exit codes that it names."""
    found, codes = steps(), []
    for lines, shown in found:
        done = [shell(line) for line in lines]
        codes.append([each.returncode for each in done])
        printed = "".join(each.stdout + each.stderr for each in done)
        assert shown is None or told(printed) == told(shown)
    # The file has a line that cannot be read, and a locked run is not made again.
    assert codes == [[0, 0], [0, 0], [0], [0, 1], [0], [0, 0], [0, 1], [0]]
    assert sum(shown is not None for _, shown in found) == 7


def test_the_sums_of_the_page_are_right():
    """What it adds up by hand, from what the provider asks for and what it should ask for."""
    [(plus, minus, total)] = re.findall(r"^([\d.]+(?: [+] [\d.]+)+) \W ([\d.]+) = ([\d.]+)\.", WALK, re.MULTILINE)
    claims = sum(map(Decimal, plus.split(" + ")))
    assert claims - Decimal(minus) == Decimal(total) == Decimal("17.22") - Decimal("10.62")
    assert f"Acme credits {claims}" in WALK
