"""One small input through each part of a model, and what its answer must look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.runtime import Bundle, Writer

Rows = NDArray[Any]
_TOLERANCE = 1e-2
"""Of a row's length: float16 and int8 outputs are normalised before they are rounded."""


def canaries(opened: Bundle | Writer) -> dict[str, Rows]:
    """One row for every lane of a model that embeds; none for one that writes: a text costs too much."""
    if not isinstance(opened, Bundle):
        return {}
    size = opened.preprocessor.image.size
    return {
        "image": np.zeros((1, 3, size, size), np.float32),
        "text": opened.preprocessor.texts(["a photo"]),
    }


def fault(lane: str, answer: Rows) -> str:
    """What is wrong with the answer to a canary; nothing where it is one finite row of length 1."""
    if len(answer) == 1 and abs(float(np.linalg.norm(answer[0])) - 1) < _TOLERANCE:
        return ""
    return f"the {lane} canary gave no unit row"


def fault_of(opened: Bundle | Writer) -> str:
    """What is wrong with a model that is open and not served yet; nothing where it is well."""
    if not isinstance(opened, Bundle):
        return ""
    run: dict[str, Callable[[Rows], Rows]] = {"image": opened.run_images, "text": opened.run_texts}
    for lane, rows in canaries(opened).items():
        try:
            found = fault(lane, run[lane](rows))
        except Exception as error:  # runtimes raise classes of their own
            found = f"the {lane} canary failed: {error}"
        if found:
            return found
    return ""
