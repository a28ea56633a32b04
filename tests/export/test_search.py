from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import BundleError
from compressor.export.search import beaten_by, bytes_of, settle, winners
from compressor.recipe.outcome import ExportSection
from compressor.runtime.bundle import Bundle
from compressor.runtime.manifest import read_manifest
from compressor.runtime.schema import BundleManifest, Candidate
from tests.export.toys import write_toy_bundle


def candidate(delta: float | None, ratio: float, size: int) -> Candidate:
    return Candidate(
        image_ms=ratio,
        text_ms=ratio,
        ratio=ratio,
        ratio_interval=(ratio, ratio),
        bytes=size,
        recall_delta=delta,
    )


FP32 = candidate(0.0, 1.0, 1000)


def test_what_another_is_nowhere_worse_than_is_beaten() -> None:
    found = {
        "fp32": FP32,
        "int8": candidate(-0.2, 0.5, 300),
        "worse": candidate(-0.3, 0.5, 300),
        "small": candidate(-0.9, 0.6, 200),
        "twin": candidate(-0.2, 0.5, 300),
    }
    assert {name: beaten_by(name, found) for name in found} == {
        "fp32": "",
        "int8": "",
        "worse": "int8",
        "small": "",
        "twin": "",
    }


FIGURES = st.tuples(
    st.integers(-3, 3), st.sampled_from([0.5, 0.8, 1.0, 1.4]), st.sampled_from([100, 500, 1000])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FIGURES, min_size=1, max_size=6))
def test_the_pareto_set_is_what_nobody_beats(figures: list[tuple[int, float, int]]) -> None:
    found = {f"p{k}": candidate(float(delta), ratio, size) for k, (delta, ratio, size) in enumerate(figures)}
    for name, (delta, ratio, size) in zip(found, figures, strict=True):
        beaten = False
        for other_delta, other_ratio, other_size in figures:
            no_worse = other_delta >= delta and other_ratio <= ratio and other_size <= size
            better = other_delta > delta or other_ratio < ratio or other_size < size
            beaten = beaten or (no_worse and better)
        assert bool(beaten_by(name, found)) == beaten
    assert any(not beaten_by(name, found) for name in found)


def test_each_goal_has_its_winner() -> None:
    found = {
        "fp32": FP32,
        "quick": candidate(-0.9, 0.40, 500),
        "small": candidate(-0.9, 0.95, 200),
        "even": candidate(-0.1, 0.45, 400),
    }
    assert winners(found, 1.0) == {"smallest": "small", "fastest": "quick", "balanced": "even"}


def test_what_is_slower_than_fp32_wins_nothing() -> None:
    found = {"fp32": FP32, "int8": candidate(0.5, 1.01, 250), "int4_weights": candidate(0.0, 1.3, 150)}
    assert winners(found, 1.0) == {"smallest": "fp32", "fastest": "fp32", "balanced": "fp32"}


def test_loss_counts_as_a_share_of_what_is_allowed() -> None:
    found = {"fp32": FP32, "lossy": candidate(-0.5, 0.5, 500)}
    assert winners(found, 1.0)["balanced"] == "lossy"
    assert winners(found, 0.4)["balanced"] == "fp32"
    assert winners(found, 0.0)["balanced"] == "fp32"
    assert winners({"fp32": FP32, "same": candidate(0.0, 0.9, 500)}, 0.0)["balanced"] == "same"


def test_quality_that_was_not_judged_decides_nothing() -> None:
    found = {"fp32": candidate(None, 1.0, 1000), "int8": candidate(None, 0.5, 300)}
    assert beaten_by("fp32", found) == "int8"
    assert winners(found, 1.0)["balanced"] == "int8"


class Settled:
    """A bundle of two precisions, settled on given figures."""

    def __init__(self, folder: Path, figures: dict[str, Candidate], **section: Any) -> None:
        self.folder = folder
        written = write_toy_bundle(folder, parity={"recall_delta": -50, "overlap": 0})
        self.before: BundleManifest = written
        settings = ExportSection.model_validate({"search": True, **section})
        self.manifest = settle(folder, written, figures, settings, threads=1, provider="CPU")


def test_beaten_artifacts_leave_the_bundle_with_their_figures(tmp_path: Path) -> None:
    settled = Settled(tmp_path / "bundle", {"fp32": FP32, "int8": candidate(-0.5, 1.2, 1200)})
    assert read_manifest(tmp_path / "bundle") == settled.manifest
    assert list(settled.manifest.artifacts) == ["fp32"]
    assert not (tmp_path / "bundle" / "int8").exists()
    search = settled.manifest.search
    assert search is not None
    assert search.left_out == {"int8": settled.before.artifacts["int8"]}
    assert {name: found.beaten_by for name, found in search.candidates.items()} == {
        "fp32": "",
        "int8": "fp32",
    }
    Bundle.open(tmp_path / "bundle").verify()
    with pytest.raises(BundleError, match="the search left it out: slower than fp32"):
        Bundle.open(tmp_path / "bundle", "int8")


def test_one_reason_is_given_for_what_is_left_out() -> None:
    slow, worse = candidate(-0.2, 1.2, 900), candidate(-0.2, 0.7, 900)
    beaten = {"beaten_by": "int8"}
    assert slow.model_copy(update=beaten).weakness == "slower than fp32"
    assert worse.model_copy(update=beaten).weakness == "beaten by int8"
    assert worse.weakness == ""


def test_a_goal_as_the_default_opens_its_winner(tmp_path: Path) -> None:
    figures = {"fp32": FP32, "int8": candidate(0.1, 0.5, 300)}
    settled = Settled(tmp_path / "bundle", figures, default="fastest")
    assert settled.manifest.default_precision == "int8"
    assert Bundle.open(tmp_path / "bundle").precision == "int8"
    assert settled.manifest.search is not None
    assert settled.manifest.search.candidates["fp32"].beaten_by == "int8"
    assert "fp32" in settled.manifest.artifacts, "what all is compared with stays"


def test_size_is_that_of_both_towers(tmp_path: Path) -> None:
    settled = Settled(tmp_path / "bundle", {"fp32": FP32})
    files = (tmp_path / "bundle" / "fp32").iterdir()
    assert bytes_of(settled.manifest.artifacts["fp32"]) == sum(path.stat().st_size for path in files)
