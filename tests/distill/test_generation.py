"""Training of models that write: losses against a direct computation, pieces, resume, masks, processes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor.capture import AttentionCapture
from compressor.data.generation import GenerationBatch
from compressor.data.loader import normalize_pixels
from compressor.distill.generation_objective import GenerationObjective
from compressor.distill.generation_validation import TEXTS, GenerationValidation
from compressor.distill.trainer import train
from compressor.errors import DivergedError, ModelError
from compressor.losses.amad import amad_loss
from compressor.recipe.blip import Head
from compressor.recipe.losses import AMADLoss, TaskLoss
from compressor.students.generator import IGNORED, LABEL_SMOOTHING
from tests.distill.writing_world import LOSSES, WritingWorld, build_writing_world, weights

HEADS: tuple[Head, ...] = ("caption", "vqa")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("writing")


def seed_piece(number: int) -> None:
    torch.manual_seed(number)


def step_losses(world: WritingWorld, batch: GenerationBatch, **changes: Any) -> dict[str, float]:
    """Losses of one batch, and the gradients left in the student."""
    objective = GenerationObjective(world.job(**changes), Accelerator(cpu=True))
    objective.prepare()
    objective.model.train()
    objective.model.zero_grad()
    try:
        step = objective.step(batch, seed_piece)
        torch.stack(list(step.losses.values())).sum().backward()
        step.backward()
    finally:
        objective.close()
    return {name: float(value.detach()) for name, value in step.losses.items()}


def gradients(world: WritingWorld) -> dict[str, Tensor]:
    assert isinstance(world.student.generator, nn.Module)
    found = world.student.generator.named_parameters()
    return {name: p.grad.clone() for name, p in found if p.grad is not None}


@pytest.mark.parametrize("head", HEADS)
def test_task_and_logits_are_those_of_the_formulas(folder: Path, head: Head) -> None:
    world = build_writing_world(folder, head)
    batch = world.rows.batch(range(6), 0)
    found = step_losses(world, batch)
    pixels = normalize_pixels(batch.pixels, world.student.preprocessor.image)
    question = batch.input_ids if head == "vqa" else None
    assert batch.target_ids is not None
    with torch.no_grad():
        own = world.student.generator(pixels, batch.target_ids, question)
        theirs = world.teacher.generator(pixels, batch.target_ids, question).logits.double().numpy()
    logits, labels = own.logits.double().numpy(), own.labels.numpy()
    task, soft, count = 0.0, 0.0, 0
    for row, position in np.argwhere(labels != IGNORED):
        log_p = log_softmax(logits[row, position])
        e = LABEL_SMOOTHING
        task -= (1 - e) * log_p[labels[row, position]] + e * log_p.mean()
        target = np.exp(log_softmax(theirs[row, position] / 2))
        soft -= float((target * log_softmax(logits[row, position] / 2)).sum()) * 4
        count += 1
    assert found["task"] == pytest.approx(task / count, rel=1e-5)
    assert found["logits"] == pytest.approx(0.5 * soft / count, rel=1e-5)


def log_softmax(row: np.ndarray) -> np.ndarray:
    shifted = row - row.max()
    return np.asarray(shifted - math.log(np.exp(shifted).sum()))


@pytest.mark.parametrize(
    ("head", "which", "keys"),
    [("caption", "self", {"text"}), ("caption", "cross", {"cross"}), ("vqa", "cross", {"cross"})],
)
def test_alignment_is_that_of_the_maps_without_their_padding(
    folder: Path, head: Head, which: Any, keys: set[str]
) -> None:
    """Row by row, with the padding cut off instead of masked."""
    world = build_writing_world(folder, head, patch=8)
    batch = world.rows.batch(range(5), 0)
    layers: dict[str, Any] = {
        k: "last" if k in keys else None for k in ("image", "text", "cross", "question")
    }
    amad = AMADLoss(kind="amad", alpha=1.0, variant="kl", **layers)
    found = step_losses(world, batch, losses=[TaskLoss(kind="task"), amad])["amad"]
    total, entries = 0.0, 0
    for k in range(5):
        pixels = normalize_pixels(batch.pixels[k : k + 1], world.student.preprocessor.image)
        assert batch.target_ids is not None
        question = batch.input_ids[k : k + 1] if head == "vqa" else None
        maps = []
        for model in (world.teacher, world.student):
            decoder = model.generator.text_decoder  # type: ignore[attr-defined]
            with AttentionCapture(decoder, "last", which) as capture, torch.no_grad():
                model.generator(pixels, batch.target_ids[k : k + 1], question)
                maps.append(capture.take()[0].weights.double())
        size = maps[1][:, 0].numel()
        total += float(amad_loss(maps[0], maps[1], "kl")) * size
        entries += size
    assert found == pytest.approx(total / entries, rel=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_pieces_give_the_losses_and_gradients_of_the_whole_batch(folder: Path, head: Head) -> None:
    world = build_writing_world(folder, head)
    batch = world.rows.batch(range(8), 0)
    whole, expected = step_losses(world, batch), gradients(world)
    parts = step_losses(world, batch, micro_batch_size=2, teacher_batch=1)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in gradients(world).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_padding_does_not_matter(folder: Path, head: Head) -> None:
    """The losses of a short text are the same beside a long one, which leaves it padded."""
    world = build_writing_world(folder, head)
    batch = world.rows.batch(range(8), 0)
    assert batch.target_ids is not None
    length = (batch.target_ids != 0).sum(dim=1)
    asked = (batch.input_ids != 0).sum(dim=1)
    order = (length * 100 + asked).argsort()
    short, long = int(order[0]), int(order[-1])
    assert length[short] + asked[short] < length[long] + asked[long]
    image_alone = AMADLoss(kind="amad", alpha=1.0, image=None)
    losses = [*LOSSES[:2], image_alone]
    found = {}
    for rows in ((short,), (long,), (short, long)):
        part = world.rows.batch([int(batch.index[k]) for k in rows], 0)
        found[rows] = step_losses(world, part, losses=losses)
        assert part.target_ids is not None
        found[rows]["tokens"] = float((part.target_ids != 0).sum() - len(rows))
    for name in ("task", "logits"):
        joined = sum(found[(k,)][name] * found[(k,)]["tokens"] for k in (short, long))
        tokens = found[(short,)]["tokens"] + found[(long,)]["tokens"]
        assert found[(short, long)][name] == pytest.approx(joined / tokens, rel=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_training_learns_and_ends_with_the_best_weights(folder: Path, head: Head, tmp_path: Path) -> None:
    world = build_writing_world(folder, head)
    validation = GenerationValidation(world.rows)
    world.folder = tmp_path
    before = validation(world.student.generator)
    result = train(world.job(steps=12, validate=validation, optimizer={"lr": 0.01}, ema=0.5))
    after = validation(world.student.generator)
    assert after["loss"] < before["loss"]
    assert result.best_metric == pytest.approx(after["loss"], rel=1e-5)
    assert (result.best / "model.safetensors").is_file()


def test_a_resumed_training_equals_an_undisturbed_one(folder: Path, tmp_path: Path) -> None:
    world = build_writing_world(folder, "vqa", dropout=0.1)
    start = weights(world.student)
    world.folder = tmp_path
    options: dict[str, Any] = {"balancer": {"kind": "dsmd"}, "ema": 0.9, "micro_batch_size": 4}
    train(world.job("whole", checkpoint_every=1, **options))
    expected = weights(world.student)
    restore(world, start)
    stopped = world.job("resumed", checkpoint_every=1, **options)
    with pytest.raises(Stop):
        train(stop_after(stopped, 2))
    restore(world, start)
    train(world.job("resumed", checkpoint_every=1, **options))
    for found, wanted in zip(weights(world.student), expected, strict=True):
        assert torch.equal(found, wanted)


class Stop(Exception):  # noqa: N818 - no error: the test's way out
    """Leaves a training between two steps."""


def stop_after(job: Any, steps: int) -> Any:
    from dataclasses import replace

    def watch(event: Any) -> None:
        if event.step > steps:
            raise Stop

    return replace(job, progress=watch)


def restore(world: WritingWorld, values: Any) -> None:
    assert isinstance(world.student.generator, nn.Module)
    world.student.generator.load_state_dict(
        dict(zip(world.student.generator.state_dict(), values, strict=True))
    )


def test_divergence_is_refused(folder: Path, tmp_path: Path) -> None:
    world = build_writing_world(folder, "caption")
    world.folder = tmp_path
    with pytest.raises(DivergedError, match="training diverged at step"):
        train(world.job(steps=30, optimizer={"lr": 1e30}, clip_norm=None, warmup=0.0))


def test_a_teacher_of_other_tokens_is_refused(folder: Path) -> None:
    captions, answers = build_writing_world(folder, "caption"), build_writing_world(folder, "vqa")
    with pytest.raises(ModelError, match="the teacher's head is 'vqa'"):
        GenerationObjective(captions.job(teacher=answers.teacher), Accelerator(cpu=True))


def test_the_teacher_learns_nothing_and_is_left_as_it_was(folder: Path, tmp_path: Path) -> None:
    world = build_writing_world(folder, "caption")
    before = weights(world.teacher)
    world.folder = tmp_path
    train(world.job(steps=2))
    assert all(torch.equal(a, b) for a, b in zip(weights(world.teacher), before, strict=True))
    tower = getattr(world.teacher.generator, "vision_model")  # noqa: B009 - a protocol has none
    assert not any(module._forward_pre_hooks for module in tower.modules())


def test_validation_counts_every_labelled_token_once(folder: Path) -> None:
    world = build_writing_world(folder, "caption")
    found = GenerationValidation(world.rows, batch_size=5)(world.student.generator)
    again = GenerationValidation(world.rows, batch_size=24)(world.student.generator)
    assert found == pytest.approx(again, rel=1e-5)
    total, tokens = 0.0, 0
    for epoch in range(TEXTS):
        batch = world.rows.batch(range(len(world.rows)), epoch)
        assert batch.target_ids is not None
        with torch.no_grad():
            pixels = normalize_pixels(batch.pixels, world.student.preprocessor.image)
            output = world.student.generator(pixels, batch.target_ids, None)
        for row, position in (output.labels != IGNORED).nonzero().tolist():
            total -= float(output.logits[row, position].log_softmax(0)[output.labels[row, position]])
            tokens += 1
    assert found["loss"] == pytest.approx(total / tokens, rel=1e-4)
