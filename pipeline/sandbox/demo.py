"""``make demo`` and ``make up``: the whole way of a call, on this machine, with nothing installed."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from sqlalchemy import create_engine, text

from pipeline.balance.sheet import balance_sheet
from pipeline.cli.balance import show
from pipeline.errors import PipelineError
from pipeline.sandbox.by_hand import place, put
from pipeline.sandbox.dialler import SimulatedDialler
from pipeline.sandbox.examples import HOST, Examples
from pipeline.sandbox.servers import sandbox_servers
from pipeline.sandbox.stack import ROOT, Stack, StackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.progress import TaskID
    from sqlalchemy import Connection, Engine

    from pipeline.sandbox.examples import Came

app = typer.Typer(
    help="The pipeline on sandbox servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(place)
app.command()(put)
console = Console()

TARIFF = Path(__file__).with_name("tariff.csv")
STALLED_SECONDS = 60.0
LAST_SECONDS = 10.0
"""How long what was delivered may be on its way to an integrator's program."""

FIRST_CALL_REF = 10_001
"""Of the calls that `up` places: a reader of the documentation puts calls of smaller references by hand."""

# Each step, and how many records have come out of it.
COUNTS = {
    "received": "SELECT coalesce(sum(records), 0) FROM batches",
    "normalized": "SELECT (SELECT count(*) FROM calls) + (SELECT count(*) FROM duplicates) "
    "+ (SELECT count(*) FROM failures WHERE step = 'normalize')",
    "classified": "SELECT count(*) FROM dispositions",
    "billed": "SELECT (SELECT count(*) FROM ledger WHERE side = 'client') "
    "+ (SELECT count(*) FROM uncharged WHERE side = 'client')",
    "recordings": "SELECT count(*) FROM recordings WHERE state NOT IN ('scheduled', 'downloading')",
    "delivered": "SELECT coalesce(sum(delivered), 0) FROM subscribers",
}


@contextlib.contextmanager
def running(*, seed: int, first_call_ref: int = 1) -> Iterator[tuple[Stack, SimulatedDialler, Examples]]:
    """Everything started, a tariff loaded, two subscribed; everything stopped at the end, however it ends."""

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="cdr-sandbox-", ignore_cleanup_errors=True))
        )
        # A second Ctrl-C must not stop the stopping.
        stack.callback(signal.signal, signal.SIGINT, signal.default_int_handler)
        with console.status("starting Redis, Redis and PostgreSQL"):
            servers = stack.enter_context(sandbox_servers(folder / "servers"))
        dialler = stack.enter_context(
            SimulatedDialler(servers.dialler_redis.url, seed=seed, ready_after=2.0, first_call_ref=first_call_ref)
        )
        env = {"FEED_WEBHOOK_ALLOWED_HOSTS": HOST}
        processes = Stack(servers, folder / "pipeline", api_url=dialler.api_url, env=env)
        examples = stack.enter_context(Examples(processes, folder / "examples"))
        stack.enter_context(processes)
        with console.status("migrating the database, loading a tariff, starting the Procfile's processes"):
            processes.release()
            loaded = processes.run("pipeline", "tariff", "load", str(TARIFF))
            if loaded.returncode != 0:
                raise StackError(loaded.stdout + loaded.stderr)
            examples.start()
            processes.start()
        try:
            yield processes, dialler, examples
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            console.print("Stopping everything.")


@app.command()
def demo(
    calls: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many calls the dialler places.")] = 2_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
    bad_share: Annotated[float, typer.Option(min=0, max=1, help="Broken records in between.")] = 0.0,
    replay_share: Annotated[float, typer.Option(min=0, max=10, help="Calls the dialler sends once more.")] = 0.0,
) -> None:
    """Place calls, watch them go through, and show what came of them. Exit code 0 when all is accounted for."""
    with running(seed=seed) as (stack, dialler, examples):
        engine = create_engine(stack.settings["DATABASE_URL"])
        began = time.monotonic()
        dialler.place_calls(calls, bad_share=bad_share)
        dialler.replay(replay_share)
        pushed = calls + len(dialler.bad_elements) + dialler.replayed
        console.print(f"The dialler placed {calls:,} calls (seed {seed}) and put {pushed:,} records on its list.")
        complete = watch(
            engine, stack, pushed=pushed, calls=calls, recordings=sum(c.has_recording for c in dialler.calls)
        )
        console.print(f"Finished after {time.monotonic() - began:.1f} s.\n" if complete else "\n[red]It stalled.[/]\n")
        with engine.connect() as connection:
            closes = summarize(connection, pushed)
            came = examples.wait(connection, seconds=LAST_SECONDS)
            show_integrators(came)
        engine.dispose()
    raise typer.Exit(0 if complete and closes and all(each.once for each in came) else 1)


