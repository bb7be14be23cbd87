"""The settings of recordings: read strictly, and silent about what is secret."""

from __future__ import annotations

import pytest

from pipeline.settings import SettingsError, load_settings


def test_storage_options_are_json(monkeypatch):
    """What fsspec is told comes as it was meant, nested too."""
    monkeypatch.setenv("RECORDINGS_STORAGE_OPTIONS", '{"key": "a", "s3_additional_kwargs": {"ACL": "private"}}')
    assert load_settings().recordings_storage_options == {"key": "a", "s3_additional_kwargs": {"ACL": "private"}}


@pytest.mark.parametrize("value", ['{"secret": "hunter2"', '["hunter2"]', "hunter2", '"hunter2"'])
def test_bad_storage_options_are_refused_without_being_shown(monkeypatch, value):
    """The variable is named, its value is not."""
    monkeypatch.setenv("RECORDINGS_STORAGE_OPTIONS", value)
    with pytest.raises(SettingsError, match="RECORDINGS_STORAGE_OPTIONS: must be a JSON object") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_settings_shown_do_not_show_storage_options(monkeypatch):
    """A settings object in a log line or traceback has no secret of the store in it."""
    monkeypatch.setenv("RECORDINGS_STORAGE_OPTIONS", '{"secret": "hunter2"}')
    assert "hunter2" not in repr(load_settings())


def test_empty_means_none(monkeypatch):
    """A variable that is set to nothing keeps recordings for ever and tells the store nothing."""
    monkeypatch.setenv("RECORDINGS_RETENTION_DAYS", "")
    monkeypatch.setenv("RECORDINGS_STORAGE_OPTIONS", "")
    settings = load_settings()
    assert (settings.recordings_retention_days, settings.recordings_storage_options) == (None, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECORDINGS_CONCURRENCY", "0"),
        ("RECORDINGS_RATE", "0"),
        ("RECORDINGS_RATE", "inf"),
        ("RECORDINGS_RETENTION_DAYS", "0"),
        ("RECORDINGS_RETRY_SECONDS", "0"),
        ("RECORDINGS_GIVE_UP_HOURS", "-1"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(monkeypatch, name, value):
    """The process does not start, and says which one it is."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()
