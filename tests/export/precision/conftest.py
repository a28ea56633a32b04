from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.export.onnx import TowerName, export_tower
from tests.export.precision.graphs import inputs
from tests.export.toys import ToyEncoder

Towers = dict[TowerName, Path]
Export = Callable[[ToyEncoder, Path], Towers]


def exported(encoder: ToyEncoder, folder: Path, largest_inline: int = 10**9) -> Towers:
    """Both towers of an encoder at fp32."""
    names: tuple[TowerName, ...] = ("image", "text")
    towers: Towers = {name: folder / f"{name}.onnx" for name in names}
    for name, path in towers.items():
        export_tower(encoder.eval(), name, inputs(name, 4), path, largest_inline=largest_inline)
    return towers


@pytest.fixture(scope="session")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    return exported(ToyEncoder(300), tmp_path_factory.mktemp("fp32"))


@pytest.fixture(scope="session")
def fp32_outside(tmp_path_factory: pytest.TempPathFactory) -> Towers:
    """With weights in files of their own."""
    return exported(ToyEncoder(300), tmp_path_factory.mktemp("outside"), largest_inline=1000)
