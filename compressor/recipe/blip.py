"""BLIP (arXiv 2201.12086): teachers that caption, answer or embed, and a student that captions or answers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from compressor.recipe.base import RecipePath, Section
from compressor.recipe.models import ImageInput, TokenizerConfig
from compressor.recipe.teacher_base import Signal, TrainableTeacher

Head = Literal["caption", "vqa"]


class BlipTransformer(Section):
    """Sizes that both halves of a BLIP student have."""

    layers: int = Field(ge=1)
    width: int = Field(ge=8)
    heads: int = Field(ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    weights: RecipePath | None = Field(
        None, description="With `start: towers`: safetensors file, or a folder with model.safetensors."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> BlipTransformer:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class BlipImageTower(BlipTransformer):
    """The ViT. Weights: a BLIP's, a timm ViT's (its classifier is dropped), or those of a checkpoint of this
    project whose image tower is one."""

    patch: int = Field(16, ge=1)
    size: int = Field(224, ge=16, le=1024, description="Pixels per side.")

    @model_validator(mode="after")
    def _patches_fill_the_picture(self) -> BlipImageTower:
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of patch {self.patch}")
        return self

    @property
    def input(self) -> ImageInput:
        """BLIP squashes pictures to a square and normalises them as CLIP does."""
        return ImageInput(size=self.size, resize="squash")


class BlipTextTower(BlipTransformer):
    """The BERT: decoder, and for VQA a question encoder of the same sizes. Weights: a BERT's, or a BLIP's."""

    context_length: int = Field(64, ge=4, le=512, description="Positions, for texts and generation.")
    dropout: float = Field(0.0, ge=0, lt=1)


class BlipStudent(Section):
    """A compact BLIP. Tokens, head and prompt are the teacher's.

    `start`: `scratch` (random weights), `towers` (the weights that image and text name, the rest random),
    `inherit` (uniformly chosen layers, leading channels and first heads of the teacher).
    """

    kind: Literal["blip"]
    image: BlipImageTower
    text: BlipTextTower
    start: Literal["scratch", "inherit", "towers"] = "scratch"

    @model_validator(mode="after")
    def _weights_fit_the_start(self) -> BlipStudent:
        named = [tower for tower in (self.image, self.text) if tower.weights is not None]
        if self.start == "towers" and not named:
            raise ValueError("start: towers needs image.weights, text.weights or both")
        if self.start != "towers" and named:
            raise ValueError(f"weights belong to start: towers, not to start: {self.start}")
        return self


class BlipTeacher(TrainableTeacher):
    """A BLIP that writes: captions of images, or answers to questions about them.

    In transformers' format (hub name or local folder), or of sizes of its own: it then starts from random
    weights, or from those that `image` and `text` name, and is trained first (`fine_tune`).
    """

    provides: ClassVar[frozenset[Signal]] = frozenset({"attention", "logits"})
    embeds_pairs: ClassVar[bool] = False
    has_bundle: ClassVar[bool] = False

    kind: Literal["blip"]
    head: Head
    name: str | None = None
    path: RecipePath | None = None
    image: BlipImageTower | None = Field(None, description="With text, in place of name and path: its sizes.")
    text: BlipTextTower | None = None
    tokenizer: TokenizerConfig | None = Field(
        None, description="Of a teacher of its own sizes; null: one trained on the training texts."
    )
    context_length: int = Field(
        40,
        ge=4,
        le=512,
        description="Tokens of a caption (prompt included), question or answer; more are cut.",
    )
    prompt: str = Field(
        "",
        description="Words that open every caption, given and not predicted; BLIP's own are `a picture of`.",
    )
    question_start: Literal["cls", "enc"] = Field(
        "cls",
        description="Token that opens a question: `cls` as transformers' processor writes it, `enc` as the "
        "published weights were trained.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> BlipTeacher:
        own = self.image is not None or self.text is not None
        if (self.path is not None) + (self.name is not None) + own != 1:
            raise ValueError(
                "give exactly one of path (a local folder), name (a hub name) and image with text (its sizes)"
            )
        if own and (self.image is None or self.text is None):
            raise ValueError("a teacher of its own sizes needs both image and text")
        if own and self.fine_tune is None:
            raise ValueError("a teacher of its own sizes knows nothing yet: it needs fine_tune")
        if not own and self.tokenizer is not None:
            raise ValueError("tokenizer belongs to a teacher of its own sizes; this one brings its own")
        return self

    @model_validator(mode="after")
    def _options_of_the_head(self) -> BlipTeacher:
        if self.head == "vqa" and self.prompt:
            raise ValueError("prompt belongs to head: caption; an answer has none")
        if self.head == "caption" and self.question_start != "cls":
            raise ValueError("question_start belongs to head: vqa; a caption has no question")
        return self

    @property
    def sizes(self) -> BlipStudent | None:
        """A teacher of its own sizes as the student that it begins as; None for one that is already there."""
        if self.image is None or self.text is None:
            return None
        started = self.image.weights is not None or self.text.weights is not None
        return BlipStudent(
            kind="blip", image=self.image, text=self.text, start="towers" if started else "scratch"
        )


class BlipRetrievalTeacher(TrainableTeacher):
    """A BLIP trained for retrieval, as a dual encoder: the embeddings of its contrastive (ITC) head."""

    kind: Literal["blip_retrieval"]
    name: str | None = None
    path: RecipePath | None = None
    context_length: int = Field(35, ge=4, le=512, description="Tokens of a text; longer ones are cut.")
    temperature: float = Field(
        0.07,
        gt=0,
        description="Of the contrastive softmax. BLIP learns it and transformers' format drops it; 0.07 is "
        "where its training starts.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> BlipRetrievalTeacher:
        if (self.path is None) == (self.name is None):
            raise ValueError("give exactly one of path (a local folder) and name (a hub name)")
        return self
