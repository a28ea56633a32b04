"""The process that does a gallery's upkeep: `python -m compressor.gallery.keeper PLACE EXACT_BELOW PIECES`.

To merge and to build an index takes minutes of all cores, and what runs inside LanceDB cannot be stopped. In
a process of its own it gives way to those who answer requests, and may be killed at any moment: nothing is
there before it is committed as a whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress

from compressor.errors import CompressorError

_NICE = 10


def start(place: str, exact_below: int, pieces: int) -> subprocess.Popen[bytes]:
    """Start the process. It ends when its standard input does, thus with its parent however that ends; what
    it writes to its standard error is one sentence of why it failed."""
    known = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "compressor.gallery.keeper", place, str(exact_below), str(pieces)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": known},
        start_new_session=True,
    )


def keep(place: str, exact_below: int, pieces: int) -> int:
    """Do what is due at a place. 0 when it is done, or another process is at it; 1 when it failed."""
    from compressor.gallery.gallery import Gallery

    try:
        gallery = Gallery.open(place, exact_below=exact_below)
        if gallery.due(pieces):
            gallery.keep_up()
    except CompressorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _end_with_parent() -> None:
    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _give_way() -> None:
    """Before LanceDB has threads: their priority is that of the one that starts them, and their number is in
    the environment. Half of the cores are left to whoever answers requests."""
    from compressor.runtime.session import usable_cores

    with suppress(AttributeError, OSError):
        os.nice(_NICE)
    for name in ("LANCE_CPU_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(name, str(max(1, usable_cores() // 2)))


if __name__ == "__main__":
    _end_with_parent()
    _give_way()
    sys.exit(keep(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
