"""The interval of a difference over several trainings."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data.questions import QuestionRow
from compressor.errors import DataError
from compressor.evaluate import bootstrap, captioning, vqa
from compressor.evaluate.captioning import caption_metrics
from compressor.evaluate.resampling import SummedFigure, difference_over_seeds_interval, mean_of_units
from compressor.evaluate.retrieval import Ranks
from compressor.report.results import Interval
from tests.evaluate.test_bootstrap import noisy, reference_rsums


def over_seeds(
    first: list[Ranks], second: list[Ranks], resamples: int = 1000, seed: int = 0
) -> Interval | None:
    own, theirs = ([bootstrap.summed_rsum(ranks) for ranks in models] for models in (first, second))
    return difference_over_seeds_interval(own, theirs, resamples, seed)


def width(first: list[Ranks], second: list[Ranks]) -> float:
    found = over_seeds(first, second, 400)
    assert found is not None
    return found.high - found.low


def test_it_equals_the_definition_with_loops() -> None:
    first = [noisy(0.7, seed) for seed in (1, 2, 3)]
    second = [noisy(0.9, seed) for seed in (4, 5, 6)]
    resamples, seed, draws = 90, 8, 64
    drawn = reference_rsums([*first, *second], resamples, seed)
    differences = [one.rsum - other.rsum for one, other in zip(first, second, strict=True)]
    mean = sum(differences) / 3
    deviation = (sum((value - mean) ** 2 for value in differences) / 2) ** 0.5
    generator = np.random.default_rng([seed, 3])
    sample = []
    for start in (0, 64):  # resamples are drawn so many at a time
        rows = drawn[start : start + 64]
        for row, student in zip(rows, generator.standard_t(2, size=(len(rows), draws)), strict=True):
            centre = sum(row[:3]) / 3 - sum(row[3:]) / 3
            sample += [centre + deviation / 3**0.5 * value for value in student]
    found = over_seeds(first, second, resamples, seed)
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.percentile(sample, [2.5, 97.5]), rel=1e-9)


def test_one_training_leaves_the_images_alone() -> None:
    first, second = noisy(0.7, 1), noisy(0.9, 2)
    assert over_seeds([first], [second], 200, 3) == bootstrap.difference_interval(first, second, 200, 3)


def test_trainings_that_agree_leave_the_images_alone() -> None:
    first, second = noisy(0.7, 1), noisy(0.9, 2)
    together = over_seeds([first] * 3, [second] * 3, 200)
    alone = bootstrap.difference_interval(first, second, 200)
    assert together is not None
    assert alone is not None
    assert [together.low, together.high] == pytest.approx([alone.low, alone.high])


def test_trainings_that_disagree_widen_it_and_more_of_them_narrow_it() -> None:
    steady = [noisy(0.8, seed) for seed in (1, 1, 1)]
    shaky = [noisy(0.6, 1), noisy(0.8, 1), noisy(1.0, 1)]
    base = [noisy(0.8, seed) for seed in (7, 7, 7)]
    assert width(shaky, base) > 2 * width(steady, base)
    assert width(shaky * 3, base * 3) < width(shaky, base) / 2
    assert width(shaky[::2], base[:2]) > width(shaky, base), "two trainings know little of their spread"


def test_no_resamples_and_other_pairs() -> None:
    ranks = [noisy(0.8)] * 2
    assert over_seeds(ranks, ranks, 0) is None
    with pytest.raises(DataError, match="same images"):
        over_seeds(ranks, [noisy(0.8, images=50)] * 2, 10)
    with pytest.raises(ValueError, match="shorter"):
        over_seeds(ranks, ranks[:1], 10)


CAPTIONS = {
    "a": ["a man rides a horse", "a person on a horse on a beach"],
    "b": ["dogs playing in green grass", "the dogs play", "two brown dogs"],
    "c": ["a kite is in the air", "a kite high above the water", "kites"],
}


def test_captions_of_one_training_are_compared_as_two_models_are() -> None:
    first = caption_metrics({"a": "a man on a horse", "b": "two dogs", "c": "a kite"}, CAPTIONS)
    second = caption_metrics({"a": "a horse", "b": "a dog", "c": "a kite in the air"}, CAPTIONS)
    for name in ("cider", "bleu_4", "rouge_l"):
        own, theirs = first.summed(name), second.summed(name)
        assert own is not None
        assert theirs is not None
        assert own.value == pytest.approx(first.figures[name].value)
        expected = captioning.difference_interval(first.figures[name], second.figures[name], 200, 3)
        assert difference_over_seeds_interval([own], [theirs], 200, 3) == expected
    assert first.summed("meteor") is None
    assert first.summed("spice") is None, "not available, or without sums as METEOR"


def asked(image: str, number: int, answer: str) -> QuestionRow:
    return QuestionRow(
        id=f"{image}{number}",
        image_id=image,
        question="what?",
        answers=(answer,),
        answer_type="other",
        question_type="what",
    )


def test_answers_of_one_training_are_compared_as_two_models_are() -> None:
    rows = [asked(image, number, "yes") for image in "abcdef" for number in range(3)]
    first, second = (
        vqa.vqa_accuracy({row.id: "yes" if k % modulus else "no" for k, row in enumerate(rows)}, rows)
        for modulus in (5, 2)
    )
    assert first.summed.value == pytest.approx(first.overall.accuracy)
    found = difference_over_seeds_interval([first.summed], [second.summed], 200, 3)
    expected = vqa.accuracy_difference_interval(first, second, 200, 3)
    assert found is not None
    assert expected is not None
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    fewer = vqa.vqa_accuracy({row.id: "yes" for row in rows[:-1]}, rows[:-1])
    with pytest.raises(DataError, match="same images"):
        difference_over_seeds_interval([first.summed], [fewer.summed], 10)


def test_a_resample_without_a_value_leaves_no_interval() -> None:
    nothing = SummedFigure("x", np.array([[1.0, 0.0], [1.0, 1.0]]), mean_of_units)
    assert difference_over_seeds_interval([nothing], [nothing], 100) is None
    assert difference_over_seeds_interval([], []) is None
