"""Distil large CLIP and BLIP models into small ones that are measured, exported and served.

    import compressor

    results = compressor.run("recipes/quickstart.yaml")
    bundle = compressor.Bundle.open("runs/quickstart/bundle")

Both names are imported when they are first used, so that `import compressor` loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.api import run
    from compressor.runtime.bundle import Bundle

__all__ = ["Bundle", "__version__", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "run":
        from compressor.api import run

        return run
    if name == "Bundle":
        from compressor.runtime.bundle import Bundle

        return Bundle
    raise AttributeError(f"module 'compressor' has no attribute '{name}'")
