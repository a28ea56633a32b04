"""A small valid recipe, written to a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressor.recipe.load import LoadedRecipe, load_recipe

SMALL = """\
name: small
data:
  kind: scenes
teacher:
  kind: checkpoint
  path: teachers/one
student:
  image:
    kind: timm
    name: vit_tiny_patch16_224
  text:
    kind: transformer
  tokenizer:
    kind: train
distill:
  epochs: 3
  losses:
    - kind: contrastive
    - kind: feature
      weight: 2
"""

Write = Callable[..., Path]
Load = Callable[..., LoadedRecipe]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, text) -> path of a file with this text."""

    def write_file(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_file


@pytest.fixture
def load(write: Write) -> Load:
    """load(*overrides, text=SMALL) -> the loaded recipe; the file is recipe.yaml."""

    def load_text(*overrides: str, text: Any = SMALL) -> LoadedRecipe:
        return load_recipe(write("recipe.yaml", text), overrides)

    return load_text
