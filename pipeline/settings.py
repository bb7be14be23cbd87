"""The environment, read once and checked at start.

Only the shells read settings (``celeryconfig.py``, ``deploy/flowerconfig.py``, ``pipeline/celery.py``, ``cli/``,
``tasks/``, ``worker/``, ``flower/``); the subjects below them are handed values as arguments.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import re
import zoneinfo
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import phonenumbers
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    HttpUrl,
    RedisDsn,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.calls.rules.erasure_key import check_key
from pipeline.errors import PipelineError
from pipeline.feed.sinks.base import Ours
from pipeline.logs.setup import configure_logging, get_logger
from pipeline.recordings.rules.path import TEMPLATE, checked_template
from pipeline.setting_words import ENCODED, bounds_of, check_address, got, one_of, scheme_of, strays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.keys import RecordingKeys
    from pipeline.setting_words import Stray

BROKERS = ("redis", "rediss", "sentinel", "amqp", "amqps")
"""What messages can go through."""

STORES = ("file", "s3", "gs", "memory")
"""What recordings can be kept in; each publishes a file whole or not at all."""

_SOURCE = re.compile("[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*:[0-9a-f:.]*")
_CURRENCY = re.compile("[A-Z]{3}")


class SettingsError(PipelineError):
    """A setting is missing or cannot be what it is set to."""


def _redis_url(value: str) -> str:
    _check(value, ("redis", "rediss"), "redis://host:6379/0", RedisDsn)
    return value


def _http_url(value: str) -> str:
    _check(value, ("http", "https"), "http://host:8000", HttpUrl)
    return value.rstrip("/")


def _flower_url(value: str) -> str:
    return _http_url(value) if value else ""


def _users(value: str) -> str:
    users = [each.strip() for each in value.split(",")]
    if "*" in users and len([each for each in users if each]) > 1:
        raise ValueError(f"must be users by comma, or * for all of them{got(value)}")
    return ",".join(filter(None, users))


def _broker_url(value: str) -> str:
    first, *others = value.split(";")
    for url in (first, *(each for each in others if "://" in each)):
        check_address(url, BROKERS, "redis://host:6379/0 or amqp://user:password@host:5672/vhost")
    return value


def _check(value: str, schemes: tuple[str, ...], example: str, kind: Any) -> None:
    check_address(value, schemes, example)
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise ValueError(f"must look like {example}; {ENCODED}") from None


def _database_url(value: str) -> str:
    example = "postgresql+psycopg://user@host:5432/name"
    check_address(value, ("postgresql+psycopg",), example, split_at_first=True)
    try:
        database = make_url(value).database
    except ArgumentError:
        raise ValueError(f"must look like {example}; {ENCODED}") from None
    if not database:
        raise ValueError(f"must name a database, as in {example}")
    return value


def _source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError(f"must be 1 to 64 letters, digits, dots, _ and -{got(value)}")
    return value


def _currency(value: str) -> str:
    if not _CURRENCY.fullmatch(value):
        raise ValueError(f"must be the three letters of a currency such as ZAR{got(value)}")
    return value


def _region(value: str) -> str:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"must be a two-letter region such as ZA or GB{got(value)}")
    return value


def _timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"must be an IANA zone such as Africa/Johannesburg{got(value)}") from error
    return value


def _fsspec_url(value: str) -> str:
    """Its text is never quoted: there may be credentials in it."""
    scheme, separator, place = value.partition("://")
    if not separator or scheme not in STORES or not place.strip("/"):
        raise ValueError(f"must be a URL such as file:///srv/recordings or s3://bucket/folder, got {scheme_of(value)}")
    return value.rstrip("/")


def _keys_url(value: str, info: ValidationInfo) -> str:
    """Apart from the recordings: a copy of the one must not be a copy of the other."""
    if not value:
        return ""
    url, store = _fsspec_url(value), info.data.get("recordings_url")
    if store is not None and f"{_resolved(url)}/".startswith(f"{_resolved(store)}/"):
        raise ValueError("must not be in RECORDINGS_URL: whoever has the store would have its keys")
    return url


def _resolved(url: str) -> str:
    scheme, _, place = url.partition("://")
    return f"file://{os.path.realpath(place)}" if scheme == "file" else url


def _archive_url(value: str) -> str:
    """Any that fsspec knows, for nothing there is written over but the manifest; its text is never quoted."""
    if not value:
        return ""
    from fsspec.registry import known_implementations  # noqa: PLC0415 - where there is an archive

    scheme, separator, place = value.partition("://")
    if not separator or scheme not in known_implementations or not place.strip("/"):
        raise ValueError(f"must be a URL such as file:///srv/archive or s3://bucket/folder, got {scheme_of(value)}")
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


def _erasure_key(value: SecretStr) -> SecretStr:
    return SecretStr(check_key(value.get_secret_value())) if value.get_secret_value() else value


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _in_capitals(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _in_lower_case(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _hosts(value: str) -> str:
    hosts = [each.strip().lower().rstrip(".") for each in value.split(",")]
    if odd := [each for each in hosts if each and not _HOST.fullmatch(each)]:
        given = "" if any(set("@/") & set(each) for each in odd) else got(value)  # a URL may hold a password
        raise ValueError(f"must be whole names or addresses by comma, without scheme or port{given}")
    return ",".join(filter(None, hosts))


def _addresses(value: str) -> str:
    given = [each.strip() for each in value.split(",") if each.strip()]
    for each in given:
        try:
            ipaddress.ip_network(each)
        except ValueError:
            raise ValueError(f"must be addresses or networks by comma, such as 10.0.0.0/8{got(value)}") from None
    return ",".join(given)


class Settings(BaseSettings):
    """Every setting, its default and what it means. The environment variable is the field's name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    enigma_redis_url: Annotated[str, AfterValidator(_redis_url)] = "redis://localhost:8001/0"
    """The dialler's Redis."""
    enigma_list: Annotated[str, Field(min_length=1)] = "enigma:notifications:campaigns"
    """The list the dialler puts its CDRs on."""
    enigma_pop_end: Annotated[Literal["left", "right"], BeforeValidator(_in_lower_case)] = "right"
    """The end to take from: ``right`` as the vendor's page says, ``left`` for diallers that append."""
    enigma_source: Annotated[str, AfterValidator(_source)] = "enigma"
    """The name of this dialler; a call is known by (source, call_ref)."""
    enigma_api_url: Annotated[str, AfterValidator(_http_url)] = "http://localhost:8000"
    """The dialler's HTTP API, which serves the recordings."""
    enigma_completeness: Annotated[Literal["on", "off"], BeforeValidator(_in_lower_case)] = "on"
    """Whether what the dialler says it placed is compared with what came."""
    celery_broker_url: Annotated[str, AfterValidator(_broker_url)] = "redis://localhost:6379/0"
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
    recordings_retention_days: Annotated[int | None, Field(ge=1, le=36_500), BeforeValidator(_empty_is_none)] = None
    """Stored recordings of calls dialled longer ago are deleted; empty: never."""
    recordings_storage_options: Annotated[
        dict[str, Any], NoDecode, BeforeValidator(_json_object), Field(repr=False)
    ] = {}
    """What fsspec is told about the store, as JSON: credentials, endpoint, server-side encryption."""
    recordings_keys_url: Annotated[str, AfterValidator(_keys_url)] = ""
    """The folder of the keys by which recordings are encrypted, apart from them; empty: they are kept as they come."""
    recordings_keys_storage_options: Annotated[
        dict[str, Any], NoDecode, BeforeValidator(_json_object), Field(repr=False)
    ] = {}
    """What fsspec is told about that folder, as JSON: credentials, endpoint, server-side encryption."""
    recordings_listening_reason: Annotated[Literal["optional", "required"], BeforeValidator(_in_lower_case)] = (
        "optional"
    )
    """Whether whoever listens to a recording must say why."""
    archive_url: Annotated[str, AfterValidator(_archive_url)] = ""
    """Where calls are archived as Parquet, any URL that fsspec knows; empty: the archive is off."""
    archive_storage_options: Annotated[dict[str, Any], NoDecode, BeforeValidator(_json_object), Field(repr=False)] = {}
    """What fsspec is told about that store, as JSON: credentials, endpoint, server-side encryption."""
    erasure_key: Annotated[SecretStr, AfterValidator(_erasure_key)] = SecretStr("")
    """By which numbers that were erased are known again; kept outside the database, the same for every process."""
    feed_retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """How long the feed is kept for subscribers that lag; who falls behind is told which positions are gone."""
    feed_webhook_allowed_hosts: Annotated[str, AfterValidator(_hosts)] = ""
    """Hosts, by comma, to which webhooks may go though they are not of the public network, and without TLS."""
    pipeline_region: Annotated[str, BeforeValidator(_in_capitals), AfterValidator(_region)] = "ZA"
    """The region national numbers belong to."""
    pipeline_currency: Annotated[str, BeforeValidator(_in_capitals), AfterValidator(_currency)] = "ZAR"
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
    pipeline_api_address: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Where the HTTP API listens; it speaks no TLS."""
    pipeline_api_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """The port it listens on."""
    pipeline_api_rate: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 20.0
    """The most requests a second of one token; three seconds' worth may come at once."""
    pipeline_api_proxies: Annotated[str, AfterValidator(_addresses)] = "127.0.0.1,::1"
    """Addresses or networks, by comma, of proxies before the HTTP API, whose ``X-Forwarded-For`` is believed."""
    pipeline_stop_seconds: Annotated[float, Field(ge=0, le=600)] = 2.0
    """Seconds that a worker's running tasks get at a stop; what is cut off then is done again."""
    pipeline_remote_control: Annotated[Literal["look", "all"], BeforeValidator(_in_lower_case)] = "look"
    """What ``celery control`` and Flower may do to a worker: ask it, or also stop and change it."""
    pipeline_log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_in_lower_case)] = "auto"
    """``auto`` is JSON outside a terminal."""
    pipeline_log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_in_lower_case)] = (
        "info"
    )
    """The least severe level written."""
    pipeline_log_numbers: Annotated[Literal["masked", "shown"], BeforeValidator(_in_lower_case)] = "masked"
    """Whether log lines hold phone numbers in full."""
    pipeline_flower_numbers: Annotated[str, AfterValidator(_users)] = "*"
    """Flower's users who see phone numbers in its tab Calls, by comma; ``*``: all; empty: nobody."""
    pipeline_flower_listening: Annotated[str, AfterValidator(_users)] = ""
    """Flower's users who may listen to recordings there, by comma; ``*``: all who are logged in; empty: nobody."""
    pipeline_flower_url: Annotated[str, AfterValidator(_flower_url)] = ""
    """Where people reach Flower, so that commands can say where a call's page is; empty: they do not."""
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
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {_sentence(problem)}"
            for problem in error.errors(include_url=False)
        ]
        raise SettingsError("bad setting in the environment\n  " + "\n  ".join(lines)) from None


