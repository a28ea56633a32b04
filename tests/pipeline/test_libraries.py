"""Without the training libraries every command says so before any work, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.errors import MissingDependencyError
from compressor.pipeline.ablate import ablate
from compressor.pipeline.ablation import Comparison
from compressor.pipeline.libraries import ALL, TRAINING, require_libraries
from compressor.pipeline.plan import make_plan
from compressor.pipeline.run import Options, run
from compressor.recipe import Recipe
from compressor.recipe.load import load_recipe
from tests.integration.tiny import write_recipe
from tests.runtime.fake_gpu import without
from tests.test_cli import Call, _run  # noqa: F401

REMEDY = "(pip install 'compressor[train,cpu]')"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(write_recipe(tmp_path)).recipe


def ablation(folder: Path) -> Comparison:
    return Comparison(str(folder / "recipe.yaml"), losses=True, seeds=1, runs=folder / "runs")


WORK: dict[str, Callable[[Recipe, Path], object]] = {
    "a run": lambda recipe, folder: run(recipe, folder / "runs"),
    "a plan": lambda recipe, folder: make_plan(recipe, folder / "runs"),
    "an ablation": lambda recipe, folder: ablate(ablation(folder)),
}


@pytest.mark.parametrize("what", WORK)
def test_without_torch_nothing_begins(
    what: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with without(monkeypatch, "torch", "timm"), pytest.raises(MissingDependencyError) as raised:
        WORK[what](recipe, tmp_path)
    assert str(raised.value) == f"{what} needs torch, timm {REMEDY}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["run", "plan", "cache"])
def test_the_command_line_exits_with_2(
    run: Call, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recipe(tmp_path)
    with without(monkeypatch, *TRAINING):
        code, out, err = run(command, path, "--runs", tmp_path / "runs")
    assert (code, out) == (2, "")
    assert f"needs {', '.join(TRAINING)} {REMEDY}" in err
    assert not (tmp_path / "runs").exists()


def test_onnx_runtime_is_asked_for_by_a_run_that_exports(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressor.pipeline.run.run_stages", lambda *arguments: None)
    with without(monkeypatch, "onnxruntime"):
        assert run(recipe, tmp_path / "runs", options=Options(until="distill")) is None
        with pytest.raises(MissingDependencyError, match=r"^a run needs onnxruntime "):
            run(recipe, tmp_path / "runs")


def test_what_is_here_is_not_complained_of() -> None:
    require_libraries("a run", ALL)
