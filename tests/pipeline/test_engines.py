"""Engines a recipe asks for: told before the run, required at its start, part of the export's identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import MissingDependencyError
from compressor.pipeline.engines import engine_inputs, engine_note, engines_planned, require_engines
from compressor.recipe import Recipe
from compressor.recipe.load import load_recipe
from compressor.report.run_tables import artifacts_table
from tests.recipe.conftest import SMALL
from tests.report.fixture import run
from tests.runtime.fake_gpu import install, without

MISSING = ("tensorrt", "cuda.bindings.runtime")


def recipe_with(folder: Path, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(SMALL)
    return load_recipe(str(path), overrides).recipe


def test_a_recipe_without_engines_asks_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_with(tmp_path)
    with without(monkeypatch, *MISSING):
        require_engines(recipe)
        assert (engine_note(recipe), engine_inputs(recipe), engines_planned(recipe)) == (None, {}, "")


def test_the_gpu_is_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    recipe = recipe_with(tmp_path, "export.tensorrt={precisions: [fp32]}")
    require_engines(recipe)
    assert engine_note(recipe) is None
    assert engine_inputs(recipe) == {"engines": {"gpu": "NVIDIA Test GPU", "tensorrt": "10.16.1.11"}}
    assert engines_planned(recipe) == " and TensorRT (fp32)"


def test_engines_that_are_missing_stop_the_run_or_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = recipe_with(tmp_path, "export.tensorrt={precisions: [fp32]}")
    optional = recipe_with(tmp_path, "export.tensorrt={optional: true}")
    with without(monkeypatch, *MISSING):
        with pytest.raises(
            MissingDependencyError, match=r"asks for TensorRT engines .*: TensorRT is not instal"
        ):
            require_engines(needed)
        require_engines(optional)
        assert "export.tensorrt.optional=true" in str(engine_note(needed))
        assert str(engine_note(optional)).startswith(
            "TensorRT engines will be left out on this machine: Tens"
        )
        assert "missing" in engine_inputs(optional)["engines"]


def test_the_report_has_a_row_for_what_was_not_made() -> None:
    reason = "not available on this machine: no GPU"
    table = artifacts_table(run(not_made={"tensorrt_fp32": reason}))
    (row,) = [row for row in table.rows if row[0].text == "tensorrt_fp32"]
    assert len(row) == len(table.columns)
    assert row[-2].text == "not made"
    assert f"tensorrt_fp32: {reason}." in table.note
