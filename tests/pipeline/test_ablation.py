"""Which trainings an ablation is made of, what is refused, and how the time left is estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.pipeline.ablation import (
    BASE,
    CONTROL,
    Comparison,
    Training,
    Variant,
    all_trainings,
    find_variants,
    read_variants,
    seconds_left,
)
from compressor.recipe import Recipe
from tests.integration.tiny import write_recipe

LOSSES: list[dict[str, Any]] = [
    {"kind": "contrastive", "queue": 64},
    {"kind": "feature", "norm": "l2"},
    {"kind": "similarity", "weight": 0.5},
]


def variants(folder: Path, *overrides: str, **options: Any) -> dict[str, Variant]:
    recipe = write_recipe(folder, distill={"losses": LOSSES}, goals=["quality.control.rsum > 1"])
    return {variant.name: variant for variant in find_variants(recipe, overrides, **options)}


def kinds(variant: Variant) -> list[str]:
    assert variant.recipe is not None
    return [loss.kind for loss in variant.recipe.distill.losses]


def test_the_recipe_and_its_control_are_always_compared(tmp_path: Path) -> None:
    found = variants(tmp_path)
    assert list(found) == [BASE, CONTROL]
    base, control = (found[name].recipe for name in (BASE, CONTROL))
    assert base is not None
    assert control is not None
    assert kinds(found[BASE]) == ["contrastive", "feature", "similarity"]
    assert kinds(found[CONTROL]) == ["task"]
    assert (control.distill.balancer.kind, control.teacher) == ("static", base.teacher)
    for recipe in (base, control):
        assert not recipe.distill.control, "no training is done twice"
        assert recipe.goals == ()


def test_each_loss_alone_and_each_left_out_keep_their_options(tmp_path: Path) -> None:
    found = variants(tmp_path, "distill.losses.0.temperature=0.1", losses=True)
    assert list(found)[2:] == [
        *("contrastive alone", "feature alone", "similarity alone"),
        *("without contrastive", "without feature", "without similarity"),
    ]
    base = found[BASE].recipe
    assert base is not None
    own = {loss.kind: loss for loss in base.distill.losses}
    for kind in own:
        alone, without = found[f"{kind} alone"].recipe, found[f"without {kind}"].recipe
        assert alone is not None
        assert without is not None
        assert alone.distill.losses == (own[kind],)
        assert without.distill.losses == tuple(loss for other, loss in own.items() if other != kind)
        assert without.distill.balancer == base.distill.balancer
    assert found["contrastive alone"].overrides == (
        "distill.losses=[{kind: contrastive, temperature: 0.1, queue: 64}]",
    ), "as a person would type it"


def test_every_other_balancer_stands_with_its_defaults(tmp_path: Path) -> None:
    found = variants(tmp_path, "distill.balancer={kind: dwa, window: 7}", balancers=True)
    assert list(found)[2:] == [
        f"balancer {kind}" for kind in ("static", "dsmd", "dsmd_rates", "uncertainty", "gradnorm")
    ]
    for name, variant in list(found.items())[2:]:
        assert variant.recipe is not None
        assert variant.recipe.distill.balancer.kind == name.removeprefix("balancer ")
        assert kinds(variant) == kinds(found[BASE])


def test_named_settings_lie_on_top_of_the_recipe_and_the_command_line(tmp_path: Path) -> None:
    named = {"fast": ["distill.optimizer.lr=0.1", "distill.losses.2.weight=3"]}
    found = variants(tmp_path, "distill.optimizer.lr=0.2", "distill.epochs=5", named=named)
    fast = found["fast"].recipe
    assert fast is not None
    assert (fast.distill.optimizer.lr, fast.distill.epochs, fast.distill.losses[2].weight) == (0.1, 5, 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["distill.losses.9.weight=2"], "'9' is no item of that list; allowed: 0 to 2"),
        (["distill.losses.0={kind: amad}"], "distill.signals: is stored, but attention maps are too large"),
        (["distill.losses.0.queue=0", "distill.losses.0.batch_negatives=false"], "leaves no negatives"),
        (["distill.losses=[]"], "leaves no loss to learn from"),
        (["seed=4"], "sets name or seed"),
        (["name=other"], "sets name or seed"),
        (["goals=[]"], f"is the same recipe as '{BASE}'"),
    ],
)
def test_a_variant_that_cannot_be_trained_is_listed_with_the_reason(
    tmp_path: Path, settings: list[str], sentence: str
) -> None:
    variant = variants(tmp_path, named={"odd": settings})["odd"]
    assert variant.recipe is None
    assert sentence in variant.refusal
    assert "\n" not in variant.refusal


def test_a_loss_that_cannot_stand_alone_is_listed(tmp_path: Path) -> None:
    amad = {"kind": "amad", "alpha": "match_initial_scale"}
    recipe = write_recipe(tmp_path, distill={"losses": [*LOSSES[:2], amad], "signals": "live"})
    found = {variant.name: variant for variant in find_variants(recipe, losses=True)}
    assert "there is no other loss to match" in found["amad alone"].refusal
    assert kinds(found["without amad"]) == ["contrastive", "feature"]
    control = found[CONTROL].recipe
    assert control is not None
    assert control.distill.signals == "stored", "no teacher runs every step for nothing"


def test_the_same_recipe_is_trained_once(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)  # two losses: one left out is the other one alone
    found = {variant.name: variant for variant in find_variants(recipe, losses=True)}
    assert found["without feature"].refusal == "is the same recipe as 'contrastive alone'"
    single = write_recipe(tmp_path, distill={"losses": [{"kind": "feature"}]})
    found = {variant.name: variant for variant in find_variants(single, losses=True)}
    assert found["feature alone"].refusal == f"is the same recipe as '{BASE}'"
    assert found["without feature"].refusal == "leaves no loss to learn from"


def test_a_recipe_that_cannot_run_as_it_is_is_refused_as_a_whole(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, distill={"losses": [{"kind": "amad"}]})
    with pytest.raises(RecipeError, match=r"recipe\.yaml:\d+: distill.*is stored, but attention maps"):
        find_variants(recipe)


def test_a_student_that_writes_has_no_retrieval_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "head", "caption")
    with pytest.raises(RecipeError, match="its student writes, and an ablation compares retrieval"):
        find_variants(write_recipe(tmp_path))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({BASE: []}, "is there already"),
        ({"feature alone": []}, "is there already"),
        ({"Fast!": ["seed=1"], "fast": ["seed=2"]}, "would share a folder"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, named: dict[str, list[str]], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        variants(tmp_path, losses=True, named=named)


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


def test_a_file_of_variants(tmp_path: Path) -> None:
    file = tmp_path / "variants.yaml"
    file.write_text(
        "no attention:\n  - 'distill.losses=[{kind: feature}]'\n  - distill.epochs=3\n"
        "kl: distill.losses.4.variant=kl\n"
    )
    assert read_variants(file) == {
        "no attention": ("distill.losses=[{kind: feature}]", "distill.epochs=3"),
        "kl": ("distill.losses.4.variant=kl",),
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no variants"),
        ("- a\n", "holds no variants"),
        ("a: [distill.epochs]\n", r"variants.yaml:1: a: is no setting"),
        ("b:\n  - distill.losses=[{kind: task}]\n", r"variants.yaml:2: b: is no setting.*in quotes"),
        ("a: {}\n", "is no setting"),
        ("'--': [distill.epochs=1]\n", "names no variant"),
        (f"{'x' * 61}: [distill.epochs=1]\n", "names no variant"),
        ("a: [b=1]\na: [c=1]\n", "stands twice"),
        ("a: !!python/object:os.system [b=1]\n", "is not allowed"),
    ],
)
def test_a_file_that_is_no_list_of_variants_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "variants.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=sentence):
        read_variants(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere.yaml: cannot be read: No such file"):
        read_variants(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"caf\xe9: [a=1]\n")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_variants(tmp_path / "latin.yaml")


def test_the_command_can_be_typed_again() -> None:
    comparison = Comparison(
        "a b.yaml", ("x={kind: dwa}",), True, True, Path("v.yaml"), 2, "test", Path("/runs")
    )
    assert comparison.command == (
        "compressor ablate 'a b.yaml' 'x={kind: dwa}' --losses --balancers --variants v.yaml --seeds 2 "
        "--split test --runs /runs"
    )
    assert Comparison("quickstart").command == "compressor ablate quickstart --seeds 3"
