"""The house: what rules may know, which room writes which table, and that the pages about it are true."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.database.tables import metadata

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "pipeline"

RESTORES = {"archive"}
"""Brings back rows that were dropped, as they were; it changes none."""

CLEARS = {"ranges"}
"""Takes away, with a range that is dropped, the few rows about it that are in no range."""

WRITERS = {
    "batches": {"batches", "ingest"},  # ingest makes them, batches moves them on
    "inbox": {"ingest", *RESTORES},
    "edits": {"failures", *CLEARS},
    "ranges": {"ranges"},  # the months to come are made by a function of the database
    "calls": {"calls", *RESTORES},
    "call_keys": {"calls", "ranges", *RESTORES},  # ranges enters those of calls from before there were keys
    "duplicates": {"calls", *RESTORES},
    "dispositions": {"calls", *RESTORES},
    "contacts": {"contacts"},
    "recordings": {"recordings", *RESTORES},
    "recording_pauses": {"recordings"},
    "recording_pace": {"recordings"},
    "recording_verifications": {"recordings"},
    "recording_stores": {"recordings"},
    "tariffs": {"billing"},
    "tariff_versions": {"billing"},
    "tariff_assignments": {"billing"},
    "provider_assignments": {"billing"},
    "ported_numbers": {"billing"},
    "rates": {"billing"},
    "ledger": {"billing", *RESTORES},
    "uncharged": {"billing", *RESTORES},
    "failures": {"batches", "failures", *CLEARS},  # batches sets aside, a person in failures decides
    "probes": {"batches"},
    "revisions": {"calls", *RESTORES, *CLEARS},
    "conflicts": {"calls", *CLEARS},
    "stops": {"ingest"},
    "imports": {"completeness"},
    "import_chunks": {"completeness"},
    "counting_marks": {"completeness"},
    "counted_batches": {"completeness"},
    "campaign_counts": {"completeness"},
    "counter_readings": {"completeness"},
    "findings": {"completeness"},
    "witnesses": {"completeness"},
    "campaign_looks": {"completeness"},
    "contact_looks": {"completeness"},
    "api_halts": {"completeness"},
    "missing_calls": {"completeness"},
    "answered_seconds": {"completeness", *CLEARS},
    "provider_mappings": {"accounts"},
    "provider_files": {"accounts"},
    "provider_lines": {"accounts"},
    "provider_bad_lines": {"accounts"},
    "provider_skipped_lines": {"accounts"},
    "missing_lines": {"completeness"},
    "reconcile_runs": {"accounts"},
    "reconcile_items": {"accounts"},
    "archive_parts": {"archive"},
    "erased_numbers": {"erasure"},
    "erasures": {"erasure"},
    "holds": {"keeping"},
    "keeping": {"keeping"},
    "heartbeats": {"monitoring"},
    "actions": {"database"},  # pipeline/database/audit.py, for all
    "bulk_actions": {"failures"},
    "feed": {
        "database",
        "batches",
        "ingest",
        "feed",
    },  # what happens is told where it happens; feed places and drops it
    "subscribers": {"feed"},
    "subscriber_secrets": {"feed"},
    "feed_refusals": {"feed"},
    "api_tokens": {"access"},
    "access_log": {"database"},  # pipeline/database/access_log.py, for all
    "replays": {"feed"},
    "replay_refusals": {"feed"},
}
"""The rooms that write each table."""

READERS = {
    "batches": {"batches", "completeness", "contacts", "failures", "ingest", "feed", "keeping", "ranges"},
    "inbox": {"archive", "calls", "completeness", "failures", "ingest", "feed"},
    "edits": {"calls", "failures"},
    "calls": {
        "archive",
        "accounts",
        "batches",
        "billing",
        "calls",
        "completeness",
        "contacts",
        "failures",
        "ranges",
        "recordings",
        "feed",
        "keeping",
    },
    "ranges": {"calls", "contacts"},
    "call_keys": set(),
    "duplicates": {"archive", "batches", "calls", "completeness", "keeping"},
    "dispositions": {"archive", "accounts", "billing", "calls", "contacts", "recordings", "feed"},
    "contacts": {"contacts", "feed"},
    "recordings": {"archive", "accounts", "keeping", "ranges", "recordings"},
    "recording_pauses": {"recordings"},
    "recording_pace": {"recordings"},
    "recording_verifications": {"recordings"},
    "recording_stores": {"recordings"},
    "tariffs": {"accounts", "billing"},
    "tariff_versions": {"accounts", "billing"},
    "tariff_assignments": {"billing"},
    "provider_assignments": {"billing", "accounts"},
    "ported_numbers": {"billing"},
    "rates": {"billing"},
    "ledger": {"archive", "accounts", "billing", "contacts"},
    "uncharged": {"archive", "accounts", "billing"},
    "failures": {"batches", "billing", "calls", "failures", "ingest", "completeness", "ranges"},
    "probes": {"batches"},
    "revisions": {"archive", "calls", "completeness", "contacts", "failures", "feed", "keeping"},
    "conflicts": {"calls", "failures"},
    "stops": {"ingest"},
    "imports": {"completeness"},
    "import_chunks": {"ingest", "completeness"},
    "counting_marks": {"completeness"},
    "counted_batches": {"completeness"},
    "campaign_counts": {"completeness"},
    "counter_readings": {"completeness"},
    "findings": {"completeness"},
    "witnesses": {"completeness"},
    "campaign_looks": {"completeness"},
    "contact_looks": {"completeness"},
    "api_halts": {"completeness"},
    "missing_calls": {"completeness"},
    "answered_seconds": {"completeness", "billing"},
    "provider_mappings": {"accounts"},
    "provider_files": {"accounts"},
    "provider_lines": {"accounts"},
    "provider_bad_lines": {"accounts"},
    "provider_skipped_lines": {"accounts"},
    "missing_lines": {"completeness"},
    "reconcile_runs": {"accounts"},
    "reconcile_items": {"accounts"},
    "archive_parts": {"archive"},
    "erased_numbers": {"calls"},  # whose record comes again is told at normalize
    "erasures": set(),
    "holds": {"recordings"},
    "keeping": set(),
    "heartbeats": {"monitoring"},
    "actions": {"database", "failures"},
    "bulk_actions": {"failures"},
    "feed": {"batches", "feed", "ranges"},
    "subscribers": {"feed"},
    "subscriber_secrets": {"feed"},
    "feed_refusals": {"feed", "failures"},  # a refusal is listed among the failures
    "api_tokens": {"access"},
    "access_log": {"database", "keeping"},  # which says how much of it is due
    "replays": {"feed"},
    "replay_refusals": {"feed"},
}
"""The rooms that read each table; those in ``READS_ALL`` besides."""

READS_ALL = {"balance", "database", "erasure", "lookup", "monitoring"}

REWRITES_ALL = {"erasure"}
"""A number may be anywhere; pipeline/erasure/rules/places.py says where, and what is taken out of it there."""

WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM|TRUNCATE|COPY)\s+(?:ONLY\s+)?(\w+)")
NAMES = re.compile(r"\b(?:FROM|JOIN|USING|UPDATE|INTO)\s+(?:ONLY\s+)?(\w+)")

WRITING_CALLS = {"insert", "update", "delete"}


class Use(NamedTuple):
    """A module that names a table."""

    room: str
    module: str
    table: str
    writes: bool


def _modules():
    for path in sorted(HOUSE.rglob("*.py")):
        inside = path.relative_to(HOUSE)
        if inside.parts[0] != "sandbox" and "migrations" not in inside.parts:
            yield path, inside


def _texts(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else " ? " for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _uses():
    found = set()
    for path, inside in _modules():
        tree = ast.parse(path.read_text())
        room = inside.parts[0].removesuffix(".py")
        for text in _texts(tree):
            for pattern, writes in ((NAMES, False), (WRITES, True)):
                found |= {Use(room, str(inside), each, writes) for each in pattern.findall(text)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "pipeline.database.tables":
                found |= {Use(room, str(inside), alias.name, writes=False) for alias in node.names}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WRITING_CALLS:
                found |= {
                    Use(room, str(inside), each.id, writes=True) for each in node.args if isinstance(each, ast.Name)
                }
    return sorted(use for use in found if use.table in metadata.tables)


def test_every_table_has_rooms_that_write_and_read_it():
    assert set(WRITERS) == set(READERS) == set(metadata.tables)


@pytest.mark.parametrize(
    "use", _uses(), ids=lambda use: f"{use.module}-{use.table}-{'writes' if use.writes else 'reads'}"
)
def test_a_room_keeps_to_its_tables(use):
    """SQL hides what imports would show."""
    if use.writes:
        assert use.room in WRITERS[use.table] | REWRITES_ALL
    else:
        assert use.room in READERS[use.table] | WRITERS[use.table] | READS_ALL


def test_the_look_at_the_sql_finds_what_it_should():
    uses = set(_uses())
    assert Use("ingest", "ingest/stops.py", "stops", writes=True) in uses
    assert Use("billing", "billing/ledger.py", "ledger", writes=False) in uses
    assert Use("database", "database/audit.py", "actions", writes=True) in uses
    assert Use("recordings", "recordings/operator.py", "recordings", writes=True) in uses


PURE = re.compile(r"pipeline(\.\w+)*\.rules(\.\w+)*|pipeline\.(errors|instants|record_ids)")
PURE_FOREIGN = {"msgspec", "phonenumbers"}
IMPURE_STANDARD = {"asyncio", "os", "random", "socket", "subprocess", "threading", "time", "urllib.request"}


@pytest.mark.parametrize("path", [path for path, inside in _modules() if "rules" in inside.parts], ids=str)
def test_rules_know_rules_only(path):
    """No database, no clock, no settings: what decides is tested without a server."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("pipeline"):
                assert PURE.fullmatch(name), name
            else:
                top = name.split(".")[0]
                assert not {top, name} & IMPURE_STANDARD, name
                assert top in PURE_FOREIGN or top in __import__("sys").stdlib_module_names, name


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "docs/decisions.md", "SECURITY.md"])
def test_every_path_a_page_names_is_there(page):
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`((?:pipeline|tests|deploy|docs)/[\w./*-]*)`", text))
    missing = sorted(name for name in named if not list(ROOT.glob(name.rstrip("/"))))
    assert not missing


