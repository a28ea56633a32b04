"""From a file (or the name of a shipped recipe) and settings on the command line to a validated `Recipe`.

Imports nothing heavy and runs no code from a recipe. What is wrong is a `RecipeError` with `file:line`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from compressor.errors import RecipeError
from compressor.recipe.overrides import KeyPath, apply_overrides, fill_environment, flatten, merge
from compressor.recipe.problems import Problem, explain, message, mistaken_truths, origin_of
from compressor.recipe.recipe import Recipe, with_student_kind
from compressor.recipe.source import Origin, Value, read_recipe_file

PACKAGE = Path(__file__).parents[1]
MAX_CHAIN = 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe, the file it was read from, and the file and line of each of its values by key path."""

    recipe: Recipe
    path: Path
    origins: Mapping[KeyPath, Origin] = field(default_factory=dict, repr=False)

    def problem(self, path: KeyPath, text: str) -> Problem:
        """Something wrong with the value at a key path that only the whole recipe shows."""
        return Problem(origin_of(path, self.origins), path, text)


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read and validate a recipe: a file, or the name of a shipped one such as `quickstart`.

    `overrides` are settings like `distill.epochs=2`. A relative path in a setting starts from the working
    directory, one in a file from that file's folder. Raises `RecipeError`: a problem a line, with its place.
    """
    file = find_recipe(path)
    whole = apply_overrides(_read_chain(file, str(path) if file == Path(path) else str(file), ()), overrides)
    data, origins = flatten(whole)
    data = with_student_kind(data)
    problems = mistaken_truths(data, origins)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        problems += explain(error, data, origins)
    if problems:
        raise RecipeError(message(problems))
    return LoadedRecipe(recipe, file, origins)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name: data of a wheel, or the folder in a checkout."""
    for folder in (PACKAGE / "recipes", PACKAGE.parent / "recipes"):
        if folder.parent != PACKAGE and not (PACKAGE.parent / "pyproject.toml").is_file():
            continue  # site-packages/recipes would be somebody else's
        if folder.is_dir():
            return {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    return {}


def find_recipe(path: Path | str) -> Path:
    """The file that a user means: the path itself, or a shipped recipe where there is no such file.

    Raises `RecipeError` for a bare name that is neither.
    """
    text = str(path)
    if not text.strip():
        raise RecipeError("no recipe was named; give the path of a YAML file or the name of a shipped recipe")
    if not _NAME.fullmatch(text) or Path(text).is_file():
        return Path(path)
    shipped = shipped_recipes()
    name = re.sub(r"\.ya?ml$", "", text)
    if name in shipped:
        return shipped[name]
    if Path(text).exists():
        return Path(path)
    near = get_close_matches(name, shipped, n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    names = ", ".join(shipped) or "none"
    raise RecipeError(f"{text}: no such file, nor a shipped recipe of that name;{hint} shipped: {names}")


def _read_chain(file: Path, shown: str, above: tuple[str, ...]) -> Value:
    """A file with all that it extends underneath it."""
    identity = os.path.realpath(file) if "\0" not in str(file) else str(file)
    if identity in above:
        raise RecipeError(f"{shown}: extends itself: {' -> '.join([*above, identity])}")
    if len(above) >= MAX_CHAIN:
        raise RecipeError(f"{shown}: the chain of 'extends' is longer than {MAX_CHAIN} files")
    recipe = read_recipe_file(file, shown)
    content = dict(recipe.content) if isinstance(recipe.content, dict) else {}
    extends = content.pop("extends", None)
    own = replace(recipe, content=content)
    if extends is None:
        return own
    if not isinstance(extends.content, str) or not extends.content.strip():
        raise RecipeError(f"{extends.origin}: extends: must be the path of another recipe")
    name = fill_environment(extends.content, f"{extends.origin}: extends")
    parent = Path(os.path.normpath(file.parent / name))
    try:
        return merge(_read_chain(parent, str(parent), (*above, identity)), own)
    except RecipeError as error:
        raise RecipeError(_with_reason(str(error), str(parent), str(extends.origin))) from None


def _with_reason(text: str, parent: str, origin: str) -> str:
    """Say which line asks for a file that cannot be read at all; problems inside it have their own line."""
    return f"{origin}: extends: {text}" if text.startswith(f"{parent}: ") else text
