"""Which variants a recipe has, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import RecipeError
from compressor.pipeline.ablation.comparison import BASE, CONTROL
from compressor.pipeline.ablation.variants import find_variants
from tests.integration.ablations import WRITING, writing_in
from tests.integration.tiny import write_recipe
from tests.pipeline.ablation.losses import LOSSES, kinds, variants


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


def test_a_student_that_writes_is_compared_with_itself(tmp_path: Path) -> None:
    found = {each.name: each for each in find_variants(writing_in(tmp_path), losses=True, balancers=True)}
    assert kinds(found[BASE]) == ["task", "logits", "amad"]
    assert kinds(found[CONTROL]) == ["task"]
    control = found[CONTROL].recipe
    assert control is not None
    assert control.distill.signals == "live", "nothing that a teacher writes can be stored"
    assert kinds(found["without logits"]) == ["task", "amad"]
    assert kinds(found["without amad"]) == ["task", "logits"]
    assert kinds(found["without task"]) == ["logits", "amad"]
    assert found["task alone"].refusal == f"is the same recipe as '{CONTROL}'"
    assert "there is no other loss to match" in found["amad alone"].refusal
    assert "a student that writes has none" in found["balancer gradnorm"].refusal
    assert {name for name, each in found.items() if name.startswith("balancer") and each.recipe} == {
        f"balancer {kind}" for kind in ("dsmd", "dsmd_rates", "uncertainty", "dwa")
    }


def test_a_student_of_another_kind_does_not_compare(tmp_path: Path) -> None:
    asks = [
        "teacher.head=vqa",
        "data={kind: scenes_questions, train: 32, val: 8, test: 8}",
        "evaluate.generation=null",
    ]
    odd = find_variants(writing_in(tmp_path), named={"asks": asks})[-1]
    assert (odd.recipe, odd.refusal) == (None, "has a student of another kind, whose figures do not compare")
    embeds = write_recipe(tmp_path / "embeds")
    writes = [f"{key}={WRITING[key]!r}" for key in ("teacher", "student", "distill")]
    odd = find_variants(embeds, named={"writes": writes})[-1]
    assert "has a student of another kind" in odd.refusal
