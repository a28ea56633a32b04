"""The description says what is there, and its examples can be sent as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from serving.app import ENDPOINTS, OF_AN_ITEM
from serving.openapi import PIXEL, description
from serving.settings import Settings
from tests.serving.conftest import Ask

JSON = "application/json"
EXAMPLES = [
    (path, call["requestBody"]["content"]["application/json"])
    for path, methods in description()["paths"].items()
    for method, call in methods.items()
    if method == "post"
]
NOT_THIS_MODEL = {"/caption": 409, "/answer": 409, "/models/reload": 403, "/gallery/rebuild": 403}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"gallery": str(tmp_path / "gallery")})


def test_every_path_and_method_is_described_and_no_other() -> None:
    described = {(path, method.upper()) for path, calls in description()["paths"].items() for method in calls}
    served = {(path, method) for path, methods in ENDPOINTS.items() for method in methods}
    of_items = {("/gallery/{id}" + end, method) for end, methods in OF_AN_ITEM.items() for method in methods}
    assert described == served | of_items


@pytest.mark.parametrize(("path", "content"), EXAMPLES)
def test_examples_fit_their_schemas_and_can_be_sent(ask: Ask, path: str, content: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(content["schema"])
    jsonschema.Draft202012Validator(content["schema"]).validate(content["example"])
    answer = ask("POST", path, json=content["example"])
    assert answer.status_code == NOT_THIS_MODEL.get(path, 200), answer.json()
    if answer.status_code == 200:
        told = description()["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        jsonschema.Draft202012Validator(told["schema"]).validate(answer.json())


@pytest.mark.parametrize("path", ["/models", "/livez", "/readyz", "/gallery", "/gallery/example"])
def test_what_is_read_is_as_described(ask: Ask, path: str) -> None:
    calls = description()["paths"]
    added = ask("POST", "/gallery", json=calls["/gallery"]["post"]["requestBody"]["content"][JSON]["example"])
    assert added.status_code == 200
    told = calls[path.replace("example", "{id}")]["get"]["responses"]["200"]["content"][JSON]["schema"]
    jsonschema.Draft202012Validator(told).validate(ask("GET", path).json())


def test_keys_are_described_where_they_are_needed() -> None:
    for path, methods in {
        **ENDPOINTS,
        **{"/gallery/{id}" + end: of for end, of in OF_AN_ITEM.items()},
    }.items():
        for method, endpoint in methods.items():
            told = description()["paths"][path][method.lower()].get("security")
            assert told == {"set": None, "always": [{"key": []}], "never": []}[endpoint.key], path


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/rank", {"image": PIXEL, "texts": ["a"], "text": "b"}),
        ("/rank", {"texts": ["a"], "images": [PIXEL]}),
        ("/search", {"text": "a", "image": PIXEL}),
        ("/caption", {"image": PIXEL, "images": [PIXEL]}),
    ],
)
def test_two_ways_to_ask_at_once_are_refused(ask: Ask, path: str, sent: dict[str, Any]) -> None:
    schema = description()["paths"][path]["post"]["requestBody"]["content"][JSON]["schema"]
    assert not jsonschema.Draft202012Validator(schema).is_valid(sent)
    answer = ask("POST", path, json=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_value")


def test_errors_are_as_described(ask: Ask) -> None:
    schema = ask("GET", "/openapi.json").json()["components"]["schemas"]["Error"]
    for answer in (ask("GET", "/nowhere"), ask("POST", "/search", json={"k": 0})):
        jsonschema.Draft202012Validator(schema).validate(answer.json())
