"""Several texts of a picture in one step: the picture is encoded once, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressor.data.generation import GenerationBatch
from compressor.recipe.blip import Head
from tests.distill.test_generation import gradients, step_losses
from tests.distill.writing_world import WritingWorld, build_writing_world

HEADS: tuple[Head, ...] = ("caption", "vqa")
TEXTS = 3


@pytest.fixture(params=HEADS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> WritingWorld:
    made = build_writing_world(tmp_path, request.param)
    made.rows.texts_per_image = TEXTS
    return made


def one_picture_a_text(batch: GenerationBatch) -> GenerationBatch:
    """The same texts, each with a copy of its picture."""
    teachers = [
        replace(each, pixels=None if each.pixels is None else each.pixels.repeat_interleave(TEXTS, 0))
        for each in batch.teachers
    ]
    return replace(
        batch,
        index=batch.index.repeat_interleave(TEXTS),
        pixels=batch.pixels.repeat_interleave(TEXTS, 0),
        teachers=tuple(teachers),
    )


def test_losses_and_gradients_are_those_of_a_picture_for_each_text(world: WritingWorld) -> None:
    batch = world.rows.batch(range(6), 0)
    assert len(batch.pixels) == 6
    assert len(batch.target_ids) == len(batch.input_ids) == 6 * TEXTS  # type: ignore[arg-type]
    found, own = step_losses(world, batch), gradients(world)
    assert found == pytest.approx(step_losses(world, one_picture_a_text(batch)), rel=1e-5)
    for name, gradient in gradients(world).items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-3, atol=1e-6)


def test_pieces_keep_a_picture_and_its_texts_together(world: WritingWorld) -> None:
    batch = world.rows.batch(range(6), 0)
    whole, expected = step_losses(world, batch), gradients(world)
    parts = step_losses(world, batch, micro_batch_size=4, teacher_batch=3)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in gradients(world).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


def test_a_text_that_is_not_there_teaches_nothing(world: WritingWorld) -> None:
    """More texts are asked for than there are: the losses on tokens are those of all there are."""
    count = len(world.rows.rows[0].captions)
    batches = []
    for texts in (count, count + 2):
        world.rows.texts_per_image = texts
        batches.append(world.rows.batch(range(4), 0))
    more = batches[1].target_ids.view(4, count + 2, -1)  # type: ignore[union-attr]
    assert (more[:, count:] == world.student.preprocessor.text.pad_id).all()
    assert torch.equal(more[:, :count], batches[0].target_ids.view(4, count, -1))  # type: ignore[union-attr]
    assert (batches[1].input_ids != world.student.preprocessor.text.pad_id).any(dim=1).all()
    few, many = (step_losses(world, batch) for batch in batches)
    for name in ("task", "logits"):
        assert many[name] == pytest.approx(few[name], rel=1e-5)
