"""Losses as data: what each is called, its options, and what it requires of the teacher."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compressor.recipe.base import Section


class LossBase(Section):
    """What every loss has in common."""

    requires: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    """Signals the teacher must provide; empty for a loss on labels alone."""
    image_only_ok: ClassVar[bool] = False
    """True where rows without a caption still contribute through their image."""

    weight: float = Field(1.0, gt=0, description="Fixed factor, applied before any balancer.")


class ContrastiveLoss(LossBase):
    """InfoNCE of the student against the teacher with a queue of teacher embeddings (arXiv 2404.10838)."""

    kind: Literal["contrastive"]
    image_only_ok: ClassVar[bool] = True
    temperature: float = Field(0.05, gt=0)
    queue: int = Field(
        8192, ge=0, description="FIFO of teacher embeddings used as negatives; 0 = batch only."
    )
    batch_negatives: bool = True
    pairs: Literal["intra", "cross", "both"] = "both"


class FeatureLoss(LossBase):
    """Distance of the student's embedding to the teacher's (arXiv 2404.10838; CLIP-KD FD)."""

    kind: Literal["feature"]
    image_only_ok: ClassVar[bool] = True
    norm: Literal["l1", "l2"] = "l1"


class SimilarityLoss(LossBase):
    """1 - (cosine + 1) / 2 of student and teacher (arXiv 2404.10838)."""

    kind: Literal["similarity"]
    image_only_ok: ClassVar[bool] = True


class HardNegativeLoss(LossBase):
    """Max-margin triplet over (v,V) (t,T) (v,T) (t,V) (arXiv 2404.10838; VSE++)."""

    kind: Literal["hard_negative"]
    margin: float = Field(0.05, gt=0)
    mining: Literal["hardest", "sum"] = "hardest"


class TaskLoss(LossBase):
    """CLIP's own symmetric contrastive loss on the pairs, without a teacher (arXiv 2103.00020)."""

    kind: Literal["task"]
    requires: ClassVar[frozenset[str]] = frozenset()


LossConfig = Annotated[
    ContrastiveLoss | FeatureLoss | SimilarityLoss | HardNegativeLoss | TaskLoss, Field(discriminator="kind")
]


class StaticBalance(Section):
    """The weighted sum, nothing more."""

    kind: Literal["static"] = "static"


class DSMDBalance(Section):
    """Dynamic self-adaptive balancing exactly as published: it equalises magnitudes, no more."""

    kind: Literal["dsmd"]
    k: float = Field(10.0, gt=0)
    temperature: float = Field(1.0, gt=0)


class DSMDRatesBalance(Section):
    """The same with rates taken from the raw losses, which is what the paper's text describes."""

    kind: Literal["dsmd_rates"]
    k: float = Field(10.0, gt=0)
    temperature: float = Field(1.0, gt=0)


BalancerConfig = Annotated[StaticBalance | DSMDBalance | DSMDRatesBalance, Field(discriminator="kind")]
