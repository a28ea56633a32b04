"""Memory that a rush of requests took goes back to the system when the rush is over.

The C library keeps what was freed between pieces that are still in use; a service that was overloaded once
would stay at the height of that minute.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from typing import Any

CALM = 5.0
"""Seconds without a refused request."""


class Tidying:
    """Gives memory back a while after the last request that was refused."""

    def __init__(self) -> None:
        self._due: asyncio.TimerHandle | None = None
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim: Any = getattr(library, "malloc_trim", None)  # glibc's

    def refused(self) -> None:
        """A request was refused: there is a rush."""
        if self._trim is not None:
            if self._due is not None:
                self._due.cancel()
            self._due = asyncio.get_running_loop().call_later(CALM, self._tidy)

    def _tidy(self) -> None:
        self._due = None
        asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
