"""Reading a recipe: files, `extends`, variables, settings of the command line."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor.errors import RecipeError
from compressor.recipe import load as load_module
from compressor.recipe.base import Located
from compressor.recipe.data import KarpathyData, TableData
from compressor.recipe.load import load_recipe, shipped_recipes
from compressor.recipe.models import TimmImageTower
from compressor.recipe.teacher import CheckpointTeacher, EmbeddingsTeacher
from tests.recipe.conftest import SMALL, Load, Write


def refusal(path: Path | str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_a_recipe_is_read_with_its_defaults_and_origins(load: Load, tmp_path: Path) -> None:
    loaded = load()
    assert loaded.recipe.name == "small"
    assert loaded.recipe.distill.losses[1].weight == 2
    assert loaded.recipe.export.default == "fp32"
    assert loaded.path == tmp_path / "recipe.yaml"
    file = str(tmp_path / "recipe.yaml")
    assert loaded.origins["distill", "losses", 1, "weight"] == (file, 20)
    assert loaded.origins["distill",] == (file, 15)


def test_paths_start_from_the_file_they_stand_in(load: Load, tmp_path: Path) -> None:
    teacher = load().recipe.teacher
    assert isinstance(teacher, CheckpointTeacher)
    assert teacher.path == tmp_path / "teachers" / "one"


def test_paths_of_the_command_line_start_from_the_working_directory(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = load("data={kind: karpathy, root: ../photos}").recipe.data
    assert isinstance(data, KarpathyData)
    assert data.root == tmp_path / "photos"


def test_home_and_builtin_paths(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    teacher = load("teacher.path=~/x").recipe.teacher
    assert isinstance(teacher, CheckpointTeacher)
    assert teacher.path == Path("/home/somebody/x")
    teacher = load("teacher.path=builtin:scenes_teacher").recipe.teacher
    assert isinstance(teacher, CheckpointTeacher)
    assert teacher.path.parts[-3:] == ("compressor", "builtin", "scenes_teacher")


@pytest.mark.parametrize(
    "path", ["builtin:../x", "builtin:/etc/passwd", "builtin:", "~nobody_of_this_name/x", "''"]
)
def test_what_cannot_be_a_path_is_refused(load: Load, path: str) -> None:
    with pytest.raises(RecipeError, match=r"^command line: teacher\.path: is "):
        load(f"teacher.path={path}")


def test_scalars_mean_what_yaml_1_2_says(load: Load) -> None:
    text = (
        SMALL + "  precision: no\n  optimizer: {lr: 1e-3, weight_decay: 1.e+1}\n  control: True\nseed: 0x10\n"
    )
    recipe = load(text=text).recipe
    assert recipe.distill.precision == "no"
    assert recipe.distill.optimizer.lr == 0.001
    assert recipe.distill.optimizer.weight_decay == 10
    assert recipe.distill.control is True
    assert recipe.seed == 16


def test_anchors_and_merge_keys_are_allowed_in_measure(load: Load) -> None:
    text = SMALL.replace("    kind: timm\n", "    <<: [{kind: timm, options: &o {a: 1}}]\n")
    image = load(text=text).recipe.student.image
    assert isinstance(image, TimmImageTower)
    assert image.options == {"a": 1}


def test_extends_merges_mappings_and_replaces_the_rest(write: Write, tmp_path: Path) -> None:
    write("base/base.yaml", SMALL + "goals: ['retention.rsum >= 0.9']\n")
    child = write(
        "child.yaml",
        "extends: base/base.yaml\nname: child\n"
        "distill: {losses: [{kind: similarity}], optimizer: {lr: 0.1}}\n"
        "data: {kind: table, path: t.csv}\ngoals: []\n",
    )
    loaded = load_recipe(child)
    assert loaded.recipe.name == "child"
    assert loaded.recipe.distill.epochs == 3
    assert [loss.kind for loss in loaded.recipe.distill.losses] == ["similarity"]
    assert loaded.recipe.distill.optimizer.lr == 0.1
    assert loaded.recipe.goals == ()
    assert isinstance(loaded.recipe.data, TableData)
    assert loaded.recipe.data.path == tmp_path / "t.csv"
    assert isinstance(loaded.recipe.teacher, CheckpointTeacher)
    assert loaded.recipe.teacher.path == tmp_path / "base" / "teachers" / "one"
    assert loaded.origins["distill", "epochs"] == (str(tmp_path / "base" / "base.yaml"), 16)
    assert loaded.origins["name",] == (str(child), 2)


def test_a_section_of_another_kind_is_replaced_whole(write: Write) -> None:
    write("base.yaml", SMALL.replace("kind: scenes", "kind: scenes\n  image_size: 96"))
    same = load_recipe(write("same.yaml", "extends: base.yaml\ndata: {kind: scenes, train: 5}\n")).recipe.data
    assert same.model_dump(include={"image_size", "train"}) == {"image_size": 96, "train": 5}
    none = load_recipe(write("none.yaml", "extends: base.yaml\nteacher: null\n")).recipe
    assert none.teacher is None
    other = load_recipe(
        write("other.yaml", "extends: base.yaml\nteacher: {kind: embeddings, path: e}\n")
    ).recipe
    assert isinstance(other.teacher, EmbeddingsTeacher)


def test_a_chain_of_extends_in_a_circle_is_refused(write: Write, tmp_path: Path) -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: c.yaml\n")
    (tmp_path / "c.yaml").symlink_to("a.yaml")
    assert "extends itself" in refusal(tmp_path / "a.yaml")


def test_a_chain_without_end_is_refused(write: Write, tmp_path: Path) -> None:
    for number in range(30):
        write(f"{number}.yaml", f"extends: {number + 1}.yaml\n")
    assert "longer than 20 files" in refusal(tmp_path / "0.yaml")


def test_a_missing_parent_is_named_with_the_line_that_asks_for_it(write: Write, tmp_path: Path) -> None:
    child = write("child.yaml", "name: x\nextends: none.yaml\n")
    assert refusal(child) == f"{child}:2: extends: {tmp_path / 'none.yaml'}: there is no such file"
    assert refusal(write("list.yaml", "extends: [a]\n")).endswith(
        "list.yaml:1: extends: must be the path of another recipe"
    )


def test_a_mistake_in_a_parent_is_reported_in_the_parent(write: Write, tmp_path: Path) -> None:
    write("base.yaml", SMALL.replace("epochs", "epocs"))
    message = refusal(write("child.yaml", "extends: base.yaml\n"))
    assert f"{tmp_path / 'base.yaml'}:16: distill.epocs: unknown key; did you mean 'epochs'?" in message


def test_environment_variables(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "photos")
    monkeypatch.setenv("COUNT", "7")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)
    text = SMALL.replace("teachers/one", "${env:WHERE}/${env:ABSENT:-a-b}/${env:EMPTY:-c}")
    loaded = load(text=text.replace("epochs: 3", "epochs: ${env:COUNT}"))
    assert isinstance(loaded.recipe.teacher, CheckpointTeacher)
    assert loaded.recipe.teacher.path == tmp_path / "photos" / "a-b" / "c"
    assert loaded.recipe.distill.epochs == 7


def test_what_a_variable_holds_is_not_expanded_again(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "${env:HOME}")
    data = load("data={kind: table, path: x, image_column: '${env:OUTER}'}").recipe.data
    assert isinstance(data, TableData)
    assert data.image_column == "${env:HOME}"


def test_a_missing_variable_is_named_with_its_place(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(RecipeError) as caught:
        load(text=SMALL.replace("teachers/one", "${env:ABSENT}"))
    place = f"{tmp_path / 'recipe.yaml'}:6: teacher.path"
    assert str(caught.value).startswith(f"{place}: the environment variable ABSENT is not set")


def test_a_variable_in_a_value_that_is_replaced_is_not_asked_for(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    text = SMALL.replace("teachers/one", "${env:ABSENT}")
    assert load("teacher.path=x", text=text).recipe.teacher is not None


@pytest.mark.parametrize("text", ["${env:}", "${env:A", "${env:1A}", "${env:A:-${env:PATH}}", "${envA}"])
def test_a_variable_written_wrongly_is_refused(load: Load, text: str) -> None:
    with pytest.raises(RecipeError, match="is not understood; write"):
        load(f"teacher.path='{text}'")


def test_overrides_are_typed_and_reach_lists_and_new_sections(load: Load) -> None:
    recipe = load(
        "distill.epochs=null",
        "distill.steps=2",
        "distill.losses.0.temperature=1e-2",
        "distill.optimizer.betas=[0.8, 0.9]",
        "benchmark.batch_sizes=[1]",
        "student.image.options.drop_rate=0.5",
        "goals=['retention.rsum >= 0.9']",
        "distill.steps=4",
    ).recipe
    assert (recipe.distill.epochs, recipe.distill.steps) == (None, 4)
    assert recipe.distill.losses[0].model_dump()["temperature"] == 0.01
    assert recipe.distill.optimizer.betas == (0.8, 0.9)
    assert recipe.benchmark.batch_sizes == (1,)
    assert isinstance(recipe.student.image, TimmImageTower)
    assert recipe.student.image.options == {"drop_rate": 0.5}
    assert recipe.goals == ("retention.rsum >= 0.9",)


@pytest.mark.parametrize("order", [1, -1])
def test_another_kind_on_the_command_line_drops_what_the_file_says(load: Load, order: int) -> None:
    settings = ["data.kind=karpathy", "data.root=/photos"][::order]
    text = SMALL.replace("kind: scenes", "kind: scenes\n  image_size: 96")
    data = load(*settings, text=text).recipe.data
    assert isinstance(data, KarpathyData)
    assert data.root == Path("/photos")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "distill.epocs=3",
            "command line: distill.epocs: unknown key; did you mean 'epochs'? allowed: epochs, ",
        ),
        ("distill.epochs", "command line: 'distill.epochs' is no setting; write it like distill.epochs=2"),
        ("=3", "command line: '=3' is no setting"),
        ("a..b=3", "command line: 'a..b=3' is no setting"),
        (
            "distill.losses.2.weight=1",
            "command line: distill.losses.2.weight: '2' is no item of that list; allowed: 0 to 1",
        ),
        ("distill.losses.-1.weight=1", "command line: distill.losses.-1.weight: '-1' is no item"),
        ("distill.losses.²=1", "command line: distill.losses.²: '²' is no item"),
        ("name.x=1", "command line: name.x: 'name' is a single value and has no 'x'"),
        ("extends=x", "command line: extends: only a file can extend another"),
        ("name={a: 1", "command line: name: not valid YAML: "),
        ("name=!!str x", "command line: name: the YAML tag"),
        (
            "distill.epochs=many",
            "command line: distill.epochs: is 'many'; allowed: a whole number, at least 1, or null",
        ),
        (".".join("a" * 5000) + "=1", "command line: 'a.a.a."),
        ("distill.steps=1\0", "command line: distill.steps: not valid YAML: it holds a control character"),
    ],
)
def test_a_setting_that_cannot_be_is_named(load: Load, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(override)
    assert str(caught.value).startswith(message)


def test_a_bare_name_is_a_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "compressor"
    (package / "recipes").mkdir(parents=True)
    (package / "recipes" / "quickstart.yaml").write_text(SMALL)
    monkeypatch.setattr(load_module, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    assert load_recipe("quickstart").path == package / "recipes" / "quickstart.yaml"
    assert load_recipe("quickstart.yaml").recipe.name == "small"
    assert refusal("quikstart").endswith("of that name; did you mean 'quickstart'? shipped: quickstart")
    (tmp_path / "quickstart").write_text(SMALL.replace("name: small", "name: mine"))
    assert load_recipe("quickstart").recipe.name == "mine"


def test_recipes_beside_the_package_count_in_a_checkout_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "compressor"
    package.mkdir()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "foreign.yaml").write_text(SMALL)
    monkeypatch.setattr(load_module, "PACKAGE", package)
    assert shipped_recipes() == {}
    (tmp_path / "pyproject.toml").write_text("")
    assert list(shipped_recipes()) == ["foreign"]


def test_strings_of_a_recipe_can_be_copied_and_dumped(load: Load) -> None:
    recipe = load("student.image.options.act_layer=gelu").recipe
    assert recipe.model_copy(deep=True) == recipe
    assert recipe.model_dump(mode="json")["student"]["image"]["options"] == {"act_layer": "gelu"}
    located = copy.deepcopy(Located("x", Path("/a")))
    assert (located, located.folder) == ("x", Path("/a"))


def test_loading_imports_nothing_heavy(write: Write) -> None:
    script = (
        "import sys\n"
        "from compressor.recipe.load import load_recipe\n"
        "load_recipe(sys.argv[1])\n"
        "print({'torch', 'numpy', 'PIL', 'transformers', 'onnxruntime', 'rich'} & set(sys.modules))\n"
    )
    path = str(write("recipe.yaml", SMALL))
    said = subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "set()"


def test_an_absurd_file_is_refused_quickly(write: Write) -> None:
    start = time.perf_counter()
    refusal(write("long.yaml", "- a\n" * 240_000))
    refusal(write("deep.yaml", "[" * 900_000))
    refusal(write("wide.yaml", "a: {" * 200_000))
    assert time.perf_counter() - start < 10
    assert refusal(write("large.yaml", "#" * 1_000_001)).endswith("larger than 1 MB, which no recipe needs")
