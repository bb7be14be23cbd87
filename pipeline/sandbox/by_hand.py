"""What a person has the running sandbox do: place calls, and put a record of their own on the list."""

from __future__ import annotations

import sys
from typing import Annotated

import httpx
import redis
import typer
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.errors import PipelineError
from pipeline.sandbox.api import MOST_CALLS, PLACE
from pipeline.settings import current_settings

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class NoSandboxError(PipelineError):
    """Nothing that these commands could ask is running where the settings say."""


@app.command()
def place(
    calls: Annotated[int, typer.Argument(min=1, max=MOST_CALLS, help="How many.")] = 10,
) -> None:
    """Have the dialler of `make up` place calls, whose recordings it then serves. Needs `. var/sandbox.env`."""
    url = current_settings().enigma_api_url
    try:
        answer = httpx.post(f"{url}{PLACE}", params={"calls": calls}, timeout=120)
        answer.raise_for_status()
        placed = answer.json()
        first, last, recorded = placed["first"], placed["last"], placed["recorded"]
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        raise NoSandboxError(f"No sandbox's dialler answers at {url}: run make up, then . var/sandbox.env") from None
    typer.echo(f"Placed {calls:,}: call_ref {first}{'' if first == last else f' to {last}'}.")
    if recorded:
        typer.echo(f"{len(recorded):,} with a recording, such as: pipeline explain {recorded[0]}")


@app.command()
def put(
    record: Annotated[str, typer.Argument(help="A record as the dialler writes it, or anything else.")],
) -> None:
    """Put one record at the end of the list of ENIGMA_REDIS_URL, as the dialler does after a call."""
    settings = current_settings()
    client = redis.Redis.from_url(settings.enigma_redis_url, retry=Retry(NoBackoff(), 0))
    try:
        length = client.rpush(settings.enigma_list, record.encode())
        typer.echo(f"Put at the end of {settings.enigma_list}; {length} there at that moment.")
    except redis.RedisError as error:
        raise NoSandboxError(f"Nothing was put on the list: {error} Run make up, then . var/sandbox.env") from None
    finally:
        client.close()


def main() -> None:
    """Run a command; its failures are sentences."""
    try:
        app()
    except PipelineError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