def test_every_room_is_on_the_page():
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.name for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert not {room for room in rooms if f"{room}/" not in text}


LONGEST_FUNCTION = 40
LONG_WITH_REASON = re.compile(r"# long: \w+")


def _functions():
    for path, inside in _modules():
        lines = path.read_text().split("\n")
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield inside, node, lines


def _length(node):
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_a_long_function_says_why():
    """Over 40 lines without its docstring, and then a comment `# long: ...` above it says why."""
    found = []
    for inside, node, lines in _functions():
        length = _length(node)
        first = min(each.lineno for each in (node, *node.decorator_list))
        if length > LONGEST_FUNCTION and not LONG_WITH_REASON.search(lines[first - 2]):
            found.append(f"{inside}:{node.name} ({length})")
    assert not found


@pytest.mark.parametrize(
    ("sizes", "usual", "large"),
    [
        ([lines for path, _ in _modules() if (lines := len(path.read_text().splitlines())) > 1], 110, 300),
        ([_length(node) for _, node, _ in _functions()], 8, 28),
    ],
    ids=["modules", "functions"],
)
def test_sizes_stay_what_a_person_reads_at_once(sizes, usual, large):
    """Lines of a module, and of a function without its docstring: the median, and what one in twenty exceeds."""
    assert statistics.median(sizes) <= usual
    assert statistics.quantiles(sizes, n=20)[-1] <= large
