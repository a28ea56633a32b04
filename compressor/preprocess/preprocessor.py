"""The one object that turns images and texts into arrays: in training, evaluation and serving alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from compressor.errors import DataError, MissingResourceError, ModelError
from compressor.files import atomic_write_text, hash_json, read_json, write_json
from compressor.preprocess.image import MAX_PIXELS, decode_image, normalize, resize_image
from compressor.preprocess.spec import SCHEMA_VERSION, ImageSpec, PreprocessSpec, TextSpec
from compressor.preprocess.text import Tokenizer, clean_text

PREPROCESS_FILE = "preprocess.json"
TOKENIZER_FILE = "tokenizer.json"
FAST_DECODE_MARGIN = 2
"""Sides of the model's input that a JPEG file decoded fast still has, so that resizing averages something."""
FAST_REDUCING_GAP = 3.0
"""The same where blocks of pixels are averaged, which needs more; Pillow calls three indistinguishable."""


class ImagePreprocessor:
    """Images to (N, 3, size, size) float32: all of it, for a model that sees nothing else."""

    def __init__(self, image: ImageSpec, fast_decode: bool = False) -> None:
        """`fast_decode`: large pictures are first reduced coarsely, JPEG files while they are decoded, what
        is still large by averaging blocks of pixels.

        The pixels then differ by a level or so of 256 from those that the model was trained on.
        """
        self.image = image
        self.fast_decode = fast_decode

    def images(
        self, items: Sequence[bytes | Image.Image], max_pixels: int = MAX_PIXELS
    ) -> NDArray[np.float32]:
        """Decode, resize and normalise: (N, 3, size, size) float32; pictures of at most `max_pixels`.

        Raises:
            BadImageError: an item cannot be decoded (the first such item).
        """
        pixels = np.empty((len(items), 3, self.image.size, self.image.size), dtype=np.float32)
        least = FAST_DECODE_MARGIN * self.image.size if self.fast_decode else None
        gap = FAST_REDUCING_GAP if self.fast_decode else None
        for row, item in enumerate(items):
            picture = decode_image(item, max_pixels, least)
            pixels[row] = normalize(resize_image(picture, self.image, gap), self.image)
        return pixels

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides the arrays but `fast_decode`, with which no model is trained."""
        return hash_json({"image": self.image.model_dump(mode="json")})


class TextPreprocessor:
    """Texts to (N, context_length) int64: all of it, for a model that reads nothing else."""

    def __init__(self, text: TextSpec, tokenizer: Tokenizer) -> None:
        """Raises `ModelError` where the text specification and the tokeniser disagree."""
        if (text.context_length, text.pad_id) != (tokenizer.context_length, tokenizer.pad_id):
            raise ModelError(
                f"the text specification says {text.context_length} tokens padded with id {text.pad_id}, the "
                f"tokenizer {tokenizer.context_length} tokens padded with id {tokenizer.pad_id}"
            )
        self.text = text
        self.tokenizer = tokenizer

    def texts(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Clean and tokenise: (N, context_length) int64. Any string works, the empty one too."""
        if isinstance(items, str):
            raise TypeError("texts must be a sequence of strings, not one string")
        return self.tokenizer([clean_text(item, self.text.clean) for item in items])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides the arrays: the specification and the tokeniser."""
        spec = self.text.model_dump(mode="json")
        return hash_json({"text": spec, "tokenizer": json.loads(self.tokenizer.to_json())})


class Preprocessor(ImagePreprocessor, TextPreprocessor):
    """Images to (N, 3, size, size) float32, texts to (N, context_length) int64."""

    def __init__(
        self, image: ImageSpec, text: TextSpec, tokenizer: Tokenizer, fast_decode: bool = False
    ) -> None:
        """Raises `ModelError` where the text specification and the tokeniser disagree."""
        ImagePreprocessor.__init__(self, image, fast_decode)
        TextPreprocessor.__init__(self, text, tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides the arrays, `fast_decode` aside: both specifications, the tokeniser."""
        spec = self._spec().model_dump(mode="json")
        return hash_json({"spec": spec, "tokenizer": json.loads(self.tokenizer.to_json())})

    def _spec(self) -> PreprocessSpec:
        return PreprocessSpec(image=self.image, text=self.text)

    def save(self, folder: Path | str) -> None:
        """Write `preprocess.json` and `tokenizer.json` into `folder`."""
        atomic_write_text(Path(folder) / TOKENIZER_FILE, self.tokenizer.to_json())
        write_json(Path(folder) / PREPROCESS_FILE, self._spec().model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path | str, fast_decode: bool = False) -> Preprocessor:
        """Read what `save` wrote. `fast_decode` is a choice of who opens it, and not saved.

        Raises:
            MissingResourceError: a file is missing.
            ModelError: a file is damaged, or written by a newer version.
        """
        path = Path(folder) / PREPROCESS_FILE
        try:
            content = read_json(path)
        except FileNotFoundError as error:
            raise MissingResourceError(
                f"{path}: the file is missing; it belongs beside the weights"
            ) from error
        except (DataError, OSError) as error:
            raise ModelError(f"{path}: the file cannot be read: {error}") from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ModelError(f"{path}: schema version {version} is newer than {SCHEMA_VERSION}; upgrade")
        try:
            spec = PreprocessSpec.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            raise ModelError(f"{path}: {where}: {first['msg']}") from error
        tokenizer = Tokenizer.from_file(Path(folder) / TOKENIZER_FILE)
        return cls(spec.image, spec.text, tokenizer, fast_decode)
