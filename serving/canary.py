"""One small input through each part of a model, and what its answer must look like."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.runtime import Bundle, Writer
from compressor.runtime.writer_graphs import as_question

Rows = NDArray[Any]
FIRST_TOKEN = "first token"
"""The lane of a model that writes which only the canary takes."""
_TOLERANCE = 1e-2
"""Of a row's length: float16 and int8 outputs are normalised before they are rounded."""


def canaries(opened: Bundle | Writer) -> dict[str, Rows]:
    """One row for every lane that tells whether the model is well."""
    size = opened.preprocessor.image.size
    grey = np.zeros((1, 3, size, size), np.float32)
    if isinstance(opened, Writer):
        return {FIRST_TOKEN: grey}
    return {"image": grey, "text": opened.preprocessor.texts(["a photo"])}


def first_token(writer: Writer, pixels: Rows) -> Rows:
    """Logits (N, words) of the first token of a text about pictures (N, 3, H, W): every graph once, and none
    of the steps that make a text dear."""
    graphs, vocabulary = writer.graphs, writer.manifest.vocabulary
    questions = mask = None
    if writer.asks:
        asked = writer.preprocessor.texts(["what is it?"] * len(pixels))
        questions, mask = as_question(asked, vocabulary)
    given = np.array([[[vocabulary.start_id, *vocabulary.prompt_ids]]], np.int64).repeat(len(pixels), 0)
    return graphs.decoding(graphs.read(pixels, questions, mask), mask)(given, None)[:, 0]


def fault(lane: str, answer: Rows) -> str:
    """What is wrong with the answer to a canary; nothing where it is one finite row, of length 1 where it
    embeds."""
    if lane == FIRST_TOKEN:
        well = len(answer) == 1 and bool(np.isfinite(answer).all()) and np.ptp(answer) > 0
        return "" if well else "the canary gave no token"
    if len(answer) == 1 and abs(float(np.linalg.norm(answer[0])) - 1) < _TOLERANCE:
        return ""
    return f"the {lane} canary gave no unit row"


def fault_of(opened: Bundle | Writer) -> str:
    """What is wrong with a model that is open and not served yet; nothing where it is well."""
    run: dict[str, Callable[[Rows], Rows]] = (
        {FIRST_TOKEN: partial(first_token, opened)}
        if isinstance(opened, Writer)
        else {"image": opened.run_images, "text": opened.run_texts}
    )
    for lane, rows in canaries(opened).items():
        try:
            found = fault(lane, run[lane](rows))
        except Exception as error:  # runtimes raise classes of their own
            found = f"the {lane} canary failed: {error}"
        if found:
            return found
    return ""
