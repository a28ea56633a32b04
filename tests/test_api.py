"""The Python API: `compressor.run` and `compressor.Bundle`, imported when they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import compressor
from compressor import api
from compressor.errors import RecipeError
from compressor.pipeline.run import Options
from compressor.recipe.load import load_recipe
from tests.integration.tiny import write_recipe


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the pipeline is asked to run, instead of running it."""
    asked: list[tuple[Any, ...]] = []

    def run_stages(recipe: Any, runs: Any, *, options: Any, reporter: Any) -> None:
        asked.append((recipe, runs, options, reporter))

    monkeypatch.setattr(api, "run_stages", run_stages)
    return asked


def test_importing_the_package_imports_nothing_else() -> None:
    script = (
        "import sys\n"
        "import compressor\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'torch', 'numpy', 'pydantic', 'typer', 'rich', 'yaml', 'onnxruntime'}\n"
        "assert [name for name in sys.modules if name.startswith('compressor')] == ['compressor']\n"
        "compressor.run, compressor.Bundle\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_names_are_what_they_say() -> None:
    from compressor.runtime.bundle import Bundle

    assert compressor.run is api.run
    assert compressor.Bundle is Bundle
    assert set(compressor.__all__) == {"run", "Bundle", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        compressor.train  # type: ignore[attr-defined]  # noqa: B018


def test_run_takes_a_file_with_overrides(tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    recipe = write_recipe(tmp_path)
    compressor.run(recipe, ["distill.epochs=5"], runs=tmp_path, start="distill", until="export")
    compressor.run(str(recipe), force=True, rehearse=True)
    (first, runs, options, _), (_, usual, forced, _) = calls
    assert first.distill.epochs == 5
    assert (runs, options) == (tmp_path, Options(start="distill", until="export"))
    assert (usual, forced) == ("runs", Options(force=True, rehearse=True))


def test_run_takes_a_recipe(tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    recipe = load_recipe(write_recipe(tmp_path)).recipe
    compressor.run(recipe)
    assert calls[0][0] is recipe
    with pytest.raises(TypeError, match="overrides go on top of a file"):
        compressor.run(recipe, ["distill.epochs=5"])


def test_run_checks_a_recipe_however_it_comes(tmp_path: Path, calls: list[tuple[Any, ...]]) -> None:
    recipe = load_recipe(write_recipe(tmp_path)).recipe
    impossible = recipe.model_copy(update={"teacher": None})
    with pytest.raises(RecipeError, match="without a teacher the student is its own control"):
        compressor.run(impossible)
    with pytest.raises(RecipeError, match="without a teacher the student is its own control"):
        compressor.run(tmp_path / "recipe.yaml", ["teacher=null"])
    assert calls == []
