"""What every runtime of a tower has in common: the interface, and the check of what it is given."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError, ModelError

MOST_THREADS = 1024
"""Of a pool: a runtime takes memory for every thread that it is told of, until there is none left."""


class AnyTower(Protocol):
    """A graph with one input of fixed shape but for the batch, and one output (batch, width) float32.

    `providers` says what runs it, best first; `threads` how many threads of this process it may use.
    """

    input_name: str
    output_name: str
    item_shape: tuple[int, ...]
    width: int
    threads: int
    providers: tuple[str, ...]

    def run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """(N, *item_shape) of the graph's own type -> (N, width) float32. N may be 0.

        Raises `ModelError` for another shape or type, or where the graph itself fails.
        """
        ...


def check_rows(inputs: Any, name: str, dtype: np.dtype[Any], item_shape: tuple[int, ...]) -> None:
    """Refuse anything but an array (N, *item_shape) of `dtype` by a `ModelError` with both shapes."""
    wanted = f"{dtype} (N, {', '.join(str(size) for size in item_shape)})"
    if not isinstance(inputs, np.ndarray):
        raise ModelError(f"{name} must be a NumPy array {wanted}, not {type(inputs).__name__}")
    if inputs.dtype != dtype or inputs.ndim == 0 or inputs.shape[1:] != item_shape:
        raise ModelError(f"{name} must be {wanted}, not {inputs.dtype} {inputs.shape}")


def check_threads(threads: int) -> None:
    """Raise `BundleError` for a number of threads that no pool can have."""
    if threads < 1:
        raise BundleError(f"threads must be at least 1, not {threads}")
    if threads > MOST_THREADS:
        raise BundleError(f"threads must be at most {MOST_THREADS}, not {threads}")


def first_line(error: BaseException) -> str:
    """The first line of an exception that is not empty, shortened: some libraries' go on for pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
