"""``pipeline tariff``: what calls cost."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.billing.assign import assign_tariff, unassign_tariff
from pipeline.billing.assignment_rows import DEFAULT_TARIFF, EVERYTHING
from pipeline.billing.load import MOST_DECIMALS, export_tariff, load_tariff
from pipeline.billing.rules.rating import DurationBasis, Rounding  # noqa: TC001
from pipeline.billing.rules.tariff_file import COLUMNS, REQUIRED, TariffFileError
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.tariff_rows import find_version, list_versions
from pipeline.calls.rules.disposition import Disposition  # noqa: TC001 - typer reads the annotations
from pipeline.cli.common import AsJson, FormatOption, Utc, Who, chosen, clock, database, read_file
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, errors, operator_name, print_csv, print_json, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.errors import shown
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.billing.assign import Assigned
    from pipeline.billing.load import TariffLoaded
    from pipeline.billing.rules.tariff_file import BadLine
    from pipeline.billing.rules.terms import TariffTerms
    from pipeline.billing.tariff_rows import ListedVersion
    from pipeline.billing.waiting import WaitingCalls

app = typer.Typer(help="What calls cost.", no_args_is_help=True)

_OPTIONAL = ", ".join(COLUMNS[len(REQUIRED) :])

BAD_LINES_SHOWN = 1_000
"""As many as a person will read; `--json` has them all."""
CAMPAIGNS_SHOWN = 5


@app.command(
    "load",
    help=f"""Make a CSV file the newest version of a tariff: all of it, or nothing when a line is bad.

    The first line names the columns: {" and ".join(REQUIRED)}, and any of {_OPTIONAL}.
    An empty prefix is the default rate. valid_to is the first instant that is no longer valid.

    What no option says stays as the version before has it; at first: half_up, the currency's decimals, answered calls
    only, by call_time, inbound calls not rated.

    Failures that waited for a rate are then tried again. The same file twice makes no second version.""",
)
def load(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8; delimited by comma, semicolon or tab.")],
    tariff: Annotated[str, typer.Option(help="The tariff it becomes a version of.")] = DEFAULT_TARIFF,
    rounding: Annotated[
        Rounding | None, typer.Option(help="Which way the last digit of an amount goes.", show_default=False)
    ] = None,
    decimals: Annotated[int | None, typer.Option(min=0, max=MOST_DECIMALS, help="Of an amount.")] = None,
    billable: Annotated[
        list[Disposition] | None,
        typer.Option(help="A disposition that is billed; once for each.", show_default=False),
    ] = None,
    duration: Annotated[
        DurationBasis | None, typer.Option(help="The seconds that are charged.", show_default=False)
    ] = None,
    who: Who = None,
    *,
    inbound: Annotated[
        bool | None,
        typer.Option(
            "--inbound/--no-inbound", help="Whether inbound calls are rated, by dial_number.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    settings = current_settings()
    content = read_file(file)
    try:
        with database() as engine:
            loaded = load_tariff(
                engine,
                content,
                file_name=file.name,
                tariff=tariff,
                loaded_by=who or operator_name(),
                default_currency=settings.pipeline_currency,
                timezone=settings.pipeline_timezone,
                settings=TariffSettings(
                    rounding=rounding,
                    decimals=decimals,
                    billable_dispositions=frozenset(billable) if billable else None,
                    duration_basis=duration,
                    inbound_rated=inbound,
                ),
                dry_run=dry_run,
            )
    except TariffFileError as error:
        if as_json:
            print_json({"bad_lines": [line._asdict() for line in error.bad_lines]})
        else:
            _show_bad_lines(error.bad_lines)
        complain(f"{file} has {counted(len(error.bad_lines), 'mistake')}; nothing was loaded")
        raise typer.Exit(FOUND) from None
    if as_json:
        said = {name: value for name, value in loaded._asdict().items() if name not in {"terms", "waiting"}}
        print_json(said if loaded.waiting is None else said | {"waiting": loaded.waiting._asdict()})
    else:
        _show_loaded(loaded)


@app.command("assign")
def assign(
    names: Annotated[list[str], typer.Argument(metavar="[CAMPAIGN] TARIFF", help="The campaign, then the tariff.")],
    who: Who = None,
    *,
    everything: Annotated[
        bool, typer.Option("--everything", help="For every campaign that is not assigned one itself.")
    ] = False,
) -> None:
    """Give a campaign a tariff: it rates the calls billed from now on, and what `pipeline rerate` rates anew.

    A campaign has the tariff assigned to it, else the one assigned to everything, else `default`. Failures that waited
    for a rate are then tried again.
    """
    if len(names) != (1 if everything else 2):
        wanted = "only the tariff" if everything else "a campaign and a tariff; or say --everything and only the tariff"
        raise typer.BadParameter(f"give {wanted}")
    with database() as engine:
        campaign = None if everything else names[0]
        assigned = assign_tariff(engine, campaign, names[-1], assigned_by=who or operator_name())
    _show_assigned(assigned)


@app.command("unassign")
def unassign(
    campaign: Annotated[str | None, typer.Argument(help="The campaign.", show_default=False)] = None,
    who: Who = None,
    *,
    everything: Annotated[bool, typer.Option("--everything", help="What is assigned to everything.")] = False,
) -> None:
    """Take a campaign's own tariff away again; failures that waited for a rate are then tried again."""
    if (campaign is None) is not everything:
        raise typer.BadParameter("give a campaign, or say --everything")
    with database() as engine:
        assigned = unassign_tariff(engine, campaign, unassigned_by=who or operator_name())
    _show_assigned(assigned)


