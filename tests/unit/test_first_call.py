"""README and the quickstart put one and the same record on the list: the second is then a duplicate, no conflict."""

from __future__ import annotations

import os
import re
import subprocess

from pipeline.sandbox.stack import ROOT


def put_by(page, tmp_path):
    """What the first shell commands of a page that reach the list put on it, byte for byte."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    last = next(place for place, block in enumerate(blocks) if "explain 845" in block)
    definitions = [block for block in blocks[:last] if "pipeline.sandbox put" in block]
    commands = re.sub(r"^\. var/.*\n|^pipeline .*\n", "", "\n".join([*definitions, blocks[last]]), flags=re.MULTILINE)
    # In place of Python: its last argument, which is the element.
    (tmp_path / "python").write_text('#!/bin/sh\nfor element; do :; done\nprintf %s "$element"\n')
    (tmp_path / "python").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-euc", commands], env=env, capture_output=True, check=True).stdout


def test_the_first_call_is_one_record(tmp_path):
    """Call 845 of the README and of the quickstart."""
    record = put_by("README.md", tmp_path)
    assert b'"call_ref": 845' in record
    assert put_by("docs/quickstart.md", tmp_path) == record
