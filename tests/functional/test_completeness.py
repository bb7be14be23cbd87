"""The processes themselves look at the dialler's witnesses, import a file, and show what they found."""

from __future__ import annotations

import json

from tests.functional.conftest import balance, eventually
from tests.functional.hasty import hasten


def heard(stack):
    done = stack.run("pipeline", "completeness", "--json")
    return {each["level"]: each["state"] for each in json.loads(done.stdout)["witnesses"]}


def test_the_recordings_process_hears_every_witness(stack, dialler):
    """Nothing but beat's tick sets it going, of which there is one each minute; here it comes sooner."""
    stack.start(["ingestor", "worker", "recordings"])
    dialler.place_calls(60)
    eventually(lambda: balance(stack)["processed"]["records"] == 60, seconds=120, check=stack.check)
    hasten(stack, "beat")
    stack.start(["beat"])
    wanted = {1: "available", 2: "available", 3: "available"}
    eventually(lambda: heard(stack) == wanted, seconds=200, check=stack.check)
    told = json.loads(stack.run("pipeline", "completeness", "--json").stdout)
    assert not told["missing"]
    for line in told["lines"]:
        assert line["expected"] == line["received"] + line["late"] + line["missing"] + line["unknown"]


def test_a_file_is_imported_while_calls_come_in(stack, dialler, tmp_path):
    """The command waits for the workers, and says where each record went."""
    stack.start(["ingestor", "worker", "beat"])
    dialler.drop_share = 1.0
    lost = dialler.place_calls(40)
    dialler.drop_share = 0.0
    file = tmp_path / "backup.ndjson"
    file.write_bytes(b"\n".join(call.element() for call in lost))
    dialler.place_calls(20)
    for new_before in (0, 40):
        done = stack.run("pipeline", "import", str(file), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["new"], told["duplicate"], told["settled_before"]) == (40, 0, new_before)
    eventually(lambda: balance(stack)["processed"]["records"] == 60, seconds=60, check=stack.check)
