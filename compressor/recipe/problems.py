"""Validation errors as one sentence each: `file:line: what is wrong; what is allowed`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from compressor.recipe.describe import alternatives, chosen_section, describe, kinds, locate
from compressor.recipe.overrides import KeyPath, dotted
from compressor.recipe.source import Origin

MOST = 10
_TYPES = ("literal[", "dict[", "tuple[", "list[", "constrained-")
"""How pydantic names a type in a location."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    origin: Origin
    path: KeyPath
    text: str

    def __str__(self) -> str:
        return (
            f"{self.origin}: {dotted(self.path)}: {self.text}" if self.path else f"{self.origin}: {self.text}"
        )


def origin_of(path: KeyPath, origins: Mapping[KeyPath, Origin]) -> Origin:
    """Where a value stands, or the nearest section around it that stands anywhere."""
    while path and path not in origins:
        path = path[:-1]
    return origins.get(path, Origin("recipe", 0))


def message(problems: Sequence[Problem]) -> str:
    """All problems, one a line: the command line's, then in the order of the file; ten at most."""
    ordered = list(
        dict.fromkeys(
            str(problem) for problem in sorted(problems, key=lambda one: (one.origin.line > 0, one.origin))
        )
    )
    rest = len(ordered) - MOST
    return "\n".join(ordered[:MOST] + ([f"... and {rest} more"] if rest > 0 else []))


def explain(error: ValidationError, data: Any, origins: Mapping[KeyPath, Origin]) -> list[Problem]:
    """The problems that validation found in recipe `data`."""
    problems = []
    for found in error.errors(include_url=False):
        path = _without_tags(found["loc"], data)
        if found["type"] == "too_short" and len(found["input"]) >= found["ctx"]["min_length"]:
            continue  # its items were refused one by one, each with a problem of its own
        if found["type"] == "missing" and isinstance(path[-1], int):
            path, found["type"] = path[:-1], "too_short"  # a list of fixed length: speak of the list
            found["input"] = _at(data, path)
        origin = origin_of(path, origins)
        text = _sentence(found["type"], found.get("ctx", {}), found["input"], path, data)
        if found["type"] in ("union_tag_invalid", "union_tag_not_found"):
            origin = origin_of((*path, "kind"), origins)
        problems.append(Problem(origin, path, text))
    return [one for one in problems if not any(_inside(other.path, one.path) for other in problems)]


def _inside(path: KeyPath, section: KeyPath) -> bool:
    """True for a path below another: of a value with alternatives, what is wrong deepest says most."""
    return len(path) > len(section) and path[: len(section)] == section


def mistaken_truths(data: Any, origins: Mapping[KeyPath, Origin]) -> list[Problem]:
    """Every true or false that stands where a number must: Python would take them for 1 and 0."""
    problems = []
    for path, origin in origins.items():
        value = _at(data, path)
        if isinstance(value, bool):
            annotation, field = locate(data, path)
            members = alternatives(annotation)
            if {int, float} & set(members) and bool not in members:
                text = f"is {shown(value)}; allowed: {describe(annotation, field)}"
                problems.append(Problem(origin, path, text))
    return problems


def _without_tags(location: Sequence[str | int], data: Any) -> KeyPath:
    """A location in the data: pydantic puts the kind of each tagged union between its keys, and the type of
    what is one of several types."""
    path: list[str | int] = []
    tag_seen = False
    for part in location:
        known = isinstance(data, Mapping) and part in data
        if part == "[key]" or (str(part).startswith(_TYPES) and not known):
            continue
        if not tag_seen and isinstance(data, Mapping) and "kind" in data and part == data["kind"]:
            tag_seen = True
            continue
        path.append(part)
        tag_seen = False
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
    return tuple(path)


def _sentence(kind: str, context: Mapping[str, Any], value: Any, path: KeyPath, data: Any) -> str:
    if kind == "extra_forbidden":
        section = chosen_section(locate(data, path[:-1])[0], _at(data, path[:-1]))
        return unknown("key", str(path[-1]), list(section.model_fields) if section else [])
    if kind == "value_error":
        return str(context["error"])
    annotation, field = locate(data, path)
    if kind == "union_tag_invalid":
        tag = value.get("kind") if isinstance(value, Mapping) else value
        return unknown("kind", shown(tag), list(kinds(annotation)))
    if kind == "union_tag_not_found":
        return f"has no kind; allowed: {', '.join(kinds(annotation))}"
    if kind == "literal_error" and path and path[-1] not in ("kind",) and _is_key(value, path):
        return unknown(
            "key", str(value), context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        )
    if kind == "missing":
        return f"is missing; allowed: {describe(annotation, field)}"
    if kind == "string_pattern_mismatch" and path == ("name",):
        return f"is {shown(value)}; allowed: 100 letters, digits, '.', '_', '-', the first a letter or digit"
    return f"is {shown(value)}; allowed: {describe(annotation, field)}"


def _is_key(value: Any, path: KeyPath) -> bool:
    return value == path[-1]


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[part]
    return data


def unknown(what: str, name: str, allowed: Sequence[str]) -> str:
    """'unknown key; did you mean ...? allowed: ...' with the nearest allowed name, if one is near."""
    near = get_close_matches(name, allowed, n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    subject = "unknown key" if what == "key" else f"unknown {what} {name}"
    return f"{subject};{hint} allowed: {', '.join(allowed)}"


def shown(value: Any) -> str:
    """A value in a message: short, on one line, as YAML writes its words."""
    if value is None or isinstance(value, bool):
        return str({None: "null", True: "true", False: "false"}[value])
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return {0: "an empty list", 1: "a list of one item"}.get(len(value), "a list")
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
