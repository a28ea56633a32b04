"""The embedded data set: deterministic, different scenes, combinations that training never shows."""

from __future__ import annotations

from hashlib import blake2b
from itertools import product

import numpy as np
import pytest

from compressor.data.randomness import Dice
from compressor.data.scene import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    RELATIONS,
    SIZES,
    TEXTURES,
    Scene,
    Shape,
    draw_scene,
    held_out,
    home_split,
)
from compressor.data.scene_drawing import GROUND, PAINT, draw
from compressor.data.scenes import ScenesPairs
from compressor.recipe.data import ScenesData, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def section(**changes: int) -> ScenesData:
    return ScenesData(kind="scenes", **({"train": 1500, "val": 200, "test": 400} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def splits() -> dict[str, ScenesPairs]:
    return {split: ScenesPairs(section(), split) for split in SPLITS}


def scenes(pairs: ScenesPairs) -> list[Scene]:
    return [pairs.scene(i) for i in range(len(pairs.rows))]


def pixels_of(pairs: ScenesPairs, index: int) -> np.ndarray:
    return np.asarray(pairs.image(index))


def test_same_seed_gives_the_same_rows_pixels_and_fingerprint() -> None:
    first, again = ScenesPairs(section(train=30), "train"), ScenesPairs(section(train=30), "train")
    assert first.rows == again.rows
    assert first.fingerprint == again.fingerprint
    assert all(np.array_equal(pixels_of(first, i), pixels_of(again, i)) for i in range(30))


def test_pixels_and_captions_are_those_of_every_other_machine(splits: dict[str, ScenesPairs]) -> None:
    digest = blake2b(digest_size=16)
    for split, index in product(SPLITS, range(12)):
        digest.update(pixels_of(splits[split], index).tobytes())
        digest.update("\n".join(splits[split].rows[index].captions).encode())
    # Whoever changes a picture on purpose raises DRAWING_VERSION and stores the new digest.
    assert digest.hexdigest() == "bf83a62de539ebe22414ee071db4fef8"


def test_another_seed_or_split_gives_other_scenes(splits: dict[str, ScenesPairs]) -> None:
    other = ScenesPairs(section(seed=1), "val")
    assert scenes(other) != scenes(splits["val"])
    prints = {other.fingerprint, ScenesPairs(section(image_size=96), "val").fingerprint}
    assert len(prints | {pairs.fingerprint for pairs in splits.values()}) == 5


def test_a_larger_split_begins_with_the_smaller_one() -> None:
    small, large = ScenesPairs(section(test=20), "test"), ScenesPairs(section(test=60), "test")
    assert list(small.rows) == list(large.rows)[:20]
    assert np.array_equal(pixels_of(small, 19), pixels_of(large, 19))


def test_no_two_scenes_of_a_split_are_equal_and_none_is_in_two_splits(splits: dict[str, ScenesPairs]) -> None:
    everything = [scene for pairs in splits.values() for scene in scenes(pairs)]
    assert len(set(everything)) == len(everything)


def test_no_scene_of_any_seed_is_both_trained_and_tested(splits: dict[str, ScenesPairs]) -> None:
    other_seed = scenes(ScenesPairs(section(seed=9, test=400), "test"))
    assert not set(other_seed) & set(scenes(splits["train"]))


def test_training_shows_no_held_out_combination_and_half_of_val_and_test_does(
    splits: dict[str, ScenesPairs],
) -> None:
    assert not any(held_out(scene) for scene in scenes(splits["train"]))
    for split in ("val", "test"):
        assert [held_out(scene) for scene in scenes(splits[split])] == [
            i % 2 == 0 for i in range(len(splits[split].rows))
        ]


def test_training_never_shows_the_held_out_pairs_but_every_attribute_value(
    splits: dict[str, ScenesPairs],
) -> None:
    train, test = scenes(splits["train"]), scenes(splits["test"])

    def colours(group: list[Scene]) -> set[tuple[str, str]]:
        return {(shape.kind, shape.colour) for scene in group for shape in scene.shapes}

    def grounds(group: list[Scene]) -> set[tuple[str, str]]:
        return {(shape.kind, scene.background) for scene in group for shape in scene.shapes}

    assert len(colours(train)) == len(KINDS) * (len(COLOURS) - 1)
    assert len(grounds(train)) == len(KINDS) * (len(BACKGROUNDS) - 1)
    assert set(product(KINDS, COLOURS)) - colours(train) <= colours(test)
    assert set(product(KINDS, BACKGROUNDS)) - grounds(train) <= grounds(test)
    shapes = [shape for scene in train for shape in scene.shapes]
    assert {shape.kind for shape in shapes} == set(KINDS)
    assert {shape.colour for shape in shapes} == set(COLOURS)
    assert {shape.size for shape in shapes} == set(SIZES)
    assert {shape.texture for shape in shapes} == set(TEXTURES)
    assert {scene.background for scene in train} == set(BACKGROUNDS)
    assert {scene.relation for scene in train} == set(RELATIONS)
    assert {scene.third for scene in train} == {None, "left", "right", "above", "below"}
    assert {scene.count for scene in train} == {1, 2, 3}


def test_the_smallest_sensible_training_split_already_shows_every_value() -> None:
    shapes = [shape for scene in scenes(ScenesPairs(section(train=100), "train")) for shape in scene.shapes]
    assert {shape.kind for shape in shapes} == set(KINDS)
    assert {shape.colour for shape in shapes} == set(COLOURS)


def test_held_out_scenes_never_belong_to_training() -> None:
    dice = Dice("any")
    drawn = [draw_scene(dice) for _ in range(500)]
    assert {home_split(scene) for scene in drawn if held_out(scene)} == {"val", "test"}
    assert {home_split(scene) for scene in drawn if not held_out(scene)} == {"train", "val", "test"}


def test_shapes_of_a_scene_can_be_told_apart(splits: dict[str, ScenesPairs]) -> None:
    for scene in scenes(splits["train"]):
        assert len({(shape.kind, shape.colour) for shape in scene.shapes}) == scene.count
        assert (scene.relation == "alone") == (scene.count == 1)
        assert (scene.third is None) == (scene.count < 3)
        if scene.relation == "inside":
            inner, outer = scene.shapes
            assert (inner.size, outer.size) == ("small", "large")
            assert inner.colour != outer.colour


def test_rows_have_unique_ids_and_five_captions_each(splits: dict[str, ScenesPairs]) -> None:
    rows = [row for pairs in splits.values() for row in pairs.rows]
    assert len({row.id for row in rows}) == len(rows)
    assert len({name for row in rows for name in row.caption_ids}) == 5 * len(rows)
    assert all(len(row.captions) == len(row.caption_ids) == 5 for row in rows)


@pytest.mark.parametrize("size", [32, 64, 150])
def test_a_picture_has_the_size_of_the_recipe(size: int) -> None:
    image = ScenesPairs(section(train=3, image_size=size), "train").image(2)
    assert (image.size, image.mode) == ((size, size), "RGB")


@pytest.mark.parametrize("colour", COLOURS)
def test_a_plain_shape_shows_its_colour_on_every_background(colour: str) -> None:
    for background in BACKGROUNDS:
        scene = Scene((Shape("square", colour, "large", "plain"),), background, "alone")  # type: ignore[arg-type]
        picture = np.asarray(draw(scene, 64, Dice("paint", colour, background))).astype(int)
        near = np.abs(picture - np.asarray(PAINT[colour])).max(axis=2) < 24  # type: ignore[index]
        assert near.sum() > 300, f"a large {colour} square on {background} covers {near.sum()} pixels"


def where(picture: np.ndarray, colour: str) -> tuple[float, float]:
    near = np.abs(picture.astype(int) - np.asarray(PAINT[colour])).max(axis=2) < 24  # type: ignore[index]
    rows, columns = np.nonzero(near)
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize(
    ("relation", "third"),
    [
        ("left of", None),
        ("left of", "above"),
        ("left of", "below"),
        ("above", None),
        ("above", "left"),
        ("above", "right"),
    ],
)
def test_drawn_positions_agree_with_the_relations(relation: str, third: str | None) -> None:
    shapes = [Shape("circle", colour, "large", "plain") for colour in ("red", "blue", "yellow")]  # type: ignore[arg-type]
    count = 2 if third is None else 3
    for trial in range(10):
        scene = Scene(tuple(shapes[:count]), "snow", relation, third)  # type: ignore[arg-type]
        picture = np.asarray(draw(scene, 64, Dice("place", trial)))
        first, second = where(picture, "red"), where(picture, "blue")
        axis = 0 if relation == "left of" else 1
        assert second[axis] - first[axis] > 24
        assert abs(second[1 - axis] - first[1 - axis]) < 24
        if third is not None:
            last = where(picture, "yellow")
            side = last[1 - axis] - (first[1 - axis] + second[1 - axis]) / 2
            assert side < -24 if third in ("above", "left") else side > 24


def test_a_shape_inside_another_is_drawn_over_it() -> None:
    shapes = (Shape("circle", "yellow", "small", "plain"), Shape("square", "blue", "large", "plain"))
    picture = np.asarray(draw(Scene(shapes, "snow", "inside"), 64, Dice("nested")))
    inner, outer = where(picture, "yellow"), where(picture, "blue")
    assert np.hypot(inner[0] - outer[0], inner[1] - outer[1]) < 2


def test_textures_and_sizes_can_be_seen() -> None:
    pictures = {
        (size, texture): np.asarray(
            draw(Scene((Shape("circle", "red", size, texture),), "snow", "alone"), 64, Dice("same"))
        )
        for size, texture in product(SIZES, TEXTURES)
    }
    red = {
        key: int((picture[..., 0].astype(int) - picture[..., 1] > 60).sum())
        for key, picture in pictures.items()
    }
    for texture in TEXTURES:
        assert red["small", texture] * 1.7 < red["medium", texture] < red["large", texture] / 1.7
    for size in SIZES:
        dark = {
            t: int((np.abs(pictures[size, t].astype(int) - (84, 11, 14)).max(axis=2) < 40).sum())
            for t in TEXTURES
        }
        assert min(dark["striped"], dark["dotted"], dark["checkered"]) > 2 * dark["plain"]


def test_backgrounds_differ_in_their_mean_colour() -> None:
    means = {}
    for background in GROUND:
        scene = Scene((Shape("star", "red", "small", "plain"),), background, "alone")
        pictures = [np.asarray(draw(scene, 64, Dice("ground", k))).reshape(-1, 3).mean(0) for k in range(5)]
        means[background] = np.mean(pictures, axis=0)
    for one, other in product(means, means):
        assert one == other or np.abs(means[one] - means[other]).max() > 25
