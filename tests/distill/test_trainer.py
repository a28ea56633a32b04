"""The training loop in one process."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from compressor.data.loader import TrainingSet
from compressor.distill.curves import read_curves
from compressor.distill.signals import LiveSignals, StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.errors import (
    DataError,
    DivergedError,
    ModelError,
    RecipeError,
)
from compressor.recipe.losses import HardNegativeLoss, SimilarityLoss, TaskLoss
from compressor.recipe.models import StudentSection
from compressor.recipe.training import Augmentation, Optimizer
from compressor.students.build import build_student
from compressor.students.checkpoint import load_checkpoint
from compressor.students.encoder import Encoder
from tests.distill.jobs import distilling, final, fresh
from tests.distill.world import World

ALL_LOSSES = [
    SimilarityLoss(kind="similarity"),
    HardNegativeLoss(kind="hard_negative"),
    TaskLoss(kind="task"),
]


def test_training_brings_the_student_to_its_teacher(world: World) -> None:
    job = distilling(world, steps=120, optimizer=Optimizer(lr=0.02), losses=ALL_LOSSES)
    result = train(job)
    records = read_curves(result.curves)
    assert [record["step"] for record in records] == list(range(1, 121))
    assert records[-1]["losses"]["similarity"] < 0.5 * records[0]["losses"]["similarity"]
    assert set(records[0]["losses"]) == set(records[0]["weights"]) == {"similarity", "hard_negative", "task"}
    assert records[0]["grad_norm"] > 0
    assert result.steps == 120
    assert not world.student.encoder.training


def test_the_same_seed_gives_the_same_weights_with_or_without_threads(tmp_path: Path) -> None:
    one = final(distilling(fresh(tmp_path), "one"))
    two = final(distilling(fresh(tmp_path), "two", workers=2))
    other = final(replace(distilling(fresh(tmp_path), "three"), seed=1))
    assert one == two != other


def test_distilling_and_then_a_control_run_in_one_process(tmp_path: Path) -> None:
    world = fresh(tmp_path)
    train(distilling(world, precision="bf16"))
    control = fresh(tmp_path)
    result = train(control.job("control", None, losses=[TaskLoss(kind="task")]))
    assert set(read_curves(result.curves)[0]["losses"]) == {"task"}


def test_the_best_weights_by_validation_are_kept_and_loaded(world: World) -> None:
    rsums = iter([10.0, 30.0, 30.0, 20.0])
    seen: list[dict[str, torch.Tensor]] = []

    def validate(encoder: Encoder) -> dict[str, float]:
        assert isinstance(encoder, torch.nn.Module)
        assert not encoder.training
        seen.append({name: tensor.clone() for name, tensor in encoder.state_dict().items()})
        return {"rsum": next(rsums)}

    result = train(distilling(world, steps=8, evaluate_every=2, validate=validate))
    assert (result.best_step, result.best_metric) == (4, 30.0)
    for name, tensor in world.student.encoder.state_dict().items():
        assert torch.equal(tensor, seen[1][name]), name
    validations = {
        r["step"]: r["validation"]["rsum"] for r in read_curves(result.curves) if "validation" in r
    }
    assert validations == {2: 10.0, 4: 30.0, 6: 30.0, 8: 20.0}
    assert [path.name for path in (result.best.parent).iterdir()] == ["step-00000004"]


def test_validation_and_the_best_weights_are_those_of_the_average(world: World) -> None:
    seen: list[torch.Tensor] = []

    def validate(encoder: Any) -> dict[str, float]:
        seen.append(encoder.words.weight.detach().clone())
        return {"rsum": 1.0}

    result = train(distilling(world, steps=3, evaluate_every=3, ema=0.9, validate=validate))
    last = {name: load_file(result.last / f"{name}.safetensors") for name in ("model", "average")}
    assert torch.equal(seen[0], last["average"]["words.weight"])
    assert not torch.equal(seen[0], last["model"]["words.weight"])
    assert torch.equal(load_file(result.best / "model.safetensors")["words.weight"], seen[0])


def test_gradients_in_micro_batches_equal_those_of_the_whole_batch(tmp_path: Path) -> None:
    whole = train(distilling(fresh(tmp_path), "whole", clip_norm=None))
    pieces = train(distilling(fresh(tmp_path), "pieces", clip_norm=None, micro_batch_size=3))
    one, other = (load_file(r.last / "optimizer.safetensors") for r in (whole, pieces))
    assert set(one) == set(other)
    assert "exp_avg/losses.project.weight" in one
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-6, msg=name)


def test_batchnorm_in_micro_batches_is_refused_or_frozen(tmp_path: Path) -> None:
    student = {"batchnorm": True}
    with pytest.raises(
        ModelError, match=r"1 BatchNorm layers in training mode .first: normed.*micro_batch_size"
    ):
        train(distilling(fresh(tmp_path, student=student), "refused", micro_batch_size=2))
    world = fresh(tmp_path, student=student)
    job = distilling(world, "frozen", micro_batch_size=2, batchnorm_across_processes="freeze")
    weights = load_file(train(job).last / "model.safetensors")
    assert torch.equal(weights["normed.running_mean"], torch.zeros(12))
    assert not torch.equal(weights["normed.weight"], torch.ones(12))
    alone = load_file(train(distilling(fresh(tmp_path, student=student), "alone")).last / "model.safetensors")
    assert not torch.equal(alone["normed.running_mean"], torch.zeros(12))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_divergence_names_step_losses_and_the_last_good_checkpoint(world: World, what: str) -> None:
    encoder: Any = world.student.encoder
    calls = [0]

    def poison(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if not encoder.training:
            return output
        calls[0] += 1
        if calls[0] < 5:
            return output
        if what == "loss":
            return output * math.nan
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * math.inf)
        return output

    encoder.image_out.register_forward_hook(poison)
    with pytest.raises(
        DivergedError, match=r"diverged at step 5: contrastive .*, feature .*total .*step-00000004"
    ):
        train(distilling(world, checkpoint_every=2))
    checkpoints = sorted(path.name for path in (world.folder / "run" / "checkpoints").iterdir())
    assert checkpoints == ["step-00000002", "step-00000004"]
    kept = load_file(world.folder / "run" / "checkpoints" / "step-00000004" / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert len(read_curves(world.folder / "run" / "metrics.jsonl")) == 4


def test_live_signals_train_as_stored_ones_do(tmp_path: Path) -> None:
    world = fresh(tmp_path)
    live = train(world.job("live", LiveSignals(world.teacher, world.rows)))
    stored = train(distilling(fresh(tmp_path), "stored"))
    pairs = zip(read_curves(live.curves), read_curves(stored.curves), strict=True)
    for one, other in pairs:
        assert one["total"] == pytest.approx(other["total"], rel=5e-3)


def test_a_stored_view_that_is_missing_is_refused_before_the_first_step(tmp_path: Path) -> None:
    world = fresh(tmp_path, augmentation=Augmentation(colour=0.3))
    store = TeacherStore.build(world.folder / "store", world.teacher, world.rows, [0], 8)
    job = world.job("run", StoredSignals(store, world.rows), augmentation=Augmentation(colour=0.3))
    with pytest.raises(Exception, match="view 1"):
        train(job)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_frozen_model_is_refused(world: World) -> None:
    world.student.encoder.requires_grad_(False)  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="has no weights that learn"):
        train(world.job("run", None, losses=[TaskLoss(kind="task")]))


def test_the_best_of_a_real_student_is_a_checkpoint_that_loads_by_itself(world: World) -> None:
    section = StudentSection.model_validate(
        {
            "image": {
                "kind": "timm",
                "name": "vit_tiny_patch16_224",
                "options": {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
                "input": {"size": 16},
            },
            "text": {"kind": "transformer", "width": 16, "layers": 1, "heads": 2, "context_length": 8},
            "tokenizer": {"kind": "train"},
            "embed_dim": 8,
        }
    )
    prepared = world.student.preprocessor
    model = build_student(section, prepared.tokenizer, prepared.text)
    rows = TrainingSet(world.pairs, world.rows.decoded, model.preprocessor, Augmentation(), 0)
    world = replace(world, student=model, rows=rows)
    result = train(distilling(world))
    loaded = load_checkpoint(result.best)
    pixels, ids = torch.randn(2, 3, 16, 16), torch.randint(0, 99, (2, 8))
    with torch.no_grad():
        assert torch.equal(loaded.encoder.encode_image(pixels), model.encoder.encode_image(pixels))
        assert torch.equal(loaded.encoder.encode_text(ids), model.encoder.encode_text(ids))


def test_fewer_pictures_than_a_batch_are_refused(world: World) -> None:
    with pytest.raises(DataError, match="24 usable images, fewer than one batch of 64"):
        train(distilling(world, batch_size=64))


def test_a_loss_on_a_teacher_without_one_is_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="needs a teacher"):
        train(world.job("run", None))


def test_no_thread_outlives_a_training(world: World, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    before = set(threading.enumerate())
    with caplog.at_level(logging.WARNING):
        train(distilling(world, workers=2))
    assert set(threading.enumerate()) <= before
