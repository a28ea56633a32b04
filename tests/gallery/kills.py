"""Kill a process that adds in bulk at random moments, many times: `python -m tests.gallery.kills [TIMES]`."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tests.gallery.processes import check_kept, kill_after, start


def main(times: int) -> None:
    moments = random.Random()
    acknowledged = unacknowledged = 0
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "gallery"
        for number in range(times):
            name = f"w{number}"
            calls = kill_after(start(at, name, 100_000), moments.uniform(0.0, 1.0))
            acknowledged += calls
            unacknowledged += check_kept(at, name, calls) - calls
    print(
        f"{times} kills, {acknowledged} acknowledged calls: none lost, none in part; "
        f"{unacknowledged} calls were whole without having been acknowledged"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
