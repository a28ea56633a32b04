"""The teacher store: content keys, resuming, staleness, several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.distill import store_build
from compressor.distill.store import TeacherStore, store_key
from compressor.distill.store_build import build_lock
from compressor.distill.store_index import Rows, Shard, store_bytes
from compressor.errors import DiskFullError, MissingResourceError, ModelError, RunLockedError
from compressor.recipe.training import Augmentation
from tests.distill.world import Pictures, World, build_world


def build(world: World, views: tuple[int, ...] = (0,), **options: object) -> TeacherStore:
    return TeacherStore.build(
        world.folder / "store", world.teacher, world.rows, views, 4, shard_rows=5, **options
    )


def counted(world: World, views: tuple[int, ...] = (0,), **options: object) -> int:
    """Rows that a build had to compute."""
    seen = [0]
    build(world, views, progress=lambda done, total: seen.append(total), **options)
    return seen[-1]


def direct(world: World, row: int, view: int) -> torch.Tensor:
    spec = world.teacher.preprocessor.image
    pixels = torch.stack([world.rows.view_pixels(row, view, spec)])
    mean, std = (torch.tensor(v)[:, None, None] for v in (spec.mean, spec.std))
    with torch.no_grad():
        return world.teacher.encoder.encode_image((pixels.float() / 255 - mean) / std)[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return build_world(tmp_path)


def test_rows_are_the_teachers_own_embeddings_in_half_precision(world: World) -> None:
    store = build(world)
    numbers = store.image_numbers(world.rows, 0)
    for row in (0, 7, 23):
        stored = torch.from_numpy(store.images(numbers[[row]])[0]).float()
        torch.testing.assert_close(stored, direct(world, row, 0), rtol=2e-3, atol=1e-3)
    assert store.images(numbers).dtype == np.float16


def test_equal_captions_share_a_row_and_rows_follow_the_captions(world: World) -> None:
    store = build(world)
    numbers = store.text_numbers(world.rows)
    captions = [caption for row in world.rows.rows for caption in row.captions]
    assert numbers[0] == numbers[2]
    assert store.text_rows == len(set(captions))
    ids = torch.from_numpy(world.teacher.preprocessor.texts([captions[9]]))
    with torch.no_grad():
        expected = world.teacher.encoder.encode_text(ids)[0]
    torch.testing.assert_close(
        torch.from_numpy(store.texts(numbers[[9]])[0]).float(), expected, rtol=2e-3, atol=1e-3
    )


def test_a_second_build_computes_nothing_and_writes_nothing(world: World) -> None:
    store = build(world)
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*.safetensors")}
    assert counted(world) == 0
    assert {path: path.stat().st_mtime_ns for path in store.folder.glob("*.safetensors")} == before


def test_a_new_view_adds_one_row_an_image(tmp_path: Path) -> None:
    world = build_world(tmp_path, augmentation=Augmentation(horizontal_flip=0.5, crop_scale=(0.5, 1.0)))
    build(world, (0, 1))
    assert counted(world, (0, 1, 2)) == 24


def test_only_the_row_of_a_changed_caption_or_picture_is_computed_again(world: World) -> None:
    build(world)
    texts = [list(row.captions) for row in world.pairs.rows]
    texts[5][1] = "a caption nobody has written before"
    pairs = Pictures(captions=texts)
    changed = build_world(world.folder, pairs)
    changed = replace(changed, teacher=world.teacher)
    assert counted(changed) == 1
    pairs.set_pixels(8, 77)
    repainted = replace(build_world(world.folder, pairs), teacher=world.teacher)
    assert counted(repainted) == 1


def test_a_killed_build_goes_on_at_the_shard_it_was_in(world: World) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done >= 12:
            raise KilledError

    with pytest.raises(KilledError):
        build(world, progress=kill)
    folder = world.folder / "store" / store_key(world.teacher, world.rows)
    assert len(list(folder.glob("*.safetensors"))) == 2  # ten rows in two whole shards, the third was lost
    total = 24 + len({caption for row in world.rows.rows for caption in row.captions})
    assert counted(world) == total - 10


def test_a_torn_shard_and_a_deleted_one_are_computed_again(world: World) -> None:
    store = build(world)
    shards = sorted(store.folder.glob("image-*.safetensors"))
    rows = [Shard(path).rows for path in shards]
    shards[0].unlink()
    (store.folder / "index.json").unlink()
    torn = shards[1].read_bytes()
    shards[1].write_bytes(torn[: len(torn) // 2])
    assert counted(world) == rows[0] + rows[1]


def test_another_teacher_or_augmentation_gets_a_store_of_its_own(world: World) -> None:
    other = replace(world.teacher, fingerprint="other weights")
    augmented = build_world(world.folder, augmentation=Augmentation(colour=0.2))
    reseeded = build_world(world.folder, augmentation=Augmentation(colour=0.2), seed=5)
    keys = {
        store_key(world.teacher, world.rows),
        store_key(other, world.rows),
        store_key(world.teacher, augmented.rows),
        store_key(world.teacher, reseeded.rows),
    }
    assert len(keys) == 4


def test_more_views_of_the_same_augmentation_keep_the_store(world: World) -> None:
    few = build_world(world.folder, augmentation=Augmentation(colour=0.2, views=2))
    many = build_world(world.folder, augmentation=Augmentation(colour=0.2, views=8))
    assert store_key(world.teacher, few.rows) == store_key(world.teacher, many.rows)


def test_a_stale_store_is_refused_in_one_sentence(world: World) -> None:
    store = build(world)
    with pytest.raises(ModelError, match="is stale: it was built for fingerprint"):
        TeacherStore.open(store.folder, "another key")
    with pytest.raises(MissingResourceError, match="there is no teacher store"):
        TeacherStore.open(world.folder / "nothing", store.fingerprint)


def test_a_shard_of_another_store_is_refused(world: World) -> None:
    store = build(world)
    index = json.loads((store.folder / "index.json").read_text())
    index["key"] = "forged"
    (store.folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="is not of this store"):
        TeacherStore.open(store.folder, "forged")


def test_a_missing_view_is_named(world: World, tmp_path: Path) -> None:
    augmented = build_world(tmp_path, augmentation=Augmentation(colour=0.2))
    store = build(augmented, (0,))
    with pytest.raises(MissingResourceError, match=r"lacks 24 of 24 image rows .*image 'p0', view 3"):
        store.image_numbers(augmented.rows, 3)


def test_nan_from_the_teacher_is_refused_and_leaves_no_shard(world: World) -> None:
    with torch.no_grad():
        world.teacher.encoder.image_out.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="NaN or infinite"):
        build(world)
    assert list((world.folder / "store").glob("*/*.safetensors")) == []


def test_a_full_disk_keeps_the_finished_shards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write = store_build.atomic_write_bytes
    written: list[Path] = []

    def full(path: Path, data: bytes) -> None:
        if len(written) == 2:
            raise DiskFullError(f"{path}: no space left on the disk")
        written.append(path)
        write(path, data)

    monkeypatch.setattr(store_build, "atomic_write_bytes", full)
    with pytest.raises(DiskFullError):
        build(world)
    monkeypatch.undo()
    total = 24 + len({caption for row in world.rows.rows for caption in row.captions})
    assert counted(world) == total - 10


def test_mapped_rows_equal_rows_in_memory(world: World) -> None:
    store = build(world)
    shards = [Shard(path) for path in sorted(store.folder.glob("image-*.safetensors"))]
    mapped, loaded = Rows(shards, store.dim, in_memory_bytes=0), Rows(shards, store.dim)
    numbers = np.array([23, 0, 4, 5, 5, 19, 9])
    assert np.array_equal(mapped.gather(numbers), loaded.gather(numbers))
    assert isinstance(shards[0].embeddings, np.memmap)


def test_the_estimate_of_plan_is_close_to_the_real_size(world: World) -> None:
    store = TeacherStore.build(world.folder / "store", world.teacher, world.rows, [0], 8)
    shards = sum(path.stat().st_size for path in store.folder.glob("*.safetensors"))
    estimate = store_bytes(store.image_rows, 1, store.text_rows, store.dim)
    assert estimate < shards < estimate + 1024


def _hold(folder: Path, held: object, release: object) -> None:
    with build_lock(folder, wait=True):
        held.set()  # type: ignore[attr-defined]
        release.wait(20)  # type: ignore[attr-defined]


def test_a_second_builder_is_refused_or_waits(world: World) -> None:
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    folder = world.folder / "store" / store_key(world.teacher, world.rows)
    process = context.Process(target=_hold, args=(folder, held, release))
    process.start()
    assert held.wait(20)
    with pytest.raises(RunLockedError, match="another process is building the teacher store"):
        build(world, wait=False)
    opener = context.Process(target=_release_soon, args=(release,))
    opener.start()
    started = time.monotonic()
    assert build(world).image_rows == 24
    assert time.monotonic() - started > 0.2
    process.join()
    opener.join()


def _release_soon(release: object) -> None:
    time.sleep(0.3)
    release.set()  # type: ignore[attr-defined]


def test_the_lock_dies_with_its_process(world: World) -> None:
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    folder = world.folder / "store" / store_key(world.teacher, world.rows)
    process = context.Process(target=_hold, args=(folder, held, release))
    process.start()
    assert held.wait(20)
    assert process.pid is not None
    os.kill(process.pid, 9)
    process.join()
    assert build(world, wait=False).image_rows == 24
