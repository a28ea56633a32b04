"""Stored, live and given signals say the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from compressor.data.loader import Batch, TrainingSet
from compressor.distill.signals import EmbeddingSignals, LiveSignals, Signals, StoredSignals
from compressor.distill.store import TeacherStore
from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.teacher import EmbeddingsTeacher
from compressor.recipe.training import Augmentation
from compressor.teachers.embeddings import StoredEmbeddings
from tests.distill.world import World, build_world

AUGMENTATION = Augmentation(crop_scale=(0.4, 1.0), horizontal_flip=0.5, colour=0.3)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path, augmentation=AUGMENTATION)


def stored(world: World, views: list[int]) -> StoredSignals:
    store = TeacherStore.build(world.folder / "store", world.teacher, world.rows, views, 7, shard_rows=9)
    return StoredSignals(store, world.rows)


def sides(signals: Signals, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's image rows and text rows."""
    rows = signals.for_batch(batch)
    assert rows.image is not None
    assert rows.text is not None
    return rows.image, rows.text


def test_stored_equals_live_for_every_view_in_any_order(world: World) -> None:
    signals, live = stored(world, [0, 1, 2]), LiveSignals(world.teacher, world.rows)
    rng = np.random.default_rng(0)
    for epoch in (2, 0, 1):
        batch = world.rows.batch(rng.permutation(24)[:16], epoch)
        for ours, theirs in zip(sides(signals, batch), sides(live, batch), strict=True):
            assert ours.shape == (16, 6)
            assert ours.dtype == torch.float32
            cosine = (ours * theirs).sum(1)
            there = theirs.norm(dim=1) > 0
            assert (cosine[there] > 0.9999).all()
            torch.testing.assert_close(ours[there].norm(dim=1), torch.ones(int(there.sum())))


def test_a_view_of_another_epoch_would_be_noticed(world: World) -> None:
    """What the test above rests on: views differ enough that a mix-up could not pass."""
    live = LiveSignals(world.teacher, world.rows)
    one, two = (sides(live, world.rows.batch(range(24), epoch))[0] for epoch in (0, 1))
    assert ((one * two).sum(1) < 0.9999).float().mean() > 0.9


def test_rows_without_a_caption_get_zeros(world: World) -> None:
    batch = world.rows.batch([2, 3, 4], 0)
    assert batch.has_caption.tolist() == [True, False, True]
    for signals in (stored(world, [0]), LiveSignals(world.teacher, world.rows)):
        text = sides(signals, batch)[1]
        assert text[1].abs().sum() == 0
        assert text[0].norm().item() == pytest.approx(1)


def test_a_view_that_was_not_stored_is_refused_before_training(world: World) -> None:
    signals = stored(world, [0])
    with pytest.raises(MissingResourceError, match="view 1"):
        signals.prepare([0, 1])


def test_live_signals_can_enter_the_students_graph(world: World) -> None:
    image, _ = sides(LiveSignals(world.teacher, world.rows), world.rows.batch([0, 1], 0))
    weight = torch.ones(6, requires_grad=True)
    (image * weight).square().sum().backward()
    assert not image.requires_grad
    assert weight.grad is not None


def test_live_signals_in_pieces_equal_those_at_once(world: World) -> None:
    batch = world.rows.batch(range(10), 1)
    whole = sides(LiveSignals(world.teacher, world.rows), batch)
    pieces = sides(LiveSignals(world.teacher, world.rows, batch_size=3), batch)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


def test_live_signals_refuse_a_training_set_without_inputs_for_this_teacher(world: World) -> None:
    rows = TrainingSet(world.pairs, world.rows.decoded, world.student.preprocessor, AUGMENTATION, 0)
    with pytest.raises(ModelError, match="does not prepare images and texts for the live teacher"):
        LiveSignals(world.teacher, rows)


def test_given_embeddings_are_matched_by_id_and_come_back_as_unit_rows(world: World) -> None:
    rng = np.random.default_rng(0)
    image_ids = [f"p{i}" for i in rng.permutation(24)]
    text_ids = [name for row in world.pairs.rows[::-1] for name in row.caption_ids]
    image, text = (rng.normal(size=(len(ids), 5)).astype(np.float32) * 3 for ids in (image_ids, text_ids))
    path = world.folder / "teacher.safetensors"
    metadata = {"image_ids": json.dumps(image_ids), "text_ids": json.dumps(text_ids)}
    save_file({"image_embeds": image, "text_embeds": text}, path, metadata=metadata)
    given = StoredEmbeddings.open(EmbeddingsTeacher(kind="embeddings", path=path), world.rows.rows)

    batch = world.rows.batch([5, 3, 0], 0)
    signals = EmbeddingSignals(given, world.rows)
    assert signals.dim == 5
    got_image, got_text = (rows.numpy() for rows in sides(signals, batch))
    for row, name in enumerate(("p5", "p3", "p0")):
        expected = image[image_ids.index(name)]
        np.testing.assert_allclose(got_image[row], expected / np.linalg.norm(expected), rtol=1e-5)
    for row, name in ((0, f"p5#{batch.caption[0]}"), (2, f"p0#{batch.caption[2]}")):
        expected = text[text_ids.index(name)]
        np.testing.assert_allclose(got_text[row], expected / np.linalg.norm(expected), rtol=1e-5)
    assert np.abs(got_text[1]).sum() == 0
