"""A process that works on a gallery: `python -m tests.gallery.worker GALLERY NAME CALLS [together]`.

Every call adds ten items, all with the number of the call; when it has returned, the number is printed. With
`together` five of them have ids that all workers write, every third call deletes an item of its own, and
every fifth merges the pieces of the gallery.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from compressor.gallery import Gallery
from tests.gallery.world import SPACE, new_items, unit_rows

PER_CALL = 10


def work(at: Path, name: str, calls: int, together: bool) -> None:
    gallery, rows = Gallery.open(at, SPACE, create=True), unit_rows(PER_CALL)
    print("ready", flush=True)
    for call in range(calls):
        items = new_items(PER_CALL, f"{name}-{call}-", call=call)
        if together:
            shared = new_items(5, f"shared-{call}-", call=call, by=name)
            items = [replace(item, id=shared[n].id) if n < 5 else item for n, item in enumerate(items)]
        added = gallery.add(items, rows)
        assert len(added.ids) == PER_CALL
        if together and call % 3 == 2:
            gallery.delete([f"{name}-{call}-0009"])
        if together and call % 5 == 4:
            gallery.optimize()
        print(call, flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:] == ["together"])
