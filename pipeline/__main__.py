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
    """Run any command, with every library it may need; its exit codes are those of `pipeline/cli/exits.py`."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see main

    from pipeline.cli import app  # noqa: PLC0415
    from pipeline.cli.exits import AWAY, FOUND, WRONG  # noqa: PLC0415
    from pipeline.cli.output import complain, show_traceback  # noqa: PLC0415
    from pipeline.cli.refusals import why_refused  # noqa: PLC0415
    from pipeline.database.engine import is_outage  # noqa: PLC0415
    from pipeline.errors import AwayError, PipelineError  # noqa: PLC0415
    from pipeline.settings import SettingsError, current_settings  # noqa: PLC0415

    code = FOUND
    try:
        app()
    except SettingsError as error:
        what, _, settings = str(error).partition("\n")
        complain(what, settings)
        code = WRONG
    except PipelineError as error:
        complain(str(error))
        code = AWAY if isinstance(error, AwayError) else FOUND
    except DBAPIError as error:
        code = AWAY
        if is_outage(error):
            complain(*why_refused(error, current_settings().database_url))
        else:
            show_traceback(type(error), error, error.__traceback__)
    except BrokenPipeError:
        # `pipeline … | head` closes our output early, which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - a fault of ours must not pass for something that was found
        show_traceback(type(error), error, error.__traceback__)
        code = AWAY
    else:
        return
    finally:
        sys.excepthook = show_traceback  # typer's would write it as it is
    sys.exit(code)


if __name__ == "__main__":
    main()
