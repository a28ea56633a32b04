"""Configurations of tokenisers, towers and students: data only, no code runs from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from compressor.recipe.base import RecipePath, Section

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Resize = Literal["shortest", "squash", "pad"]


class TrainedTokenizer(Section):
    """A byte-pair encoding trained on the training captions, kept as a `tokenizers` file."""

    kind: Literal["train"]
    vocab_size: int = Field(4096, ge=260, le=100_000)
    lowercase: bool = True


class ClipTokenizer(Section):
    """CLIP's own BPE with CLIP's cleaning (49,408 tokens)."""

    kind: Literal["clip"]


class FileTokenizer(Section):
    """A `tokenizer.json` of `tokenizers`, the folder of a transformers tokeniser, or a checkpoint of ours."""

    kind: Literal["file"]
    path: RecipePath


TokenizerConfig = Annotated[TrainedTokenizer | ClipTokenizer | FileTokenizer, Field(discriminator="kind")]


class ImageInput(Section):
    """How pixels reach an image tower."""

    size: int = Field(224, ge=16, le=1024, description="Pixels per side after resize and crop.")
    resize: Resize = "shortest"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


class TimmImageTower(Section):
    """Any timm image model by name. `options` go to `timm.create_model` (plain values only)."""

    kind: Literal["timm"]
    name: str = Field(
        description="timm model name, such as `mobilenetv3_small_100` or `vit_tiny_patch16_224`."
    )
    options: dict[str, Any] = Field(default_factory=dict)
    weights: RecipePath | None = Field(
        None, description="safetensors file in timm's layout; classifier rows are dropped."
    )
    weights_overlay: RecipePath | None = Field(
        None, description="Second safetensors file loaded on top of the first."
    )
    freeze_batchnorm: bool = Field(
        False, description="Keep BatchNorm statistics fixed (evaluation mode) in training."
    )
    input: ImageInput = ImageInput()


class TransformersImageTower(Section):
    """A transformers vision model from a configuration (`model_type` and its keys) or a local folder."""

    kind: Literal["transformers"]
    config: dict[str, Any] = Field(
        default_factory=dict, description="Keys of the model's configuration, with model_type."
    )
    path: RecipePath | None = Field(None, description="Folder with config.json and safetensors weights.")
    weights: RecipePath | None = None
    input: ImageInput = ImageInput()


ImageTower = Annotated[TimmImageTower | TransformersImageTower, Field(discriminator="kind")]


class TransformerTextTower(Section):
    """A pre-norm transformer encoder over tokens."""

    kind: Literal["transformer"]
    width: int = Field(256, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    context_length: int = Field(77, ge=4, le=4096)
    causal: bool = Field(
        False, description="CLIP's text tower is causal; a bidirectional one learns faster when small."
    )
    pool: Literal["mean", "last", "first"] = "mean"
    dropout: float = Field(0.0, ge=0, lt=1)
    weights: RecipePath | None = None

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TransformerTextTower:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class PretrainedTextTower(Section):
    """A transformers text encoder from a local folder, a hub name, or a configuration (random weights)."""

    kind: Literal["pretrained"]
    path: RecipePath | None = None
    name: str | None = None
    config: dict[str, Any] = Field(
        default_factory=dict, description="Keys of the model's configuration, with model_type."
    )
    context_length: int = Field(77, ge=4, le=4096)
    pool: Literal["mean", "last", "first"] = "mean"

    @model_validator(mode="after")
    def _one_source(self) -> PretrainedTextTower:
        if (self.path is not None) + (self.name is not None) + bool(self.config) != 1:
            raise ValueError("give exactly one of path (a local folder), name (a hub name) and config")
        return self


TextTower = Annotated[TransformerTextTower | PretrainedTextTower, Field(discriminator="kind")]


class SharedBlock(Section):
    """What image and text share on top of their projections: residual MLPs, one set of weights for both.

    Every exported tower holds them, so that both files together hold them twice; they count once, in the
    total of the parameters alone.
    """

    layers: int = Field(1, ge=1, le=24)
    hidden_ratio: float = Field(2.0, gt=0, description="Width inside a block, as a multiple of embed_dim.")


class StudentSection(Section):
    """A compact dual encoder: image tower, text tower, one projection each, a learned temperature.

    A student without a kind is of this one.
    """

    kind: Literal["towers"] = "towers"
    image: ImageTower
    text: TextTower
    tokenizer: TokenizerConfig
    embed_dim: int = Field(256, ge=8, le=4096)
    initial_temperature: float = Field(
        0.07, gt=0, description="Learned temperature of the task loss at the start."
    )
    shared: SharedBlock | None = Field(
        None, description="A block on top of both towers, as `regression` wants it; null: none."
    )


class InheritedTower(Section):
    """What stays of one of the teacher's towers; null keeps the teacher's number."""

    layers: int | None = Field(None, ge=1, description="Spread evenly; the first and the last always stay.")
    width: int | None = Field(None, ge=8, description="Leading channels.")
    heads: int | None = Field(
        None, ge=1, description="First heads; null: as many as the width holds at the teacher's head width."
    )


class InheritedStudent(Section):
    """A student cut out of its teacher's weights: a CLIP of open_clip or transformers (arXiv 2309.12314).

    Its preprocessing and tokenizer are the teacher's. The control starts from the same weights.
    """

    kind: Literal["inherit"]
    inherit: Literal["uniform"] = "uniform"
    image: InheritedTower = InheritedTower()
    text: InheritedTower = InheritedTower()
    embed_dim: int | None = Field(None, ge=8, description="Null: the teacher's.")
