"""The training loop in one process."""

from __future__ import annotations

import logging
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from compressor.data.loader import TrainingSet
from compressor.distill import engine, session, trainer
from compressor.distill.curves import read_curves
from compressor.distill.job import TrainingJob
from compressor.distill.progress import ProgressEvent
from compressor.distill.signals import LiveSignals, StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.errors import (
    DataError,
    DiskFullError,
    DivergedError,
    MissingDependencyError,
    ModelError,
    RecipeError,
)
from compressor.files import read_json, sha256_file
from compressor.recipe.losses import DSMDRatesBalance, HardNegativeLoss, SimilarityLoss, TaskLoss
from compressor.recipe.models import StudentSection
from compressor.recipe.training import Augmentation, Optimizer
from compressor.students.build import build_student
from compressor.students.checkpoint import load_checkpoint
from compressor.students.encoder import Encoder
from tests.distill.world import World, build_world

ALL_LOSSES = [
    SimilarityLoss(kind="similarity"),
    HardNegativeLoss(kind="hard_negative"),
    TaskLoss(kind="task"),
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path)


def fresh(tmp_path: Path, **options: Any) -> World:
    return build_world(tmp_path, **options)


def distilling(world: World, folder: str = "run", **changes: Any) -> TrainingJob:
    store = TeacherStore.build(world.folder / "store", world.teacher, world.rows, [0], 8)
    return world.job(folder, StoredSignals(store, world.rows), **changes)


def final(job: TrainingJob) -> str:
    return sha256_file(train(job).last / "model.safetensors")


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


def test_stopping_and_going_on_ends_with_the_weights_of_an_undisturbed_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "steps": 9,
        "ema": 0.8,
        "balancer": DSMDRatesBalance(kind="dsmd_rates"),
        "checkpoint_every": 2,
        "augmentation": Augmentation(),
    }
    student = {"dropout": 0.3}
    undisturbed = final(distilling(fresh(tmp_path, student=student), "one", **options))

    class StoppedError(Exception):
        pass

    def stop(event: ProgressEvent) -> None:
        if event.step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(replace(distilling(fresh(tmp_path, student=student), "two", **options), progress=stop))
    seen: list[int] = []
    job = replace(
        distilling(fresh(tmp_path, student=student), "two", **options),
        progress=lambda event: seen.append(event.step),
    )
    assert final(job) == undisturbed
    assert seen == [5, 6, 7, 8, 9]
    assert [record["step"] for record in read_curves(job.folder / "metrics.jsonl")] == list(range(1, 10))
    for name in ("optimizer", "losses", "average"):
        path = f"checkpoints/step-00000009/{name}.safetensors"
        assert sha256_file(tmp_path / "one" / path) == sha256_file(tmp_path / "two" / path), name


def test_a_finished_training_returns_at_once_with_its_weights(tmp_path: Path) -> None:
    first = train(distilling(fresh(tmp_path)))
    world = fresh(tmp_path)
    again = train(replace(distilling(world), progress=lambda event: pytest.fail("trained again")))
    assert again == first
    saved = load_file(first.best / "model.safetensors")
    for name, tensor in world.student.encoder.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    train(distilling(fresh(tmp_path)))
    with pytest.raises(RecipeError, match="belong to another training"):
        train(distilling(fresh(tmp_path), clip_norm=0.5))


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


def test_ctrl_c_writes_a_checkpoint_of_a_whole_step_and_a_rerun_goes_on(tmp_path: Path) -> None:
    undisturbed = final(distilling(fresh(tmp_path), "one", checkpoint_every=100))

    def press(event: ProgressEvent) -> None:
        if event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(replace(distilling(fresh(tmp_path), "two", checkpoint_every=100), progress=press))
    assert signal.getsignal(signal.SIGINT) is before
    stopped = list((tmp_path / "two" / "checkpoints").iterdir())
    assert len(stopped) == 1
    assert stopped[0].name in ("step-00000003", "step-00000004")
    assert final(distilling(fresh(tmp_path), "two", checkpoint_every=100)) == undisturbed


