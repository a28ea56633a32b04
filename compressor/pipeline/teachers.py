"""The teachers of a run at work: the recipe's only one, or each member of its ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from compressor.errors import MissingResourceError
from compressor.recipe.data import Split
from compressor.recipe.losses import AMADLoss
from compressor.recipe.teacher import EmbeddingsTeacher
from compressor.recipe.teacher_base import SingleTeacher

if TYPE_CHECKING:
    from compressor.distill.signals import Signals
    from compressor.distill.store import TeacherStore
    from compressor.pipeline.context import Context
    from compressor.teachers.embeddings import StoredEmbeddings
    from compressor.teachers.unimodal import AnyTeacher


@dataclass
class Teacher:
    """One teacher of a run; its weights are read at first use."""

    context: Context
    section: SingleTeacher

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(getattr(self.section, "name", None) or getattr(self.section, "path", None))

    @cached_property
    def model(self) -> AnyTeacher:
        """The frozen model, with the weights of its fine-tuning where the recipe asks for one."""
        if getattr(self.section, "fine_tune", None) is None:
            return self.load()
        from compressor.teachers.checkpoint import load_any_checkpoint
        from compressor.teachers.load import freeze

        return freeze(load_any_checkpoint(self.context.folder.tuned_teacher))

    def load(self) -> AnyTeacher:
        """The model as the recipe names it. `MissingResourceError` names each thing missing."""
        from compressor.teachers.load import load_any_teacher, missing_resources

        missing = [] if self.context.rehearsal else missing_resources(self.section)
        if missing:
            raise MissingResourceError("\n".join(missing))
        return load_any_teacher(self.section, rehearse=self.context.rehearsal)

    @cached_property
    def embeddings(self) -> StoredEmbeddings:
        """Embeddings of a model that is not here, matched to the recipe's rows."""
        from compressor.teachers.embeddings import StoredEmbeddings

        assert isinstance(self.section, EmbeddingsTeacher)
        context = self.context
        splits: tuple[Split, ...] = ("train", context.validation_split, context.recipe.evaluate.split)
        rows = [row for split in dict.fromkeys(splits) for row in context.pairs(split).rows]
        return StoredEmbeddings.open(self.section, rows)

    def facts(self) -> dict[str, Any]:
        """What the report says of it."""
        if isinstance(self.section, EmbeddingsTeacher):
            found = {"fingerprint": self.embeddings.fingerprint, "embed_dim": self.embeddings.dim}
        else:
            model = self.model
            found = {
                "fingerprint": model.fingerprint,
                "embed_dim": model.encoder.embed_dim,
                "origin": model.origin,
            }
            licence = getattr(model, "licence", "")
            if licence:
                found["licence"] = licence
        return {"kind": getattr(self.section, "kind", ""), **found}

    @property
    def image_side(self) -> int:
        """Pixels per side that it looks at; 0 for one that looks at none here."""
        from compressor.preprocess.preprocessor import ImagePreprocessor

        preprocessor = self.model.preprocessor if self.section.runnable else None
        return preprocessor.image.size if isinstance(preprocessor, ImagePreprocessor) else 0

    def build_store(self) -> TeacherStore:
        """What it says of every training view and caption; builds what is missing."""
        from compressor.distill.store import TeacherStore

        rows = self.context.training_set(live=False)
        return TeacherStore.build(
            self.context.folder.cache / "store",
            self.model,
            rows,
            self.context.views(len(rows)),
            self.section.batch_size,
            self.context.progress("running the teacher"),
        )

    def signals(self) -> Signals:
        """Its side of the losses: stored, live, or embeddings from elsewhere."""
        from compressor.distill.representations import LiveRepresentations, StoredRepresentations
        from compressor.distill.signals import EmbeddingSignals, LiveSignals, StoredSignals
        from compressor.teachers.unimodal import UnimodalModel

        distill = self.context.recipe.distill
        live = distill.signals == "live"
        rows = self.context.training_set(live=live)
        if not self.section.runnable:
            return EmbeddingSignals(self.embeddings, rows)
        model = self.model
        if isinstance(model, UnimodalModel):
            if live:
                return LiveRepresentations(model, rows)
            return StoredRepresentations(self.build_store(), model, rows)
        if live:
            amad = next((loss for loss in distill.losses if isinstance(loss, AMADLoss)), None)
            return LiveSignals(model, rows, amad=amad)
        return StoredSignals(self.build_store(), rows)
