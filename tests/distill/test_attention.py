"""Attention maps in the training loop: what is compared, in pieces or at once, and after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from compressor.capture import AttentionCapture, tower
from compressor.data.loader import normalize_pixels
from compressor.distill.curves import read_curves
from compressor.distill.trainer import train
from compressor.errors import ModelError
from compressor.files import sha256_file
from compressor.losses.amad import amad_loss
from compressor.losses.attention_grid import resize_attention
from compressor.losses.attention_maps import attention_mask
from compressor.recipe.losses import AMADLoss, FeatureLoss, MaskedFeatureLoss, TaskLoss
from compressor.students.encoder import Model
from tests.distill.attention_world import amad_job, attention_world
from tests.distill.world import World


def amad(**options: Any) -> AMADLoss:
    return AMADLoss.model_validate({"kind": "amad", "alpha": 1.0, **options})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return attention_world(tmp_path)


def maps_of(model: Model, pixels: Tensor, ids: Tensor, layer: Any = "last") -> tuple[Tensor, Tensor]:
    """Image and text maps of one layer, taken by hand."""
    encoder: Any = model.encoder
    encoder.eval()
    with (
        torch.no_grad(),
        AttentionCapture(tower(encoder, "image"), layer) as image,
        AttentionCapture(tower(encoder, "text")) as text,
    ):
        encoder.encode_image(normalize_pixels(pixels, model.preprocessor.image))
        encoder.encode_text(ids)
        return image.take()[0].weights, text.take()[0].weights


def test_the_first_value_is_the_loss_between_the_last_maps_with_padding_masked(world: World) -> None:
    batch = world.rows.batch(range(24), 0)
    ours, theirs = (maps_of(model, batch.pixels, batch.input_ids) for model in (world.student, world.teacher))
    counts = batch.input_ids != world.student.preprocessor.text.pad_id
    used = int(counts.sum(1).max())
    assert counts.sum(1).min() == 0  # a picture without a caption
    expected = amad_loss(theirs[0], ours[0], "kl") + amad_loss(
        theirs[1][..., :used, :used],
        ours[1][..., :used, :used],
        "kl",
        attention_mask(counts[:, :used]),
    )
    result = train(amad_job(world, "run", amad(variant="kl"), batch_size=24, steps=1))
    assert read_curves(result.curves)[0]["losses"]["amad"] == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("variant", ["mse", "kl", "token", "projected", "student_to_teacher", "rkd"])
def test_every_variant_brings_the_maps_closer(world: World, variant: str) -> None:
    options: dict[str, Any] = {"alpha": 100.0, "alignment_temperature": 0.1}
    rate, share = 0.004, 0.95
    if variant == "projected":
        options["text"] = None
        rate, share = 1e-4, 0.999  # every output of the projection adds up 289 weights that move so far
    config = amad(variant=variant, **options)
    job = amad_job(world, "run", config, batch_size=24, steps=30, optimizer={"lr": rate}, clip_norm=None)
    losses = [record["losses"]["amad"] for record in read_curves(train(job).curves)]
    assert losses[-1] < share * losses[0]


@pytest.mark.parametrize("variant", ["mse", "token"])
def test_pieces_of_a_batch_give_the_gradient_of_the_whole(tmp_path: Path, variant: str) -> None:
    moments = []
    for name, size in (("whole", None), ("pieces", 7)):
        world = attention_world(tmp_path / name)
        options: dict[str, Any] = {"batch_size": 24, "micro_batch_size": size, "steps": 1, "clip_norm": None}
        losses = [TaskLoss(kind="task")]
        result = train(amad_job(world, "run", amad(variant=variant), losses=losses, **options))
        first, optimizer = read_curves(result.curves)[0], load_file(result.last / "optimizer.safetensors")
        moments.append((first["losses"], first["grad_norm"], optimizer))
    (losses, norm, whole), (others, other_norm, pieces) = moments
    assert others == pytest.approx(losses, rel=1e-5)
    assert other_norm == pytest.approx(norm, rel=1e-4)
    for key, moment in whole.items():
        atol = 1e-4 * moment.abs().max().item()
        torch.testing.assert_close(pieces[key], moment, rtol=1e-3, atol=atol, msg=key)


def test_a_map_of_layers_compares_the_layers_it_names(world: World) -> None:
    batch = world.rows.batch(range(24), 0)
    ours, _ = maps_of(world.student, batch.pixels, batch.input_ids, [0])
    theirs, _ = maps_of(world.teacher, batch.pixels, batch.input_ids, [1])
    config = amad(image={2: 1}, text=None)
    result = train(amad_job(world, "run", config, batch_size=24, steps=1))
    expected = amad_loss(theirs, ours).item()
    assert read_curves(result.curves)[0]["losses"]["amad"] == pytest.approx(expected, rel=1e-4)


def test_other_patches_are_compared_on_the_students_grid(tmp_path: Path) -> None:
    world = attention_world(tmp_path, vit={"patch_size": 16})
    batch = world.rows.batch(range(24), 0)
    ours, _ = maps_of(world.student, batch.pixels, batch.input_ids)
    theirs, _ = maps_of(world.teacher, batch.pixels, batch.input_ids)
    expected = amad_loss(resize_attention(theirs, (4, 4), (2, 2), 1), ours).item()
    result = train(amad_job(world, "run", amad(text=None), batch_size=24, steps=1))
    assert read_curves(result.curves)[0]["losses"]["amad"] == pytest.approx(expected, rel=1e-4)


def test_a_matched_alpha_starts_at_the_mean_of_the_other_losses_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    class StoppedError(Exception):
        pass

    def stop(event: Any) -> None:
        if event.step == 3:
            raise StoppedError

    def job(folder: str, **changes: Any) -> Any:
        others = [TaskLoss(kind="task"), FeatureLoss(kind="feature")]
        config = amad(alpha="match_initial_scale")
        return amad_job(
            attention_world(tmp_path), folder, config, losses=others, checkpoint_every=2, **changes
        )

    whole = train(job("whole"))
    first = read_curves(whole.curves)[0]["losses"]
    assert first["amad"] == pytest.approx((first["task"] + first["feature"]) / 2, rel=1e-5)
    with pytest.raises(StoppedError):
        train(job("stopped", progress=stop))
    again = train(job("stopped"))
    assert sha256_file(again.last / "model.safetensors") == sha256_file(whole.last / "model.safetensors")


def test_learned_projections_learn_and_survive_a_restart(tmp_path: Path) -> None:
    world = attention_world(tmp_path)
    config = amad(variant="projected", text=None, alpha=100.0)
    result = train(amad_job(world, "run", config, steps=3))
    learned = load_file(result.last / "alignment.safetensors")["projected.image 1.weight"]
    assert learned.shape == (17 * 17, 17 * 17)
    assert not torch.equal(learned, torch.eye(17 * 17))
    assert train(amad_job(attention_world(tmp_path), "run", config, steps=3)).steps == 3


def test_both_models_are_left_as_they_were(world: World) -> None:
    train(amad_job(world, "run", amad(), steps=1))
    for encoder in (world.student.encoder, world.teacher.encoder):
        assert isinstance(encoder, nn.Module)
        for module in encoder.modules():
            assert "forward" not in vars(module)
            assert not module._forward_hooks


@pytest.mark.parametrize(
    ("options", "vit", "sentence"),
    [
        ({"image": {9: 1}}, None, "amad, image: there is no layer 9 in the teacher, which has 3"),
        ({"image": {1: 5}}, None, "amad, image: there is no layer 5 in the student, which has 2"),
        ({"text": None}, {"class_token": False, "global_pool": "avg"}, "teacher has 1, the student 0"),
        ({"variant": "one_to_one", "text": None}, {"num_heads": 8}, "one_to_one needs as many teacher heads"),
    ],
)
def test_maps_that_do_not_fit_are_refused_in_one_sentence(
    tmp_path: Path, options: dict[str, Any], vit: dict[str, Any] | None, sentence: str
) -> None:
    world = attention_world(tmp_path, vit=vit)
    with pytest.raises(ModelError, match=sentence):
        train(amad_job(world, "run", amad(**options), steps=1))


def test_texts_of_another_tokenizer_are_refused_unless_only_images_are_compared(tmp_path: Path) -> None:
    world = attention_world(tmp_path, teacher_context=12)
    with pytest.raises(ModelError, match="the student's tokens are not the teacher's"):
        amad_job(world, "run", amad())
    assert train(amad_job(world, "run", amad(text=None), steps=1)).steps == 1


def test_masked_pictures_are_embedded_beside_whole_ones_and_resume_bit_by_bit(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(event: Any) -> None:
        if event.step == 3:
            raise StoppedError

    def job(folder: str, **changes: Any) -> Any:
        losses = [MaskedFeatureLoss(kind="masked_feature", patch=8, fraction=0.5)]
        return amad_job(
            attention_world(tmp_path),
            folder,
            amad(),
            losses=losses,
            checkpoint_every=2,
            micro_batch_size=4,
            **changes,
        )

    whole = train(job("whole"))
    values = [record["losses"]["masked_feature"] for record in read_curves(whole.curves)]
    assert len(set(values)) == len(values)
    with pytest.raises(StoppedError):
        train(job("stopped", progress=stop))
    again = train(job("stopped"))
    assert sha256_file(again.last / "model.safetensors") == sha256_file(whole.last / "model.safetensors")
