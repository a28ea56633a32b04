"""What the machine that runs the tests lacks, and saying so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from compressor.errors import MissingDependencyError


def why_missing(load: Callable[[], Any]) -> str | None:
    """What `load` says is missing, None where it loads."""
    try:
        load()
    except MissingDependencyError as error:
        return str(error)
    return None


def not_verified(what: str, reason: str) -> None:
    """Say in the summary of the tests what this machine could not test, and why."""
    warnings.warn(f"not verified on this machine: {what}: {reason}", stacklevel=2)
