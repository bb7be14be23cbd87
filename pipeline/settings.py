"""The environment, read once and checked at start.

Only the shells read settings (``celeryconfig.py``, ``deploy/flowerconfig.py``, ``pipeline/celery.py``, ``cli/``,
``tasks/``, ``worker/``, ``flower/``); the subjects below them are handed values as arguments.
"""

from __future__ import annotations

import functools
import json
import re
import zoneinfo
from typing import Annotated, Any, Literal

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, RedisDsn, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.errors import PipelineError
from pipeline.recordings.rules.path import TEMPLATE, checked_template

STORES = ("file", "s3", "gs", "memory")
"""What recordings can be kept in; each publishes a file whole or not at all."""


_SCHEME = re.compile("[a-z][a-z0-9+.-]*", re.IGNORECASE)


class SettingsError(PipelineError):
    """A setting is missing or cannot be what it is set to."""


def _redis_url(value: str) -> str:
    TypeAdapter(RedisDsn).validate_python(value)
    return value


def _http_url(value: str) -> str:
    TypeAdapter(HttpUrl).validate_python(value)
    return value.rstrip("/")


def _database_url(value: str) -> str:
    try:
        url = make_url(value)
    except ArgumentError as error:
        raise ValueError("must look like postgresql+psycopg://user@host:5432/name") from error
    if url.drivername != "postgresql+psycopg":
        raise ValueError(f"must start with postgresql+psycopg://, got {url.drivername}://")
    if not url.database:
        raise ValueError("must name a database, as in postgresql+psycopg://user@host:5432/name")
    return value


def _region(value: str) -> str:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"must be a two-letter region such as ZA or GB, got {value!r}")
    return value


def _timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"must be an IANA zone such as Africa/Johannesburg, got {value!r}") from error
    return value


def _fsspec_url(value: str) -> str:
    """Its text is never quoted: there may be credentials in it."""
    scheme, separator, place = value.partition("://")
    if not separator or scheme not in STORES or not place.strip("/"):
        got = f"one that begins with {scheme}://" if separator and _SCHEME.fullmatch(scheme) else "something else"
        raise ValueError(f"must be a URL such as file:///srv/recordings or s3://bucket/folder, got {got}")
    return value.rstrip("/")


def _json_object(value: Any) -> Any:
    """Its text is never quoted: there are credentials in it."""
    try:
        decoded = json.loads(value or "{}") if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"must be a JSON object such as {{}}: {getattr(error, 'msg', 'not JSON')}") from None
    if not isinstance(decoded, dict):
        raise ValueError("must be a JSON object such as {}")  # noqa: TRY004 - pydantic reports ValueError only
    return decoded


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


