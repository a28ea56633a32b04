"""Procedurally drawn scenes with captions: the embedded default data set, nothing to download."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from compressor.data.pairs import Row
from compressor.data.randomness import Dice
from compressor.data.scene import Scene, draw_scene, held_out, home_split
from compressor.data.scene_drawing import DRAWING_VERSION, draw
from compressor.data.scene_grammar import captions
from compressor.files import hash_json
from compressor.recipe.data import ScenesData, Split

__all__ = ["ScenesPairs", "held_out"]


class ScenesPairs:
    """One split of the scenes (a `PairSet`), the same on every machine for the same seed.

    No two scenes of a split have the same attributes, and no scene is in two splits. Training scenes hold no
    held-out combination (`held_out`); of val and test every second scene does (even rows), the others do not.
    A larger split begins with the smaller one of the same seed.
    """

    def __init__(self, section: ScenesData, split: Split) -> None:
        self.split: str = split
        self._size = section.image_size
        self._seed = section.seed
        length = {"train": section.train, "val": section.val, "test": section.test}[split]
        self._scenes = _draw_split(section.seed, split, length)
        self._rows = [self._row(index, scene) for index, scene in enumerate(self._scenes)]
        content = [[row.id, *row.captions] for row in self._rows]
        source = ["scenes", DRAWING_VERSION, section.image_size, section.seed, split]
        self.fingerprint = hash_json([source, content])

    @property
    def rows(self) -> Sequence[Row]:
        return self._rows

    def scene(self, index: int) -> Scene:
        """The attributes that row `index` was drawn from."""
        return self._scenes[index]

    def image(self, index: int) -> Image.Image:
        """Draw row `index`: RGB, image_size x image_size."""
        return draw(self._scenes[index], self._size, Dice("pixels", self._seed, self.split, index))

    def _row(self, index: int, scene: Scene) -> Row:
        name = f"scenes-{self._seed}-{self.split}-{index:06d}"
        texts = captions(scene, Dice("captions", self._seed, self.split, index))
        return Row(name, texts, tuple(f"{name}#{number}" for number in range(len(texts))))


def _draw_split(seed: int, split: Split, length: int) -> list[Scene]:
    """Different scenes that belong to the split; one that does not fit is drawn again from the same dice."""
    scenes: list[Scene] = []
    seen: set[Scene] = set()
    for index in range(length):
        dice = Dice("scene", seed, split, index)
        unseen_combination = split != "train" and index % 2 == 0
        scene = draw_scene(dice)
        while held_out(scene) != unseen_combination or home_split(scene) != split or scene in seen:
            scene = draw_scene(dice)
        seen.add(scene)
        scenes.append(scene)
    return scenes
