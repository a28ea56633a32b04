"""VQA accuracy by the official formula, by answer type and question type. Torch-free.

An answer is worth min(people who gave it / 3, 1), averaged over all subsets of nine of the ten people
(arXiv 1505.00468, https://visualqa.org/evaluation.html). As in the official evaluation code, answers are
brought into normal form only where people disagree: where all ten wrote the same, the answer must be that,
letter by letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compressor.data.files import read_annotations, typed
from compressor.data.questions import QuestionRow
from compressor.errors import DataError, MissingResourceError
from compressor.evaluate.resampling import SummedFigure, mean_of_units, resampled_interval
from compressor.evaluate.vqa_answers import normal_answer, raw_answer
from compressor.files import hash_json, write_json
from compressor.report.results import Interval

Floats = npt.NDArray[np.float64]

AGREEING = 3
"""So many people make an answer fully right."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy in percent over `questions` questions."""

    accuracy: float
    questions: int


@dataclass(frozen=True, slots=True)
class VQAScores:
    """`accuracies` (Q,) in percent, one for each of `rows`, in their order."""

    rows: tuple[QuestionRow, ...]
    accuracies: Floats

    @property
    def overall(self) -> Accuracy:
        return Accuracy(float(self.accuracies.mean()), len(self.rows))

    @property
    def by_answer_type(self) -> dict[str, Accuracy]:
        return self._grouped([row.answer_type for row in self.rows])

    @property
    def by_question_type(self) -> dict[str, Accuracy]:
        return self._grouped([row.question_type for row in self.rows])

    @property
    def summed(self) -> SummedFigure:
        """What resampling needs of the overall accuracy."""
        asked = hash_json([(row.image_id, row.id) for row in self.rows])
        return SummedFigure(asked, _by_image(self, self.accuracies), mean_of_units)

    def interval(self, resamples: int = 1000, seed: int = 0) -> Interval | None:
        """95 % bootstrap interval of the overall accuracy; an image is drawn with all its questions."""
        return resampled_interval(_by_image(self, self.accuracies), mean_of_units, resamples, seed)

    def _grouped(self, names: Sequence[str]) -> dict[str, Accuracy]:
        members: dict[str, list[float]] = {}
        for name, accuracy in zip(names, self.accuracies.tolist(), strict=True):
            members.setdefault(name, []).append(accuracy)
        return {name: Accuracy(float(np.mean(those)), len(those)) for name, those in sorted(members.items())}


def vqa_accuracy(predictions: Mapping[str, str], annotations: Sequence[QuestionRow]) -> VQAScores:
    """Score one answer a question, given by question id.

    Questions with a single true answer are right or wrong, compared in normal form.

    Raises:
        DataError: there are no questions, a question has no prediction, a prediction no question, or people's
            answers to a question are none, two or three, for which the formula has no full mark.
    """
    _check_same_questions(predictions, annotations)
    accuracies = [100.0 * answer_accuracy(predictions[row.id], row.answers) for row in annotations]
    return VQAScores(tuple(annotations), np.array(accuracies, np.float64))


def answer_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """What one answer is worth, 0 to 1: the mean of min(m / 3, 1) over all subsets that lack one person.

    Raises `DataError` for no, two or three answers.
    """
    people = len(answers)
    if people == 1:
        return float(normal_answer(raw_answer(prediction)) == normal_answer(raw_answer(answers[0])))
    if people <= AGREEING:
        raise DataError(
            f"{people} answers to a question cannot be scored: the formula needs one true answer, or "
            f"{AGREEING + 1} people at least"
        )
    said, given = [raw_answer(answer) for answer in answers], raw_answer(prediction)
    if len(set(said)) > 1:
        said, given = [normal_answer(answer) for answer in said], normal_answer(given)
    matching = said.count(given)
    # Leaving out one of those who agree leaves matching - 1 of them; leaving out another leaves all.
    worth = matching * min(matching - 1, AGREEING) + (people - matching) * min(matching, AGREEING)
    return worth / (AGREEING * people)


def accuracy_difference_interval(
    first: VQAScores, second: VQAScores, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of first - second in points over the same resampled images (paired)."""
    if first.rows != second.rows:
        raise DataError("two models can only be compared on the same questions; not across different ones")
    return resampled_interval(
        _by_image(first, first.accuracies - second.accuracies), mean_of_units, resamples, seed
    )


def accuracy_ratio_interval(
    first: VQAScores, second: VQAScores, resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of first / second over the same resampled images (paired); None where second is zero."""
    if first.rows != second.rows:
        raise DataError("two models can only be compared on the same questions; not across different ones")
    sums = [_by_image(scores, scores.accuracies)[:, :1] for scores in (first, second)]
    return resampled_interval(np.hstack(sums), mean_of_units, resamples, seed)


def read_results(path: Path) -> dict[str, str]:
    """Predictions by question id from VQA's results format: [{"question_id": 1, "answer": "yes"}, ...].

    Raises:
        MissingResourceError: there is no such file.
        DataError: the file is malformed (file and position), or a question is answered twice.
    """
    if not path.exists():
        raise MissingResourceError(f"The predictions are missing: looked for {path}.")
    found: dict[str, str] = {}
    for position, entry in enumerate(typed(read_annotations(path), list, str(path), "the content")):
        where = f"{path}: [{position}]"
        entry = typed(entry, dict, where, "the entry")
        name = str(typed(entry.get("question_id"), (int, str), where, "`question_id`"))
        if name in found:
            raise DataError(f"{where}: the question id {name!r} appears more than once")
        found[name] = typed(entry.get("answer"), str, where, "`answer`")
    return found


def write_results(path: Path, predictions: Mapping[str, str]) -> None:
    """Write predictions in VQA's results format, as its evaluation server takes them."""
    write_json(
        path,
        [
            # The official ids are numbers, which `QuestionRow` holds as text.
            {"question_id": int(name) if re.fullmatch("0|[1-9][0-9]{0,17}", name) else name, "answer": answer}
            for name, answer in predictions.items()
        ],
    )


def _check_same_questions(predictions: Mapping[str, str], annotations: Sequence[QuestionRow]) -> None:
    if not annotations:
        raise DataError("VQA accuracy needs at least one question; there is none")
    known = {row.id for row in annotations}
    if len(known) < len(annotations):
        raise DataError("a question appears more than once among the annotations")
    absent = [row.id for row in annotations if row.id not in predictions]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(annotations)} questions have no prediction, the first is {absent[0]!r}"
        )
    unknown = [name for name in predictions if name not in known]
    if unknown:
        raise DataError(f"{len(unknown)} predictions answer no question, the first is {unknown[0]!r}")


def _by_image(scores: VQAScores, values: Floats) -> Floats:
    """Sum of the values and number of the questions, per image (images, 2)."""
    _, image = np.unique([row.image_id for row in scores.rows], return_inverse=True)
    return np.stack([np.bincount(image, weights=values), np.bincount(image)], axis=1)
