"""One recipe out of several: `extends`, overrides from the command line, environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.errors import RecipeError
from compressor.recipe.base import Located
from compressor.recipe.source import COMMAND_LINE, MAX_DEPTH, Origin, Value, parse_yaml

KeyPath = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}")
_TYPED = Origin(COMMAND_LINE, 0)


def merge(base: Value, change: Value) -> Value:
    """`change` laid over `base`: mappings merge; all else, and a section of another kind, is replaced."""
    old, new = base.content, change.content
    if not isinstance(old, dict) or not isinstance(new, dict):
        return change
    if "kind" in old and "kind" in new and old["kind"].content != new["kind"].content:
        return change
    both = {key: merge(old[key], new[key]) if key in old else new[key] for key in new}
    return replace(change, content=old | both)


def apply_overrides(recipe: Value, overrides: Sequence[str]) -> Value:
    """The recipe with `key.path=value` settings, later ones winning; list items go by index.

    Values are YAML. Setting a `kind` to another one drops what the file says in that section, as it would in
    a file that extends it. Raises `RecipeError` for a setting that cannot be read or has no place.
    """
    parsed = [_parse(override) for override in overrides]
    # Kinds first, so that the order in which settings are typed does not matter.
    for keys, value in sorted(parsed, key=lambda setting: setting[0][-1] != "kind"):
        recipe = _set(recipe, keys, value, ())
    return recipe


def _parse(override: str) -> tuple[list[str], Value]:
    name, sign, text = override.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not sign or not all(keys):
        raise RecipeError(
            f"{COMMAND_LINE}: '{_short(override)}' is no setting; write it like distill.epochs=2"
        )
    if len(keys) > MAX_DEPTH:
        raise RecipeError(f"{COMMAND_LINE}: '{_short(name)}' is deeper than any recipe")
    if keys == ["extends"]:
        raise RecipeError(
            f"{COMMAND_LINE}: extends: only a file can extend another; give that file as the recipe"
        )
    try:
        value = parse_yaml(text, f"{COMMAND_LINE}: {_short(name)}", Path.cwd(), lines=False)
    except RecipeError as error:
        raise RecipeError(f"{error}; put a value with special characters in quotes") from None
    return keys, _typed(value) if value is not None else Value(None, _TYPED, Path.cwd())


def _typed(value: Value) -> Value:
    """The same with the plain command line as the origin of every part."""
    content = value.content
    if isinstance(content, dict):
        content = {key: _typed(part) for key, part in content.items()}
    elif isinstance(content, list):
        content = [_typed(part) for part in content]
    return Value(content, _TYPED, value.folder)


def _set(target: Value, keys: list[str], value: Value, done: KeyPath) -> Value:
    if not keys:
        return value
    key, rest, content = keys[0], keys[1:], target.content
    shown = ".".join(str(part) for part in (*done, *keys))
    if isinstance(content, list):
        if not (key.isascii() and key.isdigit()) or len(key) > 9 or int(key) >= len(content):
            allowed = f"0 to {len(content) - 1}" if content else "none, it is empty"
            raise RecipeError(f"{COMMAND_LINE}: {shown}: '{key}' is no item of that list; allowed: {allowed}")
        items = list(content)
        items[int(key)] = _set(items[int(key)], rest, value, (*done, int(key)))
        return replace(target, content=items)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        above = ".".join(str(part) for part in done)
        raise RecipeError(f"{COMMAND_LINE}: {shown}: '{above}' is a single value and has no '{key}'")
    if key == "kind" and not rest and "kind" in content and content["kind"].content != value.content:
        content = {name: part for name, part in content.items() if part.origin == _TYPED}
    below = content.get(key, Value(None, _TYPED, value.folder))
    return replace(target, content=content | {key: _set(below, rest, value, (*done, key))})


def flatten(recipe: Value) -> tuple[Any, dict[KeyPath, Origin]]:
    """Plain data for validation, with environment variables filled in, and where each value stands.

    Strings become `Located`, so that a relative path starts from the file it stands in.
    """
    origins: dict[KeyPath, Origin] = {}

    def visit(value: Value, path: KeyPath) -> Any:
        origins[path] = value.origin
        content = value.content
        if isinstance(content, dict):
            return {key: visit(part, (*path, key)) for key, part in content.items()}
        if isinstance(content, list):
            return [visit(part, (*path, index)) for index, part in enumerate(content)]
        if isinstance(content, str):
            return Located(fill_environment(content, f"{value.origin}: {dotted(path)}"), value.folder)
        return content

    return visit(recipe, ()), origins


def fill_environment(text: str, where: str) -> str:
    """`${env:NAME}` and `${env:NAME:-default}` replaced, once: what a variable holds is taken as it is.

    The default also stands for an empty variable, as in a shell. Raises `RecipeError` for a missing variable.
    """
    parts, end = [], 0
    for match in _VARIABLE.finditer(text):
        parts += [_literal(text[end : match.start()], where), _variable(match, where)]
        end = match.end()
    return "".join([*parts, _literal(text[end:], where)])


def _literal(text: str, where: str) -> str:
    if "${env" in text:
        forms = "${env:NAME} or ${env:NAME:-default}"
        raise RecipeError(f"{where}: '{_short(text)}' is not understood; write {forms}")
    return text


def _variable(match: re.Match[str], where: str) -> str:
    name, default = match.groups()
    found = os.environ.get(name)
    if default is not None and not found:
        return str(default)
    if found is None:
        remedy = f"set it, or write ${{env:{name}:-default}}"
        raise RecipeError(f"{where}: the environment variable {name} is not set; {remedy}")
    if any("\ud800" <= letter <= "\udfff" for letter in found):
        raise RecipeError(f"{where}: the environment variable {name} is not UTF-8 text")
    return found


def dotted(path: KeyPath) -> str:
    """A key path as a user writes it: `distill.losses.0.weight`."""
    return ".".join(part if isinstance(part, str) and part.isprintable() else repr(part) for part in path)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."
