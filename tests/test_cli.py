"""The command line: help, exit codes, one sentence for every failure, machine-readable output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import compressor
from compressor import terminal
from compressor.cli import app, main
from tests.integration.tiny import write_recipe
from tests.runtime.fake_gpu import without

COMMANDS = (
    "run",
    "ablate",
    "validate",
    "plan",
    "cache",
    "export",
    "evaluate",
    "report",
    "serve",
    "doctor",
    "schema",
)


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["compressor", *map(str, arguments)])
    monkeypatch.setattr(terminal, "quieten_libraries", lambda: None)
    monkeypatch.setattr("compressor.cli.quieten_libraries", lambda: None)
    code: Any = None
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    return (code if isinstance(code, int) else int(code is not None)), captured.out, captured.err


class Call:
    """`call` with its fixtures bound."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._fixtures = (capsys, monkeypatch)

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        return call(*self._fixtures, *arguments)


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return Call(capsys, monkeypatch)


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Call, command: str) -> None:
    code, out, err = run(command, "--help")
    assert code == 0
    assert "Usage:" in out
    assert err == ""


def test_help_names_every_command(run: Call) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f" {command} " in out for command in COMMANDS)
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == set(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from compressor.cli import main\n"
        "sys.argv = ['compressor', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pydantic', 'transformers', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = python(script)
    assert done.returncode == 0, done.stderr


def test_version(run: Call) -> None:
    assert run("--version") == (0, f"compressor {compressor.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("destil",),
        ("--colour",),
        ("run",),
        ("run", "recipe.yaml", "--hurry"),
        ("evaluate", "bundle"),
        ("evaluate", "bundle", "--kind", "scenes", "--threads", "0"),
        ("schema", "everything"),
    ],
)
def test_a_command_that_cannot_be_understood_exits_2(run: Call, arguments: Sequence[str]) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert "Usage:" in err


def test_without_a_command_there_is_help(run: Call) -> None:
    _, out, err = run()
    assert "Commands" in out + err


def test_as_a_module_it_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compressor", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"compressor {compressor.__version__}\n"


def test_an_expected_failure_is_one_sentence(run: Call, tmp_path: Path) -> None:
    code, out, err = run("validate", tmp_path / "absent.yaml")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "absent.yaml" in err


def test_a_recipe_error_names_file_and_line(run: Call, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, distil={"epochs": 3})
    line = recipe.read_text().splitlines().index("distil:") + 1
    for command in ("validate", "plan", "run", "cache"):
        code, out, err = run(command, recipe)
        assert (code, out) == (2, "")
        assert err.startswith(f"{recipe}:{line}: "), err
        assert "distil" in err


