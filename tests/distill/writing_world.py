"""Drawn scenes, a small BLIP teacher and its student, and the job between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from compressor.data import open_pairs
from compressor.data.decoded import DecodedImages
from compressor.data.generation import GenerationSet
from compressor.data.question_pairs import QuestionPairs
from compressor.distill.job import GenerationJob
from compressor.preprocess.preprocessor import ImagePreprocessor
from compressor.recipe.blip import BlipTeacher, Head
from compressor.recipe.data import ScenesData, ScenesQuestionsData
from compressor.recipe.losses import AMADLoss, LogitsLoss, LossConfig, StaticBalance, TaskLoss
from compressor.recipe.training import Augmentation, DistillSection
from compressor.students.blip_build import build_blip_student
from compressor.students.generator import GenerativeModel
from compressor.teachers.blip_teacher import load_blip
from tests.students.blips import student

LOSSES: tuple[LossConfig, ...] = (
    TaskLoss(kind="task"),
    LogitsLoss(kind="logits", temperature=2.0, weight=0.5),
    AMADLoss(kind="amad", alpha=50.0),
)
SIDE = 32


@dataclass
class WritingWorld:
    """Everything that a training of a captioner or answerer needs."""

    folder: Path
    student: GenerativeModel
    teacher: GenerativeModel
    rows: GenerationSet

    def job(self, folder: str = "run", **changes: Any) -> GenerationJob:
        """A few steps with all losses; `changes` are the section's or the job's."""
        section = {
            "losses": LOSSES,
            "signals": "live",
            "steps": 4,
            "batch_size": 8,
            "trackers": (),
            "workers": 0,
            **{key: value for key, value in changes.items() if key in DistillSection.model_fields},
        }
        rest = {key: value for key, value in changes.items() if key not in DistillSection.model_fields}
        distill = DistillSection(**section)
        job = GenerationJob(
            model=self.student,
            training_set=self.rows,
            teacher=self.teacher,
            losses=distill.losses,
            balancer=distill.balancer or StaticBalance(),
            section=distill,
            seed=0,
            folder=self.folder / folder,
        )
        return replace(job, **rest)


def build_writing_world(
    folder: Path, head: Head, *, patch: int = 16, dropout: float = 0.0, rows: int = 24
) -> WritingWorld:
    """The teacher has two layers and patches of 8, the student one layer and patches of `patch`."""
    pairs = _pairs(head, rows)
    captions = [caption for row in pairs.rows for caption in row.captions]
    sizes = {"layers": 2, "width": 32, "heads": 4, "mlp_ratio": 2}
    section = BlipTeacher.model_validate(
        {
            "kind": "blip",
            "head": head,
            "image": sizes | {"patch": 8, "size": SIDE},
            "text": sizes | {"context_length": 40},
            "tokenizer": {"kind": "train", "vocab_size": 300},
            "context_length": 40,
            "fine_tune": {"steps": 1},
        }
    )
    torch.manual_seed(1)
    teacher = load_blip(section, texts=captions)
    torch.manual_seed(2)
    small = build_blip_student(
        student({"patch": patch, "heads": 2}, {"heads": 2, "dropout": dropout}), teacher
    )
    for model in (teacher, small):
        _sharpen(model)
    decoded = DecodedImages.build(pairs, SIDE, folder / f"decoded-{head}")
    made = GenerationSet(
        pairs,
        decoded,
        small.preprocessor,
        Augmentation(),
        0,
        [ImagePreprocessor(teacher.preprocessor.image)],
    )
    return WritingWorld(folder, small, teacher, made)


def _sharpen(model: GenerativeModel) -> None:
    """Attention that prefers some tokens, where small random weights look at all alike."""
    assert isinstance(model.generator, torch.nn.Module)
    with torch.no_grad():
        for name, parameter in model.generator.named_parameters():
            if any(part in name for part in ("query.weight", "key.weight", "qkv.weight", "embeddings.")):
                parameter.mul_(10)


def _pairs(head: Head, rows: int) -> Any:
    sizes = {"image_size": SIDE, "train": rows, "val": 4, "test": 4}
    if head == "vqa":
        section = ScenesQuestionsData.model_validate({"kind": "scenes_questions", "per_scene": 3} | sizes)
        pairs = open_pairs(section, "train")
        assert isinstance(pairs, QuestionPairs)
        return pairs
    return open_pairs(ScenesData.model_validate({"kind": "scenes"} | sizes), "train")


def weights(model: GenerativeModel) -> Sequence[torch.Tensor]:
    """All weights, in order."""
    assert isinstance(model.generator, torch.nn.Module)
    return [value.detach().clone() for value in model.generator.state_dict().values()]
