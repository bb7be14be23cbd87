"""One name for one thing, over all commands."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
import typer

from tests.commands import call
from tests.unit.test_reference import ALL_COMMANDS


def options(name: str) -> dict[str, Any]:
    """A command's options that are shown, by their names; that for help is one of them."""
    command = ALL_COMMANDS[name]
    shown = [each for each in command.get_params(typer.Context(command)) if not getattr(each, "hidden", False)]
    return {word: each for each in shown if each.param_type_name == "option" for word in each.opts}


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_what_an_option_is_called_is_what_it_does(name):
    """`--reason` chooses, `--because` says why; times are times; what has `--format` has `--json`."""
    given = options(name)
    for word, option in given.items():
        if option.is_flag:
            assert option.metavar == "", f"{word} takes no value"
        if word in {"--since", "--until", "--at"}:
            assert option.metavar == "TIME"
    if "--reason" in given:
        assert given["--reason"].help.endswith("hose whose reason contains this text.")
    if "--because" in given:
        assert given["--because"].help.startswith("Why")
    if "--format" in given:
        assert "--json" in given
    assert not {"--said", "--why", "--user", "--by-whom"} & set(given)


def test_help_shows_a_flag_as_a_flag():
    """Of a command and of a group."""
    for words in (("recordings", "list"), ("failures",), ()):
        said = call(*words, "--help", env={"COLUMNS": "120"}).stdout
        assert "--help" in said
        assert "<bool>" not in said
    assert "TIME" in call("recordings", "list", "--help", env={"COLUMNS": "120"}).stdout


def test_the_version():
    """That of the package, whatever the settings."""
    done = call("--version", env={"PIPELINE_TIMEZONE": "nonsense"})
    assert (done.returncode, done.stdout) == (
        0,
        f"enigma-cdr-pipeline {importlib.metadata.version('enigma-cdr-pipeline')}\n",
    )


@pytest.mark.parametrize("typed", ["yesterday", "2026-13-01", "2026-11-24T21:00 BST"])
def test_a_time_that_is_none_is_refused(typed):
    """With the option's name, and how a time is written."""
    done = call("balance", "--since", typed, env={"COLUMNS": "200"})
    assert done.returncode == 2
    assert "--since" in done.stderr
    assert "must be" in done.stderr


def test_json_and_csv_exclude_each_other():
    """Nobody can mean both."""
    done = call("balance", "--json", "--format", "csv", env={"COLUMNS": "200"})
    assert done.returncode == 2
    assert "exclude each other" in done.stderr
