"""Students of every kind to the stages: built afresh, outlined, and with the files that they start from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.errors import ModelError
from compressor.recipe.blip import BlipStudent
from compressor.recipe.models import InheritedStudent, StudentSection
from compressor.recipe.student import Student

if TYPE_CHECKING:
    from compressor.preprocess.preprocessor import Preprocessor
    from compressor.recipe.teacher import TeacherSection
    from compressor.students.encoder import Encoder, Model
    from compressor.students.inherit_sizes import Cut
    from compressor.students.outline import Outline


def student_preprocessor(section: Student, captions: Iterable[str], teacher: Model | None) -> Preprocessor:
    """Preprocessing of the student; a tokeniser to be trained is trained on `captions`.

    An inherited student has its teacher's.
    """
    if isinstance(section, InheritedStudent):
        assert teacher is not None  # a recipe without a runnable teacher is refused
        return teacher.preprocessor
    from compressor.preprocess.preprocessor import Preprocessor
    from compressor.preprocess.spec import ImageSpec
    from compressor.students.build import build_tokenizer

    assert isinstance(section, StudentSection)
    tokenizer, text = build_tokenizer(section.tokenizer, captions, section.text.context_length)
    return Preprocessor(ImageSpec(**section.image.input.model_dump()), text, tokenizer)


def fresh_student(section: Student, prepared: Preprocessor, teacher: Model | None) -> Model:
    """A student that has learned nothing yet; seed torch before the call."""
    if isinstance(section, InheritedStudent):
        from compressor.students.inherit import inherit_uniform

        assert teacher is not None
        return inherit_uniform(teacher, _cut(section))
    from compressor.students.build import build_student

    assert isinstance(section, StudentSection)
    return build_student(section, prepared.tokenizer, prepared.text)


@dataclass(frozen=True)
class Blank:
    """A student without its weights, and the sizes of what it reads."""

    encoder: Encoder
    image_size: int
    context_length: int


def blank_student(section: Student, teacher: TeacherSection | None) -> Blank | None:
    """A student as large as the recipe's, on torch's default device: with `meta` it costs nothing.

    None for an inherited one whose teacher's configuration is not here, and for one that writes. Raises
    `ModelError` for names, options and sizes that do not exist.
    """
    if isinstance(section, BlipStudent):
        return None
    if isinstance(section, InheritedStudent):
        from compressor.students.inherit import plan_inheritance
        from compressor.teachers.outline import describe_teacher

        described = None if teacher is None else describe_teacher(teacher)
        if described is None:
            return None
        encoder: Encoder = plan_inheritance(described.config, _cut(section)).build()
        return Blank(encoder, described.image_size, described.context_length)
    from compressor.preprocess.spec import TextSpec
    from compressor.students.build import build_encoder, recipe_vocabulary

    text = TextSpec(context_length=section.text.context_length)
    encoder = build_encoder(section, text, recipe_vocabulary(section), weights=False)
    return Blank(encoder, section.image.input.size, text.context_length)


def outline_student(section: Student, teacher: TeacherSection | None) -> Outline | None:
    """Size and cost of a student; None where `blank_student` gives none. Raises as it does."""
    import torch

    from compressor.students.outline import outline_encoder

    with torch.device("meta"):
        blank = blank_student(section, teacher)
    return None if blank is None else outline_encoder(blank.encoder, blank.image_size, blank.context_length)


def weight_files(section: Student) -> list[Path | None]:
    """Files on which a fresh student depends, beside its teacher."""
    if isinstance(section, InheritedStudent):
        return []
    image, text = section.image, section.text
    tokenizer = None if isinstance(section, BlipStudent) else section.tokenizer
    return [
        getattr(image, "weights", None),
        getattr(image, "weights_overlay", None),
        getattr(text, "weights", None),
        getattr(image, "path", None),
        getattr(text, "path", None),
        getattr(tokenizer, "path", None),
    ]


def image_side(section: Student, teacher: Model | None) -> int:
    """Pixels per side of the student's input."""
    if isinstance(section, InheritedStudent):
        if teacher is None:
            raise ModelError("an inherited student needs a teacher that can be run")
        return teacher.preprocessor.image.size
    return section.image.input.size


def _cut(section: InheritedStudent) -> Cut:
    from compressor.students.inherit_sizes import Cut, TowerCut

    return Cut(
        image=TowerCut(**section.image.model_dump()),
        text=TowerCut(**section.text.model_dump()),
        embed_dim=section.embed_dim,
    )
