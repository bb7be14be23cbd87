"""Alembic's environment, configured in code so that no ini file can drift from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


def alembic_config(engine: Engine | None = None) -> Config:
    """Alembic's configuration; ``engine`` is the database to work on."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to ``revision``; safe to run from several machines at once."""
    command.upgrade(alembic_config(engine), revision)


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """The revision the database is at, and the newest this code knows."""
    with engine.connect() as connection:
        return revision_of(connection), known_revisions()[1]


def revision_of(connection: Connection) -> str | None:
    """The revision the database is at; None when it has no tables."""
    return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> tuple[frozenset[str], str | None]:
    """Every revision this code knows, and the newest."""
    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions()), scripts.get_current_head()
