"""Which threads give way: those that compute, to the one that talks.

Where the cores are busy, the loop would get a thread's share among many. It could then neither take requests
in nor refuse them, and callers would wait in the sockets, where nothing counts them and no deadline holds.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

_STEPS = 5
"""Of niceness: with two threads that compute, the loop gets three fifths of a core that all want."""


def give_way() -> None:
    """Lower the priority of this thread below that of the loop. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)  # of the thread that asks, which has just begun
        with suppress(OSError):  # where a sandbox forbids it the threads work all the same
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, own + _STEPS))
