"""How a model is trained: the `distill` section and a teacher's `fine_tune`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from compressor.recipe.base import Section
from compressor.recipe.losses import BalancerConfig, LossConfig, StaticBalance


class Augmentation(Section):
    """Random views of the training images. Every view can be replayed from (seed, sample id, view)."""

    crop_scale: tuple[float, float] | None = Field(
        None, description="Area range of a random resized crop; null = none."
    )
    horizontal_flip: float = Field(0.0, ge=0, le=1)
    colour: float = Field(
        0.0, ge=0, le=1, description="Strength of brightness, contrast and saturation jitter."
    )
    views: int | None = Field(
        None,
        ge=1,
        description="Distinct views per image, cycled over epochs. Null: one per epoch, which stored signals "
        "pay for with one teacher pass each.",
    )

    @property
    def active(self) -> bool:
        """True when a view can differ from the plain image."""
        return self.crop_scale is not None or self.horizontal_flip > 0 or self.colour > 0


class Optimizer(Section):
    """AdamW; weights of norms, biases and the temperature are never decayed."""

    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)


class TrainingBase(Section):
    """What distillation and fine-tuning share."""

    epochs: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(128, ge=2, description="Pairs per optimiser step, over all processes.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Pairs per forward pass; smaller than batch_size saves memory and keeps all negatives.",
    )
    texts_per_image: int = Field(
        1,
        ge=1,
        le=64,
        description="Captions or questions of a picture in one step, for a model that writes: the picture is "
        "encoded once for all of them. batch_size and epochs still count pictures.",
    )
    optimizer: Optimizer = Optimizer()
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Fraction of the steps with a rising rate; cosine to zero after."
    )
    clip_norm: float | None = Field(1.0, gt=0)
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an exponential moving average of the weights."
    )
    augmentation: Augmentation = Augmentation()
    evaluate_every: int | None = Field(
        None, ge=1, description="Steps between validations; default: once an epoch."
    )
    checkpoint_every: int | None = Field(
        None, ge=1, description="Steps between checkpoints; default: once an epoch."
    )
    trackers: tuple[str, ...] = Field(
        ("tensorboard",), description="Accelerate trackers by name; empty for none."
    )
    workers: int = Field(1, ge=0, description="Background threads that prepare batches; 0 = in the loop.")

    @model_validator(mode="after")
    def _length(self) -> TrainingBase:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps")
        return self


class FineTune(TrainingBase):
    """Train the teacher on the recipe's data with the task loss before it teaches."""

    lock_image: bool = Field(
        False,
        description="Leave the image side as it is and train the rest: cheaper, and what it knows stays "
        "(locked-image tuning, arXiv 2111.07991).",
    )


class DistillSection(TrainingBase):
    """Losses, balancer and training of the student."""

    losses: tuple[LossConfig, ...] = Field(min_length=1)
    balancer: BalancerConfig = StaticBalance()
    signals: Literal["stored", "live"] = Field(
        "stored", description="Teacher embeddings from the store, or run every step."
    )
    control: bool = Field(False, description="Also train the same student without a teacher, for comparison.")
    batchnorm_across_processes: Literal["refuse", "freeze"] = Field(
        "refuse",
        description="With several processes or micro-batches, training-mode BatchNorm is refused or frozen.",
    )

    @model_validator(mode="after")
    def _kinds_once(self) -> DistillSection:
        kinds = [loss.kind for loss in self.losses]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"each loss may stand once; listed twice: {', '.join(twice)}")
        return self
