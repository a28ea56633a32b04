from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compressor.runtime.bundle import Bundle
from tests.export.toys import write_toy_bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the toy encoder; do not change it, take `folder` for that."""
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    write_toy_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(exported: Path) -> Bundle:
    return Bundle.open(exported, threads=1)


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))
