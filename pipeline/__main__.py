"""``python -m pipeline``, and the ``pipeline`` command: errors end as a sentence, not as a traceback."""

from __future__ import annotations

import os
import sys

from pipeline.monitoring.health import Health, finished_lately, has_queues, health, sign_name, stuck_download


def main() -> None:
    """Run the command line."""
    if found := quick_health(sys.argv[1:]):
        print(found.says)  # noqa: T201 - nothing else is loaded yet
        sys.exit(not found.well)
    run()


def quick_health(arguments: list[str]) -> Health | None:
    """What `pipeline health` says, when the files alone can tell; None: run the command.

    A supervisor asks every few seconds, on a machine that has better things to do than to load libraries.

    Args:
        arguments: all of them, ``health`` included.
    """
    match arguments:
        case ["health", process, *options] if not process.startswith("-"):
            pass
        case _:
            return None
    ready = "--ready" in options
    match [option for option in options if option != "--ready"]:
        case []:
            return health(process, ready=ready)
        case ["--progress", seconds] if seconds.isdecimal():
            found, name = health(process, ready=ready), sign_name(process)
            if not found.well or not has_queues(process):
                return found
            return stuck_download(name, float(seconds)) or finished_lately(name, float(seconds))
        case _:
            return None


def run() -> None:
    """Run any command, with every library it may need."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see main

    from pipeline.cli import app  # noqa: PLC0415
    from pipeline.cli.output import complain, show_traceback  # noqa: PLC0415
    from pipeline.cli.refusals import why_refused  # noqa: PLC0415
    from pipeline.database.engine import is_outage  # noqa: PLC0415
    from pipeline.errors import PipelineError  # noqa: PLC0415
    from pipeline.settings import SettingsError, current_settings  # noqa: PLC0415

    try:
        app()
    except SettingsError as error:
        what, _, settings = str(error).partition("\n")
        complain(what, settings)
    except PipelineError as error:
        complain(str(error))
    except DBAPIError as error:
        if not is_outage(error):
            raise
        complain(*why_refused(error, current_settings().database_url))
    except BrokenPipeError:
        # `pipeline … | head` closes our output early, which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        return
    finally:
        sys.excepthook = show_traceback  # typer's would write it as it is
    sys.exit(1)


if __name__ == "__main__":
    main()
