"""`/rank`: a picture against texts or a text against pictures; `/classify`: a picture against labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from compressor.runtime import Bundle
from serving import answers, inputs
from serving.call import Call
from serving.errors import ApiError, wrong
from serving.models import Item, Model

PLAIN = ("a photo of a {}",)


async def rank(call: Call) -> Response:
    """Candidates by their cosine to the query, with probabilities at the learned temperature."""
    inputs.only(call.body, "model", "image", "images", "text", "texts")
    model, bundle = call.embedder()
    inputs.one_way(call.body, ("texts", "image"), ("text", "images"))
    texts = inputs.structured(call.body, "texts")
    if texts is not None:
        query = (await _rows(call, model, [inputs.one_picture(call.body)]))[0]
        candidates = inputs.texts_of(texts, "texts", call.settings)
        rows: list[Item] = list(await call.embed_texts(model, candidates))
    else:
        text = inputs.text_of(call.body.fields.get("text"), "text", call.settings)
        (query,) = await call.embed_texts(model, [text])
        rows = await call.embed_images(model, inputs.pictures(call.body, "images", call.settings))
    return _ranked(model, bundle, rows, query, None)


async def classify(call: Call) -> Response:
    """Zero-shot: a label's row is the mean over the templates, of unit length (arXiv 2103.00020, 3.1.4)."""
    inputs.only(call.body, "model", "image", "labels", "templates")
    model, bundle = call.embedder()
    labels = inputs.texts_of(inputs.structured(call.body, "labels"), "labels", call.settings)
    given = inputs.structured(call.body, "templates")
    templates = list(PLAIN) if given is None else inputs.texts_of(given, "templates", call.settings)
    for k, template in enumerate(templates):
        if template.count("{}") != 1:
            raise wrong("has not exactly one {} for the label", f"templates[{k}]")
    inputs.check_count(len(labels) * len(templates), "labels", call.settings)
    query = (await _rows(call, model, [inputs.one_picture(call.body)]))[0]
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    rows = await call.embed_texts(model, prompts)
    means = rows.reshape(len(labels), len(templates), -1).mean(axis=1)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return _ranked(model, bundle, list(means), query, labels)


async def _rows(call: Call, model: Model, files: list[bytes | ApiError]) -> list[NDArray[Any]]:
    return answers.all_or_error(await call.embed_images(model, files))


def _ranked(
    model: Model, bundle: Bundle, rows: list[Item], query: NDArray[Any], labels: list[str] | None
) -> Response:
    """Best first. The probability is the softmax over the candidates that could be read, or each one's own
    sigmoid for a model trained with one (it has a bias)."""
    good = {index: float(row @ query) for index, row in enumerate(rows) if not isinstance(row, ApiError)}
    cosines = np.array(list(good.values()), np.float64)
    logits = bundle.logit_scale * cosines + (bundle.logit_bias or 0.0)
    found: list[Item] = list(rows)
    for index, facts in zip(
        good, np.stack([cosines, logits, probabilities(logits, bundle)], axis=1), strict=True
    ):
        found[index] = facts

    def shaped(facts: NDArray[Any]) -> dict[str, Any]:
        names = ("cosine", "logit", "probability")
        return dict(zip(names, (round(float(value), 6) for value in facts), strict=True))

    order = sorted(range(len(rows)), key=lambda index: (-good.get(index, -2.0), index))
    return answers.itemised({"model": model.name}, found, shaped, order, labels)


def probabilities(logits: NDArray[np.float64], bundle: Bundle) -> NDArray[np.float64]:
    """Softmax of logits (N,), or their sigmoid for a model with a bias."""
    if bundle.logit_bias is not None:
        return 1 / (1 + np.exp(-logits))
    exponentials = np.exp(logits - logits.max(initial=-np.inf))
    return np.asarray(exponentials / max(exponentials.sum(), 1e-300))
