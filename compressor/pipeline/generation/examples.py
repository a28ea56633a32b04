"""Examples for the report: a picture, what was to be written, and what teacher, student and control wrote.

Form of an item of `results.examples`:

    {"kind": "caption" | "answer", "id": str, "image": JPEG as base64, "question": str (answers only),
     "references": [str, ...], "written": {role: {"text": str, "score": float}}}

`score` is the caption's own figure (CIDEr where there is one), or the answer's accuracy in percent.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.data.pairs import PairSet
from compressor.data.question_pairs import QuestionPairs
from compressor.evaluate.examples import THUMBNAIL
from compressor.pipeline.generation.scores import Scored
from compressor.runtime.schema import Role

_CANDIDATES = 64
_REFERENCES = 3


def pick_examples(
    texts: Mapping[Role, Mapping[str, str]],
    scored: Mapping[Role, Scored],
    pairs: PairSet,
    count: int,
    seed: int,
) -> list[dict[str, Any]]:
    """`count` examples of 64 random ones: in turn where the student does best, worst, second best, …, beside
    its teacher. An illustration, not a sample to count on."""
    names = list(texts["student"])
    drawn = [names[k] for k in np.random.default_rng(seed).permutation(len(names))[:_CANDIDATES].tolist()]
    lead = {name: scored["student"].worth(name) - scored["teacher"].worth(name) for name in drawn}
    ordered = sorted(drawn, key=lambda name: lead[name], reverse=True)
    turns = [ordered[k // 2] if k % 2 == 0 else ordered[-1 - k // 2] for k in range(len(ordered))]
    return [_example(name, texts, scored, pairs) for name in turns[:count]]


def _example(
    name: str, texts: Mapping[Role, Mapping[str, str]], scored: Mapping[Role, Scored], pairs: PairSet
) -> dict[str, Any]:
    written = {
        role: {"text": found[name], "score": round(scored[role].worth(name), 1)}
        for role, found in texts.items()
    }
    if isinstance(pairs, QuestionPairs):
        row = pairs.questions[name]
        answers = sorted(set(row.answers), key=row.answers.count, reverse=True)
        told = {"kind": "answer", "question": row.question, "references": answers[:_REFERENCES]}
        image = row.image_id
    else:
        captions = next(row.captions for row in pairs.rows if row.id == name)
        told, image = {"kind": "caption", "references": list(captions[:_REFERENCES])}, name
    index = next(k for k, row in enumerate(pairs.rows) if row.id == image)
    return {"id": name, "image": _thumbnail(pairs, index), **told, "written": written}


def _thumbnail(pairs: PairSet, index: int) -> str:
    picture = pairs.image(index)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=85, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
