"""A rehearsal keeps what is being rehearsed and shrinks everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import RecipeError
from compressor.recipe.check import check
from compressor.recipe.data import ScenesData
from compressor.recipe.recipe import Recipe
from compressor.recipe.rehearse import refusal_to_rehearse, rehearsal
from compressor.recipe.teacher import OpenClipTeacher
from tests.recipe.conftest import Load

LARGE = [
    "data={kind: karpathy, root: photos}",
    "teacher={kind: open_clip, name: ViT-L-14-quickgelu, pretrained: openai,"
    " fine_tune: {epochs: 2, micro_batch_size: 32}}",
    "student.image.input.size=256",
    "distill.control=true",
    "distill.micro_batch_size=64",
    "distill.precision=bf16",
    "distill.trackers=[tensorboard, wandb]",
    "distill.augmentation={crop_scale: [0.5, 1], views: 4}",
    "goals=['retention.rsum >= 0.9']",
    "evaluate.split=val",
]


def test_architectures_losses_and_goals_stay(load: Load) -> None:
    whole = load(*LARGE).recipe
    small = rehearsal(whole)
    assert small.student == whole.student
    assert small.distill.losses == whole.distill.losses
    assert small.distill.balancer == whole.distill.balancer
    assert small.distill.augmentation == whole.distill.augmentation
    assert small.distill.control is True
    assert small.goals == whole.goals
    assert small.export.precisions == whole.export.precisions
    assert isinstance(small.teacher, OpenClipTeacher)
    assert (small.teacher.name, small.teacher.pretrained) == ("ViT-L-14-quickgelu", "openai")


def test_everything_else_is_tiny(load: Load) -> None:
    small = rehearsal(load(*LARGE).recipe)
    assert small.name == "small-rehearsal"
    assert isinstance(small.data, ScenesData)
    assert (small.data.train, small.data.val, small.data.test, small.data.image_size) == (16, 8, 12, 256)
    distill = small.distill
    assert (distill.epochs, distill.steps, distill.batch_size, distill.micro_batch_size) == (None, 2, 4, None)
    assert (distill.warmup, distill.precision, distill.trackers) == (0, "no", ("tensorboard",))
    assert (distill.evaluate_every, distill.checkpoint_every) == (2, 2)
    assert isinstance(small.teacher, OpenClipTeacher)
    assert small.teacher.fine_tune is not None
    assert (small.teacher.fine_tune.steps, small.teacher.fine_tune.epochs) == (1, None)
    assert small.evaluate.bootstrap == 50
    benchmark = small.benchmark
    assert (benchmark.warmup, benchmark.rounds, benchmark.repeats, benchmark.batch_sizes) == (3, 5, 3, (1,))
    assert small.export.parity.samples == 8


def test_the_twin_is_a_valid_recipe_itself(load: Load) -> None:
    loaded = load(*LARGE)
    small = rehearsal(loaded.recipe)
    assert Recipe.model_validate(small.model_dump()) == small
    check(type(loaded)(small, Path("recipe.yaml"), loaded.origins))
    assert rehearsal(load("teacher=null", "distill.losses=[{kind: task}]").recipe).teacher is None


@pytest.mark.parametrize(("size", "side"), [(16, 32), (64, 64), (1024, 512)])
def test_scenes_stay_within_what_can_be_drawn(load: Load, size: int, side: int) -> None:
    data = rehearsal(load(f"student.image.input.size={size}").recipe).data
    assert isinstance(data, ScenesData)
    assert data.image_size == side


def test_a_long_name_stays_a_name(load: Load) -> None:
    name = rehearsal(load(f"name={'x' * 100}").recipe).name
    assert name == "x" * 90 + "-rehearsal"


def test_stored_embeddings_cannot_be_rehearsed(load: Load) -> None:
    recipe = load("teacher={kind: embeddings, path: e}").recipe
    reason = refusal_to_rehearse(recipe)
    assert reason is not None
    assert reason.startswith("small: cannot be rehearsed, because its teacher is embeddings")
    with pytest.raises(RecipeError, match="cannot be rehearsed"):
        rehearsal(recipe)
    assert refusal_to_rehearse(load().recipe) is None
