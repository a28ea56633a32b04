"""Which trainings an ablation is made of, and how the time left is estimated."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from compressor.pipeline.ablation import BASE, CONTROL, Comparison
from compressor.pipeline.ablation.comparison import Training, Variant, all_trainings, seconds_left
from tests.pipeline.ablation.losses import variants


def test_trainings_go_seed_by_seed_from_the_recipes_own(tmp_path: Path) -> None:
    found = list(
        variants(tmp_path, "seed=5", named={"odd": ["seed=1"], "fast": ["distill.epochs=1"]}).values()
    )
    listed = all_trainings(found, 2)
    assert [(each.variant.name, each.seed) for each in listed] == [
        (name, seed) for seed in (5, 6) for name in (BASE, CONTROL, "fast")
    ]
    assert [each.recipe.seed for each in listed] == [5, 5, 5, 6, 6, 6]
    assert listed[-1].label == "fast, seed 6"
    assert listed[-1].folder == Path("fast/seed-6")


@given(st.text(max_size=40))
def test_a_folder_is_one_plain_name(name: str) -> None:
    folder = Variant(name).folder
    assert Training(Variant(name), 3).folder == Path(folder) / "seed-3"
    assert not set(folder) - set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert folder[:1] not in (".", "-")


def test_time_left_counts_every_variant_with_its_own_median() -> None:
    finished = {"a": [10.0, 30.0, 14.0], "b": [2.0], "c": []}
    assert seconds_left(finished, ["a", "b", "b"]) == 14 + 2 + 2
    assert seconds_left(finished, ["c", "new"]) == 2 * 12, (
        "what is unknown takes as long as the median of all"
    )
    assert seconds_left(finished, []) == 0
    assert seconds_left({}, []) == 0
    assert seconds_left({"a": []}, ["a"]) is None


def test_the_command_can_be_typed_again() -> None:
    comparison = Comparison(
        "a b.yaml", ("x={kind: dwa}",), True, True, Path("v.yaml"), 2, "test", Path("/runs")
    )
    assert comparison.command == (
        "compressor ablate 'a b.yaml' 'x={kind: dwa}' --losses --balancers --variants v.yaml --seeds 2 "
        "--split test --runs /runs"
    )
    assert Comparison("quickstart").command == "compressor ablate quickstart --seeds 3"
