"""Questions by picture: the form in which training and the decoded cache take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from compressor.data.pairs import Row
from compressor.data.questions import QuestionRow, QuestionSet
from compressor.data.randomness import keyed_integer
from compressor.data.scene_questions import SceneQuestions
from compressor.data.scenes import ScenesPairs
from compressor.data.vqa import missing, official_files, open_vqa
from compressor.errors import DataError
from compressor.files import hash_json
from compressor.recipe.data import QuestionsData, ScenesQuestionsData, Split, VqaData


class QuestionPairs:
    """The pictures of a question set (a `PairSet`): a row's captions are its questions, their ids the
    questions' own. `questions` has the rest of a question by its id.
    """

    def __init__(self, asked: QuestionSet, images: frozenset[str] | None = None) -> None:
        """`images` are the ids of the pictures that are kept; None keeps all."""
        self.split = asked.split
        self._asked = asked
        self._first: list[int] = []
        members: dict[str, list[QuestionRow]] = {}
        for number, row in enumerate(asked.rows):
            if images is None or row.image_id in images:
                if row.image_id not in members:
                    self._first.append(number)
                members.setdefault(row.image_id, []).append(row)
        self.questions: Mapping[str, QuestionRow] = {row.id: row for rows in members.values() for row in rows}
        self.rows: Sequence[Row] = [
            Row(image, tuple(row.question for row in rows), tuple(row.id for row in rows))
            for image, rows in members.items()
        ]
        self.fingerprint = hash_json(
            ["questions", asked.fingerprint, None if images is None else sorted(images)]
        )

    def image(self, index: int) -> Image.Image:
        """The picture of row `index`. Raises `BadImageError`."""
        return self._asked.image(self._first[index])


def open_questions(section: QuestionsData, split: Split) -> QuestionPairs:
    """The questions of one split with their pictures.

    Raises `MissingResourceError` and `DataError` as `open_vqa` does, and `DataError` where `held_out` leaves
    nothing to train on.
    """
    if isinstance(section, ScenesQuestionsData):
        return QuestionPairs(
            SceneQuestions(ScenesPairs(section.scenes, split), section.per_scene, section.seed)
        )
    if split == "test":
        return QuestionPairs(open_vqa(official_files(section.root, "val"), split))
    asked = open_vqa(official_files(section.root, "train"), split)
    images = sorted({row.image_id for row in asked.rows}, key=lambda image: keyed_integer("held out", image))
    if len(images) <= section.held_out:
        raise DataError(
            f"data.held_out is {section.held_out}, and there are {len(images)} training images in all"
        )
    kept = images[: section.held_out] if split == "val" else images[section.held_out :]
    return QuestionPairs(asked, frozenset(kept))


def missing_questions(section: QuestionsData) -> list[str]:
    """What is not there, a sentence each."""
    if not isinstance(section, VqaData):
        return []
    return [
        sentence for split in ("train", "val") for sentence in missing(official_files(section.root, split))
    ]


def limited_questions(pairs: QuestionPairs, kept: Sequence[Row]) -> QuestionPairs:
    """The same questions about the pictures of some rows only."""
    if len(kept) == len(pairs.rows):
        return pairs
    return QuestionPairs(pairs._asked, frozenset(row.id for row in kept))
