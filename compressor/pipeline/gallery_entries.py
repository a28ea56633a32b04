"""The pictures of a recipe's split, to fill a gallery with."""

from __future__ import annotations

import io
from functools import partial
from typing import cast, get_args

from compressor.data import PairSet, RawPairSet, open_pairs
from compressor.errors import RecipeError
from compressor.gallery.build import Entry
from compressor.gallery.items import MAX_TEXT
from compressor.recipe.data import Split
from compressor.recipe.load import load_recipe


def entries_of(recipe: str, split: str) -> list[Entry]:
    """Every picture of a split under its id, with its first caption as the metadata key `caption`.

    Pictures that are drawn and not stored are handed on as PNG files, which keep every pixel. Raises
    `RecipeError` for a recipe or split that is none, and what opening its data raises.
    """
    if split not in get_args(Split):
        raise RecipeError(f"--split {split}: the splits are train, val and test")
    loaded = load_recipe(recipe).recipe
    pairs = open_pairs(loaded.data, cast(Split, split), loaded.seed)
    return [
        Entry(
            row.id,
            partial(_encoded, pairs, index),
            {"caption": row.captions[0][:MAX_TEXT]} if row.captions else {},
        )
        for index, row in enumerate(pairs.rows)
    ]


def _encoded(pairs: PairSet, index: int) -> bytes:
    if isinstance(pairs, RawPairSet):
        return pairs.image_bytes(index)
    out = io.BytesIO()
    pairs.image(index).save(out, "PNG", compress_level=1)
    return out.getvalue()
