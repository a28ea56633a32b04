"""Small BLIPs in transformers' format as bundles, for the tests of export and runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.export.writer_bundle import write_writer_bundle
from compressor.export.writer_samples import WriterSamples
from compressor.recipe.blip import BlipTeacher, Head
from compressor.recipe.outcome import ExportSection
from compressor.runtime.writer import Writer
from compressor.runtime.writer_schema import WriterManifest
from compressor.students import blip
from compressor.students.generator import GenerativeModel
from compressor.teachers.blip_teacher import load_blip
from tests.export.toys import pictures
from tests.students.blips import ANSWERS, CAPTIONS, QUESTIONS, write_blip

PROMPT = "a picture of"
HEADS: tuple[Head, ...] = ("caption", "vqa")


@dataclass(frozen=True)
class Exported:
    """A model, the folder of its bundle, and the bundle opened."""

    model: GenerativeModel
    folder: Path
    writer: Writer


def toy_writer(folder: Path, head: Head, prompt: str = "") -> GenerativeModel:
    """A BLIP with random weights that has been saved by transformers and loaded by us."""
    path = write_blip(folder, blip.HEADS[head])
    return load_blip(BlipTeacher(kind="blip", head=head, path=path, context_length=16, prompt=prompt))


def toy_writer_samples(model: GenerativeModel, count: int = 13) -> WriterSamples:
    asks = model.generator.head == "vqa"
    texts = [(ANSWERS if asks else CAPTIONS)[k % 3] for k in range(count)]
    questions = [QUESTIONS[k % 3] for k in range(count)]
    return WriterSamples(
        model.preprocessor.images(pictures(count, seed=1)),
        model.target_ids(texts),
        model.question_ids(questions) if asks else None,
    )


def write_toy_writer(
    model: GenerativeModel, folder: Path, samples: WriterSamples | None = None, **section: object
) -> WriterManifest:
    return write_writer_bundle(
        model,
        folder,
        ExportSection.model_validate(section),
        role="student",
        samples=samples or toy_writer_samples(model),
        lineage={"recipe": "a test"},
    )


def export_toy_writer(home: Path, head: Head, prompt: str = "") -> Exported:
    """The model at both precisions, in the folder `home`."""
    model = toy_writer(home / "model", head, prompt)
    write_toy_writer(model, home / "bundle")
    return Exported(model, home / "bundle", Writer.open(home / "bundle", threads=1))


def questions_about(count: int) -> list[str]:
    """Questions of different lengths."""
    return [QUESTIONS[k % 3] for k in range(count)]


def asked(model: GenerativeModel, count: int) -> np.ndarray | None:
    return model.question_ids(questions_about(count)) if model.generator.head == "vqa" else None
