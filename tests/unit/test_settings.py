"""What a bad setting says, and what it never says."""

from __future__ import annotations

import pytest

from pipeline.settings import SettingsError, load_settings

WITH_SECRETS = (
    "ENIGMA_REDIS_URL",
    "ENIGMA_API_URL",
    "CELERY_BROKER_URL",
    "DATABASE_URL",
    "RECORDINGS_URL",
    "RECORDINGS_STORAGE_OPTIONS",
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
