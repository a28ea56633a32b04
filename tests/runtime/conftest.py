from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from compressor.recipe.blip import Head
from compressor.runtime.bundle import Bundle
from tests.export.toys import write_toy_bundle
from tests.export.writers import PROMPT, Exported, export_toy_writer


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the toy encoder; do not change it, take `folder` for that."""
    return _exported(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def bundle(exported: Path) -> Bundle:
    return Bundle.open(exported, threads=1)


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def writers(tmp_path_factory: pytest.TempPathFactory) -> dict[Head, Exported]:
    """Bundles of models that write: one captions after a prompt, one answers. Do not change them."""
    return _writers(tmp_path_factory.getbasetemp())


# Made once for all folders whose conftest has these fixtures.


@cache
def _exported(home: Path) -> Path:
    folder = home / "shared-toy" / "bundle"
    write_toy_bundle(folder)
    return folder


@cache
def _writers(home: Path) -> dict[Head, Exported]:
    prompts: dict[Head, str] = {"caption": PROMPT, "vqa": ""}
    return {
        head: export_toy_writer(home / f"shared-{head}", head, prompt) for head, prompt in prompts.items()
    }
