"""The README keeps its word: its commands are CI's, its recipes can run, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from compressor.recipe import Recipe
from compressor.recipe.check import check
from compressor.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def test_ci_installs_and_tests_with_the_commands_of_the_readme() -> None:
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "pip install -e '.[all]' && pytest" in README
    assert "pip install -e '.[all]'" in steps
    assert "pytest" in steps


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_in_the_readme_and_can_work(recipe: Path) -> None:
    assert f"recipes/{recipe.name}" in README
    check(load_recipe(recipe))


def test_the_recipe_of_the_worked_example_is_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 1
    Recipe.model_validate(yaml.safe_load(blocks[0]))


def test_relative_links_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