def test_an_override_that_is_wrong_names_the_command_line(run: Call, tmp_path: Path) -> None:
    code, _, err = run("validate", write_recipe(tmp_path), "distill.epochs=two")
    assert code == 2
    assert err.startswith("command line: distill.epochs: ")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of our own inside `doctor`."""

    def diagnose() -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("compressor.doctor.diagnose", diagnose)


@pytest.mark.usefixtures("broken")
def test_an_internal_error_is_one_sentence_and_exit_1(run: Call) -> None:
    code, out, err = run("doctor")
    assert (code, out) == (1, "")
    assert err == (
        "internal error: ZeroDivisionError: division by zero (`compressor --debug ...` shows the traceback)\n"
    )


@pytest.mark.usefixtures("broken")
def test_debug_shows_the_traceback_with_the_same_exit_code(run: Call) -> None:
    code, _, err = run("--debug", "doctor")
    assert code == 1
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("ZeroDivisionError: division by zero\n")


def test_debug_keeps_the_exit_code_of_an_expected_failure(run: Call, tmp_path: Path) -> None:
    code, _, err = run("--debug", "validate", tmp_path / "absent.yaml")
    assert code == 2
    assert "Traceback" in err
    assert "RecipeError" in err


def test_ctrl_c_is_a_sentence_and_exit_130(run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def diagnose() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compressor.doctor.diagnose", diagnose)
    assert run("doctor") == (
        130,
        "",
        "interrupted; what was finished is kept and the same command continues\n",
    )


def test_validate(run: Call, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    assert run("validate", recipe) == (0, f"{recipe}: valid\n", "")
    assert run("validate", recipe, "--quiet") == (0, "", "")
    code, out, _ = run("validate", recipe, "distill.epochs=5", "--json")
    assert code == 0
    assert json.loads(out)["distill"]["epochs"] == 5


def test_validate_says_that_engines_cannot_be_built_here(
    run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with without(monkeypatch, "tensorrt"):
        code, out, _ = run("validate", write_recipe(tmp_path), "export.tensorrt.optional=true")
    assert code == 0
    assert "\nnote: TensorRT engines will be left out on this machine: TensorRT is not installed" in out


@pytest.mark.parametrize(
    "name", ["quickstart", "flickr30k_retrieval", "flickr8k_retrieval", "scenes_teacher"]
)
def test_shipped_recipes_are_valid_by_name(run: Call, name: str) -> None:
    assert run("validate", name) == (0, f"{name}: valid\n", "")


def test_plan(run: Call, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, teacher=None, distill={"losses": [{"kind": "task"}], "control": False})
    code, out, err = run("plan", recipe, "--runs", tmp_path / "runs")
    assert (code, err) == (0, "")
    assert "to run" in out
    assert "6 steps" in out
    code, out, _ = run("plan", recipe, "--runs", tmp_path / "runs", "--json")
    made = json.loads(out)
    assert [stage["state"] for stage in made["stages"]] == ["to run"] * 7
    assert made["steps"] == 6


def test_schema_of_recipes_is_the_published_one(run: Call) -> None:
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out) == json.loads(Path("docs/recipe.schema.json").read_text())


def test_schema_of_results_is_the_published_one_and_a_schema(run: Call) -> None:
    code, out, _ = run("schema", "results")
    assert code == 0
    published: dict[str, Any] = json.loads(out)
    assert published == json.loads(Path("docs/results.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(published)


def test_doctor(run: Call) -> None:
    code, out, err = run("doctor", "--json")
    assert (code, err) == (0, "")
    names = {finding["name"] for finding in json.loads(out)}
    assert {"torch", "onnxruntime"} <= {name.lower().replace(" ", "") for name in names}
    code, out, _ = run("doctor")
    assert code == 0
    assert all(name in out for name in names)


def test_report_of_a_folder_without_a_finished_run(run: Call, tmp_path: Path) -> None:
    code, out, err = run("report", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"{tmp_path / 'results.json'} does not exist; `compressor run` writes it when a run ends\n"
    )


def test_report_of_results_that_are_none(run: Call, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"quality": 3}')
    code, _, err = run("report", tmp_path)
    assert code == 2
    assert err.endswith("is not a results file of this version; run the recipe again\n")


def test_evaluate_of_a_folder_that_is_no_bundle(run: Call, tmp_path: Path) -> None:
    code, out, err = run("evaluate", tmp_path, "--kind", "scenes")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_with_json_a_failure_is_one_document_on_standard_output(run: Call, tmp_path: Path) -> None:
    missing = tmp_path / "nothing.yaml"
    code, out, err = run("run", missing, "--json")
    assert code == 2
    assert err == ""
    document = json.loads(out)
    assert document["exit_code"] == 2
    assert str(missing) in document["error"]


def test_an_error_of_the_system_is_a_sentence_in_every_command(run: Call) -> None:
    code, out, err = run("report", "a" * 300)
    assert (code, out) == (1, "")
    assert "File name too long" in err
    assert "internal error" not in err


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    assert terminal.printable("a\x1b[31m\tb\nc é 猫") == "a\\x1b[31m\\tb\nc é 猫"


@pytest.mark.parametrize("override", ["benchmark.batch_sizes=[]", "goals=['retention.rsum >= 1e999']"])
def test_what_would_only_fail_after_training_is_refused(run: Call, tmp_path: Path, override: str) -> None:
    code, _, err = run("validate", write_recipe(tmp_path), override)
    assert code == 2
    assert override.split("=")[0] in err


def test_libraries_cannot_open_the_terminal_to_all_logs() -> None:
    script = (
        "import logging\n"
        "from compressor.terminal import quieten_libraries\n"
        "quieten_libraries()\n"
        "logging.getLogger('compressor').setLevel(logging.INFO)\n"
        "logging.basicConfig()\n"
        "logging.getLogger('compressor.pipeline').info('noise')\n"
        "import warnings\n"
        "warnings.warn('noise', UserWarning)\n"
    )
    done = python(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
