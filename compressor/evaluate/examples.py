"""Example retrievals for the report: teacher beside student, wins and losses alike. Torch-free.

Form of an item of `results.examples`:

    {"kind": "text_to_image" | "image_to_text",
     "outcome": "both right" | "teacher only" | "student only" | "both wrong",
     "query": {"id": str, "caption": str} | {"id": str, "image": JPEG as base64},
     "teacher": [answer, ...] or null where there is no teacher, "student": [answer, ...]}

with three answers, best first: {"id", "image" (base64 JPEG), "correct", "score"} for pictures and {"id",
"caption", "correct", "score"} for captions; `id` is the image's, `score` the cosine. Without a teacher the
outcome is "student right" or "student wrong".
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.data.pairs import PairSet
from compressor.evaluate.encode import EncodedPairs

THUMBNAIL = 96
SHOWN = 3
_CANDIDATES = 256
_BLOCK = 4096
_LONGEST_CAPTION = 400

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]


def pick_examples(
    teacher: EncodedPairs | None, student: EncodedPairs, pairs: PairSet, n: int, seed: int = 0
) -> list[dict[str, Any]]:
    """`n` examples, half of them caption queries (one more where n is odd), half image queries.

    Outcomes are taken in turn as far as they occur among 256 random queries, so that losses are shown as
    surely as wins: an illustration, not a sample to count on. Deterministic by `seed`. Thumbnails are at
    most 96 pixels.
    """
    builder = _Builder(teacher, student, pairs)
    generator = np.random.default_rng(seed)
    examples = builder.examples("text_to_image", n - n // 2, generator)
    return examples + builder.examples("image_to_text", n // 2, generator)


class _Builder:
    def __init__(self, teacher: EncodedPairs | None, student: EncodedPairs, pairs: PairSet) -> None:
        self.models = {"student": student} if teacher is None else {"teacher": teacher, "student": student}
        self.student, self.pairs = student, pairs
        self.row_of = {row.id: number for number, row in enumerate(pairs.rows)}
        self.owner = np.asarray(student.text_to_image, np.int64)
        self.captions = [
            caption for name in student.ids for caption in pairs.rows[self.row_of[name]].captions
        ]
        self.thumbnails: dict[int, str] = {}

    def examples(self, kind: str, count: int, generator: np.random.Generator) -> list[dict[str, Any]]:
        from_text = kind == "text_to_image"
        queries = np.arange(len(self.owner)) if from_text else np.unique(self.owner)
        if count <= 0 or not len(queries):
            return []
        chosen = generator.permutation(queries)[:_CANDIDATES]
        found = {role: self._top(model, chosen, from_text) for role, model in self.models.items()}
        right = {role: self._right(chosen, top[0], from_text) for role, top in found.items()}
        outcomes = [
            self._outcome({role: bool(flags[k, 0]) for role, flags in right.items()})
            for k in range(len(chosen))
        ]
        return [self._example(kind, k, chosen, found, right, outcomes[k]) for k in _in_turn(outcomes, count)]

    def _top(self, model: EncodedPairs, chosen: Ints, from_text: bool) -> tuple[Ints, Floats]:
        queries, gallery = model.text_embeds, model.image_embeds
        if not from_text:
            queries, gallery = gallery, queries
        return _best(_unit(queries[chosen]), gallery, SHOWN)

    def _right(self, chosen: Ints, answers: Ints, from_text: bool) -> npt.NDArray[np.bool_]:
        if from_text:
            return np.asarray(answers == self.owner[chosen][:, None])
        return np.asarray(self.owner[answers] == chosen[:, None])

    @staticmethod
    def _outcome(right: dict[str, bool]) -> str:
        if "teacher" not in right:
            return "student right" if right["student"] else "student wrong"
        if right["teacher"] == right["student"]:
            return "both right" if right["student"] else "both wrong"
        return "student only" if right["student"] else "teacher only"

    def _example(
        self,
        kind: str,
        k: int,
        chosen: Ints,
        found: dict[str, tuple[Ints, Floats]],
        right: dict[str, npt.NDArray[np.bool_]],
        outcome: str,
    ) -> dict[str, Any]:
        query, from_text = int(chosen[k]), kind == "text_to_image"
        image = int(self.owner[query]) if from_text else query
        shown = {"caption": _short(self.captions[query])} if from_text else {"image": self._thumbnail(image)}
        answers: dict[str, Any] = {"teacher": None}
        for role, (top, scores) in found.items():
            answers[role] = [
                self._answer(int(answer), float(score), bool(correct), from_text)
                for answer, score, correct in zip(top[k], scores[k], right[role][k], strict=True)
            ]
        return {
            "kind": kind,
            "outcome": outcome,
            "query": {"id": self.student.ids[image], **shown},
            **answers,
        }

    def _answer(self, answer: int, score: float, correct: bool, from_text: bool) -> dict[str, Any]:
        image = answer if from_text else int(self.owner[answer])
        shown = {"image": self._thumbnail(image)} if from_text else {"caption": _short(self.captions[answer])}
        return {"id": self.student.ids[image], **shown, "correct": correct, "score": round(score, 4)}

    def _thumbnail(self, image: int) -> str:
        if image not in self.thumbnails:
            picture = self.pairs.image(self.row_of[self.student.ids[image]])
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            file = io.BytesIO()
            picture.convert("RGB").save(file, "JPEG", quality=85, optimize=True)
            self.thumbnails[image] = base64.b64encode(file.getvalue()).decode("ascii")
        return self.thumbnails[image]


def _best(queries: Floats, gallery: Floats, count: int) -> tuple[Ints, Floats]:
    """The `count` best rows of the gallery per query, best first, and their cosines; block by block."""
    rows = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0))
    for start in range(0, len(gallery), _BLOCK):
        block = _unit(gallery[start : start + _BLOCK])
        scores = np.concatenate([scores, queries @ block.T], axis=1)
        here = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        rows = np.concatenate([rows, here], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return rows, scores


def _unit(embeds: Floats) -> npt.NDArray[np.float64]:
    wide = np.asarray(embeds, np.float64)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norm > 0, norm, 1.0)


def _in_turn(outcomes: Sequence[str], count: int) -> list[int]:
    """Positions of up to `count` queries, one outcome after the other while there are any left of it."""
    order = ("both right", "student only", "teacher only", "both wrong", "student right", "student wrong")
    piles = [[k for k, outcome in enumerate(outcomes) if outcome == name] for name in order]
    picked: list[int] = []
    depth = 0
    while len(picked) < min(count, len(outcomes)):
        picked += [pile[depth] for pile in piles if depth < len(pile)]
        depth += 1
    return picked[:count]


def _short(caption: str) -> str:
    return caption if len(caption) <= _LONGEST_CAPTION else caption[: _LONGEST_CAPTION - 1] + "…"
