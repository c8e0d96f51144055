"""The OpenAPI document, and what the engine answers to requests that are made out of it."""

from __future__ import annotations

import json

import pytest
import schemathesis
from client import Engine
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# The same requests in each run, and few: each is a request over a socket.
STEADY = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_every_path_is_in_the_document_and_none_else(engine: Engine) -> None:
    document = engine.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert set(engine.get("/").json()["endpoints"]) <= set(paths)
    for path, operations in paths.items():
        for method in ("get", "post"):
            status = engine.request(method.upper(), path.replace("{name}", "x"), b"{}").status
            assert (status == 405) is (method not in operations), (path, method)
        # HEAD is where GET is, with the same headers and no body.
        head = engine.request("HEAD", path.replace("{name}", "x"))
        assert (head.status == 405) is ("get" not in operations), path
        assert head.body == b""
    text = json.dumps(document)
    for name in text.split('"$ref": "#/components/schemas/')[1:]:
        assert name.partition('"')[0] in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("mode", "wanted"), [(GenerationMode.POSITIVE, {200}), (GenerationMode.NEGATIVE, {400})], ids=["good", "bad"]
)
def test_requests_made_out_of_the_document_have_the_answers_that_it_promises(
    engine: Engine, mode: GenerationMode, wanted: set[int]
) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{engine.port}/openapi.json")
    seen: set[int] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and operation.method == "get":
            continue  # nothing of such a request could be wrong

        @STEADY
        @given(case=operation.as_strategy(generation_mode=mode))
        def each(case: schemathesis.Case) -> None:
            response = case.call(timeout=60)
            seen.add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        each()
    assert wanted <= seen
    assert "Traceback" not in engine.log
