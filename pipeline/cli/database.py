"""``pipeline db``: the database's tables."""

from __future__ import annotations

import os
import signal

import typer

from pipeline.cli.output import console
from pipeline.logging import configure_logging
from pipeline.settings import current_settings
from pipeline.storage.database import make_engine

app = typer.Typer(help="The database's tables.", no_args_is_help=True)


@app.command("upgrade")
def upgrade() -> None:
    """Bring the database's tables up to date. Safe to run at any time, by several at once."""
    # Alembic loads slowly, and no other command needs it.
    from pipeline.storage.migrations import revisions  # noqa: PLC0415
    from pipeline.storage.migrations import upgrade as migrate  # noqa: PLC0415

    settings = current_settings()
    configure_logging(settings.pipeline_log_format, "warning")
    engine = make_engine(settings.database_url, application="cdr-release", pool_size=1)
    before, newest = revisions(engine)
    migrate(engine)
    done = "is up to date" if before == newest else f"went from revision {before or 'none'} to {newest}"
    console.print(f"The database {done}.", highlight=False)


def release() -> None:
    """Do what a new version needs before its processes work: upgrade the database.

    Under honcho, which stops everything as soon as one process ends, it then waits for the others.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    upgrade()
    if "HONCHO_PROCESS_NAME" in os.environ:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        signal.sigwait(signals)
