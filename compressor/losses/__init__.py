"""Distillation losses: pure tensor functions, thin loops over a batch, and balancers that add them up."""

from compressor.losses.affinity import affinity_loss, affinity_to_distributions
from compressor.losses.amad import ProjectedAMAD, amad_loss
from compressor.losses.attention_grid import resize_attention
from compressor.losses.attention_maps import attention_mask
from compressor.losses.balancer import (
    Balancer,
    DSMDBalancer,
    DWABalancer,
    GradNormBalancer,
    StaticBalancer,
    UncertaintyBalancer,
    build_balancer,
)
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.build import LossSet, build_losses
from compressor.losses.contrastive import contrastive_loss
from compressor.losses.distributed import gather_batch
from compressor.losses.feature import feature_loss
from compressor.losses.gradient import gradient_loss
from compressor.losses.gram import gram_loss
from compressor.losses.hard_negative import hard_negative_loss
from compressor.losses.icl import icl_loss
from compressor.losses.logits import logit_loss
from compressor.losses.masked_feature import mask_patches, masked_feature_loss
from compressor.losses.queue import TeacherQueue
from compressor.losses.regression import regression_loss
from compressor.losses.rkd_distance import rkd_distance_loss
from compressor.losses.similarity import similarity_loss
from compressor.losses.task import task_loss

__all__ = [
    "Balancer",
    "DSMDBalancer",
    "DWABalancer",
    "EmbeddingBatch",
    "GradNormBalancer",
    "LossSet",
    "ProjectedAMAD",
    "StaticBalancer",
    "TeacherQueue",
    "UncertaintyBalancer",
    "affinity_loss",
    "affinity_to_distributions",
    "amad_loss",
    "attention_mask",
    "build_balancer",
    "build_losses",
    "contrastive_loss",
    "feature_loss",
    "gather_batch",
    "gradient_loss",
    "gram_loss",
    "hard_negative_loss",
    "icl_loss",
    "logit_loss",
    "mask_patches",
    "masked_feature_loss",
    "regression_loss",
    "resize_attention",
    "rkd_distance_loss",
    "similarity_loss",
    "task_loss",
]
