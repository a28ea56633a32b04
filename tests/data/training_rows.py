"""Training rows of drawn scenes, some of which have no caption."""

from __future__ import annotations

from collections.abc import Callable

from compressor.data.loader import TrainingSet
from compressor.data.pairs import Row
from compressor.data.scenes import ScenesPairs
from compressor.preprocess.preprocessor import Preprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.tokenizers import train_bpe
from compressor.recipe.data import ScenesData
from compressor.recipe.training import Augmentation

Maker = Callable[..., TrainingSet]

ROWS = 30
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
PLAIN = Augmentation()
FLIP = Augmentation(horizontal_flip=0.5)
COLOUR = Augmentation(colour=0.3)
CROP = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5)
ALL = Augmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5, colour=0.3, views=3)


class SomeWithoutCaptions(ScenesPairs):
    """Scenes, every fourth without a caption, every fifth with one only."""

    def __init__(self, section: ScenesData) -> None:
        super().__init__(section, "train")
        for i, row in enumerate(self._rows):
            kept = 0 if i % 4 == 0 else 1 if i % 5 == 0 else 5
            self._rows[i] = Row(row.id, row.captions[:kept], row.caption_ids[:kept])


def preprocessor(pairs: SomeWithoutCaptions, size: int, context_length: int, vocabulary: int) -> Preprocessor:
    captions = [caption for row in pairs.rows for caption in row.captions]
    tokenizer, text = train_bpe(captions, vocabulary, context_length, True)
    return Preprocessor(ImageSpec(size=size, mean=MEAN, std=STD), text, tokenizer)
