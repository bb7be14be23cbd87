"""What a bad setting says, and what it never says."""

from __future__ import annotations

import pytest

from pipeline.setting_words import Stray
from pipeline.settings import Settings, SettingsError, current_settings, load_settings, sinks_know, stray_settings

WITH_SECRETS = (
    "ENIGMA_REDIS_URL",
    "ENIGMA_API_URL",
    "CELERY_BROKER_URL",
    "DATABASE_URL",
    "RECORDINGS_URL",
    "RECORDINGS_STORAGE_OPTIONS",
    "RECORDINGS_KEYS_URL",
    "RECORDINGS_KEYS_STORAGE_OPTIONS",
    "ARCHIVE_URL",
    "ARCHIVE_STORAGE_OPTIONS",
    "PIPELINE_FLOWER_URL",
    "ERASURE_KEY",
)


@pytest.mark.parametrize("name", WITH_SECRETS)
@pytest.mark.parametrize(
    "value",
    [
        "s4://cdr:hunter2@store/bucket",
        "S3://cdr:hunter2@store/bucket",
        "cdr:hunter2@store://bucket",
        "cdr:hunter2@store/bucket",
        "hunter2",
        "//:hunter2@",
        '{"secret": "hunter2"',
        '["hunter2"]',
    ],
)
def test_a_bad_setting_is_named_without_its_password(monkeypatch, name, value):
    """Whatever is wrong with a value, it may hold a password, and the message goes to a log."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert name in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_another_kind_of_store_is_named(monkeypatch):
    """The scheme is no secret, and says what is wrong."""
    monkeypatch.setenv("RECORDINGS_URL", "ftp://cdr:hunter2@store/bucket")
    with pytest.raises(
        SettingsError, match=r"RECORDINGS_URL: must be a URL such as .*, got one that begins with ftp://"
    ):
        load_settings()


NUMBERS = {
    "RECORDINGS_DELAY_SECONDS": "a number from 0 to 86,400",
    "RECORDINGS_CONCURRENCY": "a whole number from 1 to 1,000",
    "RECORDINGS_RATE": "a number above 0 to 10,000",
    "RECORDINGS_RETRY_SECONDS": "a number above 0 to 3,600",
    "RECORDINGS_GIVE_UP_HOURS": "a number above 0 to 10,000",
    "FEED_RETENTION_DAYS": "a whole number from 1 to 3,650",
    "RECORDINGS_RETENTION_DAYS": "a whole number from 1 to 36,500",
    "PIPELINE_BATCH_SIZE": "a whole number from 1 to 20,000",
    "PIPELINE_MAX_UNFINISHED_BATCHES": "a whole number from 1 to 10,000",
    "PIPELINE_KEEP_CLAIMS_SECONDS": "a whole number from 0 to 86,400",
    "PIPELINE_METRICS_PORT": "a whole number from 0 to 65,000",
    "PIPELINE_API_PORT": "a whole number from 1 to 65,535",
    "PIPELINE_API_RATE": "a number above 0 to 10,000",
    "PIPELINE_STOP_SECONDS": "a number from 0 to 600",
}
NAMES = {
    "ENIGMA_POP_END": "left or right",
    "ENIGMA_COMPLETENESS": "on or off",
    "FEED_WEBHOOK_ALLOWED_HOSTS": "whole names or addresses by comma, without scheme or port",
    "PIPELINE_API_PROXIES": "addresses or networks by comma, such as 10.0.0.0/8",
    "PIPELINE_REMOTE_CONTROL": "look or all",
    "RECORDINGS_LISTENING_REASON": "optional or required",
    "PIPELINE_LOG_FORMAT": "auto, json or console",
    "PIPELINE_LOG_LEVEL": "debug, info, warning or error",
    "PIPELINE_LOG_NUMBERS": "masked or shown",
    "PIPELINE_REGION": "a two-letter region such as ZA or GB",
    "PIPELINE_CURRENCY": "the three letters of a currency such as ZAR",
    "PIPELINE_TIMEZONE": "an IANA zone such as Africa/Johannesburg",
    "ENIGMA_SOURCE": "1 to 64 letters, digits, dots, _ and -",
}
TEXTS = (
    *("ENIGMA_LIST", "CELERY_BROKER_SENTINEL_MASTER", "PIPELINE_RUN_DIR", "PIPELINE_METRICS_ADDRESS"),
    "PIPELINE_API_ADDRESS",
)
ADDRESSES = ("ENIGMA_REDIS_URL", "ENIGMA_API_URL", "CELERY_BROKER_URL", "DATABASE_URL", "PIPELINE_FLOWER_URL")


def refusal(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    return str(refused.value)


@pytest.mark.parametrize(("name", "allowed"), NUMBERS.items())
@pytest.mark.parametrize("value", ["many", "-1", "99999999", "nan", "1.5e"])
def test_a_wrong_number_says_what_it_may_be(monkeypatch, name, allowed, value):
    """Least and most, and what was given."""
    assert refusal(monkeypatch, name, value).splitlines()[1:] == [f"  {name}: must be {allowed}, got '{value}'"]


@pytest.mark.parametrize(("name", "allowed"), NAMES.items())
def test_a_wrong_name_says_which_there_are(monkeypatch, name, allowed):
    """All of them, where they are few."""
    said = refusal(monkeypatch, name, "no such, thing")
    assert said.splitlines()[1].casefold() == f"  {name}: must be {allowed}, got 'no such, thing'".casefold()


@pytest.mark.parametrize("name", TEXTS)
def test_an_empty_name_is_called_empty(monkeypatch, name):
    """There is nothing else to say of it."""
    assert refusal(monkeypatch, name, " ").splitlines()[1:] == [f"  {name}: must not be empty"]


USERS = ("PIPELINE_FLOWER_NUMBERS", "PIPELINE_FLOWER_LISTENING")


@pytest.mark.parametrize("name", USERS)
def test_all_and_some_exclude_each_other(monkeypatch, name):
    """Blanks and empty names are nobody's; who is meant by both at once is not guessed."""
    said = refusal(monkeypatch, name, "thandi,*")
    assert said.splitlines()[1] == f"  {name}: must be users by comma, or * for all of them, got 'thandi,*'"
    monkeypatch.setenv(name, " thandi , sipho,")
    assert getattr(load_settings(), name.lower()) == "thandi,sipho"


