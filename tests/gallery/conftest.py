from __future__ import annotations

from pathlib import Path

import pytest

from compressor.runtime.bundle import Bundle
from tests.export.toys import write_toy_bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the toy encoder at fp32 and int8; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "bundle"
    write_toy_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(exported: Path) -> Bundle:
    return Bundle.open(exported, "fp32", threads=1)


@pytest.fixture(scope="session")
def other_bundle(exported: Path) -> Bundle:
    """Another space: the same model at another precision."""
    return Bundle.open(exported, "int8", threads=1, allow_failed=True)
