"""Libraries that only training and export need, asked for before any work begins."""

from __future__ import annotations

from importlib.util import find_spec

from compressor.errors import MissingDependencyError

TRAINING = ("torch", "timm", "transformers", "open_clip", "onnx", "onnxscript")
"""Of the extra `train`: what no run does without."""
ALL = (*TRAINING, "onnxruntime")
"""What goes on to the export needs besides."""


def require_libraries(what: str, needed: tuple[str, ...] = ALL) -> None:
    """Raise `MissingDependencyError` in one sentence for everything that is not installed; imports nothing.

    `what` begins the sentence, "a run" for example.
    """
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"{what} needs {', '.join(absent)} (pip install 'compressor[train,cpu]')"
        )
