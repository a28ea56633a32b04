"""A recipe file as plain data in which every value knows its file and line. No code runs from a file.

Scalars follow YAML 1.2's core schema, which editors and JSON Schema assume: `no` is a word, `1e-3` a number.
"""

from __future__ import annotations

import math
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from yaml.composer import Composer
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from compressor.errors import RecipeError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_VALUES = 20_000
COMMAND_LINE = "command line"

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Origin(NamedTuple):
    """Where a value stands. `line` starts at 1; it is 0 for the command line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Value:
    """A value of a recipe with its place; `folder` is where relative paths in it start."""

    content: dict[str, Value] | list[Value] | str | int | float | bool | None
    origin: Origin
    folder: Path


def read_recipe_file(path: Path, shown: str) -> Value:
    """The mapping that stands in a recipe file; messages call the file `shown`.

    Raises `RecipeError` for everything that is not a YAML mapping of plain values, with `file:line`.
    """
    value = parse_yaml(_read_text(path, shown), shown, path.parent)
    if value is None:
        raise RecipeError(f"{shown}: the recipe is empty; it needs at least name, data, student and distill")
    if not isinstance(value.content, dict):
        raise RecipeError(f"{value.origin}: a recipe is a mapping of sections such as 'data:' and 'student:'")
    return value


def parse_yaml(text: str, shown: str, folder: Path, lines: bool = True) -> Value | None:
    """YAML text as a `Value`, or None where it is empty. `lines=False`: the text has no lines to name.

    Raises `RecipeError`, with the place, for what is not YAML, tags, doubled keys, and far too much.
    """
    try:
        root = _PlainComposer(text, shown, lines).get_single_node()
        return None if root is None else _Converter(shown, folder, lines).convert(root, None, 0)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Origin(shown, mark.line + 1 if lines and mark else 0)
        raise RecipeError(f"{place}: not valid YAML: {_yaml_problem(error)}") from None
    except ReaderError as error:
        place = Origin(shown, text.count("\n", 0, error.position) + 1 if lines else 0)
        raise RecipeError(f"{place}: not valid YAML: it holds a control character") from None
    except (
        YAMLError,
        ValueError,
        OverflowError,
    ):  # PyYAML: character codes and version numbers beyond any limit
        raise RecipeError(f"{shown}: not valid YAML: an escape or directive in it has no meaning") from None


def _yaml_problem(error: MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context or "it cannot be read").split())
    if "but found another document" in problem:
        return "a second document ('---') starts here; a recipe is one document"
    if "\\t" in problem:
        return "a tab stands where spaces must; indent with spaces"
    return problem


def _read_text(path: Path, shown: str) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RecipeError(f"{shown}: not a file that holds a recipe; give the path of a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(f"{shown}: there is no such file") from None
    except OSError as error:
        raise RecipeError(f"{shown}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise RecipeError(f"{shown!r}: no file can have this name") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{shown}: larger than {MAX_BYTES // 1_000_000} MB, which no recipe needs")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{shown}:{line}: not UTF-8 text; save the recipe as UTF-8") from None


class _PlainComposer(Reader, Scanner, Parser, Composer, BaseResolver):
    """YAML to nodes without any tag, constructor or deep recursion."""

    def __init__(self, text: str, shown: str, lines: bool) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._shown = shown
        self._lines = lines
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        place = Origin(self._shown, event.start_mark.line + 1 if self._lines else 0)
        if not isinstance(event, AliasEvent) and event.tag is not None:
            raise RecipeError(f"{place}: the YAML tag '{event.tag}' is not allowed; only plain values are")
        self._count += 1
        if self._count > MAX_VALUES:
            raise RecipeError(f"{place}: more than {MAX_VALUES} values, which no recipe needs")
        if self._depth > MAX_DEPTH:
            raise RecipeError(f"{place}: nested more than {MAX_DEPTH} levels deep, which no recipe needs")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


@dataclass
class _Converter:
    """Nodes to `Value`; counts what aliases expand to, so that no small file becomes a large recipe."""

    shown: str
    folder: Path
    lines: bool
    count: int = field(default=0, init=False)

    def convert(self, node: Node, line: int | None, depth: int) -> Value:
        """`line`: of the key that the value belongs to, where it has one."""
        origin = self.place(node) if line is None else Origin(self.shown, line)
        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            raise RecipeError(
                f"{origin}: anchors unfold into more than a recipe can need; write the values out"
            )
        if isinstance(node, MappingNode):
            return Value(self.mapping(node, depth), origin, self.folder)
        if isinstance(node, SequenceNode):
            items = [self.convert(item, None, depth + 1) for item in node.value]
            return Value(items, origin, self.folder)
        text = _checked_text(node.value, origin)
        quoted = isinstance(node, ScalarNode) and node.style is not None
        return Value(text if quoted else plain_scalar(text, origin), origin, self.folder)

    def mapping(self, node: MappingNode, depth: int) -> dict[str, Value]:
        """Its entries; `<<` brings the entries of other mappings where the key is not given here."""
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, ScalarNode):
                raise RecipeError(f"{place}: a key is a word, not a list or mapping")
            key = _checked_text(key_node.value, place)
            if key == "<<" and key_node.style is None:
                for name, value in self.merge(value_node, place, depth).items():
                    merged.setdefault(name, value)
            elif key in own:
                raise RecipeError(f"{place}: key '{key}' stands twice (first in line {own[key].origin.line})")
            else:
                own[key] = self.convert(value_node, place.line, depth + 1)
        return merged | own

    def merge(self, node: Node, place: Origin, depth: int) -> dict[str, Value]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        found: dict[str, Value] = {}
        for part in parts:
            value = self.convert(part, None, depth + 1).content
            if not isinstance(value, dict):
                raise RecipeError(f"{place}: '<<' takes a mapping or a list of mappings")
            found = value | found
        return found

    def place(self, node: Node) -> Origin:
        return Origin(self.shown, node.start_mark.line + 1 if self.lines else 0)


def _checked_text(text: str, origin: Origin) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise RecipeError(f"{origin}: holds a character that no text, path or number can hold")
    return text


def plain_scalar(text: str, origin: Origin) -> str | int | float | bool | None:
    """The value of an unquoted YAML scalar. Raises `RecipeError` for NaN, infinity and more than 64 bits."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text) if len(text) < 30 else math.inf
        if not -(2**63) <= number < 2**63:
            raise RecipeError(f"{origin}: {text[:20]}... is too large a number; allowed: at most 64 bits")
        return int(number)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        raise RecipeError(f"{origin}: {text[:20]} is not a finite number; write one that is")
    return text
