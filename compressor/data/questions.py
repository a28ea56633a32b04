"""Questions about images as the rest of the project sees them: one row a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question about one image.

    `id` is unique within the data set; several rows may share an `image_id`. `answers` are what people said:
    ten for VQA v2, one where there is a single truth, none where the answers are kept secret. The types group
    questions in reports; VQA v2's `answer_type` is "yes/no", "number" or "other", its `question_type` the
    question's first words.
    """

    id: str
    image_id: str
    question: str
    answers: tuple[str, ...] = ()
    answer_type: str = "other"
    question_type: str = ""


class QuestionSet(Protocol):
    """The questions of one split and their images, in a stable order.

    `fingerprint` identifies questions, answers, order and where the images come from; it does not read the
    pixels. `image(i)` decodes the image of row i to RGB and raises `BadImageError` where it cannot.
    """

    split: str
    fingerprint: str

    @property
    def rows(self) -> Sequence[QuestionRow]: ...

    def image(self, index: int) -> Image.Image: ...
