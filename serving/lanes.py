"""What a model runs: one lane for each kind of row that it takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.runtime import Bundle, Writer
from compressor.runtime.schema import DYNAMIC
from serving.batching import Lane, Run
from serving.canary import FIRST_TOKEN, first_token

Rows = NDArray[Any]
_MOST_TEXTS = 8
"""Texts written together: each holds keys and values for every beam."""


def lanes_of(opened: Bundle | Writer, max_batch: int, decoding: Callable[[], bool]) -> dict[str, Lane]:
    """`image` and `text` of a model that embeds, `write` of one that writes, and the first token for its
    canary; `decoding`: True while pictures wait to be decoded."""
    if isinstance(opened, Bundle):
        images, texts = opened.run_images, opened.run_texts
        if opened.rows_alone:
            images, texts = partial(_one_by_one, images), partial(_one_by_one, texts)
        return {"image": Lane(images, max_batch, decoding), "text": Lane(texts, max_batch)}
    return {
        "write": Lane(partial(_write, opened), min(max_batch, _MOST_TEXTS), decoding),
        FIRST_TOKEN: Lane(partial(first_token, opened), 1),
    }


def _one_by_one(run: Run, rows: Rows) -> Rows:
    """What is embedded must not depend on who else asks at the time."""
    return np.concatenate([run(rows[k : k + 1]) for k in range(len(rows))])


def _write(writer: Writer, jobs: Rows) -> Rows:
    """Texts (N,) of jobs (N,): pixels, question or None, beams, longest length.

    Those of one length and number of beams are written together, unless that would change them.
    """
    texts = np.empty(len(jobs), object)
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, (_, _, *how) in enumerate(jobs):
        alike.setdefault((*how, index) if writer.precision in DYNAMIC else tuple(how), []).append(index)
    for (beams, longest, *_), places in alike.items():
        pixels = np.stack([jobs[index][0] for index in places])
        asked = [jobs[index][1] for index in places]
        questions = writer.preprocessor.texts(asked) if writer.asks else None
        ids = writer.generate(pixels, questions, beams=beams, max_length=longest, min_length=None)
        texts[places] = writer.spell(ids)
    return texts
