"""`compressor ablate` as a person calls it: how far it goes, what it prints, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.errors import MissingResourceError
from compressor.pipeline.ablate import ablate
from compressor.pipeline.ablation import BASE, Comparison
from compressor.pipeline.ablation_plan import plan_ablation
from compressor.report.ablation.results import Ablation
from tests.integration.ablations import recipe_in
from tests.integration.conftest import Command

ARGUMENTS = ("ablate", "recipe.yaml", "--losses", "--seeds", "2")


def test_until_ends_after_so_many_trainings_and_json_is_one_document(
    teacher: Path, tmp_path: Path, command: Command
) -> None:
    recipe_in(tmp_path, teacher, distill={"epochs": 1})
    code, out, err = command(tmp_path, *ARGUMENTS, "--until", "1", "--json")
    assert code == 0
    found = Ablation.model_validate_json(out)
    assert (found.left, found.trainings) == (7, 8)
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["name"] for event in events if event["event"] == "stage"] == [f"{BASE}, seed 0"]
    ends = [event["summary"] for event in events if event["event"] == "finished"]
    assert len(ends) == 1
    assert "7 left, about" in ends[0]
    assert command(tmp_path, *ARGUMENTS, "--until", "1", "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--split", "tset"), "--split tset: the splits are train, val and test"),
        (("--variants", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("distill.losses=[]",), "distill.losses"),
        (("data={kind: folder, path: nowhere}",), "nowhere"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence_and_exit_code_2(
    teacher: Path, tmp_path: Path, command: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    recipe_in(tmp_path, teacher)
    code, out, err = command(tmp_path, *ARGUMENTS, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") <= 2


def test_missing_data_are_named_by_the_plan(teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, teacher, data={"kind": "folder", "path": "nowhere"})
    comparison = Comparison(recipe, seeds=1, runs=tmp_path / "runs")
    plan = plan_ablation(comparison)
    assert {each["state"] for each in plan["trainings"]} == {"waits for data"}
    assert "nowhere" in plan["missing"][0]
    with pytest.raises(MissingResourceError, match="nowhere"):
        ablate(comparison)
