"""Losses as data: what each is called, its options, and what it requires of the teacher."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compressor.recipe.base import Section

Layer = Annotated[int, Field(ge=1)]
LayerPairs = Literal["last"] | Annotated[dict[Layer, Layer], Field(min_length=1)]
"""The last layer of both models, or teacher layer -> student layer, counted from 1."""


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
        8192, ge=0, le=2**22, description="FIFO of teacher embeddings used as negatives; 0 = batch only."
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


class AffinityLoss(LossBase):
    """Softmax rows of the image-text similarities, the student's against the teacher's, in both directions.

    TinyCLIP's affinity mimicking (arXiv 2309.12314), CLIP-KD's CRD (arXiv 2307.12732).
    """

    kind: Literal["affinity"]
    temperature: float = Field(0.05, gt=0, description="Of the student's similarities.")
    teacher_temperature: float | None = Field(
        None, gt=0, description="Of the teacher's similarities; null = the same."
    )
    divergence: Literal["kl", "cross_entropy"] = "kl"
    ensemble: Literal["embeddings", "distributions"] = Field(
        "embeddings",
        description="With a teacher of kind ensemble: the softmax of its members' mean similarity, or the "
        "mean of their softmax distributions (arXiv 1503.02531).",
    )


class InteractiveContrastiveLoss(LossBase):
    """The student's images against the teacher's texts and the reverse, within the batch (CLIP-KD ICL)."""

    kind: Literal["icl"]
    temperature: float = Field(0.05, gt=0)


class GradientLoss(LossBase):
    """Squared error between the gradients that CLIP's loss has at both models' embeddings (CLIP-KD GD)."""

    kind: Literal["gradient"]
    temperature: float = Field(0.05, gt=0)
    reduction: Literal["mean", "sum"] = Field(
        "sum",
        description="sum does not depend on the batch size; mean, as published, falls with its square "
        "(CLIP-KD gives it a weight of 1e8).",
    )


class GramLoss(LossBase):
    """Squared Frobenius distance between modality Gram matrices (arXiv 2112.11447)."""

    kind: Literal["gram"]
    level: Literal["sample", "batch"] = Field(
        "sample", description="Gram of each sample's two modalities, or of all features of the batch."
    )


class RKDDistanceLoss(LossBase):
    """Relational distance: the batch's pairwise distances over their mean, Huber (arXiv 1904.05068)."""

    kind: Literal["rkd_distance"]
    image_only_ok: ClassVar[bool] = True


class MaskedFeatureLoss(LossBase):
    """The teacher's embedding of the whole image from the student's of a masked one (CLIP-KD MFD)."""

    kind: Literal["masked_feature"]
    image_only_ok: ClassVar[bool] = True
    patch: int = Field(16, ge=1, description="Side of a masked square in pixels of the student's input.")
    fraction: float = Field(0.75, gt=0, lt=1, description="Share of the squares that is masked.")
    norm: Literal["l1", "l2"] = "l2"


class RegressionLoss(LossBase):
    """One unimodal teacher's global representation, from the image and from its caption alike."""

    kind: Literal["regression"]
    requires: ClassVar[frozenset[str]] = frozenset({"global"})
    image_only_ok: ClassVar[bool] = True
    normalize: bool = Field(True, description="Regress the direction of the representation, not its length.")


class AMADLoss(LossBase):
    """Attention-map alignment for any numbers of heads (No Head Left Behind, AAAI 2024)."""

    kind: Literal["amad"]
    requires: ClassVar[frozenset[str]] = frozenset({"attention"})
    image_only_ok: ClassVar[bool] = True
    variant: Literal["mse", "kl", "token", "projected", "student_to_teacher", "one_to_one", "rkd"] = "mse"
    alpha: float | Literal["published", "match_initial_scale"] = Field(
        "published",
        description="Factor of the term: a number, the paper's (0.2 for mse, 100 for the KL forms), or one "
        "that makes it as large as the mean of the other losses at the first step.",
    )
    alignment_temperature: float = Field(
        1.0, gt=0, description="Below 1 the alignment picks heads; as published it hardly does."
    )
    reduction: Literal["mean", "sum"] = "mean"
    image: LayerPairs | None = Field("last", description="Image layers; null = none.")
    text: LayerPairs | None = Field(
        "last", description="Text layers; null = none. Of a BLIP that writes, its decoder's self-attention."
    )
    cross: LayerPairs | None = Field(
        "last", description="A BLIP's alone: the decoder's cross-attention; null = none."
    )
    question: LayerPairs | None = Field(
        "last", description="With head: vqa alone: the question encoder's, self and cross; null = none."
    )

    @model_validator(mode="after")
    def _some_layers(self) -> AMADLoss:
        if self.image is None and self.text is None and self.cross is None and self.question is None:
            raise ValueError("every layer is null, which leaves no attention map to compare")
        if isinstance(self.alpha, float) and self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha:g}; allowed: more than 0")
        return self


class LogitsLoss(LossBase):
    """Softened cross-entropy between the next-token logits of teacher and student (arXiv 1503.02531).

    Both read the ground truth; padding and prompt do not count (No Head Left Behind, AAAI 2024, eq. 13-14).
    """

    kind: Literal["logits"]
    requires: ClassVar[frozenset[str]] = frozenset({"logits"})
    temperature: float = Field(1.0, gt=0)


class TaskLoss(LossBase):
    """The ground truth, without a teacher.

    CLIP's own symmetric contrastive loss on the pairs (arXiv 2103.00020); of a student that writes, the
    cross-entropy of the next token with label smoothing (arXiv 2201.12086).
    """

    kind: Literal["task"]
    requires: ClassVar[frozenset[str]] = frozenset()


LossConfig = Annotated[
    ContrastiveLoss
    | FeatureLoss
    | SimilarityLoss
    | HardNegativeLoss
    | AffinityLoss
    | InteractiveContrastiveLoss
    | GradientLoss
    | GramLoss
    | RKDDistanceLoss
    | MaskedFeatureLoss
    | RegressionLoss
    | AMADLoss
    | LogitsLoss
    | TaskLoss,
    Field(discriminator="kind"),
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


class UncertaintyBalance(Section):
    """A learned log-variance for each loss: its weight drifts to one over the loss (arXiv 1705.07115)."""

    kind: Literal["uncertainty"]
    lr: float = Field(
        0.02, gt=0, le=1, description="Step of the log-variances; a weight settles in a few times 1/lr steps."
    )


class GradNormBalance(Section):
    """Learned weights that bring the losses' gradients to one norm, more for a loss that lags behind.

    Gradients are those of the student's embeddings (arXiv 1711.02257). A loss that does not look at these
    (`amad`) keeps the weight 1.
    """

    kind: Literal["gradnorm"]
    alpha: float = Field(
        1.5, ge=0, le=10, description="How hard losses that lag behind are pushed; 0 = equal norms."
    )
    lr: float = Field(0.025, gt=0, le=1, description="Step of the weights, relative to themselves.")


class DWABalance(Section):
    """Dynamic weight averaging: more weight for losses that fall more slowly (arXiv 1803.10704)."""

    kind: Literal["dwa"]
    window: int = Field(
        50, ge=1, description="Steps that are averaged before weights change; an epoch in the paper."
    )
    temperature: float = Field(2.0, gt=0, description="Larger is more even.")


BalancerConfig = Annotated[
    StaticBalance | DSMDBalance | DSMDRatesBalance | UncertaintyBalance | GradNormBalance | DWABalance,
    Field(discriminator="kind"),
]