def watch(engine: Engine, stack: Stack, *, pushed: int, calls: int, recordings: int) -> bool:
    """Show a bar a step until all are full; False when nothing moved for a minute."""
    totals = {
        "received": pushed,
        "normalized": pushed,
        "classified": calls,
        "billed": calls,
        "recordings": recordings,
        "delivered": pushed + calls,
    }
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:12}"),
        BarColumn(40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    last: dict[str, int] = {}
    moved_at = time.monotonic()
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {step: progress.add_task(step, total=total) for step, total in totals.items()}
        while True:
            stack.check()
            with engine.connect() as connection:
                done = {step: int(connection.scalar(text(query)) or 0) for step, query in COUNTS.items()}
                finished = connection.scalar(text("SELECT NOT EXISTS (SELECT FROM batches WHERE finished_at IS NULL)"))
            for step, bar in bars.items():
                progress.update(bar, completed=done[step])
            if finished and all(done[step] >= total for step, total in totals.items()):
                return True
            if done != last:
                last, moved_at = done, time.monotonic()
            elif time.monotonic() - moved_at > STALLED_SECONDS:
                return False
            time.sleep(0.1)


def summarize(connection: Connection, pushed: int) -> bool:
    """Print what came of the calls; whether the balance closes with as many records as were pushed."""
    print_table(
        connection,
        ("disposition", "calls", "talk seconds"),
        "SELECT d.disposition, count(*), sum(c.talk_seconds) "
        "FROM dispositions AS d JOIN calls AS c ON c.id = d.call_id GROUP BY 1 ORDER BY 2 DESC",
    )
    print_table(
        connection,
        ("recordings", "calls", "bytes"),
        "SELECT state, count(*), coalesce(sum(size_bytes), 0) FROM recordings GROUP BY 1 ORDER BY 2 DESC",
    )
    print_table(
        connection,
        ("campaign", "charges", "billable seconds", "amount", "currency"),
        "SELECT c.campaign_ref, count(*), sum(l.billable_seconds), sum(l.amount), l.currency "
        "FROM ledger AS l JOIN calls AS c ON c.id = l.call_id WHERE l.side = 'client' GROUP BY 1, 5 ORDER BY 1",
    )
    connection.rollback()
    sheet = balance_sheet(connection)
    show(sheet)
    if sheet.received.records != pushed:
        console.print(f"[red]{pushed:,} records were pushed, but {sheet.received.records:,} received.[/]")
    return sheet.closes and sheet.pending.records == 0 and sheet.received.records == pushed


def show_integrators(came: list[Came]) -> None:
    """Print what came to the two that subscribed, beside what the feed gave them."""
    table = Table("subscriber", "sink", "given", "received", "once each", box=None, pad_edge=False)
    for each in came:
        said = "yes" if each.once else "[red]no[/]"
        table.add_row(each.name, each.sink, f"{each.given:,}", f"{each.received:,}", said)
    for column in table.columns[2:4]:
        column.justify = "right"
    console.print()
    console.print(table)


def print_table(connection: Connection, columns: tuple[str, ...], query: str) -> None:
    """Print a query's rows, numbers to the right."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in connection.execute(text(query)):
        table.add_row(*(value if isinstance(value, str) else f"{value:,}" for value in row))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    console.print()


@app.command()
def up(
    rate: Annotated[float, typer.Option(min=0, max=1_000, help="Calls a second the dialler places.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
) -> None:
    """Start everything and stay up until Ctrl-C."""
    with running(seed=seed, first_call_ref=FIRST_CALL_REF) as (stack, dialler, examples):
        env_file = ROOT / "var" / "sandbox.env"
        env_file.parent.mkdir(exist_ok=True)
        env_file.write_text(sandbox_env(stack.settings))
        console.print("Everything is up; Ctrl-C stops it.", highlight=False)
        user, _, password = stack.settings["FLOWER_BASIC_AUTH"].partition(":")
        console.print(f"  Flower            {stack.flower_url} ({user}, password {password})", highlight=False)
        console.print(f"  dialler's Redis   {stack.settings['ENIGMA_REDIS_URL']}", highlight=False)
        console.print(f"  database          {stack.settings['DATABASE_URL']}", highlight=False)
        console.print(f"  integrators       crm pops off {examples.redis.url}, shop takes webhooks", highlight=False)
        console.print(f"  logs              {stack.folder}", highlight=False, soft_wrap=True)
        console.print(f"  what they got     {stack.log_of('crm')} and shop.log", highlight=False, soft_wrap=True)
        console.print("In another terminal, from this folder:", highlight=False)
        console.print("  . var/sandbox.env", highlight=False)
        console.print(
            "  python -m pipeline.sandbox place 10    [dim]# the dialler places ten calls[/]", highlight=False
        )
        try:
            while True:
                stack.check()
                if rate:
                    dialler.place_calls(max(1, round(rate)), rate=rate)
                else:
                    time.sleep(0.5)
        except KeyboardInterrupt:
            console.print()
        finally:
            env_file.unlink(missing_ok=True)


def sandbox_env(settings: Mapping[str, str]) -> str:
    """A file for a shell to read: our programs are found before others, and all others still."""
    programs = shlex.quote(str(Path(sys.executable).parent))
    exports = [f'PATH={programs}:"$PATH"', *(f"{name}={shlex.quote(value)}" for name, value in settings.items())]
    return "".join(f"export {each}\n" for each in exports)


def main() -> None:
    """Run a command; its failures are sentences."""
    try:
        app()
    except PipelineError as error:
        Console(stderr=True).print(str(error), highlight=False, markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
