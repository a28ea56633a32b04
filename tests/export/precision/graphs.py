"""Towers for the tests of precisions, and how near two of them are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT, TEXT_INPUT, TEXT_OUTPUT
from compressor.runtime.session import Tower
from tests.export.toys import LENGTH, SIZE

ENDS = {"image": (IMAGE_INPUT, IMAGE_OUTPUT), "text": (TEXT_INPUT, TEXT_OUTPUT)}


def inputs(tower: str, count: int = 24, seed: int = 0) -> NDArray[np.float32] | NDArray[np.int64]:
    """Pixels or token ids of the toy."""
    random = np.random.default_rng(seed)
    if tower == "image":
        return random.normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)
    return random.integers(0, 300, (count, LENGTH))


def run(path: Path, tower: str, rows: NDArray[np.float32] | NDArray[np.int64]) -> NDArray[np.float32]:
    """Embeddings of a graph, in ONNX Runtime."""
    return Tower(path, *ENDS[tower], threads=1).run(rows)


def worst_cosine(first: Path, second: Path, tower: str) -> float:
    """Of the embeddings of two graphs over some inputs."""
    rows = inputs(tower, seed=7)
    one, other = (run(path, tower, rows) for path in (first, second))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}
