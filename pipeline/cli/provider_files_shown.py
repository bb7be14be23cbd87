"""What loading a provider's file came to, and how its lines are read, as people and scripts see it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipeline.cli.output import complain, console, remark
from pipeline.cli.tables import Table, counted

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.accounts.checked import Loaded
    from pipeline.accounts.file_rows import ListedFile
    from pipeline.accounts.rules.entries import Entry
    from pipeline.instants import Clock


def preview_table(entries: list[Entry], times: Clock) -> Table:
    """The first lines of a file as they are read, beside how they came."""
    table = Table(
        "line", "number", "started", "seconds", "billed", "amount", "rate", "caller", "reference", "read", "raw"
    )
    for entry in entries:
        call = entry.call
        if call is None:
            why = entry.bad or f"left out: {entry.left_out}"
            table.add_row(entry.line, *[""] * 8, why, entry.raw)
            continue
        read = (call.number, times.show(call.started_at), call.seconds, call.billed_seconds)
        money = (f"{call.amount:f} {call.currency}", call.rate)
        table.add_row(entry.line, *read, *money, call.caller, call.reference, "yes", entry.raw)
    return table


def entry_as_dict(entry: Entry) -> dict[str, Any]:
    """A line for scripts."""
    call = None if entry.call is None else entry.call._asdict()
    return entry._asdict() | {"call": call}


def told_money(money: dict[str, str]) -> str:
    """Amounts with their currencies."""
    return ", ".join(f"{Decimal(amount):,f} {currency}" for currency, amount in sorted(money.items()))


def loaded_as_dict(loaded: Loaded, *, dry_run: bool) -> dict[str, Any]:
    """What loading a file came to, for scripts."""
    sums, of = loaded.sums, loaded.already
    if sums is None:
        assert of is not None
        return {"loaded": False, "already_loaded": True, "dry_run": dry_run, "file": of._asdict()}
    return {
        "loaded": loaded.file_id is not None,
        "already_loaded": False,
        "dry_run": dry_run,
        "file_id": loaded.file_id,
        "mapping": loaded.mapping_version,
        "since": loaded.since,
        "until": loaded.until,
        "lines": sums.lines,
        "read": sums.read,
        "bad": sums.bad,
        "skipped": sums.left_out,
        "outside": loaded.outside,
        "seconds": sums.seconds,
        "billed_seconds": sums.billed_seconds,
        "money": dict(sums.money),
        "first_at": sums.first_at,
        "last_at": sums.last_at,
        "stated": loaded.stated.as_json(),
        "differences": loaded.differences,
        "bad_lines": [each._asdict() for each in loaded.bad_lines],
        "overlapping": loaded.overlapping,
    }


def show_loaded(loaded: Loaded, file: Path, times: Clock, *, dry_run: bool) -> None:
    """The same for people."""
    sums, of = loaded.sums, loaded.already
    if sums is None:
        assert of is not None
        _show_known(of, times)
        return
    table = Table("what", "figure", "meaning")
    table.add_row("lines", sums.lines, f"of {file.name} that are calls, or should be")
    table.add_row("  read", sums.read, f"from {times.show(sums.first_at)} to {times.show(sums.last_at)}")
    table.add_row("  bad", sums.bad, "cannot be read; kept with the reason")
    table.add_row(
        "outside", loaded.outside, "of those read, not of the period" if loaded.since else "no period was said"
    )
    table.add_row("skipped", sums.left_out, "headings, totals, what the mapping leaves out")
    table.add_row("seconds", sums.seconds, "as the provider states them")
    for currency, amount in sorted(sums.money.items()):
        table.add_row(currency, amount, "what the lines come to")
    console.print(table)
    for bad in loaded.bad_lines:
        remark(f"line {bad.line}: {bad.reason}")
    if sums.bad > len(loaded.bad_lines):
        remark(f"and {counted(sums.bad - len(loaded.bad_lines), 'line')} more.")
    for difference in loaded.differences:
        remark(difference)
    if loaded.overlapping:
        remark(f"Of the same time there are also: {', '.join(f'file {each}' for each in loaded.overlapping)}.")
    _show_end(loaded, dry_run=dry_run)


def _show_end(loaded: Loaded, *, dry_run: bool) -> None:
    if loaded.file_id is not None:
        console.print(
            f"Loaded as provider file {loaded.file_id}, by version {loaded.mapping_version} of the mapping.",
            highlight=False,
        )
    elif dry_run:
        console.print("Nothing was written.", highlight=False)
    else:
        of_bad = " The lines that cannot be read are in no sum." if loaded.bad_lines else ""
        complain(f"the totals differ; nothing was loaded.{of_bad}", "Load it all the same with --despite-totals.")


def _show_known(of: ListedFile, times: Clock) -> None:
    console.print(
        f"These bytes are provider file {of.id} ({of.name}) already: loaded at {times.show(of.loaded_at)} by "
        f"{of.loaded_by}, by version {of.mapping} of the mapping. Nothing was written.",
        highlight=False,
    )
