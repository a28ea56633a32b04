"""`/encode/image`, `/encode/text`, and `/v1/embeddings` in OpenAI's form."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from serving import answers, inputs
from serving.call import Call
from serving.errors import ApiError, wrong
from serving.models import Item

_ENCODINGS = ("float", "base64")


async def encode_image(call: Call) -> Response:
    """Unit rows of pictures."""
    inputs.only(call.body, "model", "images", "encoding_format")
    model, bundle = call.embedder()
    encoding = _encoding(call)
    rows = await call.embed_images(model, inputs.pictures(call.body, "images", call.settings))
    return _answer(call, rows, {"model": model.name, "dimensions": bundle.embed_dim}, encoding, "images")


async def encode_text(call: Call) -> Response:
    """Unit rows of texts."""
    inputs.only(call.body, "model", "texts", "encoding_format")
    model, bundle = call.embedder()
    encoding = _encoding(call)
    texts = inputs.texts_of(inputs.structured(call.body, "texts"), "texts", call.settings)
    rows: list[Item] = list(await call.embed_texts(model, texts))
    return _answer(call, rows, {"model": model.name, "dimensions": bundle.embed_dim}, encoding, "texts")


async def embeddings(call: Call) -> Response:
    """OpenAI's `POST /v1/embeddings`; an item that is a data URL of a picture is one."""
    inputs.only(call.body, "model", "input", "encoding_format", "dimensions", "user")
    model, bundle = call.embedder()
    encoding, dimensions = _encoding(call), call.value("dimensions")
    if dimensions is not None and inputs.number_of(dimensions, "dimensions", 1, 2**31) != bundle.embed_dim:
        raise wrong(
            f"this model was not trained to be cut short: its embeddings have {bundle.embed_dim} dimensions",
            "dimensions",
        )
    items, tokens = await _mixed(call)
    rows = answers.all_or_error(items, "input")
    data = [
        {"object": "embedding", "index": index, "embedding": answers.vector(row, encoding)}
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answers.RowsResponse({"object": "list", "data": data, "model": model.name, "usage": usage})


async def _mixed(call: Call) -> tuple[list[Item], int]:
    """Rows of texts and pictures in the order of `input`, and how many tokens the texts have."""
    model, bundle = call.embedder()
    if call.body.files:
        return await call.embed_images(model, inputs.pictures(call.body, "input", call.settings)), 0
    given = call.body.fields.get("input")
    listed = [given] if isinstance(given, str) else inputs.list_of(given, "input", call.settings)
    if isinstance(listed[0], int | list):
        raise wrong("is token ids; send texts, this model has a tokeniser of its own", "input")
    names = ["input"] if isinstance(given, str) else [f"input[{k}]" for k in range(len(listed))]
    images = {k: value for k, value in enumerate(listed) if _is_picture(value)}
    texts = {
        k: inputs.text_of(value, names[k], call.settings) for k, value in enumerate(listed) if k not in images
    }
    files: list[bytes | ApiError] = [inputs.picture_of(value, names[k]) for k, value in images.items()]
    items: dict[int, Item] = {}
    tokens = 0
    if texts:
        ids = await call.token_ids(model, list(texts.values()))
        tokens = int((ids != bundle.preprocessor.text.pad_id).sum())
        items |= zip(texts, await call.models.run(model, "text", ids, call.deadline), strict=True)
    if files:
        items |= zip(images, await call.embed_images(model, files), strict=True)
    return [items[k] for k in range(len(listed))], tokens


def _is_picture(value: Any) -> bool:
    sent_as_url = isinstance(value, dict | inputs.Fetched)
    return sent_as_url or (isinstance(value, str) and value[:11].lower() == "data:image/")


def _encoding(call: Call) -> str:
    value = call.value("encoding_format")
    return "float" if value is None else inputs.choice_of(value, "encoding_format", _ENCODINGS)


def _answer(call: Call, rows: list[Item], head: dict[str, Any], encoding: str, param: str) -> Response:
    if answers.wants_octets(call.request):
        return answers.octets(answers.all_or_error(rows, param))
    return answers.itemised(
        head, rows, lambda row: {"embedding": answers.vector(row, encoding)}, kind=answers.RowsResponse
    )
