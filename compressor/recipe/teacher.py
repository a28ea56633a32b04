"""The `teacher` section: a frozen model, or the embeddings it left behind. Each says what it provides."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compressor.recipe.base import RecipePath, Section
from compressor.recipe.training import FineTune

Signal = Literal["embeddings", "attention", "logits"]
Invariance = Literal["horizontal_flip", "crop", "colour"]


class TeacherBase(Section):
    """What all teachers have in common."""

    provides: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "attention"})
    runnable: ClassVar[bool] = True

    batch_size: int = Field(64, ge=1, description="Images or captions per forward pass of the teacher.")


class TrainableTeacher(TeacherBase):
    """A teacher that can first be fine-tuned with the task loss on the recipe's own data."""

    fine_tune: FineTune | None = None


class OpenClipTeacher(TrainableTeacher):
    """An open_clip model by its name there, with a pretrained tag or a local weights file."""

    kind: Literal["open_clip"]
    name: str = Field(description="open_clip model name, such as `ViT-L-14-quickgelu`.")
    pretrained: str | None = Field(None, description="Tag of pretrained weights, such as `openai`.")
    path: RecipePath | None = Field(
        None, description="Local safetensors file (or a folder in hub layout) instead of a tag."
    )

    @model_validator(mode="after")
    def _one_source(self) -> OpenClipTeacher:
        if (self.path is None) == (self.pretrained is None):
            raise ValueError("give exactly one of pretrained (a tag) and path (a local file)")
        return self


class TransformersTeacher(TrainableTeacher):
    """A transformers CLIP or SigLIP model: hub name or local folder."""

    kind: Literal["transformers"]
    name: str | None = None
    path: RecipePath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TransformersTeacher:
        if (self.path is None) == (self.name is None):
            raise ValueError("give exactly one of path (a local folder) and name (a hub name)")
        return self


class CheckpointTeacher(TrainableTeacher):
    """A model that this project trained: a checkpoint folder, or `builtin:scenes_teacher`."""

    kind: Literal["checkpoint"]
    path: RecipePath


class EmbeddingsTeacher(TeacherBase):
    """Embeddings of a model that is not here: a safetensors file with ids, or two npy files with id lists.

    safetensors: `image_embeds` (N, D) and `text_embeds` (M, D). Row order: metadata `image_ids`/`text_ids`
    (JSON lists), or metadata `image_filenames` (JSON list; text rows then follow the captions' `sentid` or
    run image by image), or the data set's own order when the counts agree.
    """

    provides: ClassVar[frozenset[Signal]] = frozenset({"embeddings"})
    runnable: ClassVar[bool] = False

    kind: Literal["embeddings"]
    path: RecipePath = Field(
        description="safetensors file; or a folder with image_embeds.npy, text_embeds.npy, ids.json."
    )
    invariances: tuple[Invariance, ...] = Field(
        (), description="Augmentations under which the stored embedding of an image stays true."
    )
    temperature: float | None = Field(
        None, gt=0, description="The teacher's own softmax temperature, if known."
    )


TeacherSection = Annotated[
    OpenClipTeacher | TransformersTeacher | CheckpointTeacher | EmbeddingsTeacher, Field(discriminator="kind")
]
