"""The OpenAPI description of the service, with an example for every call that takes a body."""

from __future__ import annotations

from typing import Literal

from compressor import __version__
from serving.endpoints.page import FILES
from serving.schemas import (
    ADDRESS,
    ANSWERS,
    ENCODING,
    ERROR,
    FILE,
    FILTER,
    ID,
    METADATA,
    MODEL,
    PICTURE,
    TEXT,
    Schema,
    a_list,
    an_object,
    either,
    or_null,
)

_FILE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
PIXEL = f"data:image/png;base64,{_FILE}"
"""A picture of one red pixel, which examples can be run with."""


def description() -> Schema:
    """The whole document, as `/openapi.json` gives it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "compressor",
            "version": __version__,
            "description": "A distilled vision-language student over HTTP. Where a picture is the body, the "
            "other fields stand in the query.",
        },
        "paths": {path: dict(methods) for path, methods in _paths().items()},
        "components": {
            "schemas": {"Error": an_object({"error": ERROR}, "error")},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _paths() -> dict[str, dict[str, Schema]]:
    images = {"model": MODEL, "images": a_list(PICTURE), "encoding_format": ENCODING}
    embedding = {
        "model": MODEL,
        "input": {"anyOf": [TEXT, a_list({"anyOf": [TEXT, ADDRESS]})]},
        "encoding_format": ENCODING,
    }
    dimensions = {"type": ["integer", "null"], "minimum": 1, "description": "The model's own, no others."}
    item = {"id": ID, "image": PICTURE, "metadata": METADATA}
    pages = [
        _query("limit", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 50}),
        _query("cursor", {"type": "string"}),
        _query("model", {"type": "string"}),
    ]
    at = [{"name": "id", "in": "path", "required": True, "schema": ID}, _query("model", {"type": "string"})]
    return {
        "/v1/embeddings": {
            "post": _call(
                "Embeddings in OpenAI's form",
                "openai",
                an_object(embedding | {"dimensions": dimensions, "user": {}}, "input"),
                {"input": ["a red star", PIXEL]},
            )
        },
        "/encode/image": {
            "post": _call(
                "Embed pictures",
                "rows",
                an_object(images, "images"),
                {"images": [PIXEL]},
                picture=True,
                rows=True,
            )
        },
        "/encode/text": {
            "post": _call(
                "Embed texts",
                "rows",
                an_object({"model": MODEL, "texts": a_list(TEXT), "encoding_format": ENCODING}, "texts"),
                {"texts": ["a red star", "two blue circles"]},
                rows=True,
            )
        },
        "/rank": {
            "post": _call(
                "Rank texts for a picture, or pictures for a text",
                "ranked",
                either(
                    an_object(
                        {
                            "model": MODEL,
                            "image": PICTURE,
                            "texts": a_list(TEXT),
                            "text": TEXT,
                            "images": a_list(PICTURE),
                        }
                    ),
                    ("image", "texts"),
                    ("text", "images"),
                ),
                {"image": PIXEL, "texts": ["a red star", "two blue circles"]},
            )
        },
        "/classify": {
            "post": _call(
                "Classify a picture by labels that training never saw",
                "labelled",
                an_object(
                    {
                        "model": MODEL,
                        "image": PICTURE,
                        "labels": a_list(TEXT),
                        "templates": or_null(
                            a_list({"type": "string", "pattern": r"^([^{]|\{(?!\}))*\{\}([^{]|\{(?!\}))*$"})
                        ),
                    },
                    *("image", "labels"),
                ),
                {"image": PIXEL, "labels": ["star", "circle"], "templates": ["a picture of a {}"]},
            )
        },
        "/search": {
            "post": _call(
                "Search the gallery by a text or a picture",
                "hits",
                either(
                    an_object(
                        {
                            "model": MODEL,
                            "text": TEXT,
                            "image": PICTURE,
                            "k": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000, "default": 10},
                            "filter": FILTER,
                        }
                    ),
                    ("text",),
                    ("image",),
                ),
                {"text": "a red star", "k": 5},
                picture=True,
            )
        },
        "/gallery": {
            "get": _call("A page of the gallery", "page", parameters=pages),
            "post": _call(
                "Add pictures, or replace those of the same ids",
                "added",
                an_object({"model": MODEL, "items": a_list(an_object(item, "id", "image"))}, "items"),
                {"items": [{"id": "example", "image": PIXEL, "metadata": {"colour": "red"}}]},
            ),
        },
        "/gallery/delete": {
            "post": _call(
                "Delete items",
                "deleted",
                an_object({"model": MODEL, "ids": a_list(ID)}, "ids"),
                {"ids": ["example"]},
            )
        },
        "/gallery/rebuild": {
            "post": _call(
                "Embed the gallery again for the bundle that is served",
                "job",
                an_object({"model": MODEL, "leave_out": {"type": "boolean", "default": False}}),
                {},
                status="202",
                key="always",
            )
        },
        "/gallery/{id}": {
            "get": _call("An item", "item", parameters=at),
            "delete": _call("Delete an item", "deleted", parameters=at),
        },
        "/gallery/{id}/image": {"get": _call("An item's thumbnail", parameters=at, gives="image/jpeg")},
        "/caption": {
            "post": _call(
                "Caption pictures",
                "captions",
                either(
                    an_object({"model": MODEL, "image": PICTURE, "images": a_list(PICTURE)} | _lengths()),
                    ("image",),
                    ("images",),
                ),
                {"image": PIXEL},
                picture=True,
            )
        },
        "/answer": {
            "post": _call(
                "Answer questions about a picture",
                "answers",
                an_object(
                    {"model": MODEL, "image": PICTURE, "questions": a_list(TEXT)} | _lengths(),
                    *("image", "questions"),
                ),
                {"image": PIXEL, "questions": ["what colour is it?"]},
            )
        },
        "/models": {"get": _call("What is served, and what its run measured", "models")},
        "/models/reload": {
            "post": _call(
                "Read a bundle again from its folder", "models", an_object({"model": MODEL}), {}, key="always"
            )
        },
        "/livez": {"get": _call("The process answers", "status", key="never")},
        "/readyz": {"get": _call("Every model answers a canary", "status", key="never")},
        "/openapi.json": {"get": _call("This description", "document", key="never")},
        **{
            path: {"get": _call("A file of the page", gives=kind, key="never")}
            for path, (_, kind) in FILES.items()
        },
    }


def _call(
    summary: str,
    answer: str | None = None,
    body: Schema | None = None,
    example: Schema | None = None,
    *,
    picture: bool = False,
    rows: bool = False,
    parameters: list[Schema] | None = None,
    gives: str = "application/json",
    status: str = "200",
    key: Literal["set", "always", "never"] = "set",
) -> Schema:
    """A call. `answer`: of `ANSWERS`. `picture`: the body may be one. `rows`: the answer may be float32."""
    content: Schema = {gives: {"schema": {} if answer is None else ANSWERS[answer]}}
    if rows:
        content["application/octet-stream"] = {"schema": FILE}
    told: Schema = {
        "summary": summary,
        "responses": {
            status: {"description": "Done", "content": content},
            "default": {
                "description": "Refused or failed",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if key != "set":
        told["security"] = [{"key": []}] if key == "always" else []
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        taken: Schema = {"application/json": {"schema": body, "example": example}}
        if picture:
            taken |= {"image/*": {"schema": FILE}, "application/octet-stream": {"schema": FILE}}
        told["requestBody"] = {"required": True, "content": taken}
    return told


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _lengths() -> Schema:
    return {
        "beams": {"type": ["integer", "null"], "minimum": 1, "maximum": 16},
        "max_length": {"type": ["integer", "null"], "minimum": 2},
    }