def test_every_setting_that_can_be_wrong_is_in_a_test_here():
    """A new one gets a sentence too, not its library's."""
    tested = {*NUMBERS, *NAMES, *TEXTS, *WITH_SECRETS, *USERS}
    untested = {name.upper() for name in Settings.model_fields} - tested
    assert untested == {"RECORDINGS_PATH", "FLOWER_BASIC_AUTH"}  # a sentence of recordings/rules; Flower's own business


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("PIPELINE_LOG_LEVEL", "INFO", "info"),
        ("PIPELINE_LOG_LEVEL", " Warning ", "warning"),
        ("PIPELINE_LOG_FORMAT", "JSON", "json"),
        ("PIPELINE_LOG_NUMBERS", "Shown", "shown"),
        ("PIPELINE_REMOTE_CONTROL", "ALL", "all"),
        ("ENIGMA_POP_END", "Left", "left"),
        ("PIPELINE_REGION", "gb", "GB"),
        ("PIPELINE_CURRENCY", "eur", "EUR"),
    ],
)
def test_the_case_of_a_name_does_not_matter(monkeypatch, name, value, meant):
    """INFO is what everybody else writes."""
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), name.lower()) == meant


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("password", ["hunter/2", "hunter?2", "hunter#2", "hunter:/2", "1234/5@hunter"])
def test_a_password_that_would_be_taken_for_a_host_is_refused(monkeypatch, name, password):
    """Its library would look for a host or port of that name, and print it."""
    scheme = {"DATABASE_URL": "postgresql+psycopg", "ENIGMA_API_URL": "http", "PIPELINE_FLOWER_URL": "http"}.get(
        name, "redis"
    )
    said = refusal(monkeypatch, name, f"{scheme}://cdr:{password}@store/name")
    assert f"{name}: must look like " in said
    assert "in a password @ is written as %40, / as %2F" in said
    assert "hunter" not in said.removeprefix("bad setting")
    assert "1234" not in said


