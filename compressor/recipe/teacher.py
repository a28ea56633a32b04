"""The `teacher` section: a frozen model, or the embeddings it left behind. Each says what it provides."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compressor.recipe.base import RecipePath
from compressor.recipe.blip import BlipRetrievalTeacher, BlipTeacher
from compressor.recipe.teacher_base import Signal, SingleTeacher, TeacherBase, TrainableTeacher

Invariance = Literal["horizontal_flip", "crop", "colour"]


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


class EmbeddingsTeacher(SingleTeacher):
    """Embeddings of a model that is not here: a safetensors file with ids, or two npy files with id lists.

    safetensors: `image_embeds` (N, D) and `text_embeds` (M, D). Row order: metadata `image_ids`/`text_ids`
    (JSON lists), or metadata `image_filenames` (JSON list; text rows then follow the captions' `sentid` or
    run image by image), or the data set's own order when the counts agree.
    """

    provides: ClassVar[frozenset[Signal]] = frozenset({"embeddings"})
    runnable: ClassVar[bool] = False
    has_bundle: ClassVar[bool] = False

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


class UnimodalTeacher(SingleTeacher):
    """A teacher that knows images or texts alone: one global representation of each pair, for `regression`.

    There is nothing to rank, to export or to time: no figure compares the student with such a teacher.
    """

    provides: ClassVar[frozenset[Signal]] = frozenset({"global"})
    embeds_pairs: ClassVar[bool] = False
    has_bundle: ClassVar[bool] = False


class TimmTeacher(UnimodalTeacher):
    """A timm image model: its pooled features, without the classifier.

    Pictures are prepared as timm's own data config says, but for its margin (`crop_pct`): the teacher sees
    the same part of a picture as the student.
    """

    kind: Literal["timm"]
    name: str = Field(
        description="timm model name; its tag decides preprocessing and, from the hub, the weights: "
        "`vit_base_patch16_224.dino`."
    )
    path: RecipePath | None = Field(
        None, description="Local safetensors file in timm's layout; null: the tag's weights from the hub."
    )
    size: int | None = Field(None, ge=16, le=1024, description="Pixels per side; null: the data config's.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="For `timm.create_model` (plain values only)."
    )


class TextTeacher(UnimodalTeacher):
    """A transformers text encoder with its own tokenizer: hub name or local folder.

    What it says of a pair is what it says of the caption that was drawn; a row without one is left out.
    """

    kind: Literal["text"]
    name: str | None = None
    path: RecipePath | None = Field(
        None, description="Folder with config.json, safetensors weights and tokenizer.json."
    )
    context_length: int = Field(77, ge=4, le=4096, description="Tokens of a caption; longer ones are cut.")
    pool: Literal["mean", "first", "last"] = "mean"

    @model_validator(mode="after")
    def _one_source(self) -> TextTeacher:
        if (self.path is None) == (self.name is None):
            raise ValueError("give exactly one of path (a local folder) and name (a hub name)")
        return self


MemberTeacher = Annotated[
    OpenClipTeacher | TransformersTeacher | CheckpointTeacher | EmbeddingsTeacher | BlipRetrievalTeacher,
    Field(discriminator="kind"),
]


class EnsembleTeacher(TeacherBase):
    """Several teachers at once, each with its own preprocessing, tokenizer and store.

    The student learns from their unit embeddings side by side, each scaled by the root of its share of the
    weights (1/sqrt(n) for equal ones): the cosine of two such rows is the weighted mean of the members'
    cosines. Its retrieval is measured on these rows. It is never exported, so that it has no latency and no
    size. Members teach as they are: fine-tune one in a recipe of its own and name the checkpoint here.
    """

    provides: ClassVar[frozenset[Signal]] = frozenset({"embeddings"})
    has_bundle: ClassVar[bool] = False

    kind: Literal["ensemble"]
    members: tuple[MemberTeacher, ...] = Field(min_length=2)
    combine: Literal["embeddings"] = "embeddings"
    weights: tuple[float, ...] | None = Field(
        None, description="One number a member, relative to each other; null: all the same."
    )

    @model_validator(mode="after")
    def _a_weight_each(self) -> EnsembleTeacher:
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(
                f"there are {len(self.weights)} weights for {len(self.members)} members; give one each"
            )
        if self.weights is not None and min(self.weights) <= 0:
            raise ValueError(f"a weight is {min(self.weights):g}; allowed: more than 0")
        return self


TeacherSection = Annotated[
    OpenClipTeacher
    | TransformersTeacher
    | CheckpointTeacher
    | EmbeddingsTeacher
    | TimmTeacher
    | TextTeacher
    | EnsembleTeacher
    | BlipTeacher
    | BlipRetrievalTeacher,
    Field(discriminator="kind"),
]


def single_teachers(section: TeacherSection | None) -> tuple[SingleTeacher, ...]:
    """The members of an ensemble, the one teacher that is none, or no teacher."""
    if section is None:
        return ()
    return section.members if isinstance(section, EnsembleTeacher) else (section,)
