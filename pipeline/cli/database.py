"""``pipeline db``: the database's tables."""

from __future__ import annotations

import os
import re
import signal
from typing import Annotated

import typer

from pipeline.cli.common import database
from pipeline.cli.output import console
from pipeline.database.roles import apply_roles, names, renew_grants, statements
from pipeline.logs.setup import configure_logging, get_logger
from pipeline.settings import current_settings

app = typer.Typer(help="The database's tables.", no_args_is_help=True)


@app.command("upgrade")
def upgrade() -> None:
    """Bring the database's tables up to date. Safe to run at any time, by several at once."""
    configure_logging(current_settings().pipeline_log_format, "warning")
    before, newest, renewed = _upgraded()
    done = "is up to date" if before == newest else f"went from revision {before or 'none'} to {newest}"
    console.print(f"The database {done}.{' Its roles have their rights.' if renewed else ''}", highlight=False)


def _upgraded() -> tuple[str | None, str | None, bool]:
    """Upgrade; the revision before and now, and whether there were roles to give their rights."""
    # Alembic loads slowly, and no other command needs it.
    from pipeline.database.migrations import revisions  # noqa: PLC0415
    from pipeline.database.migrations import upgrade as migrate  # noqa: PLC0415

    with database("cdr-release") as engine:
        before, newest = revisions(engine)
        migrate(engine)
        with engine.begin() as connection:
            renewed = renew_grants(connection)
    return before, newest, renewed


@app.command("roles")
def roles(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, rather than show the SQL that would.")] = False,
    prefix: Annotated[str, typer.Option(help="Before each role's name; all databases of a server share them.")] = "",
) -> None:
    """A role for each kind of process, with the least it needs. As the owner of the tables, who may make roles."""
    if not re.fullmatch(r"([a-z_][a-z0-9_]{0,49})?", prefix):
        raise typer.BadParameter("small letters, digits and _, at most 50, and no digit first", param_hint="--prefix")
    with database("cdr-roles") as engine:
        if not apply:
            name = engine.url.database
            assert name is not None
            for statement in ("BEGIN", *statements(name, prefix=prefix), "COMMIT"):
                print(f"{statement};")  # noqa: T201 - for psql, without the terminal's width
            return
        with engine.begin() as connection:
            locks_are_closed = apply_roles(connection, prefix=prefix)
    console.print(
        f"{', '.join(names(prefix))} have their rights. None can log in until you say ALTER ROLE … LOGIN PASSWORD."
    )
    if not locks_are_closed:
        console.print(
            "Any of them can still hold up steps by their locks: only a superuser of the server can end that. "
            "Have one run the SQL of `pipeline db roles`."
        )


def release() -> None:
    """Do what a new version needs before its processes work: upgrade the database.

    Under honcho, which stops everything as soon as one process ends, it then waits for the others.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    settings = current_settings()
    configure_logging(settings.pipeline_log_format, "info")
    before, newest, renewed = _upgraded()
    get_logger(__name__).info("released", revision_before=before, revision=newest, roles_renewed=renewed)
    if "HONCHO_PROCESS_NAME" in os.environ:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        signal.sigwait(signals)
