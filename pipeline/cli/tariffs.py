"""``pipeline tariff``: what calls cost."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.billing.assignment_rows import DEFAULT_TARIFF, EVERYTHING
from pipeline.billing.load import MOST_DECIMALS, export_tariff, load_tariff
from pipeline.billing.rules.rating import DurationBasis, Rounding  # noqa: TC001
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.tariff_file import COLUMNS, REQUIRED, TariffFileError
from pipeline.billing.rules.terms import TariffSettings
from pipeline.billing.tariff_rows import find_version, list_versions
from pipeline.calls.rules.disposition import Disposition  # noqa: TC001 - typer reads the annotations
from pipeline.cli import bad_lines
from pipeline.cli.common import AsJson, FormatOption, SideOption, Utc, Who, chosen, clock, database, read_file
from pipeline.cli.exits import WRONG
from pipeline.cli.output import complain, console, errors, operator_name, print_csv, print_json, print_rows, remark
from pipeline.cli.tables import Format, Table
from pipeline.cli.tariff_assign import assign, unassign
from pipeline.errors import shown
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.billing.load import TariffLoaded
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
    only, by call_time, inbound calls not rated. A provider's tariff (--side provider --provider NAME) at first bills
    voicemail and abandoned calls too, by answered; only its rates may go by a network, for ported numbers.

    Failures that waited for a rate are then tried again. The same file twice makes no second version.""",
)
def load(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8; delimited by comma, semicolon or tab.")],
    tariff: Annotated[
        str | None,
        typer.Option(
            help=f"The tariff it becomes a version of; left out, {DEFAULT_TARIFF}, or that of the provider's name.",
            show_default=False,
        ),
    ] = None,
    side: SideOption = Side.CLIENT,
    provider: Annotated[
        str | None, typer.Option(help="With --side provider: whose prices these are.", show_default=False)
    ] = None,
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
                tariff=_named(tariff, side, provider),
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
                side=side,
                provider=provider,
            )
    except TariffFileError as error:
        left = len(error.bad_lines) - BAD_LINES_SHOWN
        more = f"… and {left:,} more; --json lists all." if left > 0 else None
        bad_lines.refuse(file, error.bad_lines, as_json=as_json, shown=BAD_LINES_SHOWN, more=more)
    if as_json:
        apart = {"terms", "waiting", *(() if loaded.side is Side.PROVIDER else ("side", "provider"))}
        said = {name: value for name, value in loaded._asdict().items() if name not in apart}
        print_json(said if loaded.waiting is None else said | {"waiting": loaded.waiting._asdict()})
    else:
        _show_loaded(loaded)


app.command("assign")(assign)
app.command("unassign")(unassign)


@app.command("list")
def list_(
    side: SideOption = Side.CLIENT, format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False
) -> None:
    """List the tariffs of a side and their versions."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        listed = list_versions(connection, side)
    if not listed and format_ is Format.TABLE:
        whose, more = ("", "") if side is Side.CLIENT else (" of a provider", " --side provider --provider NAME")
        remark(f"No tariff{whose} was loaded yet. Load one with: pipeline tariff load FILE{more}")
        return
    own = () if side is Side.CLIENT else ("provider",)
    table = Table(
        *own,
        "tariff",
        "version",
        "state",
        "rates",
        "currency",
        "rounding",
        "charges",
        "assigned",
        "loaded",
        "by",
        "file",
    )
    for each in listed:
        version, rates, in_force, *_ = each
        table.add_row(
            *(version.provider for _ in own),
            version.tariff,
            version.version,
            "in force" if in_force else "",
            rates,
            version.terms.currency,
            f"{version.terms.rounding}, {version.terms.decimals} decimals",
            _charged(version.terms),
            _assigned(each) if in_force else "",
            times.show(version.loaded_at, seconds=False),
            version.loaded_by,
            version.file_name,
        )
    print_rows(table, format_, [_plain(one) for one in listed])


@app.command("export")
def export(
    tariff: Annotated[str, typer.Argument(help="The tariff.")] = DEFAULT_TARIFF,
    side: SideOption = Side.CLIENT,
    version: Annotated[int | None, typer.Option(min=1, help="Left out, the newest.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Left out, standard output.")] = None,
) -> None:
    """Write a version as the CSV file that loads as the same rates again."""
    with database() as engine, engine.connect() as connection:
        zone = current_settings().pipeline_timezone
        lines = export_tariff(connection, tariff, version=version, timezone=zone, side=side)
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


def _named(tariff: str | None, side: Side, provider: str | None) -> str:
    """The tariff that is meant where none was named."""
    if tariff is not None:
        return tariff
    if side is Side.CLIENT:
        return DEFAULT_TARIFF
    if provider is None:
        raise typer.BadParameter("say whose tariff it is, or which", param_hint="'--provider'")
    return provider


def _assigned(listed: ListedVersion) -> str:
    names = ["everything" if campaign == EVERYTHING else shown(campaign) for campaign in listed.campaigns]
    names += [str(to) for to in listed.assigned_to]
    more = f" and {len(names) - CAMPAIGNS_SHOWN:,} more" if len(names) > CAMPAIGNS_SHOWN else ""
    return ", ".join(names[:CAMPAIGNS_SHOWN]) + more


def _show_loaded(loaded: TariffLoaded) -> None:
    verb = "would be loaded" if loaded.dry_run else "is loaded"
    if loaded.already_loaded:
        verb = "is loaded already"
    table = Table("", "", show_header=False)
    if loaded.provider is not None:
        table.add_row("provider", loaded.provider)
    table.add_row("tariff", loaded.tariff)
    table.add_row("version", f"{loaded.version} {verb}")
    table.add_row("rates", f"{loaded.rates:,}")
    table.add_row("currency", loaded.currency)
    table.add_row("rounding", f"{loaded.terms.rounding}, {loaded.terms.decimals} decimals")
    table.add_row("charges", _charged(loaded.terms))
    if loaded.side is Side.PROVIDER:
        pass  # nothing waits for a rate of its
    elif loaded.waiting is None:
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
    version, rates, in_force, campaigns, assigned_to = listed
    of_provider: dict[str, object] = {}
    if version.side is Side.PROVIDER:
        of_provider = {"provider": version.provider, "assigned_to_calls": [to._asdict() for to in assigned_to]}
    return {
        "side": version.side.value,
        **of_provider,
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