def _sentence(problem: ErrorDetails) -> str:
    """What a setting must be and what it is, in words of this project; pydantic's own are a programmer's."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])  # of a function above, which knows what may be quoted
    if problem["type"] == "string_too_short":
        return "must not be empty"
    field = Settings.model_fields[str(problem["loc"][0])]
    if get_origin(field.annotation) is Literal:
        return f"must be {one_of(get_args(field.annotation))}{got(problem['input'])}"
    whole = int in {field.annotation, *get_args(field.annotation)}
    return f"must be {bounds_of(whole, field.metadata)}{got(problem['input'])}"


def stray_settings(also_known: Iterable[str] = ()) -> list[Stray]:
    """Variables of this process's environment that look like settings and are read by nobody.

    Args:
        also_known: names that others read, such as Flower's own.
    """
    return list(strays(os.environ, {name.upper() for name in Settings.model_fields} | set(also_known)))


def start_logging(also_known: Iterable[str] = ()) -> None:
    """Have this process log as its settings say, and name variables that look like settings and are none.

    Args:
        also_known: names of variables that others read, such as Flower's own.
    """
    settings = current_settings()
    configure_logging(
        settings.pipeline_log_format, settings.pipeline_log_level, show_numbers=settings.pipeline_log_numbers == "shown"
    )
    for stray in stray_settings(also_known):
        get_logger(__name__).warning("setting_not_read", name=stray.name, nearest=stray.nearest)


@functools.cache
def current_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return load_settings()


def recording_keys(settings: Settings) -> RecordingKeys | None:
    """The folder of keys by which recordings are encrypted; None: they are kept as they come."""
    from pipeline.recordings.keys import RecordingKeys  # noqa: PLC0415 - fsspec and what it opens stores with load slowly

    url = settings.recordings_keys_url
    return RecordingKeys(url, settings.recordings_keys_storage_options) if url else None


def recording_store(settings: Settings) -> RecordingStore:
    """Where recordings are kept, with the keys by which they are encrypted."""
    from pipeline.recordings.file_store import RecordingStore  # noqa: PLC0415 - see recording_keys

    return RecordingStore(
        settings.recordings_url,
        settings.recordings_path,
        storage_options=settings.recordings_storage_options,
        keys=recording_keys(settings),
    )


def sinks_know() -> Ours:
    """What the sinks of the feed must know of this pipeline."""
    settings = current_settings()
    hosts = frozenset(settings.feed_webhook_allowed_hosts.split(",")) - {""}
    return Ours(settings.enigma_redis_url, settings.enigma_list, hosts)
