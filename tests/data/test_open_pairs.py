"""What all sources share: limits, stable splits, counting of bad samples, dispatch."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data import RawPairSet, open_pairs
from compressor.data.bad import BadSamples
from compressor.data.subset import split_by_hash
from compressor.errors import DataError
from compressor.recipe.data import FolderData, Limit, ScenesData
from tests.data.helpers import shade, write_images


def folder(root: Path, limit: int | None, count: int = 30) -> FolderData:
    write_images(root / "train", [f"{number:02d}.png" for number in range(count)])
    return FolderData(kind="folder", path=str(root), limit=Limit(train=limit))


def test_a_limit_is_a_fixed_subset_in_the_sources_order(tmp_path: Path) -> None:
    whole = open_pairs(folder(tmp_path, None), "train")
    some = open_pairs(folder(tmp_path, 8), "train", seed=3)
    ids = [row.id for row in some.rows]
    assert len(ids) == 8
    assert ids == sorted(ids)
    assert ids == [row.id for row in open_pairs(folder(tmp_path, 8), "train", seed=3).rows]
    assert ids != [row.id for row in whole.rows][:8]
    assert [f"train/{shade(some.image(index)):02d}.png" for index in range(8)] == ids
    assert isinstance(some, RawPairSet)
    assert some.image_bytes(0) == (tmp_path / ids[0]).read_bytes()


def test_a_larger_limit_holds_the_smaller_one(tmp_path: Path) -> None:
    small = {row.id for row in open_pairs(folder(tmp_path, 5), "train", seed=1).rows}
    large = {row.id for row in open_pairs(folder(tmp_path, 15), "train", seed=1).rows}
    assert small < large


def test_seed_and_limit_change_the_fingerprint(tmp_path: Path) -> None:
    sets = [
        open_pairs(folder(tmp_path, limit), "train", seed)
        for limit, seed in ((None, 0), (8, 0), (9, 0), (8, 1))
    ]
    assert len({pairs.fingerprint for pairs in sets}) == 4
    assert open_pairs(folder(tmp_path, 30), "train").fingerprint == sets[0].fingerprint


def test_scenes_open_through_the_same_door() -> None:
    data = ScenesData(kind="scenes", train=12, val=4, test=4, image_size=32, limit=Limit(train=5))
    pairs = open_pairs(data, "train", seed=1)
    assert len(pairs.rows) == 5
    assert pairs.image(4).size == (32, 32)


def test_splits_by_hash_follow_the_fractions() -> None:
    counts = Counter(split_by_hash(f"photo {number}", {"train": 0.8, "val": 0.2}) for number in range(2_000))
    assert set(counts) == {"train", "val"}
    assert 1_500 < counts["train"] < 1_700


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet=st.characters()), st.floats(0, 1))
def test_every_key_falls_into_a_split_with_a_share(key: str, train: float) -> None:
    fractions = {"train": train, "test": 1 - train}
    split = split_by_hash(key, fractions)  # type: ignore[arg-type]
    assert fractions[split] > 0


@pytest.mark.parametrize(
    "fractions", [{}, {"train": 0.9}, {"train": 1.5, "val": -0.5}, {"train": float("nan")}]
)
def test_fractions_that_are_none_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(DataError, match="split_fractions"):
        split_by_hash("key", fractions)  # type: ignore[arg-type]


def test_bad_samples_are_counted_once_and_named(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadSamples(total=300, max_fraction=0.01)
    with caplog.at_level(logging.WARNING):
        for name in ("a.jpg", "b.jpg", "b.jpg", "c.jpg"):
            bad.add(name, f"{name} is broken")
    assert bad.count == 3
    assert bad.reasons["b.jpg"] == "b.jpg is broken"
    assert caplog.text.count("skipped b.jpg: b.jpg is broken") == 1


def test_one_bad_sample_too_many_stops_with_numbers_and_names() -> None:
    bad = BadSamples(total=300, max_fraction=0.01)
    for name in ("a", "b", "c"):
        bad.add(name, "broken")
    with pytest.raises(
        DataError, match=r"4 of 300.*max_bad_fraction = 0\.01.*a: broken; b: broken; c: broken"
    ):
        bad.add("d", "broken")


def test_with_no_tolerance_the_first_bad_sample_stops() -> None:
    with pytest.raises(DataError, match="1 of 10"):
        BadSamples(total=10, max_fraction=0.0).add("a", "broken")
