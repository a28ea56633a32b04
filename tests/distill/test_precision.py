"""Half precision and loss scaling in the training loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from compressor.distill import engine, trainer
from compressor.distill.curves import read_curves
from compressor.distill.progress import ProgressEvent
from compressor.distill.trainer import train
from compressor.errors import (
    RecipeError,
)
from compressor.files import read_json, sha256_file
from tests.distill.jobs import distilling, fresh
from tests.distill.world import World


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
