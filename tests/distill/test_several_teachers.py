"""Teachers of one modality, and several teachers at once: stored and live say the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from compressor.data.loader import TrainingSet
from compressor.distill.ensemble import EnsembleSignals
from compressor.distill.representations import LiveRepresentations, StoredRepresentations
from compressor.distill.signals import EmbeddingSignals, LiveSignals, Signals, StoredSignals, TeacherRows
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.preprocessor import ImagePreprocessor, TextPreprocessor
from compressor.recipe.losses import AffinityLoss, FeatureLoss, RegressionLoss, TaskLoss
from compressor.recipe.teacher import EmbeddingsTeacher
from compressor.recipe.training import Augmentation
from compressor.students.encoder import Model
from compressor.teachers.embeddings import StoredEmbeddings
from compressor.teachers.unimodal import ImageRepresentation, TextRepresentation, UnimodalModel
from tests.distill.world import TinyEncoder, World, build_world, tiny_model

AUGMENTATION = Augmentation(crop_scale=(0.4, 1.0), horizontal_flip=0.5, colour=0.3)


class Long(nn.Module):
    """One side of a tiny encoder, its rows `length` long."""

    def __init__(self, encoder: TinyEncoder, side: str, length: float) -> None:
        super().__init__()
        self.encoder, self.side, self.length = encoder, side, length

    def forward(self, inputs: Tensor) -> Tensor:
        rows: Tensor = getattr(self.encoder, f"encode_{self.side}")(inputs)
        return rows * self.length


def one_sided(model: Model, side: str, length: float = 30.0) -> UnimodalModel:
    """What a two-tower teacher knows of one modality."""
    encoder, prepared = model.encoder, model.preprocessor
    assert isinstance(encoder, TinyEncoder)
    tower = Long(encoder, side, length)
    fingerprint = f"{model.fingerprint} {side} {length}"
    if side == "image":
        sees = ImageRepresentation(tower, encoder.embed_dim)
        return UnimodalModel("sees", sees, ImagePreprocessor(prepared.image), fingerprint)
    reads = TextRepresentation(tower, encoder.embed_dim)
    return UnimodalModel("reads", reads, TextPreprocessor(prepared.text, prepared.tokenizer), fingerprint)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path, augmentation=AUGMENTATION)


def rows_for(world: World, *teachers: Model | UnimodalModel) -> TrainingSet:
    return TrainingSet(
        world.pairs,
        world.rows.decoded,
        world.student.preprocessor,
        world.rows.augmentation,
        0,
        [teacher.preprocessor for teacher in teachers],
    )


def built(world: World, teacher: Model | UnimodalModel, views: tuple[int, ...] = (0, 1)) -> TeacherStore:
    return TeacherStore.build(world.folder / "store", teacher, world.rows, views, 7, shard_rows=9)


def said(signals: Signals, rows: TrainingSet, epoch: int = 1) -> TeacherRows:
    return signals.for_batch(rows.batch([5, 3, 0, 17, 8], epoch))


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_store_of_one_modality_holds_that_one_in_the_length_it_has(world: World, side: str) -> None:
    teacher = one_sided(world.teacher, side)
    store = built(world, teacher)
    captions = {caption for row in world.rows.rows for caption in row.captions}
    expected = (48, 0) if side == "image" else (0, len(captions))
    assert (store.image_rows, store.text_rows) == expected
    numbers = store.image_numbers(world.rows, 1) if side == "image" else store.text_numbers(world.rows)
    kept = (store.images if side == "image" else store.texts)(numbers)
    assert kept.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(kept.astype(np.float32), axis=1), 30, rtol=2e-3)
    again: list[int] = []
    TeacherStore.build(
        world.folder / "store", teacher, world.rows, (0, 1), 7, lambda done, total: again.append(total)
    )
    assert again == []
    other = store.text_numbers if side == "image" else lambda rows: store.image_numbers(rows, 0)
    with pytest.raises(MissingResourceError, match="lacks"):
        other(world.rows)


@pytest.mark.parametrize("side", ["image", "text"])
def test_stored_representations_are_the_live_ones_and_those_of_the_encoder(world: World, side: str) -> None:
    teacher = one_sided(world.teacher, side)
    rows = rows_for(world, teacher)
    stored = StoredRepresentations(built(world, teacher), teacher, rows)
    stored.prepare([0, 1])
    live = LiveRepresentations(teacher, rows, batch_size=2)
    both = LiveSignals(world.teacher, world.rows)
    assert stored.dim == live.dim == 6
    for epoch in (0, 1):
        found = [said(signals, rows, epoch) for signals in (stored, live)]
        assert all(each.image is None and each.text is None for each in found)
        one, other = (each.representation for each in found)
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, atol=0.03, rtol=2e-3)
        expected = getattr(said(both, world.rows, epoch), side)
        torch.testing.assert_close(other, expected * 30, atol=1e-3, rtol=1e-4)
        assert one.dtype == other.dtype == torch.float32
        bare = rows.batch([5, 3, 0, 17, 8], epoch).has_caption.logical_not()
        assert bare.tolist() == [False, True, False, False, False]
        assert bool(one[1].any()) == bool(other[1].any()) == (side == "image")


def test_a_view_that_was_not_stored_matters_to_an_image_teacher_alone(world: World) -> None:
    sees, reads = one_sided(world.teacher, "image"), one_sided(world.teacher, "text")
    StoredRepresentations(built(world, reads, (0,)), reads, world.rows).prepare([0, 5])
    with pytest.raises(MissingResourceError, match="view 5"):
        StoredRepresentations(built(world, sees, (0,)), sees, world.rows).prepare([0, 5])


def test_values_beyond_half_precision_are_refused_in_one_sentence(world: World) -> None:
    teacher = one_sided(world.teacher, "image", length=3e5)
    with pytest.raises(
        ModelError, match=r"'sees' gave values up to .*e\+05.* ends at 65504: set distill.signals"
    ):
        built(world, teacher)
    assert list((world.folder / "store").glob("*/*.safetensors")) == []
    rows = rows_for(world, teacher)
    found = said(LiveRepresentations(teacher, rows), rows).representation
    assert found is not None
    assert found.isfinite().all()


def test_a_training_set_that_prepares_nothing_for_a_live_teacher_is_refused(world: World) -> None:
    with pytest.raises(ModelError, match="does not prepare images and texts for the live teacher 'reads'"):
        LiveRepresentations(one_sided(world.teacher, "text"), world.rows)


@pytest.fixture
def second(world: World) -> Model:
    """Another teacher: wider pictures, other tokens, other width."""
    model = tiny_model("second", world.pairs, size=12, embed_dim=4, seed=5, context=9)
    model.encoder.requires_grad_(False)  # type: ignore[attr-defined]
    return model


def written(world: World) -> StoredEmbeddings:
    """Embeddings of a third teacher that is not here."""
    rng = np.random.default_rng(0)
    image_ids = [row.id for row in world.pairs.rows]
    text_ids = [name for row in world.pairs.rows for name in row.caption_ids]
    tensors = {
        "image_embeds": rng.normal(size=(len(image_ids), 5)).astype(np.float32),
        "text_embeds": rng.normal(size=(len(text_ids), 5)).astype(np.float32),
    }
    path = world.folder / "third.safetensors"
    save_file(tensors, path, {"image_ids": json.dumps(image_ids), "text_ids": json.dumps(text_ids)})
    return StoredEmbeddings.open(EmbeddingsTeacher(kind="embeddings", path=path), world.rows.rows)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_an_ensemble_mixes_live_stored_and_given_teachers(
    world: World, second: Model, weights: list[float] | None
) -> None:
    rows = rows_for(world, second, world.teacher)
    live, given = LiveSignals(second, rows), EmbeddingSignals(written(world), rows)
    stored = StoredSignals(built(world, world.teacher), rows)
    ensemble = EnsembleSignals([live, stored, given], weights)
    assert ensemble.dim == 4 + 6 + 5
    assert [member.width for member in ensemble.members] == [4, 6, 5]
    ensemble.prepare([0, 1])
    found = said(ensemble.to(torch.device("cpu")), rows)
    parts = [said(signals, rows) for signals in (live, stored, given)]
    share = np.array(weights or [1, 1, 1]) / sum(weights or [1, 1, 1])
    assert found.image is not None
    assert found.text is not None
    for i in range(5):
        for j in range(5):
            cosines = [float(part.image[i] @ part.text[j]) for part in parts]  # type: ignore[index]
            assert float(found.image[i] @ found.text[j]) == pytest.approx(float(share @ cosines), abs=1e-5)
    assert found.text[1].abs().sum() == 0
    torch.testing.assert_close(found.image.norm(dim=1), torch.ones(5))
    ensemble.close()


def test_weights_and_members_are_part_of_an_ensembles_identity(world: World, second: Model) -> None:
    rows = rows_for(world, world.teacher, second)
    one, other = LiveSignals(world.teacher, rows), LiveSignals(second, rows)
    found = [
        EnsembleSignals([one, other]),
        EnsembleSignals([other, one]),
        EnsembleSignals([one, other], [1, 2]),
        EnsembleSignals([one, one]),
    ]
    assert len({each.fingerprint for each in found}) == 4
    assert EnsembleSignals([one, other], [3, 3]).fingerprint == found[0].fingerprint


def test_a_student_learns_from_an_ensemble(world: World, second: Model) -> None:
    signals = EnsembleSignals(
        [StoredSignals(built(world, each), world.rows) for each in (world.teacher, second)]
    )
    losses = [FeatureLoss(kind="feature"), AffinityLoss(kind="affinity", ensemble="distributions")]
    augmentation = world.rows.augmentation.model_copy(update={"views": 2})
    result = train(world.job(signals=signals, losses=losses, augmentation=augmentation, steps=4))
    curve = [json.loads(line) for line in result.curves.read_text().splitlines()]
    assert {"feature", "affinity"} == set(curve[0]["losses"])
    assert curve[-1]["losses"]["feature"] < curve[0]["losses"]["feature"]


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_student_learns_from_a_unimodal_teacher(world: World, side: str) -> None:
    teacher = one_sided(world.teacher, side)
    rows = rows_for(world, teacher)
    losses = [RegressionLoss(kind="regression"), TaskLoss(kind="task")]
    job = world.job(signals=LiveRepresentations(teacher, rows), losses=losses, training_set=rows, steps=5)
    curve = [json.loads(line) for line in train(job).curves.read_text().splitlines()]
    assert all(np.isfinite(record["total"]) for record in curve)
    assert curve[-1]["losses"]["regression"] < curve[0]["losses"]["regression"]
