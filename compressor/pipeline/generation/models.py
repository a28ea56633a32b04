"""The models of a run that writes, and the rows they read, made at first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.data.question_pairs import QuestionPairs
from compressor.errors import MissingResourceError
from compressor.recipe.blip import BlipStudent, BlipTeacher
from compressor.recipe.data import Split
from compressor.recipe.training import Augmentation
from compressor.runtime.schema import Role

if TYPE_CHECKING:
    from compressor.data.generation import GenerationSet
    from compressor.pipeline.context import Context
    from compressor.preprocess.preprocessor import Preprocessor
    from compressor.students.generator import GenerativeModel


@dataclass
class Writers:
    """Teacher and student of one run."""

    context: Context

    @property
    def section(self) -> BlipTeacher:
        """The recipe's teacher."""
        section = self.context.recipe.teacher
        assert isinstance(section, BlipTeacher)
        return section

    @property
    def student_section(self) -> BlipStudent:
        """The recipe's student."""
        section = self.context.recipe.student
        assert isinstance(section, BlipStudent)  # `check` refuses any other
        return section

    @property
    def label(self) -> str:
        """What a person calls the teacher."""
        return str(self.section.name or self.section.path or "of its own sizes")

    @property
    def weights(self) -> list[Path | None]:
        """Files and folders that the teacher is read from."""
        halves = [half for half in (self.section.image, self.section.text) if half is not None]
        tokenizer = getattr(self.section.tokenizer, "path", None)
        return [self.section.path, tokenizer, *(half.weights for half in halves)]

    @property
    def side(self) -> int:
        """Pixels per side of the larger input."""
        return max(self._teacher_side, self.student_section.image.size)

    @property
    def _teacher_side(self) -> int:
        """Asked for before the teacher is fine-tuned, and where loading it would be a waste."""
        if self.section.image is not None:
            return self.section.image.size
        if "untuned_teacher" in vars(self) or self.section.fine_tune is None:
            return self.untuned_teacher.preprocessor.image.size
        return self.teacher.preprocessor.image.size

    @cached_property
    def teacher(self) -> GenerativeModel:
        """The frozen teacher, with the weights of its fine-tuning where the recipe asks for one."""
        if self.section.fine_tune is None:
            return self.untuned_teacher
        from compressor.students.blip_checkpoint import load_blip_checkpoint
        from compressor.teachers.blip_teacher import freeze_generator

        return freeze_generator(load_blip_checkpoint(self.context.folder.tuned_teacher))

    @cached_property
    def untuned_teacher(self) -> GenerativeModel:
        """The teacher as the recipe names it. `MissingResourceError` names each thing missing."""
        import torch

        from compressor.teachers.blip_teacher import load_blip
        from compressor.teachers.load import missing_resources

        missing = [] if self.context.rehearsal else missing_resources(self.section)
        if missing:
            raise MissingResourceError("\n".join(missing))
        torch.manual_seed(self.context.recipe.seed)
        return load_blip(self.section, texts=self._training_texts(), rehearse=self.context.rehearsal)

    def forget_untuned(self) -> None:
        """Give back the memory of a teacher that is read anew, fine-tuned, from its checkpoint."""
        vars(self).pop("untuned_teacher", None)

    def fresh_student(self) -> GenerativeModel:
        """The student before training, the same for the same seed."""
        import torch

        from compressor.students.blip_build import build_blip_student

        teacher = self.teacher  # reading it takes random numbers
        torch.manual_seed(self.context.recipe.seed)
        return build_blip_student(self.student_section, teacher)

    def trained(self, role: Role) -> GenerativeModel:
        """The finished model of a role."""
        if role == "teacher":
            return self.teacher
        from compressor.students.blip_checkpoint import load_blip_checkpoint

        return load_blip_checkpoint(self.checkpoint(role))

    def checkpoint(self, role: Role) -> Path:
        """Where a trained role is kept."""
        folder = self.context.folder
        return folder.checkpoint if role == "student" else folder.root / role / "checkpoint"

    def rows(
        self,
        split: Split,
        preprocessor: Preprocessor,
        augmentation: Augmentation,
        teacher: GenerativeModel | None = None,
        texts_per_image: int = 1,
    ) -> GenerationSet:
        """Rows of a split for a model; for a teacher beside it, its pictures too."""
        from compressor.data.generation import GenerationSet
        from compressor.preprocess.preprocessor import ImagePreprocessor

        context = self.context
        return GenerationSet(
            context.pairs(split),
            context.decoded(split),
            preprocessor,
            augmentation,
            context.recipe.seed,
            () if teacher is None else [ImagePreprocessor(teacher.preprocessor.image)],
            self.section.prompt,
            texts_per_image,
        )

    def _training_texts(self) -> list[str]:
        """What a tokeniser is trained on: captions; of questions also their answers."""
        pairs = self.context.pairs("train")
        texts = [caption for row in pairs.rows for caption in row.captions]
        if isinstance(pairs, QuestionPairs):
            texts += [answer for question in pairs.questions.values() for answer in question.answers]
        return texts
