"""`/caption` and `/answer`, of bundles that write."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.responses import Response

from compressor.runtime import Writer
from serving import answers, inputs
from serving.call import Call
from serving.errors import ApiError
from serving.models import Item, Model

_MOST_BEAMS = 16


async def caption(call: Call) -> Response:
    """A caption of every picture."""
    inputs.only(call.body, "model", "images", "image", "beams", "max_length")
    inputs.one_way(call.body, ("image",), ("images",))
    model, writer = call.writer()
    if writer.asks:
        raise ApiError(409, "wrong_kind", f"'{model.name}' answers questions; ask it at /answer", "model")
    param = "image" if call.body.fields.get("images") is None else "images"
    if param == "image" and call.body.picture is None and not call.body.files:
        files: list[bytes | ApiError] = [inputs.one_picture(call.body)]
    else:
        files = inputs.pictures(call.body, param, call.settings)
    texts = await _written(call, model, writer, files, None)
    return answers.itemised({"model": model.name}, texts, lambda text: {"caption": str(text)})


async def answer(call: Call) -> Response:
    """Answers to questions about one picture."""
    inputs.only(call.body, "model", "image", "questions", "beams", "max_length")
    model, writer = call.writer()
    if not writer.asks:
        raise ApiError(409, "wrong_kind", f"'{model.name}' captions; send the picture to /caption", "model")
    given = inputs.structured(call.body, "questions")
    questions = inputs.texts_of(given, "questions", call.settings)
    picture = inputs.one_picture(call.body)
    texts = await _written(call, model, writer, [picture] * len(questions), questions)
    asked = iter(questions)
    return answers.itemised(
        {"model": model.name}, texts, lambda text: {"question": next(asked), "answer": str(text)}
    )


async def _written(
    call: Call, model: Model, writer: Writer, files: list[bytes | ApiError], questions: list[str] | None
) -> list[Item]:
    """The text of every picture as an array without dimensions, or its error in its place."""
    lengths = _lengths(call, writer)
    good = [file for file in files if isinstance(file, bytes)]
    decoded = iter(await call.models.pixels(model, good))
    items: list[Item] = [next(decoded) if isinstance(file, bytes) else file for file in files]
    jobs: list[Item] = [
        item
        if isinstance(item, ApiError)
        else _job(item, None if questions is None else questions[k], lengths)
        for k, item in enumerate(items)
    ]
    return await call.models.run_items(model, "write", jobs, call.deadline)


def _lengths(call: Call, writer: Writer) -> tuple[int, int]:
    usual = writer.manifest.writing
    beams, longest = call.value("beams"), call.value("max_length")
    least = len(writer.manifest.vocabulary.prompt_ids) + 2
    return (
        usual.beams if beams is None else inputs.number_of(beams, "beams", 1, _MOST_BEAMS),
        usual.max_length
        if longest is None
        else inputs.number_of(longest, "max_length", least, writer.manifest.positions),
    )


def _job(pixels: Any, question: str | None, lengths: tuple[int, int]) -> Any:
    """One picture, its question and how to write, as an array that rows of others can be stacked on."""
    job = np.empty((), object)
    job[()] = (pixels, question, *lengths)
    return job