@app.command("list")
def list_(format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """List the tariffs and their versions."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        listed = list_versions(connection)
    if not listed and format_ is Format.TABLE:
        remark("No tariff was loaded yet. Load one with: pipeline tariff load FILE")
        return
    table = Table(
        "tariff", "version", "state", "rates", "currency", "rounding", "charges", "assigned", "loaded", "by", "file"
    )
    for version, rates, in_force, campaigns in listed:
        table.add_row(
            version.tariff,
            version.version,
            "in force" if in_force else "",
            rates,
            version.terms.currency,
            f"{version.terms.rounding}, {version.terms.decimals} decimals",
            _charged(version.terms),
            _campaigns(campaigns) if in_force else "",
            times.show(version.loaded_at, seconds=False),
            version.loaded_by,
            version.file_name,
        )
    print_rows(table, format_, [_plain(one) for one in listed])


@app.command("export")
def export(
    tariff: Annotated[str, typer.Argument(help="The tariff.")] = DEFAULT_TARIFF,
    version: Annotated[int | None, typer.Option(min=1, help="Left out, the newest.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Left out, standard output.")] = None,
) -> None:
    """Write a version as the CSV file that loads as the same rates again."""
    with database() as engine, engine.connect() as connection:
        lines = export_tariff(connection, tariff, version=version, timezone=current_settings().pipeline_timezone)
        exported = find_version(connection, tariff, version)
        assert exported is not None
        if output is None:
            print_csv(lines)
        else:
            try:
                with output.open("w", encoding="utf-8", newline="") as file:
                    file.writelines(lines)
            except OSError as error:
                complain(f"cannot write {output}: {error.strerror}")
                raise typer.Exit(WRONG) from None
        zone = f", and PIPELINE_TIMEZONE={exported.timezone}" if exported.timezone else ""
        hint = f"The settings are not in the file. Load it with: {' '.join(_options(exported.terms))}{zone}"
        errors.print(hint, highlight=False)


def _options(terms: TariffTerms) -> list[str]:
    return [
        f"--rounding {terms.rounding}",
        f"--decimals {terms.decimals}",
        *(f"--billable {disposition}" for disposition in sorted(terms.billable_dispositions)),
        f"--duration {terms.duration_basis}",
        "--inbound" if terms.inbound_rated else "--no-inbound",
    ]


def _charged(terms: TariffTerms) -> str:
    inbound = ", inbound too" if terms.inbound_rated else ""
    return f"{terms.duration_basis} of {', '.join(sorted(terms.billable_dispositions))}{inbound}"


def _campaigns(campaigns: tuple[str, ...]) -> str:
    names = ["everything" if campaign == EVERYTHING else shown(campaign) for campaign in campaigns]
    more = f" and {len(names) - CAMPAIGNS_SHOWN:,} more" if len(names) > CAMPAIGNS_SHOWN else ""
    return ", ".join(names[:CAMPAIGNS_SHOWN]) + more


def _show_assigned(assigned: Assigned) -> None:
    whose = "everything" if assigned.campaign is None else f"campaign {shown(assigned.campaign)}"
    if assigned.tariff is None:
        done = f"{whose} has no tariff of its own any more"
    elif assigned.changed:
        done = f"{whose} has the tariff {assigned.tariff} from now on"
    else:
        done = f"{whose} has the tariff {assigned.tariff} already"
    released = f"; {counted(assigned.retried, 'failure')} released" if assigned.retried else ""
    console.print(f"{done[0].upper()}{done[1:]}{released}.", highlight=False)


def _show_bad_lines(bad_lines: tuple[BadLine, ...]) -> None:
    table = Table("line", "column", "reason")
    for line, column, reason in bad_lines[:BAD_LINES_SHOWN]:
        table.add_row(line, column, reason)
    console.print(table)
    if len(bad_lines) > BAD_LINES_SHOWN:
        remark(f"… and {len(bad_lines) - BAD_LINES_SHOWN:,} more; --json lists all.")


def _show_loaded(loaded: TariffLoaded) -> None:
    verb = "would be loaded" if loaded.dry_run else "is loaded"
    if loaded.already_loaded:
        verb = "is loaded already"
    table = Table("", "", show_header=False)
    table.add_row("tariff", loaded.tariff)
    table.add_row("version", f"{loaded.version} {verb}")
    table.add_row("rates", f"{loaded.rates:,}")
    table.add_row("currency", loaded.currency)
    table.add_row("rounding", f"{loaded.terms.rounding}, {loaded.terms.decimals} decimals")
    table.add_row("charges", _charged(loaded.terms))
    if loaded.waiting is None:
        table.add_row("failures released", f"{loaded.retried:,}")
    else:
        table.add_row("waiting calls", _waiting(loaded.waiting))
    console.print(table)


def _waiting(waiting: WaitingCalls) -> str:
    """What would become of the calls that wait for a rate, as one sentence."""
    if not waiting.calls:
        return "none"
    sums = " and ".join(f"{amount:,f} {currency}" for currency, amount in sorted(waiting.amounts.items()))
    parts = (
        (waiting.charged, f"charged {sums}"),
        (waiting.not_charged, "not charged"),
        (waiting.still_waiting, "still without a rate"),
    )
    return f"{waiting.calls:,} would be released: {', '.join(f'{calls:,} {what}' for calls, what in parts if calls)}"


def _plain(listed: ListedVersion) -> dict[str, object]:
    version, rates, in_force, campaigns = listed
    return {
        "tariff": version.tariff,
        "version": version.version,
        "in_force": in_force,
        "rates": rates,
        "currency": version.terms.currency,
        "rounding": version.terms.rounding.value,
        "decimals": version.terms.decimals,
        "billable_dispositions": sorted(version.terms.billable_dispositions),
        "duration_basis": version.terms.duration_basis.value,
        "inbound_rated": version.terms.inbound_rated,
        "timezone": version.timezone,
        "assigned_to": [campaign for campaign in campaigns if campaign != EVERYTHING],
        "assigned_to_everything": EVERYTHING in campaigns,
        "file_name": version.file_name,
        "file_sha256": version.file_sha256,
        "loaded_by": version.loaded_by,
        "loaded_at": version.loaded_at,
    }
