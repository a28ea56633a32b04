"""Distillation losses: pure tensor functions, thin loops over a batch, and balancers that add them up."""

from compressor.losses.balancer import Balancer, DSMDBalancer, StaticBalancer, build_balancer
from compressor.losses.batch import EmbeddingBatch
from compressor.losses.build import LossSet, build_losses
from compressor.losses.contrastive import contrastive_loss
from compressor.losses.distributed import gather_batch
from compressor.losses.feature import feature_loss
from compressor.losses.hard_negative import hard_negative_loss
from compressor.losses.queue import TeacherQueue
from compressor.losses.similarity import similarity_loss
from compressor.losses.task import task_loss

__all__ = [
    "Balancer",
    "DSMDBalancer",
    "EmbeddingBatch",
    "LossSet",
    "StaticBalancer",
    "TeacherQueue",
    "build_balancer",
    "build_losses",
    "contrastive_loss",
    "feature_loss",
    "gather_batch",
    "hard_negative_loss",
    "similarity_loss",
    "task_loss",
]
