"""One ONNX graph with any number of named ends, in ONNX Runtime. `Tower` is the case of one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BundleError, ModelError
from compressor.runtime.providers import DEFAULT_PROVIDERS, Provider, open_session
from compressor.runtime.session import usable_cores
from compressor.runtime.tower import first_line

Shape = tuple[int | str, ...]


class Graph:
    """A graph of given ends. `threads`, `providers` and `low_memory` as of `Tower`.

    `shapes` are those of all ends by name; a dynamic dimension is its name.

    Raises `BundleError` for a graph that does not load or has other ends, or a provider that cannot be had.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        providers: Sequence[str | Provider] | None = None,
        low_memory: bool = False,
    ) -> None:
        self.path = path
        self.threads = usable_cores() if threads is None else threads
        self._session = open_session(path, self.threads, tuple(providers or DEFAULT_PROVIDERS), low_memory)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self.inputs = [end.name for end in self._session.get_inputs()]
        self.outputs = [end.name for end in self._session.get_outputs()]
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        self.shapes: dict[str, Shape] = {end.name: tuple(end.shape) for end in ends}

    def expect(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Raise `BundleError` where the ends are others than these."""
        if sorted(self.inputs) != sorted(inputs) or sorted(self.outputs) != sorted(outputs):
            raise BundleError(
                f"{self.path}: not the graph that the manifest promises, with inputs {', '.join(inputs)} and "
                f"outputs {', '.join(outputs)}; export the bundle again"
            )

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by its name. Raises `ModelError` where the graph fails, as on a wrong shape."""
        try:
            found = self._session.run(self.outputs, {name: np.ascontiguousarray(feed[name]) for name in feed})
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            raise ModelError(f"{self.path.name} cannot be run: {first_line(error)}") from error
        return dict(zip(self.outputs, found, strict=True))