def test_a_full_disk_stops_with_the_last_good_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = final(distilling(fresh(tmp_path), "one", checkpoint_every=2))
    save = session.Checkpoints.save

    def full(self: Any, state: Any) -> Path:
        if state.step == 4:
            raise DiskFullError("no space left on the disk")
        return save(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(session.Checkpoints, "save", full)
        with pytest.raises(DiskFullError):
            train(distilling(fresh(tmp_path), "two", checkpoint_every=2))
    assert final(distilling(fresh(tmp_path), "two", checkpoint_every=2)) == undisturbed


def test_the_balancer_and_the_queue_go_on_after_a_restart(tmp_path: Path) -> None:
    options: dict[str, Any] = {"balancer": DSMDRatesBalance(kind="dsmd_rates"), "checkpoint_every": 3}
    train(distilling(fresh(tmp_path), "one", **options))
    weights = [record["weights"] for record in read_curves(tmp_path / "one" / "metrics.jsonl")]
    assert weights[0] == {"contrastive": 1.0, "feature": 1.0}
    assert weights[4] != weights[0]
    queue = load_file(tmp_path / "one" / "checkpoints" / "step-00000006" / "losses.safetensors")
    assert queue["queue.filled"].item() == 20


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


def test_bf16_forward_keeps_losses_and_weights_in_full_precision(world: World) -> None:
    seen: list[torch.dtype] = []
    encoder: Any = world.student.encoder
    encoder.image_out.register_forward_hook(lambda m, i, output: seen.append(output.dtype))
    result = train(distilling(world, precision="bf16"))
    assert set(seen) == {torch.bfloat16}
    assert all(t.dtype == torch.float32 for t in load_file(result.last / "model.safetensors").values())


def test_fp16_on_a_cpu_is_refused_in_one_sentence(world: World) -> None:
    with pytest.raises(RecipeError, match="precision: fp16 needs a GPU"):
        train(distilling(world, precision="fp16"))


def test_a_precision_that_the_machine_lacks_is_refused_in_one_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(**_: Any) -> None:
        raise ValueError("bf16 mixed precision requires a newer device")

    monkeypatch.setattr(engine, "Accelerator", lacking)
    with pytest.raises(RecipeError, match=r"precision: bf16 cannot be used on this machine .bf16 mixed"):
        train(distilling(world, precision="bf16"))


def with_loss_scale(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """What a GPU has in fp16, on the CPU.

    Half-precision forward passes and a loss scaler that works there.
    """

    def scaled(*_: Any) -> Accelerator:
        AcceleratorState._reset_state()
        accelerator = Accelerator(mixed_precision="fp16", cpu=True)
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=4)
        return accelerator

    monkeypatch.setattr(trainer, "start_accelerator", scaled)


def test_a_loss_scale_changes_no_gradient_and_goes_on_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(distilling(fresh(tmp_path), "plain", checkpoint_every=2))
    with_loss_scale(monkeypatch, 8.0)
    scaled = train(distilling(fresh(tmp_path), "one", checkpoint_every=2))
    for one, other in zip(read_curves(plain.curves), read_curves(scaled.curves), strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=0.05)
    assert read_json(scaled.last / "state.json")["scaler"]["scale"] == 16.0

    class StoppedError(Exception):
        pass

    def stop(event: ProgressEvent) -> None:
        if event.step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(replace(distilling(fresh(tmp_path), "two", checkpoint_every=2), progress=stop))
    again = train(distilling(fresh(tmp_path), "two", checkpoint_every=2))
    assert sha256_file(again.last / "model.safetensors") == sha256_file(scaled.last / "model.safetensors")
    assert read_json(again.last / "state.json")["scaler"] == read_json(scaled.last / "state.json")["scaler"]


def test_an_overflow_under_a_loss_scale_skips_the_step_instead_of_stopping(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_loss_scale(monkeypatch, 2.0**127)
    result = train(distilling(world, steps=3))
    assert result.steps == 3
    assert read_json(result.last / "state.json")["scaler"]["scale"] < 2.0**127
    assert all(torch.isfinite(t).all() for t in load_file(result.last / "model.safetensors").values())


def test_a_training_without_any_state_in_its_losses_goes_on_after_a_restart(tmp_path: Path) -> None:
    world = fresh(tmp_path)
    train(world.job("control", None, losses=[TaskLoss(kind="task")]))
    again = fresh(tmp_path)
    assert train(again.job("control", None, losses=[TaskLoss(kind="task")])).steps == 6


def test_tensorboard_receives_every_loss_weight_and_validation(world: World) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = distilling(world, trackers=("tensorboard",), validate=lambda encoder: {"rsum": 12.0})
    train(job)
    events = EventAccumulator(str(job.folder / "logs" / "compressor"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"losses/contrastive", "losses/feature", "weights/feature", "lr", "validation/rsum"} <= tags
    assert events.Scalars("validation/rsum")[-1].step == 6


def test_tensorboard_shows_no_step_twice_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class StoppedError(Exception):
        pass

    def stop(event: ProgressEvent) -> None:
        if event.step == 5:
            raise StoppedError

    monkeypatch.setattr(trainer, "TRACK_EVERY", 1)
    options: dict[str, Any] = {"trackers": ("tensorboard",), "checkpoint_every": 2}
    with pytest.raises(StoppedError):
        train(replace(distilling(fresh(tmp_path), **options), progress=stop))
    train(distilling(fresh(tmp_path), **options))
    events = EventAccumulator(str(tmp_path / "run" / "logs" / "compressor"))
    events.Reload()
    assert [event.step for event in events.Scalars("losses/feature")] == [1, 2, 3, 4, 5, 6]


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


def test_trackers_that_are_unknown_or_not_installed_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"'tensorbord' is not a tracker; known are .*tensorboard"):
        train(distilling(world, trackers=("tensorbord",)))
    monkeypatch.setattr(engine, "get_available_trackers", list)
    with pytest.raises(MissingDependencyError, match="`pip install tensorboard`"):
        train(distilling(world, trackers=("tensorboard",)))


def test_fewer_pictures_than_a_batch_are_refused(world: World) -> None:
    with pytest.raises(DataError, match="24 usable images, fewer than one batch of 64"):
        train(distilling(world, batch_size=64))


def test_a_loss_on_a_teacher_without_one_is_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="needs a teacher"):
        train(world.job("run", None))


def test_progress_tells_speed_losses_and_time_left(world: World) -> None:
    events: list[ProgressEvent] = []
    train(distilling(world, progress=events.append, validate=lambda encoder: {"rsum": 3.0}))
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
    assert all(event.total == 6 and event.images_per_second > 0 for event in events)
    assert events[-1].eta_seconds == 0.0 < events[0].eta_seconds
    assert events[-1].validation == {"rsum": 3.0}
    assert set(events[0].losses) == {"contrastive", "feature"}


def test_no_thread_outlives_a_training(world: World, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    before = set(threading.enumerate())
    with caplog.at_level(logging.WARNING):
        train(distilling(world, workers=2))
    assert set(threading.enumerate()) <= before
