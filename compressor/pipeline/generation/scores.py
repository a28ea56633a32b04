"""Quality and retention of what was written, as results.json has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from compressor.data.pairs import PairSet
from compressor.data.question_pairs import QuestionPairs
from compressor.evaluate.captioning import (
    CaptionScores,
    caption_metrics,
    difference_interval,
    ratio_interval,
)
from compressor.evaluate.resampling import SummedFigure
from compressor.evaluate.vqa import (
    VQAScores,
    accuracy_difference_interval,
    accuracy_ratio_interval,
    vqa_accuracy,
)
from compressor.recipe.outcome import CaptionMetric
from compressor.report.results import CaptionQuality, GenerationRetention, Interval, VQAQuality
from compressor.runtime.schema import Role


class Scored(Protocol):
    """What one model wrote, measured."""

    @property
    def figures(self) -> dict[str, float]:
        """Every figure that is available."""
        ...

    def quality(self, resamples: int, seed: int) -> CaptionQuality | VQAQuality: ...

    def ratio(self, other: Any, name: str, resamples: int, seed: int) -> Interval | None:
        """Interval of this model's figure divided by another's."""
        ...

    def difference(self, other: Any, name: str, resamples: int, seed: int) -> Interval | None:
        """Interval of this model's figure minus another's."""
        ...

    def summed(self, name: str) -> SummedFigure | None:
        """What resampling needs of this model's figure, whatever it is compared with."""
        ...

    def worth(self, name: str) -> float:
        """How good one text is, for choosing examples; higher is better."""
        ...


@dataclass(frozen=True)
class ScoredCaptions:
    """Captions against all references of their pictures."""

    scores: CaptionScores
    references: Mapping[str, Sequence[str]]

    @property
    def figures(self) -> dict[str, float]:
        return {name: f.value for name, f in self.scores.figures.items() if f.value is not None}

    def quality(self, resamples: int, seed: int) -> CaptionQuality:
        found = self.scores.figures
        intervals = {name: figure.interval(resamples, seed) for name, figure in found.items()}
        return CaptionQuality(
            **self.figures,
            intervals={name: each for name, each in intervals.items() if each is not None},
            unavailable={name: f.unavailable for name, f in found.items() if f.unavailable is not None},
            images=len(self.scores.ids),
            captions=sum(len(texts) for texts in self.references.values()),
        )

    def ratio(self, other: ScoredCaptions, name: str, resamples: int, seed: int) -> Interval | None:
        return ratio_interval(self.scores.figures[name], other.scores.figures[name], resamples, seed)

    def difference(self, other: ScoredCaptions, name: str, resamples: int, seed: int) -> Interval | None:
        return difference_interval(self.scores.figures[name], other.scores.figures[name], resamples, seed)

    def summed(self, name: str) -> SummedFigure | None:
        return self.scores.summed(name)

    def worth(self, name: str) -> float:
        for figure in ("cider", "bleu_4", "rouge_l", "meteor", "spice", "bleu_1"):
            found = self.scores.figures.get(figure)
            if found is not None and found.per_caption is not None:
                return float(found.per_caption[self.scores.ids.index(name)])
        return 0.0


@dataclass(frozen=True)
class ScoredAnswers:
    """Answers against what people said."""

    scores: VQAScores

    @property
    def figures(self) -> dict[str, float]:
        return {"vqa_accuracy": self.scores.overall.accuracy}

    def quality(self, resamples: int, seed: int) -> VQAQuality:
        scores = self.scores
        return VQAQuality(
            vqa_accuracy=scores.overall.accuracy,
            vqa_accuracy_interval=scores.interval(resamples, seed),
            by_answer_type={name: each.accuracy for name, each in scores.by_answer_type.items()},
            by_question_type={name: each.accuracy for name, each in scores.by_question_type.items()},
            images=len({row.image_id for row in scores.rows}),
            questions=len(scores.rows),
        )

    def ratio(self, other: ScoredAnswers, name: str, resamples: int, seed: int) -> Interval | None:
        return accuracy_ratio_interval(self.scores, other.scores, resamples, seed)

    def difference(self, other: ScoredAnswers, name: str, resamples: int, seed: int) -> Interval | None:
        return accuracy_difference_interval(self.scores, other.scores, resamples, seed)

    def summed(self, name: str) -> SummedFigure | None:
        return self.scores.summed

    def worth(self, name: str) -> float:
        place = next(k for k, row in enumerate(self.scores.rows) if row.id == name)
        return float(self.scores.accuracies[place])


def score(texts: Mapping[str, str], pairs: PairSet, metrics: Sequence[CaptionMetric]) -> Scored:
    """Measure what one model wrote about a split. Raises `DataError` as the metrics do."""
    if isinstance(pairs, QuestionPairs):
        return ScoredAnswers(vqa_accuracy(texts, [pairs.questions[name] for name in texts]))
    references = {row.id: row.captions for row in pairs.rows if row.id in texts}
    return ScoredCaptions(caption_metrics(texts, references, metrics), references)


def retention(scored: Mapping[Role, Scored], resamples: int, seed: int) -> GenerationRetention:
    """Student, and control where there is one, beside the teacher on the same rows."""
    teacher, student, control = scored["teacher"], scored["student"], scored.get("control")
    kept = GenerationRetention()
    ratios: dict[str, float] = {}
    for name, whole in teacher.figures.items():
        if name not in student.figures or whole <= 0:
            continue
        ratios[name] = student.figures[name] / whole
        _put(kept.intervals, name, student.ratio(teacher, name, resamples, seed))
        if control is not None:
            kept.control[name] = control.figures[name] / whole
    for name in student.figures if control is not None else ():
        assert control is not None
        kept.lead_over_control[name] = student.figures[name] - control.figures[name]
        interval = student.difference(control, name, resamples, seed)
        _put(kept.lead_over_control_intervals, name, interval)
    return kept.model_copy(update=ratios)


def _put(intervals: dict[str, Interval], name: str, interval: Interval | None) -> None:
    if interval is not None:
        intervals[name] = interval
