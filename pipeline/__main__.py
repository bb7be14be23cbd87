"""``python -m pipeline``, and the ``pipeline`` command: errors end as a sentence, not as a traceback."""

from __future__ import annotations

import os
import sys

from sqlalchemy.exc import DBAPIError

from pipeline.cli import app
from pipeline.cli.output import complain
from pipeline.domain.errors import PipelineError
from pipeline.settings import SettingsError
from pipeline.storage.database import is_outage


def main() -> None:
    """Run the command line."""
    try:
        app()
    except (SettingsError, PipelineError) as error:
        complain(str(error))
    except DBAPIError as error:
        if not is_outage(error):
            raise
        detail = str(error.orig).strip().splitlines()[0]
        hint = (
            "Run `pipeline db upgrade` first."
            if "does not exist" in detail and "relation" in detail
            else "Check DATABASE_URL, and that the server is up."
        )
        complain(f"the database cannot be used: {detail}", hint)
    except BrokenPipeError:
        # `pipeline … | head` closes our output early, which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        return
    sys.exit(1)


if __name__ == "__main__":
    main()