class Settings(BaseSettings):
    """Every setting, its default and what it means. The environment variable is the field's name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    enigma_redis_url: Annotated[str, AfterValidator(_redis_url)] = "redis://localhost:8001/0"
    """The dialler's Redis."""
    enigma_list: Annotated[str, Field(min_length=1)] = "enigma:notifications:campaigns"
    """The list the dialler puts its CDRs on."""
    enigma_pop_end: Literal["left", "right"] = "right"
    """The end to take from: ``right`` as the vendor's page says, ``left`` for diallers that append."""
    enigma_source: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "enigma"
    """The name of this dialler; a call is known by (source, call_ref)."""
    enigma_api_url: Annotated[str, AfterValidator(_http_url)] = "http://localhost:8000"
    """The dialler's HTTP API, which serves the recordings."""
    celery_broker_url: Annotated[str, Field(pattern=r"^(redis|rediss|sentinel|amqp|amqps)://")] = (
        "redis://localhost:6379/0"
    )
    """Celery's broker."""
    celery_broker_sentinel_master: Annotated[str, Field(min_length=1)] = "mymaster"
    """The name by which Sentinel knows the broker; for ``sentinel://`` alone."""
    database_url: Annotated[str, AfterValidator(_database_url)] = "postgresql+psycopg://localhost/cdr"
    """The PostgreSQL database that holds the truth."""
    recordings_url: Annotated[str, AfterValidator(_fsspec_url)] = "file:///var/lib/enigma-cdr/recordings"
    """Where recordings are stored: a ``file://``, ``s3://`` or ``gs://`` URL (``memory://`` for tests)."""
    recordings_path: Annotated[str, AfterValidator(checked_template)] = TEMPLATE
    """A recording's path below that, made of ``{source}``, ``{call_ref}``, ``{dialed_at}`` (UTC) and ``{ext}``."""
    recordings_delay_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds from the record's arrival to the first try at its recording."""
    recordings_concurrency: Annotated[int, Field(ge=1, le=1_000)] = 8
    """The most downloads from one dialler at once, over all workers and machines."""
    recordings_rate: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 50.0
    """The most requests a second to one dialler, over all workers and machines."""
    recordings_retry_seconds: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """The wait after a recording's first try; it doubles up to an hour."""
    recordings_give_up_hours: Annotated[float, Field(gt=0, le=10_000)] = 48.0
    """How long a recording is tried."""
    recordings_retention_days: Annotated[
        Annotated[int, Field(ge=1, le=36_500)] | None, BeforeValidator(_empty_is_none)
    ] = None
    """Stored recordings of calls dialled longer ago are deleted; empty: never."""
    recordings_storage_options: Annotated[
        dict[str, Any], NoDecode, BeforeValidator(_json_object), Field(repr=False)
    ] = {}
    """What fsspec is told about the store, as JSON: credentials, endpoint, server-side encryption."""
    pipeline_region: Annotated[str, AfterValidator(_region)] = "ZA"
    """The region national numbers belong to."""
    pipeline_currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "ZAR"
    """The currency (ISO 4217) of a tariff that names none."""
    pipeline_timezone: Annotated[str, AfterValidator(_timezone)] = "Africa/Johannesburg"
    """The zone of days in reports and of time-of-day rates; everything stored is UTC."""
    pipeline_batch_size: Annotated[int, Field(ge=1, le=20_000)] = 2_000
    """The most records one batch holds."""
    pipeline_max_unfinished_batches: Annotated[int, Field(ge=1, le=10_000)] = 50
    """The ingestor stops claiming while this many batches are unfinished."""
    pipeline_keep_claims_seconds: Annotated[int, Field(ge=0, le=86_400)] = 900
    """How long settled claims are kept on the dialler's Redis, for a failover of the database; 0: not at all."""
    pipeline_run_dir: Annotated[str, Field(min_length=1)] = "var/run"
    """The folder of the signs of life that ``pipeline health`` reads."""
    pipeline_metrics_port: Annotated[int, Field(ge=0, le=65_000)] = 0
    """The first port on which processes answer Prometheus; 0: none does."""
    pipeline_metrics_address: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Where they listen; anybody who reaches it may read."""
    pipeline_stop_seconds: Annotated[float, Field(ge=0, le=600)] = 2.0
    """Seconds that a worker's running tasks get at a stop; what is cut off then is done again."""
    pipeline_remote_control: Literal["look", "all"] = "look"
    """What ``celery control`` and Flower may do to a worker: ask it, or also stop and change it."""
    pipeline_log_format: Literal["auto", "json", "console"] = "auto"
    """``auto`` is JSON outside a terminal."""
    pipeline_log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level written."""
    pipeline_log_numbers: Literal["masked", "shown"] = "masked"
    """Whether log lines hold phone numbers in full."""
    flower_basic_auth: str = ""
    """``user:password`` for Flower, several by comma; empty only where Flower listens on loopback."""


def load_settings() -> Settings:
    """Read and check the environment.

    Raises:
        SettingsError: naming each bad variable, its reason, and nothing secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("bad setting in the environment\n  " + "\n  ".join(lines)) from None


@functools.cache
def current_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return load_settings()
