"""The OpenAPI description of the service, with an example for every call that takes a body."""

from __future__ import annotations

from typing import Any

from compressor import __version__
from serving.endpoints.page import FILES

_FILE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
PIXEL = f"data:image/png;base64,{_FILE}"
"""A picture of one red pixel, which examples can be run with."""

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "pattern": r"\S"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "description": "Printable characters."}
_PICTURE: Schema = {
    "type": "string",
    "pattern": r"^(data:[A-Za-z0-9.+/-]*(;[A-Za-z0-9=.+-]+)*;base64,)?([A-Za-z0-9+/]{4})+([A-Za-z0-9+/]{2}==|"
    r"[A-Za-z0-9+/]{3}=)?$",
    "description": "A data URL or base64 of a picture's file.",
}
_MODEL: Schema = {"type": ["string", "null"], "description": "One of /models; the first without it."}
_ENCODING: Schema = {"enum": ["float", "base64", None], "default": "float"}
_METADATA: Schema = {
    "type": "object",
    "maxProperties": 64,
    "propertyNames": {"minLength": 1, "maxLength": 64, "not": {"enum": ["and", "or", "not"]}},
    "additionalProperties": {
        "anyOf": [
            {"type": "string", "maxLength": 4096},
            {"type": "number", "minimum": -(2**53), "maximum": 2**53},
            {"type": "boolean"},
        ]
    },
}
_FILTER: Schema = {
    "type": ["object", "null"],
    "description": 'By metadata: {"colour": "red"}, {"year": {"gte": 2000}}, {"and": [...]}, {"not": {...}}.',
}


def description() -> Schema:
    """The whole document, as `/openapi.json` gives it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "compressor",
            "version": __version__,
            "description": "A distilled vision-language student over HTTP.",
        },
        "paths": {path: dict(methods) for path, methods in _paths().items()},
        "components": {
            "schemas": {"Error": _error()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _paths() -> dict[str, dict[str, Schema]]:
    images = {"model": _MODEL, "images": _list(_PICTURE), "encoding_format": _ENCODING}
    embedding = {"model": _MODEL, "input": {"anyOf": [_TEXT, _list(_TEXT)]}, "encoding_format": _ENCODING}
    item = {"id": _TEXT, "image": _PICTURE, "metadata": {"type": "object"}}
    cursor = [_query("limit", {"type": "integer", "minimum": 0}), _query("cursor", {"type": "string"})]
    at = [{"name": "id", "in": "path", "required": True, "schema": _TEXT}]
    return {
        "/v1/embeddings": {
            "post": _call(
                "Embeddings in OpenAI's form",
                _object(embedding | {"dimensions": {"type": "integer"}, "user": _TEXT}, "input"),
                {"input": ["a red star", PIXEL]},
            )
        },
        "/encode/image": {
            "post": _call("Embed pictures", _object(images, "images"), {"images": [PIXEL]}, picture=True)
        },
        "/encode/text": {
            "post": _call(
                "Embed texts",
                _object({"model": _MODEL, "texts": _list(_TEXT), "encoding_format": _ENCODING}, "texts"),
                {"texts": ["a red star", "two blue circles"]},
            )
        },
        "/rank": {
            "post": _call(
                "Rank texts for a picture, or pictures for a text",
                _object(
                    {
                        "model": _MODEL,
                        "image": _PICTURE,
                        "texts": _list(_TEXT),
                        "text": _TEXT,
                        "images": _list(_PICTURE),
                    }
                ),
                {"image": PIXEL, "texts": ["a red star", "two blue circles"]},
            )
        },
        "/classify": {
            "post": _call(
                "Classify a picture by labels that training never saw",
                _object(
                    {
                        "model": _MODEL,
                        "image": _PICTURE,
                        "labels": _list(_TEXT),
                        "templates": _list(_TEXT | {"pattern": r"^[^{}]*\{\}[^{}]*$"}),
                    },
                    "image",
                    "labels",
                ),
                {"image": PIXEL, "labels": ["star", "circle"], "templates": ["a picture of a {}"]},
            )
        },
        "/search": {
            "post": _call(
                "Search the gallery by a text or a picture",
                _object(
                    {
                        "model": _MODEL,
                        "text": _TEXT,
                        "image": _PICTURE,
                        "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
                        "filter": _FILTER,
                    }
                ),
                {"text": "a red star", "k": 5},
                picture=True,
            )
        },
        "/gallery": {
            "get": _call("A page of the gallery", parameters=cursor),
            "post": _call(
                "Add pictures, or replace those of the same ids",
                _object({"model": _MODEL, "items": _list(_object(item, "id", "image"))}, "items"),
                {"items": [{"id": "example", "image": PIXEL, "metadata": {"colour": "red"}}]},
            ),
        },
        "/gallery/delete": {
            "post": _call(
                "Delete items",
                _object({"model": _MODEL, "ids": _list(_TEXT)}, "ids"),
                {"ids": ["example"]},
            )
        },
        "/gallery/rebuild": {
            "post": _call(
                "Embed the gallery again for the bundle that is served",
                _object({"model": _MODEL, "leave_out": {"type": "boolean", "default": False}}),
                {},
                status="202",
            )
        },
        "/gallery/{id}": {
            "get": _call("An item", parameters=at),
            "delete": _call("Delete an item", parameters=at),
        },
        "/gallery/{id}/image": {"get": _call("An item's thumbnail", parameters=at, gives="image/jpeg")},
        "/caption": {
            "post": _call(
                "Caption pictures",
                _object({"model": _MODEL, "image": _PICTURE, "images": _list(_PICTURE)} | _lengths()),
                {"image": PIXEL},
                picture=True,
            )
        },
        "/answer": {
            "post": _call(
                "Answer questions about a picture",
                _object(
                    {"model": _MODEL, "image": _PICTURE, "questions": _list(_TEXT)} | _lengths(),
                    "image",
                    "questions",
                ),
                {"image": PIXEL, "questions": ["what colour is it?"]},
            )
        },
        "/models": {"get": _call("What is served, and what its run measured")},
        "/models/reload": {
            "post": _call("Read a bundle again from its folder", _object({"model": _MODEL}), {})
        },
        "/livez": {"get": _call("The process answers")},
        "/readyz": {"get": _call("Every model answers a canary")},
        "/openapi.json": {"get": _call("This description")},
        **{path: {"get": _call("A file of the page", gives=kind)} for path, (_, kind) in FILES.items()},
    }


def _call(
    summary: str,
    body: Schema | None = None,
    example: Schema | None = None,
    *,
    picture: bool = False,
    parameters: list[Schema] | None = None,
    gives: str = "application/json",
    status: str = "200",
) -> Schema:
    told: Schema = {
        "summary": summary,
        "responses": {
            status: {"description": "Done", "content": {gives: {"schema": {}}}},
            "default": {
                "description": "Refused or failed",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        content: Schema = {"application/json": {"schema": body, "example": example}}
        if picture:
            content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _object(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _lengths() -> Schema:
    return {
        "beams": {"type": "integer", "minimum": 1, "maximum": 16},
        "max_length": {"type": "integer", "minimum": 2},
    }


def _error() -> Schema:
    error = _object(
        {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "param": {"type": ["string", "null"]},
        },
        "code",
        "message",
        "param",
    )
    return _object({"error": error}, "error")
