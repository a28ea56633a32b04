"""Several processes on one gallery, and processes that are killed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from compressor.gallery import Gallery
from tests.gallery.processes import check_kept, kill_after, start
from tests.gallery.world import SPACE, filled, new_items, unit_rows


def test_a_kill_loses_nothing_acknowledged_and_leaves_nothing_in_part(tmp_path: Path) -> None:
    moments = random.Random(0)
    for number in range(2):
        worker = start(tmp_path / "g", f"w{number}", 10_000)
        acknowledged = kill_after(worker, moments.uniform(0.0, 0.4))
        assert acknowledged >= 1
        check_kept(tmp_path / "g", f"w{number}", acknowledged)
    gallery = Gallery.open(tmp_path / "g", SPACE)
    before = gallery.count()
    gallery.optimize()
    assert gallery.count() == before
    assert gallery.add(new_items(2), unit_rows(2)).ids == ["i0000", "i0001"]


def test_workers_at_once_lose_nothing_and_write_no_id_twice(tmp_path: Path) -> None:
    """They also make the gallery at once, delete, and merge its pieces."""
    calls = 6
    workers = [start(tmp_path / "g", name, calls, "together") for name in "abc"]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.close()
    gallery = Gallery.open(tmp_path / "g", SPACE)
    wanted = {f"shared-{call}-{n:04d}" for call in range(calls) for n in range(5)}
    for name in "abc":
        wanted |= {f"{name}-{call}-{n:04d}" for call in range(calls) for n in range(5, 10)}
        wanted -= {f"{name}-{call}-0009" for call in range(2, calls, 3)}
    listed = [item.id for item in gallery.page(limit=1_000).items]
    assert listed == sorted(wanted)
    assert gallery.count() == len(wanted)


def test_a_reader_sees_at_once_what_another_has_written(tmp_path: Path) -> None:
    writer, rows = filled(tmp_path / "g", 5)
    reader = Gallery.open(tmp_path / "g", SPACE)
    assert len(reader.search(rows[:1], 10)[0]) == 5
    new = unit_rows(1, seed=7)
    writer.add(new_items(1, "new"), new)
    assert reader.search(new, 1)[0][0].id == "new0000"
    writer.delete(["new0000"])
    writer.add(new_items(1), new)  # replaces i0000
    (hits,) = reader.search(new, 10)
    assert [hit.id for hit in hits].count("i0000") == 1
    assert hits[0].id == "i0000"
    assert len(hits) == 5
    stored = reader.vector("i0000")
    assert stored is not None
    np.testing.assert_array_equal(stored, new[0])