def test_an_at_sign_in_a_password_is_refused_where_it_is_misread(monkeypatch):
    """SQLAlchemy ends the password there, and the database's driver prints the rest as a host; the others do not."""
    said = refusal(monkeypatch, "DATABASE_URL", "postgresql+psycopg://cdr:p@ss@db/cdr")
    assert "ss@" not in said
    assert "%40" in said
    monkeypatch.delenv("DATABASE_URL")
    for name in ("ENIGMA_REDIS_URL", "CELERY_BROKER_URL"):
        monkeypatch.setenv(name, "redis://cdr:p@ss@store:6379/0")
    assert "p@ss@store" in load_settings().enigma_redis_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENIGMA_REDIS_URL", "rediss://cdr:a%40b@[::1]:6380/3?ssl_ca_certs=/etc/ca.pem"),
        ("ENIGMA_API_URL", "https://user:word@dialler.example:8443/enigma"),
        ("CELERY_BROKER_URL", "sentinel://one:26379/0;sentinel://:pw@two:26379/0"),
        ("CELERY_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"),
        ("CELERY_BROKER_URL", "amqps://"),
        ("DATABASE_URL", "postgresql+psycopg:///cdr?host=/var/run/postgresql"),
        ("DATABASE_URL", "postgresql+psycopg://cdr:p%40ss@db:5432/cdr?sslmode=verify-full&sslrootcert=/etc/ca.pem"),
    ],
)
def test_good_addresses_stay_good(monkeypatch, name, value):
    """Nothing that works is refused."""
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), name.lower()) == value


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("PIPELINE_CURENCY", "PIPELINE_CURRENCY"),
        ("PIPLINE_CURRENCY", "PIPELINE_CURRENCY"),
        ("RECORDING_URL", "RECORDINGS_URL"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("ENIGMA_REDISURL", "ENIGMA_REDIS_URL"),
        ("CELERY_BROKER", "CELERY_BROKER_URL"),
        ("PIPELINE_SOMETHING_ELSE", None),
    ],
)
def test_a_misspelt_variable_is_found(monkeypatch, given, meant):
    """With the one that was meant, where one is near."""
    monkeypatch.setenv(given, "hunter2")
    (stray,) = stray_settings()
    assert stray == Stray(given, meant)
    assert "hunter2" not in str(stray)


def test_what_others_set_is_not_taken_for_ours(monkeypatch):
    """Kubernetes tells of services, Celery has settings of its own, and a shell has anything."""
    for name in (
        *("ENIGMA_CDR_FLOWER_SERVICE_HOST", "ENIGMA_CDR_FLOWER_SERVICE_PORT", "ENIGMA_CDR_FLOWER_SERVICE_PORT_HTTP"),
        *("ENIGMA_CDR_FLOWER_PORT", "ENIGMA_CDR_FLOWER_PORT_5555_TCP_ADDR", "CELERY_BROKER_READ_URL"),
        *("CELERY_RESULT_BACKEND", "TEST_DATABASE_URL", "HONCHO_PROCESS_NAME", "pipeline_region"),
    ):
        monkeypatch.setenv(name, "ZA")
    assert stray_settings() == []


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        (" ", set()),
        ("Receiver.Internal., 10.0.0.7,::1 ,fd00::1", {"receiver.internal", "10.0.0.7", "::1", "fd00::1"}),
    ],
)
def test_hosts_are_told_by_comma(monkeypatch, value, hosts):
    monkeypatch.setenv("FEED_WEBHOOK_ALLOWED_HOSTS", value)
    current_settings.cache_clear()
    assert sinks_know().allowed_hosts == hosts
    current_settings.cache_clear()


@pytest.mark.parametrize(
    "value", ["https://cdr:hunter2@host/", "host:8080", "*.internal", "[::1]", "a..b", "10.0.0.0/8"]
)
def test_what_is_no_host_is_said_without_its_password(monkeypatch, value):
    said = refusal(monkeypatch, "FEED_WEBHOOK_ALLOWED_HOSTS", value)
    assert "without scheme or port" in said
    assert "hunter2" not in said
