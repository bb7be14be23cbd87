"""Errors say what is wrong, where, and what to do, in one short printable sentence."""

import ast
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError, NoRateError, PipelineError, cut, shown

HOUSE = Path(__file__).resolve().parents[2] / "pipeline"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_a_data_error_names_field_and_reason() -> None:
    """The sentence is the dotted path, a colon and the reason."""
    error = DataError("payload.call_time", "must not be negative, got -3")
    assert str(error) == "payload.call_time: must not be negative, got -3"
    assert (error.field, error.reason) == ("payload.call_time", "must not be negative, got -3")
    assert isinstance(error, PipelineError)


def test_a_missing_rate_says_what_to_load() -> None:
    """The sentence names number, instant, campaign and tariff, and asks for a rate."""
    error = NoRateError("+27820001234", AT, campaign="summer", tariff="retail")
    assert str(error) == (
        "no rate for +27820001234 of campaign 'summer' at 2026-03-01 12:00:00+0000 in tariff 'retail': "
        "load a rate for its prefix, or one with an empty prefix, that is valid then"
    )


def test_a_missing_tariff_says_what_to_load() -> None:
    """Without a tariff it is a tariff that is asked for; a withheld number is called so."""
    assert str(NoRateError("", AT)) == (
        "no tariff for a withheld number at 2026-03-01 12:00:00+0000: load one that is valid then"
    )


def test_errors_survive_pickling() -> None:
    """An error crosses a process boundary with its attributes."""
    data = pickle.loads(pickle.dumps(DataError("type", "is missing")))
    rate = pickle.loads(pickle.dumps(NoRateError("+27", AT, "summer", "retail")))
    assert (data.field, data.reason) == ("type", "is missing")
    assert (rate.number, rate.at, rate.campaign, rate.tariff) == ("+27", AT, "summer", "retail")


@given(ANY_TEXT, st.integers(2, 100))
def test_cut_text_is_short_and_printable(text: str, limit: int) -> None:
    """Whatever the text, what is shown of it fits the limit and prints on one line."""
    assert len(cut(text, limit)) <= limit
    assert cut(text, limit).isprintable()


@given(st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.lists(st.none()))
def test_any_value_can_be_shown(value: Any) -> None:
    """A value of any JSON type has a short printable form."""
    assert len(shown(value)) <= 82
    assert shown(value).isprintable()


def test_a_huge_number_is_described() -> None:
    """An integer too long for Python's own conversion is shown without converting it."""
    assert shown(10**10_000) == "a number of more than 80 digits"


NOT_OURS = {"RefusalError", "LoginRefusedError"}
"""Tornado's, by which Flower answers a browser; amqp's, by which kombu knows an outage."""


def test_every_error_has_one_root() -> None:
    """Whoever catches that one has caught all this project raises on purpose."""
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    errors = {name for name, of in bases.items() if any(base.endswith(("Error", "Exception")) for base in of)}
    assert {"DataError", "SettingsError", "PipelineError"} <= errors
    rooted, found = set[str](), {"PipelineError"}
    while found:
        rooted |= found
        found = {name for name in errors - rooted if bases[name] & rooted}
    assert errors - rooted == NOT_OURS
