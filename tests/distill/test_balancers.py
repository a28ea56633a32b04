"""Every learning balancer in the training loop: it weighs, it is logged, and a stopped training goes on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressor.distill.curves import read_curves
from compressor.distill.job import TrainingJob
from compressor.distill.progress import ProgressEvent
from compressor.distill.signals import StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.files import sha256_file
from compressor.recipe.losses import (
    BalancerConfig,
    ContrastiveLoss,
    DWABalance,
    FeatureLoss,
    GradNormBalance,
    HardNegativeLoss,
    TaskLoss,
    UncertaintyBalance,
)
from tests.distill.world import build_world

STEPS, STOP = 9, 5
KINDS = ("contrastive", "feature", "hard_negative", "task")
BALANCERS: dict[str, BalancerConfig] = {
    "uncertainty": UncertaintyBalance(kind="uncertainty"),
    "gradnorm": GradNormBalance(kind="gradnorm"),
    "dwa": DWABalance(kind="dwa", window=2),
}


class StoppedError(Exception):
    """The training ends here without a word."""


def job(tmp_path: Path, folder: str, balancer: BalancerConfig, **changes: Any) -> TrainingJob:
    """Dropout, queue, projection, average; checkpoints that are older than where a training stops."""
    world = build_world(tmp_path, student={"dropout": 0.2})
    store = TeacherStore.build(tmp_path / "store", world.teacher, world.rows, [0], 8)
    options: dict[str, Any] = {
        "steps": STEPS,
        "ema": 0.8,
        "checkpoint_every": 2,
        "losses": [
            ContrastiveLoss(kind="contrastive", queue=20),
            FeatureLoss(kind="feature"),
            HardNegativeLoss(kind="hard_negative"),
            TaskLoss(kind="task"),
        ],
    }
    return world.job(folder, StoredSignals(store, world.rows), balancer=balancer, **{**options, **changes})


def records(of: TrainingJob) -> list[dict[str, Any]]:
    """The curves but for the speed."""
    found = read_curves(of.folder / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in found]


@pytest.mark.parametrize("kind", BALANCERS)
@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_a_training_that_stopped_anywhere_ends_like_one_that_did_not(
    tmp_path: Path, kind: str, micro_batch_size: int | None
) -> None:
    balancer, pieces = BALANCERS[kind], {"micro_batch_size": micro_batch_size}

    def stop(event: ProgressEvent) -> None:
        if event.step == STOP:
            raise StoppedError

    undisturbed = job(tmp_path, "undisturbed", balancer, **pieces)
    train(undisturbed)
    stopped = job(tmp_path, "stopped", balancer, **pieces)
    with pytest.raises(StoppedError):
        train(replace(stopped, progress=stop))
    resumed = job(tmp_path, "stopped", balancer, **pieces)
    train(resumed)

    assert records(resumed) == records(undisturbed)
    for group in ("model", "optimizer", "losses", "average"):
        path = f"checkpoints/step-{STEPS:08d}/{group}.safetensors"
        assert sha256_file(resumed.folder / path) == sha256_file(undisturbed.folder / path), group
    weights = [record["weights"] for record in records(resumed)]
    assert [set(each) for each in weights] == [set(KINDS)] * STEPS
    assert set(weights[0].values()) == {1.0}
    assert weights[-1] != weights[0]
    assert all(weight > 0 for each in weights for weight in each.values())


def test_gradnorm_draws_the_gradients_at_the_embeddings_together(tmp_path: Path) -> None:
    """The contrastive terms pull hardest at first, and the feature loss least."""
    of = job(tmp_path, "run", GradNormBalance(kind="gradnorm", alpha=0.0, lr=0.2), steps=20)
    train(of)
    weights = records(of)[-1]["weights"]
    assert weights["contrastive"] < 1 < weights["feature"]
    assert sum(weights.values()) == pytest.approx(len(KINDS))


def test_the_total_of_learned_log_variances_is_the_objective(tmp_path: Path) -> None:
    of = job(tmp_path, "run", UncertaintyBalance(kind="uncertainty", lr=0.5), steps=4)
    train(of)
    for record in records(of):
        weights, losses = record["weights"], record["losses"]
        expected = sum(weights[kind] * losses[kind] - math.log(weights[kind]) for kind in KINDS)
        assert record["total"] == pytest.approx(expected, rel=1e-5)
