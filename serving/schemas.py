"""What requests hold and answers give, as JSON Schemas for the description of the service."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def an_object(properties: Schema, *required: str, open: bool = False) -> Schema:
    """An object; `open`: with more in it than is told here."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": open,
    }


def a_list(items: Schema) -> Schema:
    """At least one."""
    return {"type": "array", "items": items, "minItems": 1}


def either(schema: Schema, *ways: tuple[str, ...]) -> Schema:
    """An object with the fields of one of several ways to ask, those of the others missing or null."""
    named = {name: schema["properties"][name] for way in ways for name in way}
    branches = [
        {
            "required": list(way),
            "properties": {name: each if name in way else {"type": "null"} for name, each in named.items()},
        }
        for way in ways
    ]
    loose = {name: or_null(each) for name, each in named.items()}
    return {**schema, "properties": schema["properties"] | loose, "anyOf": branches}


def or_null(schema: Schema) -> Schema:
    """The same, or null, which is as if it were left out."""
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string", "pattern": r"\S"}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": 256, "description": "Of printable characters."}
ADDRESS: Schema = {
    **an_object({"url": {"type": "string", "pattern": "^https://"}}, "url"),
    "description": "Where the service allows addresses.",
}
PICTURE: Schema = {
    "anyOf": [
        {
            "type": "string",
            "pattern": r"^(data:[A-Za-z0-9.+/-]*(;[A-Za-z0-9=.+-]+)*;base64,)?"
            r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)$",
            "description": "A data URL or base64 of a picture's file.",
        },
        ADDRESS,
    ]
}
FILE: Schema = {"type": "string", "format": "binary"}
MODEL: Schema = {"type": ["string", "null"], "description": "One of /models; the first without it."}
ENCODING: Schema = {"enum": ["float", "base64", None], "default": "float"}
METADATA: Schema = {
    "type": "object",
    "maxProperties": 64,
    "propertyNames": {"minLength": 1, "maxLength": 64, "not": {"enum": ["and", "or", "not"]}},
    "additionalProperties": {
        "anyOf": [{"type": "string", "maxLength": 4096}, {"type": "number"}, {"type": "boolean"}]
    },
    "description": "Keys of printable characters; integers from -2^53 to 2^53.",
}
FILTER: Schema = {
    "type": ["object", "null"],
    "description": 'By metadata: {"colour": "red"}, {"year": {"gte": 2000}}, {"and": [...]}, {"not": {...}}.',
}

ERROR: Schema = an_object(
    {
        "code": {"type": "string"},
        "message": {"type": "string", "minLength": 1},
        "param": {"type": ["string", "null"]},
    },
    "code",
    "message",
    "param",
)
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_STRING: Schema = {"type": "string"}
_ROW: Schema = {"anyOf": [a_list(_NUMBER), {"type": "string", "contentEncoding": "base64"}]}
_ITEM = an_object(
    {"id": ID, "metadata": {"type": "object"}, "width": _COUNT, "height": _COUNT},
    *("id", "metadata", "width", "height"),
)
_JOB = an_object(
    {
        "status": {"enum": ["running", "done", "failed"]},
        "done": _COUNT,
        "of": _COUNT,
        "left_out": _COUNT,
        "error": ERROR,
    },
    *("status", "done", "of"),
)


def _results(facts: Schema, **more: Schema) -> Schema:
    """`results`, each with what it is about, or with an error."""
    result = an_object({"index": _COUNT} | facts | {"error": ERROR}, "index")
    return an_object({"model": _STRING, **more, "results": a_list(result)}, "model", *more, "results")


_VALUES: Schema = {"cosine": _NUMBER, "logit": _NUMBER, "probability": _NUMBER}
ANSWERS: dict[str, Schema] = {
    "openai": an_object(
        {
            "object": {"const": "list"},
            "data": a_list(
                an_object(
                    {"object": {"const": "embedding"}, "index": _COUNT, "embedding": _ROW},
                    *("object", "index", "embedding"),
                )
            ),
            "model": _STRING,
            "usage": an_object(
                {"prompt_tokens": _COUNT, "total_tokens": _COUNT}, "prompt_tokens", "total_tokens"
            ),
        },
        *("object", "data", "model", "usage"),
    ),
    "rows": _results({"embedding": _ROW}, dimensions=_COUNT),
    "ranked": _results(_VALUES),
    "labelled": _results({"label": _STRING, **_VALUES}),
    "captions": _results({"caption": _STRING}),
    "answers": _results({"question": _STRING, "answer": _STRING}),
    "hits": an_object(
        {
            "model": _STRING,
            "results": {
                "type": "array",
                "items": an_object(
                    {"id": ID, "score": _NUMBER, "metadata": {"type": "object"}}, "id", "score", "metadata"
                ),
            },
            "took_ms": an_object({"encode": _NUMBER, "index": _NUMBER}, "encode", "index"),
        },
        *("model", "results", "took_ms"),
    ),
    "added": an_object(
        {
            "added": {"type": "integer", "minimum": 1},
            "results": a_list(an_object({"index": _COUNT, "id": _STRING, "error": ERROR}, "index", "id")),
        },
        *("added", "results"),
    ),
    "page": an_object(
        {
            "count": _COUNT,
            "items": {"type": "array", "items": _ITEM},
            "next_cursor": {"type": ["string", "null"]},
            "index": an_object(
                {"search": {"enum": ["exact", "approximate"]}, "recall": {"type": ["object", "null"]}},
                *("search", "recall"),
            ),
            "other_bundle": {"type": ["string", "null"]},
            "rebuild": or_null(_JOB),
        },
        *("count", "items", "next_cursor", "index", "other_bundle", "rebuild"),
    ),
    "item": _ITEM,
    "deleted": an_object({"deleted": _COUNT}, "deleted"),
    "job": _JOB,
    "models": an_object(
        {
            "models": a_list(
                an_object(
                    {"name": _STRING, "kind": _STRING, "sha256": _STRING, "precision": _STRING},
                    *("name", "kind", "sha256", "precision"),
                    open=True,
                )
            )
        },
        "models",
    ),
    "status": an_object({"status": {"const": "ok"}, "models": a_list(_STRING)}, "status"),
    "document": {"type": "object"},
}
