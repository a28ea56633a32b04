"""Questions about drawn scenes, each with one short answer out of a closed list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from PIL import Image

from compressor.data.questions import QuestionRow
from compressor.data.randomness import Dice
from compressor.data.scene import BACKGROUNDS, COLOURS, KINDS, TEXTURES, Scene
from compressor.data.scene_asking import DIRECTIONS, MAKERS, QuestionType
from compressor.data.scenes import ScenesPairs
from compressor.files import hash_json

QUESTION_TYPES: tuple[QuestionType, ...] = get_args(QuestionType)
MOST_QUESTIONS = 20
"""So many different questions can be asked of every scene."""

ANSWERS: tuple[str, ...] = (
    *("yes", "no", "0", "1", "2", "3"),
    *COLOURS,
    *KINDS,
    *TEXTURES,
    *BACKGROUNDS,
    *(word for pair in DIRECTIONS.values() for word in pair),
)
"""All answers there are, in the normal form of VQA."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a scene; `answer` is one of `ANSWERS`."""

    id: str
    text: str
    answer: str
    type: QuestionType

    @property
    def answer_type(self) -> Literal["yes/no", "number", "other"]:
        """The type by which VQA groups answers."""
        return "yes/no" if self.type == "yes/no" else "number" if self.type == "count" else "other"


def scene_questions(scene: Scene, dice: Dice, count: int = 6, name: str = "scene") -> tuple[Question, ...]:
    """`count` differently worded questions, with the ids `<name>?<number>`.

    Types come in random turns: every type is tried once before any is tried again, and one that does not fit
    the scene is passed over. Raises `ValueError` for a count not from 1 to `MOST_QUESTIONS`.
    """
    if not 1 <= count <= MOST_QUESTIONS:
        raise ValueError(f"a scene can be asked 1 to {MOST_QUESTIONS} questions, not {count}")
    asked: dict[str, Question] = {}
    for kind in _turns(dice):
        made = MAKERS[kind](scene, dice)
        if made is not None and made[0] not in asked:
            asked[made[0]] = Question(f"{name}?{len(asked)}", made[0], made[1], kind)
            if len(asked) == count:
                break
    return tuple(asked.values())


class SceneQuestions:
    """The questions of one split of the scenes (a `QuestionSet`), the same everywhere for the same seed.

    A row's `answers` hold the one true answer; its question type is one of `QUESTION_TYPES`.
    """

    def __init__(self, pairs: ScenesPairs, per_scene: int = 6, seed: int = 0) -> None:
        self.split = pairs.split
        self._pairs, self._per_scene = pairs, per_scene
        self._rows = [
            QuestionRow(made.id, row.id, made.text, (made.answer,), made.answer_type, made.type)
            for index, row in enumerate(pairs.rows)
            for made in scene_questions(
                pairs.scene(index), Dice("questions", seed, row.id), per_scene, row.id
            )
        ]
        content = [[row.id, row.question, row.answers] for row in self._rows]
        self.fingerprint = hash_json(["scene questions", pairs.fingerprint, content])

    @property
    def rows(self) -> Sequence[QuestionRow]:
        return self._rows

    def image(self, index: int) -> Image.Image:
        """The picture that question `index` is about."""
        return self._pairs.image(index // self._per_scene)


def _turns(dice: Dice) -> Iterator[QuestionType]:
    """All types in random order, again and again."""
    while True:
        left = list(QUESTION_TYPES)
        while left:
            yield left.pop(dice.below(len(left)))
