"""Break the code in ways that tests must notice, one at a time, and see that they do.

    python -m tests.mutants                  all of them
    python -m tests.mutants lease fuse       those with one of these words in their name

The tree is copied into a temporary folder and edited there. Each test has to pass on the copy as it is, and to fail on
the mutant. Exit code 1 when a mutant survives, or when nothing can be said of it.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.edits import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300.0
PASSED, FAILED = 0, 1  # pytest's exit codes; every other says that no test was run


def main() -> None:
    """Try the mutants that were named."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--jobs", type=int, default=2, help="how many to try at once")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not options.words or any(word in mutant.name for word in options.words)]
    with tempfile.TemporaryDirectory(prefix="cdr-mutants-") as folder:
        copies = [copy_tree(Path(folder) / str(number)) for number in range(options.jobs)]
        sys.exit(not try_all(chosen, copies))


def copy_tree(to: Path) -> Path:
    """The files of this checkout that are kept in git or are new, without what was built."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def try_all(mutants: list[Mutant], copies: list[Path]) -> bool:
    """Say of each mutant what became of it; whether all were caught."""
    tests = sorted({mutant.test for mutant in mutants})
    code, output = run_tests(copies[0], *tests)
    if not mutants or code != PASSED:
        print(f"{output}\nno mutant was tried: the tests do not pass as the code is")  # noqa: T201
        return False
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def one(mutant: Mutant) -> tuple[str, str]:
        copy = free.get()
        try:
            return fate(mutant, copy)
        finally:
            free.put(copy)

    caught = 0
    with ThreadPoolExecutor(len(copies)) as pool:
        for mutant, (became, why) in zip(mutants, pool.map(one, mutants), strict=True):
            print(f"{became:9} {mutant.name}\n          {why}", flush=True)  # noqa: T201
            caught += became == "caught"
    print(f"{caught} of {len(mutants)} mutants were caught")  # noqa: T201
    return caught == len(mutants)


def fate(mutant: Mutant, copy: Path) -> tuple[str, str]:
    """What becomes of one mutant: ``caught``, ``SURVIVED``, or ``UNTRIED`` where its test could not be run; and why."""
    file = copy / mutant.path
    was = file.read_text(encoding="utf-8")
    if was.count(mutant.old) != 1:
        return "UNTRIED", f"the text to replace does not stand once in {mutant.path}"
    file.write_text(was.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, output = run_tests(copy, mutant.test)
    finally:
        file.write_text(was, encoding="utf-8")
    if code == FAILED:
        return "caught", next((line[1:].strip() for line in output.splitlines() if line.startswith("E ")), "it hung")
    return ("SURVIVED", f"{mutant.test} passes") if code == PASSED else ("UNTRIED", output)


def run_tests(copy: Path, *tests: str) -> tuple[int, str]:
    """Run tests on a copy; pytest's exit code, and what it wrote. What hangs has failed."""
    # Compiled files would be looked up by a time of change that a quick edit may share.
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return FAILED, ""
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    main()
