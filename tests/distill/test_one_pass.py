"""Pieces of a batch of texts that go forward once: the gradients of two passes, in half of the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor.distill.curves import read_curves
from compressor.distill.generation_objective import GenerationObjective
from compressor.distill.trainer import train
from compressor.losses.balancer import StaticBalancer
from compressor.recipe.blip import Head
from compressor.recipe.losses import AMADLoss
from tests.distill.writing_world import LOSSES, WritingWorld, build_writing_world, weights

PIECES = 4
Alpha = float | Literal["match_initial_scale"]


class ScaledAccelerator(Accelerator):
    """Multiplies what goes backward, as a loss scaler for half precision does."""

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        (loss * 1024).backward()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one-pass")


def seed_piece(number: int) -> None:
    torch.manual_seed(number)


def with_alpha(alpha: Alpha, **keys: Any) -> tuple[Any, ...]:
    return (*LOSSES[:2], AMADLoss(kind="amad", alpha=alpha, **keys))


class Trial:
    """Steps of one objective on one batch and the same weights; counts how often the student runs."""

    def __init__(self, world: WritingWorld, accelerator: Accelerator | None = None, **changes: Any) -> None:
        job = world.job(micro_batch_size=8 // PIECES, **changes)
        self._accelerator = accelerator or Accelerator(cpu=True)
        self._objective = GenerationObjective(job, self._accelerator)
        self._objective.prepare()
        self._objective.model.train()
        self._batch = world.rows.batch(range(8), 0)
        self.forwards = 0

    def step(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Losses, and gradients by name."""
        model = self._objective.model
        model.zero_grad()
        handle = model.register_forward_pre_hook(self._count)
        try:
            step = self._objective.step(self._batch, seed_piece)
            total, _ = StaticBalancer().combine(step.losses)
            self._accelerator.backward(total)
            step.backward()
        finally:
            handle.remove()
        losses = {name: float(value.detach()) for name, value in step.losses.items()}
        return losses, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    def close(self) -> None:
        self._objective.close()

    def _count(self, _module: nn.Module, _args: Any) -> None:
        self.forwards += 1


def two_steps(
    world: WritingWorld, **options: Any
) -> tuple[list[tuple[dict[str, float], dict[str, Tensor]]], list[int]]:
    """What two steps gave, and how often each ran the student."""
    trial = Trial(world, **options)
    taken, forwards = [], [0]
    try:
        for _ in range(2):
            taken.append(trial.step())
            forwards.append(trial.forwards)
    finally:
        trial.close()
    return taken, [forwards[1], forwards[2] - forwards[1]]


@pytest.mark.parametrize("head", ["caption", "vqa"])
@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (with_alpha(50.0), [PIECES, PIECES]),
        (with_alpha(50.0, reduction="sum", question=None), [PIECES, PIECES]),
        (with_alpha("match_initial_scale"), [2 * PIECES, PIECES]),
        (LOSSES[:1], [PIECES, PIECES]),
    ],
    ids=["fixed", "by row", "matched", "task alone"],
)
def test_one_pass_gives_the_gradients_of_two(
    folder: Path, monkeypatch: pytest.MonkeyPatch, head: Head, losses: Any, expected: list[int]
) -> None:
    """With dropout, so that what is random must be the same too."""
    world = build_writing_world(folder, head, dropout=0.1)
    once, forwards = two_steps(world, losses=losses)
    assert forwards == expected
    monkeypatch.setattr(StaticBalancer, "fixed_weights", False)
    twice, forwards = two_steps(world, losses=losses)
    assert forwards == [2 * PIECES, 2 * PIECES]
    for (values, gradients), (others, wanted) in zip(once, twice, strict=True):
        assert values == pytest.approx(others, rel=1e-6)
        assert set(gradients) == set(wanted)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-6, atol=1e-9, msg=name)


def test_a_loss_scaler_scales_them_as_well(folder: Path) -> None:
    world = build_writing_world(folder, "caption")
    plain, _ = two_steps(world)
    scaled, forwards = two_steps(world, accelerator=ScaledAccelerator(cpu=True))
    assert forwards == [PIECES, PIECES]
    for name, gradient in plain[0][1].items():
        torch.testing.assert_close(scaled[0][1][name], gradient * 1024, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["dsmd", "dsmd_rates", "uncertainty", "dwa"])
def test_a_balancer_that_looks_at_the_losses_needs_two_passes(folder: Path, kind: str) -> None:
    world = build_writing_world(folder, "caption")
    _, forwards = two_steps(world, balancer={"kind": kind})
    assert forwards == [2 * PIECES, 2 * PIECES]


def test_a_whole_training_ends_with_the_weights_of_two_passes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, curves = [], []
    for fixed in (True, False):
        monkeypatch.setattr(StaticBalancer, "fixed_weights", fixed)
        world = build_writing_world(folder, "vqa", dropout=0.1)
        world.folder = tmp_path / str(fixed)
        job = world.job(losses=with_alpha("match_initial_scale"), micro_batch_size=2, steps=3)
        curves.append([record["losses"] for record in read_curves(train(job).curves)])
        ends.append(weights(world.student))
    for found, wanted in zip(*curves, strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)
    for end, other in zip(*ends, strict=True):
        torch.testing.assert_close(end, other, rtol=1e-5, atol=1e-7)
