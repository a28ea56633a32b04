"""Captions and answers, written in PyTorch by beam search; what was written is kept, and what it is worth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.errors import MissingResourceError
from compressor.evaluate.captioning import LABELS, caption_metrics
from compressor.evaluate.resampling import SummedFigure, mean_of_units
from compressor.files import atomic_write_bytes, write_json
from compressor.pipeline.ablation.measure import Measure, Scores
from compressor.pipeline.context import Context
from compressor.recipe import Recipe
from compressor.recipe.data import Split
from compressor.recipe.outcome import CaptionMetric
from compressor.report.ablation.results import FigureName

if TYPE_CHECKING:
    from compressor.students.generator import GenerativeModel

_SHOWN = ("bleu_4", "meteor", "rouge_l", "spice")
_BY_TYPE = "by_answer_type"


class WritingMeasure(Measure["GenerativeModel"]):
    """What captions and answers have in common. Their compared figures are means over images."""

    best = "best_loss"

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        return {"generation": recipe.writing.model_dump(mode="json")}

    def load(self, folder: Path) -> GenerativeModel:
        from compressor.students.blip_checkpoint import load_blip_checkpoint

        return load_blip_checkpoint(folder)

    def fill(self, model: GenerativeModel, weights: Path, name: str) -> None:
        from torch import nn

        from compressor.students.blip import with_tied
        from compressor.students.weights import load_weights, read_weights

        assert isinstance(model.generator, nn.Module)
        load_weights(model.generator, with_tied(read_weights(weights)), weights, name)

    def save(self, model: GenerativeModel, folder: Path) -> None:
        from compressor.students.blip_checkpoint import save_blip_checkpoint

        save_blip_checkpoint(model, folder)

    def teaches(self, recipe: Recipe) -> bool:
        return True

    def teacher(self, context: Context) -> GenerativeModel:
        return context.writers.teacher

    def take(
        self, context: Context, split: Split, model: GenerativeModel
    ) -> tuple[list[Path], dict[str, Any]]:
        from compressor.distill.processes import process_state
        from compressor.pipeline.generation.scores import score
        from compressor.pipeline.generation.write import write_texts

        recipe, pairs = context.recipe, context.pairs(split)
        written = write_texts(
            model,
            pairs,
            recipe.writing,
            recipe.evaluate.batch_size,
            recipe.data.max_bad_fraction,
            context.progress(f"writing about {split}"),
            process_state().device,
        )
        scored = score(written.texts, pairs, self.metrics(recipe))
        quality = scored.quality(0, recipe.seed).model_dump(mode="json")
        compared = scored.summed(self.compared.key)
        if compared is None:
            raise MissingResourceError(quality["unavailable"][self.compared.key])
        texts, scores = (context.folder.root / name for name in (f"written-{split}.json", _name(split)))
        write_json(texts, written.texts)
        _write_statistics(scores, compared)
        return [texts, scores], {"quality": quality, "units": compared.units, "bad_images": written.bad}

    def read(self, context: Context, split: Split, facts: Mapping[str, Any]) -> Scores:
        quality = facts["quality"]
        return Scores(
            compared=_read_statistics(context.folder.root / _name(split), facts["units"]),
            value=quality[self.compared.key],
            figures=self.further(quality),
            images=quality["images"],
            texts=self.texts(quality),
            bad_images=facts["bad_images"],
            unavailable=list(quality.get("unavailable", {}).values()),
        )

    def metrics(self, recipe: Recipe) -> tuple[CaptionMetric, ...]:
        """What is measured of captions."""
        return recipe.writing.metrics

    @abstractmethod
    def further(self, quality: Mapping[str, Any]) -> dict[str, float]:
        """The figures beside the compared one, of `CaptionQuality` or `VQAQuality` as plain data."""

    @abstractmethod
    def texts(self, quality: Mapping[str, Any]) -> int:
        """How many texts were compared with, or asked."""


class CaptionMeasure(WritingMeasure):
    """CIDEr, and what else the recipe measures captions by."""

    measured = "captions"
    compared = FigureName(key="cider", label=LABELS["cider"])

    def missing(self) -> list[str]:
        """CIDEr is tried on two captions: trainings may take days, and it needs a Java runtime."""
        captions = {"1": "a dog", "2": "a cat"}
        found = caption_metrics(captions, {name: [text] for name, text in captions.items()}, ["cider"])
        reason = found.figures["cider"].unavailable
        return [] if reason is None else [f"an ablation compares captions by CIDEr. {reason}"]

    def beside(self, keys: Sequence[str]) -> list[FigureName]:
        return [FigureName(key=key, label=LABELS[key]) for key in _SHOWN if key in keys]

    def metrics(self, recipe: Recipe) -> tuple[CaptionMetric, ...]:
        named = recipe.writing.metrics
        return named if "cider" in named else (*named, "cider")

    def further(self, quality: Mapping[str, Any]) -> dict[str, float]:
        return {key: quality[key] for key in LABELS if key != "cider" and quality[key] is not None}

    def texts(self, quality: Mapping[str, Any]) -> int:
        return int(quality["captions"])


class AnswerMeasure(WritingMeasure):
    """VQA accuracy, and the same by type of answer where there are several types."""

    measured = "answers"
    compared = FigureName(key="vqa_accuracy", label="VQA accuracy")

    def beside(self, keys: Sequence[str]) -> list[FigureName]:
        types = {key: key.removeprefix(f"{_BY_TYPE}.") for key in keys}
        return [
            FigureName(key=key, label=name or "none", group="by type of answer")
            for key, name in (types.items() if len(types) > 1 else ())
        ]

    def further(self, quality: Mapping[str, Any]) -> dict[str, float]:
        return {f"{_BY_TYPE}.{name}": accuracy for name, accuracy in quality[_BY_TYPE].items()}

    def texts(self, quality: Mapping[str, Any]) -> int:
        return int(quality["questions"])


def _name(split: Split) -> str:
    return f"scores-{split}.safetensors"


def _write_statistics(path: Path, figure: SummedFigure) -> None:
    from safetensors.numpy import save

    assert figure.of_sums is mean_of_units  # nothing else is read again
    atomic_write_bytes(path, save({"statistics": np.ascontiguousarray(figure.statistics, np.float64)}))


def _read_statistics(path: Path, units: str) -> SummedFigure:
    from safetensors.numpy import load_file

    return SummedFigure(units, load_file(path)["statistics"], mean_of_units)
