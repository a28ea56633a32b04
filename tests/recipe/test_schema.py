"""The published schema and reference say what the sections say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from compressor.errors import RecipeError
from compressor.recipe.load import load_recipe, shipped_recipes
from compressor.recipe.schema import recipe_json_schema, reference_markdown
from tests.recipe.conftest import SMALL, Write

DOCS = Path(__file__).parents[2] / "docs"
REMEDY = (
    'run: python -c "from pathlib import Path; from compressor.recipe.schema import write_documents; '
    "write_documents(Path('docs'))\""
)
VALIDATOR = Draft202012Validator(recipe_json_schema())


def changed(**changes: Any) -> dict[str, Any]:
    recipe: dict[str, Any] = yaml.safe_load(SMALL)
    return recipe | changes


def test_the_published_schema_is_up_to_date() -> None:
    assert json.loads((DOCS / "recipe.schema.json").read_text("utf-8")) == recipe_json_schema(), REMEDY


def test_the_published_reference_is_up_to_date() -> None:
    assert (DOCS / "recipe_reference.md").read_text("utf-8") == reference_markdown(), REMEDY


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(recipe_json_schema())


@pytest.mark.parametrize(
    "recipe",
    [
        changed(),
        changed(teacher=None),
        changed(seed="${env:SEED:-3}"),
        {"extends": "base.yaml"},
        {"extends": "base.yaml", "distill": {"optimizer": {"lr": 0.1}}, "data": {"root": "x"}},
        {"extends": "base.yaml", "student": {"image": {"input": {"size": 96}}}, "teacher": None},
    ],
)
def test_recipes_pass_the_schema(recipe: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(recipe)] == []


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        changed(extra=1),
        changed(name=3),
        changed(seed=-1),
        changed(seed="many"),
        changed(data={"kind": "scene"}),
        changed(data={"kind": "karpathy"}),
        changed(data={"kind": "scenes", "root": "x"}),
        changed(export={"precisions": ["fp8"]}),
        {"extends": "base.yaml", "distill": {"epocs": 1}},
        {"extends": "base.yaml", "data": {"kind": "scene"}},
        {"extends": 3},
    ],
)
def test_mistakes_fail_the_schema(recipe: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(recipe)


def test_shipped_recipes_pass_both_the_schema_and_the_loader() -> None:
    for name, path in shipped_recipes().items():
        text = path.read_text("utf-8")
        assert text.startswith("# yaml-language-server: $schema="), name
        assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))] == [], name
        assert load_recipe(name).recipe.name


def test_what_the_schema_refuses_of_a_recipe_the_loader_refuses(write: Write) -> None:
    for recipe in (changed(extra=1), changed(seed=-1), changed(data={"kind": "karpathy"})):
        with pytest.raises(RecipeError):
            load_recipe(write("recipe.yaml", yaml.safe_dump(recipe)))


def test_the_reference_names_every_key_of_every_section() -> None:
    text = reference_markdown()
    for name, definition in recipe_json_schema()["$defs"].items():
        if not name.endswith("Part"):
            for key in definition.get("properties", {}):
                assert f"`{key}`" in text or key == "extends", (name, key)
    assert "### `distill.losses`, kind `hard_negative`" in text
    assert "| `margin` | a number, more than 0 | `0.05` |" in text
