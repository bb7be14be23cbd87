"""The OpenAPI document is the code's, and the API keeps to it, whatever is asked."""

from __future__ import annotations

import json

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from pipeline.api.openapi import committed

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]
EXAMPLES = 25
OPERATIONS = [path for path, operations in json.loads(committed())["paths"].items() if "get" in operations]
ONE = "/v1/calls/{source}/{call_ref}"


@pytest.fixture(scope="module")
def schema(world):
    found = schemathesis.openapi.from_dict(json.loads(committed()))
    found.config.base_url = str(world.client.base_url)
    return found


def bearer(world, token):
    return {"Authorization": f"Bearer {world.tokens[token]}"}


def test_the_document_is_the_codes(request):
    """`make openapi` writes it anew."""
    assert (request.config.rootpath / "docs/openapi.json").read_text(encoding="utf-8") == committed()


def test_everything_is_read():
    assert all(set(operations) == {"get"} for operations in json.loads(committed())["paths"].values())


@pytest.mark.parametrize(
    ("path", "token", "mode"),
    [
        (path, token, mode)
        for path, token in [*((path, "all") for path in OPERATIONS), ("/v1/calls", "masked")]
        for mode in GenerationMode
        if (path, mode) != ("/healthz", GenerationMode.NEGATIVE)  # it has nothing that could be wrong
    ],
)
def test_whatever_is_asked_is_answered_as_the_document_says(world, schema, path, token, mode):
    """With what it allows and with what it does not, by Schemathesis."""

    @hypothesis.given(case=schema[path]["GET"].as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
    )
    def ask(case):
        case.call_and_validate(headers=bearer(world, token), checks=CHECKS)

    ask()


@pytest.mark.parametrize("token", ["all", "masked"])
@pytest.mark.parametrize("call", ["enigma/1", "enigma/3", "enigma/4", "north/1"])
def test_what_is_there_is_answered_as_the_document_says(world, schema, call, token):
    """Made-up references find nothing, so these are known."""
    source, call_ref = call.split("/")
    for path in (ONE, f"{ONE}/recording"):
        case = schema[path]["GET"].Case(path_parameters={"source": source, "call_ref": call_ref})
        answered = case.call(headers=bearer(world, token))
        case.validate_response(answered, checks=CHECKS[:5])
        assert answered.status_code == 200 or path != ONE
    found = schema["/v1/calls"]["GET"].Case(query={"since": "2026-01-01T00:00:00Z", "limit": 2})
    found.validate_response(found.call(headers=bearer(world, token)), checks=CHECKS[:5])
