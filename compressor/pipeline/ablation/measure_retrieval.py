"""Retrieval, measured in PyTorch and kept as ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressor.files import atomic_write_bytes
from compressor.pipeline.ablation.measure import Measure, Scores
from compressor.pipeline.context import Context
from compressor.recipe import Recipe
from compressor.recipe.data import Split
from compressor.recipe.teacher_base import SingleTeacher
from compressor.report.ablation.results import FigureName

if TYPE_CHECKING:
    from compressor.evaluate.retrieval import Ranks
    from compressor.students.encoder import Model

_RANKS = ("queries", "image_ranks", "image_map_r", "text_ranks", "text_to_image")
_RECALLS = tuple(f"{way}_r{cutoff}" for way in ("i2t", "t2i") for cutoff in (1, 5, 10))
_SHOWN = (
    FigureName(key="i2t_r1", label="image → text", group="R@1"),
    FigureName(key="t2i_r1", label="text → image", group="R@1"),
)


class RetrievalMeasure(Measure["Model"]):
    """RSUM, and recalls in percent.

    Pictures come from the decoded cache, as in validation, through the model's own geometry.
    """

    measured = "retrieval"
    compared = FigureName(key="rsum", label="RSUM")
    best = "best_rsum"

    def beside(self, keys: Sequence[str]) -> list[FigureName]:
        return [name for name in _SHOWN if name.key in keys]

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        return {}

    def load(self, folder: Path) -> Model:
        from compressor.teachers.checkpoint import load_any_checkpoint

        return load_any_checkpoint(folder)

    def fill(self, model: Model, weights: Path, name: str) -> None:
        from torch import nn

        from compressor.students.weights import load_weights, read_weights

        assert isinstance(model.encoder, nn.Module)
        load_weights(model.encoder, read_weights(weights), weights, name)

    def save(self, model: Model, folder: Path) -> None:
        from compressor.students.checkpoint import save_checkpoint

        save_checkpoint(model, folder)

    def teaches(self, recipe: Recipe) -> bool:
        teacher = recipe.teacher
        return isinstance(teacher, SingleTeacher) and teacher.runnable and teacher.embeds_pairs

    def teacher(self, context: Context) -> Model:
        return context.teacher_model

    def take(self, context: Context, split: Split, model: Model) -> tuple[list[Path], dict[str, Any]]:
        from torch import nn

        from compressor.distill.processes import process_state
        from compressor.distill.validation import Validation
        from compressor.evaluate.retrieval import retrieval

        assert isinstance(model.encoder, nn.Module)
        model.encoder.eval().to(process_state().device)
        pairs, decoded = context.pairs(split), context.decoded(split)
        image, text = Validation(pairs, decoded, model.preprocessor).embeddings(model.encoder)
        captions = [len(pairs.rows[row].captions) for row in decoded.kept]
        file = _file(context, split)
        _write_ranks(file, retrieval(image, text, np.repeat(np.arange(len(captions)), captions)))
        return [file], {"bad_images": len(pairs.rows) - len(decoded.kept)}

    def read(self, context: Context, split: Split, facts: Mapping[str, Any]) -> Scores:
        from compressor.evaluate.bootstrap import summed_rsum

        ranks = _read_ranks(_file(context, split))
        quality = ranks.quality()
        return Scores(
            compared=summed_rsum(ranks),
            value=ranks.rsum,
            figures={name: getattr(quality, name) for name in _RECALLS},
            images=ranks.images,
            texts=len(ranks.text_ranks),
            bad_images=facts["bad_images"],
        )


def _file(context: Context, split: Split) -> Path:
    return context.folder.root / f"ranks-{split}.safetensors"


def _write_ranks(path: Path, ranks: Ranks) -> None:
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(getattr(ranks, name)) for name in _RANKS}
    atomic_write_bytes(path, save(tensors | {"images": np.asarray([ranks.images], np.int64)}))


def _read_ranks(path: Path) -> Ranks:
    from safetensors.numpy import load_file

    from compressor.evaluate.retrieval import Ranks

    tensors = load_file(path)
    return Ranks(images=int(tensors.pop("images")[0]), **tensors)
