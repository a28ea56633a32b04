"""What the stages of one run share, made at first use: data, teacher, student, signals.

A stage that is skipped therefore loads nothing: a rerun of a finished run never imports torch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compressor.data import open_pairs
from compressor.data.pairs import PairSet
from compressor.files import hash_json
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.progress import Reporter
from compressor.pipeline.student import fresh_student, image_side, student_preprocessor
from compressor.pipeline.teachers import Teacher
from compressor.recipe import Recipe
from compressor.recipe.data import Split
from compressor.recipe.models import InheritedStudent
from compressor.recipe.teacher import EnsembleTeacher, single_teachers

if TYPE_CHECKING:
    from compressor.data.decoded import DecodedImages
    from compressor.data.loader import TrainingSet
    from compressor.distill.signals import Signals
    from compressor.distill.store import TeacherStore
    from compressor.pipeline.generation.models import Writers
    from compressor.preprocess.preprocessor import Preprocessor
    from compressor.students.encoder import Model

log = logging.getLogger(__name__)


@dataclass
class Context:
    """One run at work."""

    recipe: Recipe
    folder: RunFolder
    reporter: Reporter
    rehearsal: bool = False
    _pairs: dict[Split, PairSet] = field(default_factory=dict)
    _decoded: dict[tuple[Split, int], DecodedImages] = field(default_factory=dict)
    _training_sets: dict[bool, TrainingSet] = field(default_factory=dict)

    def pairs(self, split: Split) -> PairSet:
        """The rows of a split, opened once."""
        if split not in self._pairs:
            self._pairs[split] = open_pairs(self.recipe.data, split, seed=self.recipe.seed)
        return self._pairs[split]

    def progress(self, label: str) -> Callable[[int, int], None]:
        """A callback `(done, total)` for long work."""
        return lambda done, total: self.reporter.work(label, done, total)

    def decoded(self, split: Split, side: int | None = None) -> DecodedImages:
        """Decoded pictures of a split, from the cache that all runs beside this one share."""
        wanted = (split, side or self.decoded_side)
        if wanted not in self._decoded:
            self._decoded[wanted] = self._decode(*wanted)
        return self._decoded[wanted]

    def _decode(self, split: Split, side: int) -> DecodedImages:
        from compressor.data.decoded import DecodedImages

        pairs, data = self.pairs(split), self.recipe.data
        images = DecodedImages.build(
            pairs,
            side,
            self.folder.cache / "decoded" / hash_json({"pairs": pairs.fingerprint, "side": side}),
            data.max_bad_fraction,
            data.decoded_cache_gb,
            self.progress(f"decoding {split}"),
        )
        bad = len(pairs.rows) - len(images.kept)
        if bad:
            self.reporter.note(
                f"{bad} of {len(pairs.rows)} {split} images are unusable and skipped; see run.log"
            )
        return images

    @property
    def decoded_side(self) -> int:
        """Short side of decoded pictures: the largest need of student and teachers, crops not enlarged."""
        if self.recipe.head is None:
            side = max([self.student_side, *(teacher.image_side for teacher in self.teachers)])
        else:
            side = self.writers.side
        crop = self.recipe.distill.augmentation.crop_scale
        return side if crop is None else math.ceil(side / math.sqrt(crop[0]))

    @property
    def teacher_runs(self) -> bool:
        """True when there is a teacher that can be run, not only its embeddings."""
        return any(section.runnable for section in single_teachers(self.recipe.teacher))

    @property
    def teacher_ranks(self) -> bool:
        """True when there is a teacher of images and texts, whose retrieval can be compared."""
        return self.recipe.teacher is not None and self.recipe.teacher.embeds_pairs

    @property
    def teacher_has_bundle(self) -> bool:
        """True when the teacher is exported like the student, so that it has a latency and a size."""
        return self.recipe.teacher is not None and self.recipe.teacher.has_bundle

    @cached_property
    def teachers(self) -> tuple[Teacher, ...]:
        """The recipe's teacher, or the members of its ensemble; none where it has no teacher."""
        return tuple(Teacher(self, section) for section in single_teachers(self.recipe.teacher))

    @cached_property
    def writers(self) -> Writers:
        """Teacher and student of a recipe whose student writes."""
        from compressor.pipeline.generation.models import Writers

        return Writers(self)

    @property
    def teacher_model(self) -> Model:
        """The frozen teacher of images and texts, where there is one such teacher."""
        from compressor.students.encoder import Model

        (teacher,) = self.teachers
        assert isinstance(teacher.model, Model)
        return teacher.model

    @property
    def validation_split(self) -> Split:
        """Where the best checkpoint is chosen. Never the test split."""
        return "val"

    @cached_property
    def student_preprocessor(self) -> Preprocessor:
        """Preprocessing of the student; a tokeniser to be trained is trained on the training captions."""
        captions = (caption for row in self.pairs("train").rows for caption in row.captions)
        return student_preprocessor(self.recipe.student, captions, self._parent)

    @property
    def student_side(self) -> int:
        """Pixels per side of the student's input."""
        return image_side(self.recipe.student, self._parent)

    def fresh_student(self) -> Model:
        """The student before training; seed torch before the call."""
        return fresh_student(self.recipe.student, self.student_preprocessor, self._parent)

    @property
    def _parent(self) -> Model | None:
        """The teacher, where the student is made out of it."""
        return self.teacher_model if isinstance(self.recipe.student, InheritedStudent) else None

    def training_set(self, *, live: bool) -> TrainingSet:
        """Training rows in the student's geometry and tokens; `live` adds those of the teachers that run."""
        if live not in self._training_sets:
            from compressor.data.loader import TrainingSet

            self._training_sets[live] = TrainingSet(
                self.pairs("train"),
                self.decoded("train"),
                self.student_preprocessor,
                self.recipe.distill.augmentation,
                self.recipe.seed,
                [each.model.preprocessor for each in self.teachers if each.section.runnable] if live else (),
            )
        return self._training_sets[live]

    @property
    def stores_signals(self) -> bool:
        """True when the teacher runs once, before training, and its embeddings are kept."""
        return self.teacher_runs and self.recipe.distill.signals == "stored"

    @property
    def teacher_label(self) -> str:
        """What a person calls the teacher, or the members of an ensemble."""
        return " + ".join(teacher.label for teacher in self.teachers) or "none"

    def views(self, rows: int) -> list[int]:
        """Augmented views that training on so many rows will show."""
        from compressor.distill.schedule import training_views

        return training_views(self.recipe.distill, rows)

    def build_stores(self) -> list[TeacherStore]:
        """The stores of all teachers that run, up to date."""
        return [teacher.build_store() for teacher in self.teachers if teacher.section.runnable]

    def signals(self) -> Signals:
        """The teacher's side of the losses, of an ensemble all members' as one."""
        from compressor.distill.ensemble import EnsembleSignals

        found = [teacher.signals() for teacher in self.teachers]
        section = self.recipe.teacher
        return EnsembleSignals(found, section.weights) if isinstance(section, EnsembleTeacher) else found[0]

    def lineage(self) -> dict[str, Any]:
        """Where a model came from. It holds no times, so that bundles are reproducible."""
        from compressor.pipeline.keys import versions

        return {
            "recipe": self.recipe.name,
            "recipe_hash": hash_json(self.recipe.model_dump(mode="json")),
            "seed": self.recipe.seed,
            "data": self.pairs("train").fingerprint,
            "versions": versions("export"),
        }
