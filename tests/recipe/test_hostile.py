"""A recipe from a stranger: refused with one sentence and a line, and nothing of it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.recipe.load import load_recipe
from tests.recipe.conftest import SMALL, Write

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe.yaml: the recipe is empty"),
        ("# only a comment\n", "recipe.yaml: the recipe is empty"),
        ("- a\n- b\n", "recipe.yaml:1: a recipe is a mapping"),
        ("null\n", "recipe.yaml:1: a recipe is a mapping"),
        ("just words\n", "recipe.yaml:1: a recipe is a mapping"),
        ("name: a\nname: b\n", "recipe.yaml:2: key 'name' stands twice (first in line 1)"),
        ("a: 1\nb: !!python/object/apply:os.system ['touch owned']\n", "recipe.yaml:2: the YAML tag"),
        ("!!python/name:os.system x\n", "recipe.yaml:1: the YAML tag"),
        ("a: !local x\n", "recipe.yaml:1: the YAML tag '!local'"),
        ("a: !!set {x, y}\n", "recipe.yaml:1: the YAML tag"),
        ("? [a, b]\n: c\n", "recipe.yaml:1: a key is a word"),
        ("? {a: b}\n: c\n", "recipe.yaml:1: a key is a word"),
        (LAUGHS, "anchors unfold into more than a recipe can need"),
        ("a: &a [*a]\n", "anchors unfold into more than a recipe can need"),
        ("a: &a {b: *a}\n", "anchors unfold into more than a recipe can need"),
        ("&a ? *a\n: x\n", "recipe.yaml:1:"),
        ("<<: 3\n", "recipe.yaml:1: '<<' takes a mapping"),
        ("a: *missing\n", "recipe.yaml:1: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "recipe.yaml:2: not valid YAML: a second document"),
        ("a:\n\tb: 1\n", "recipe.yaml:2: not valid YAML: a tab"),
        ("a: [1\nb: 2\n", "recipe.yaml:2: not valid YAML: "),
        ("a: 'open\n", "not valid YAML: "),
        ("a: 1\nb: \x07\n", "recipe.yaml:2: not valid YAML: it holds a control character"),
        ('a: "\\0"\n', "recipe.yaml:1: holds a character"),
        ('a: "\\ud800"\n', "recipe.yaml:1: holds a character"),
        ('"\\ud800": 1\n', "recipe.yaml:1: holds a character"),
        ('a: "\\UFFFFFFFF"\n', "not valid YAML"),
        ("%YAML 9" + "9" * 5000 + ".1\n---\na: 1\n", "not valid YAML"),
        ("a: .nan\n", "recipe.yaml:1: .nan is not a finite number"),
        ("a: -.inf\n", "recipe.yaml:1: -.inf is not a finite number"),
        ("a: 1e400\n", "recipe.yaml:1: 1e400 is not a finite number"),
        (f"a: 1{'0' * 400}\n", "is too large a number"),
        (f"a: {'9' * 100_000}\n", "is too large a number"),
        (f"a: 0x{'f' * 400}\n", "is too large a number"),
        ("a: [" + "[" * 60 + "]" * 61 + "\n", "nested more than 50 levels deep"),
        (b"name: caf\xe9\n", "recipe.yaml:1: not UTF-8 text"),
        ("name: x\n".encode("utf-16"), "recipe.yaml:1: not UTF-8 text"),
        (b"\x00" * 100, "not valid YAML: it holds a control character"),
        ("extends: /dev/zero\n", "recipe.yaml:1: extends: /dev/zero: not a file that holds a recipe"),
        ("extends: .\n", "recipe.yaml:1: extends: "),
        ("extends: recipe.yaml\n", "recipe.yaml: extends itself"),
        (f"extends: {'x' * 5000}\n", "cannot be read: File name too long"),
        ("extends: ''\n", "recipe.yaml:1: extends: must be the path of another recipe"),
    ],
)
def test_refused_with_one_sentence(write: Write, text: str | bytes, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write("recipe.yaml", text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_that_a_tag_names_is_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError):
        load_recipe(write("r.yaml", "a: !!python/object/apply:os.system ['touch owned']\n"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "name", ["", " ", "a\0b", "../" * 2000, "\udcff.yaml", "x" * 300, "/dev/zero", "/dev/null", "."]
)
def test_odd_names_of_recipes_are_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe(name)


def test_folders_pipes_and_loops_of_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("loop.yaml", "pipe.yaml", "folder.yaml"):
        with pytest.raises(RecipeError, match=name):
            load_recipe(tmp_path / name)


def test_an_unreadable_file_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("recipe.yaml", SMALL)

    def denied(self: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: cannot be read: Permission denied"):
        load_recipe(path)


TOKENS = st.sampled_from(
    [
        *SMALL.split(),
        "\n",
        "  ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a",
        "*a",
        "<<",
        "!!x",
        "'",
        '"',
        "|",
        ">",
        "%",
        "@",
        "null",
        "true",
        "1e999",
        ".nan",
        "-1",
        "${env:",
        "}",
        "~",
        "?",
        "extends",
        "builtin:..",
        "\t",
        "---",
        "é",
        "🙂",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.lists(TOKENS, max_size=60).map(lambda parts: "".join(parts).encode()))
def test_any_bytes_are_a_recipe_or_a_recipe_error(write: Write, content: bytes) -> None:
    path = write("recipe.yaml", content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(SMALL.split()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SMALL.split()), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = [
    "name",
    "seed",
    "data",
    "data.kind",
    "data.root",
    "teacher",
    "teacher.path",
    "teacher.kind",
    "student",
    "student.image",
    "student.image.input.mean",
    "student.text.kind",
    "student.tokenizer",
    "distill.losses",
    "distill.losses.0",
    "distill.losses.1.kind",
    "distill.balancer",
    "distill.optimizer.betas",
    "distill.epochs",
    "export.precisions",
    "goals",
    "goals.0",
    "extends",
    "benchmark.batch_sizes",
    "data.limit.train",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), PLAIN.map(repr) | st.text(max_size=20)), min_size=1, max_size=3)
)
def test_any_setting_gives_a_recipe_or_a_recipe_error(write: Write, settings_: list[tuple[str, str]]) -> None:
    path = write("recipe.yaml", SMALL)
    try:
        loaded = load_recipe(path, [f"{key}={value}" for key, value in settings_])
    except RecipeError as error:
        assert str(error)  # noqa: PT017
        assert "pydantic" not in str(error)  # noqa: PT017
        assert "Input should" not in str(error)  # noqa: PT017
    else:
        assert loaded.recipe.name
