"""Other runtimes of a recipe: told before the run, required at its start, part of the export's identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import MissingDependencyError
from compressor.pipeline.runtimes import require_runtimes, runtime_inputs, runtime_notes, runtimes_planned
from compressor.recipe import Recipe
from compressor.recipe.load import load_recipe
from compressor.report.model_card import model_card
from compressor.report.run_tables import artifacts_table
from tests.recipe.conftest import SMALL
from tests.report.fixture import run
from tests.runtime import fake_openvino
from tests.runtime.fake_gpu import install, without

MISSING = ("tensorrt", "cuda.bindings.runtime", "openvino")


def recipe_with(folder: Path, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(SMALL)
    return load_recipe(str(path), overrides).recipe


def test_a_recipe_without_engines_asks_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_with(tmp_path)
    with without(monkeypatch, *MISSING):
        require_runtimes(recipe)
        assert (runtime_notes(recipe), runtime_inputs(recipe), runtimes_planned(recipe)) == ([], {}, "")


def test_the_gpu_is_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    recipe = recipe_with(tmp_path, "export.tensorrt={precisions: [fp32]}")
    require_runtimes(recipe)
    assert runtime_notes(recipe) == []
    assert runtime_inputs(recipe) == {"engines": {"gpu": "NVIDIA Test GPU", "tensorrt": "10.16.1.11"}}
    assert runtimes_planned(recipe) == " and TensorRT (fp32)"


def test_engines_that_are_missing_stop_the_run_or_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = recipe_with(tmp_path, "export.tensorrt={precisions: [fp32]}")
    optional = recipe_with(tmp_path, "export.tensorrt={optional: true}")
    with without(monkeypatch, *MISSING):
        with pytest.raises(
            MissingDependencyError, match=r"asks for TensorRT engines .*: TensorRT is not instal"
        ):
            require_runtimes(needed)
        require_runtimes(optional)
        assert "export.tensorrt.optional=true" in str(runtime_notes(needed))
        (note,) = runtime_notes(optional)
        assert note.startswith("TensorRT engines will be left out on this machine: Tens")
        assert "missing" in runtime_inputs(optional)["engines"]


def test_openvino_that_is_missing_stops_the_run_or_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = recipe_with(tmp_path, "export.openvino={precisions: [fp32, int8]}")
    optional = recipe_with(tmp_path, "export.openvino={optional: true}")
    assert runtimes_planned(needed) == " and OpenVINO (fp32, int8)"
    with without(monkeypatch, *MISSING):
        with pytest.raises(MissingDependencyError) as caught:
            require_runtimes(needed)
        assert str(caught.value) == (
            "the recipe asks for artifacts for OpenVINO (export.openvino): OpenVINO is not installed "
            "(pip install 'compressor[openvino]'); with export.openvino.optional=true the run goes on "
            "without them"
        )
        assert runtime_notes(needed) == [str(caught.value)]
        require_runtimes(optional)
        (note,) = runtime_notes(optional)
        assert note.startswith(
            "artifacts for OpenVINO will be left out on this machine: OpenVINO is not inst"
        )
        assert "missing" in runtime_inputs(optional)["openvino"]


def test_what_openvino_computes_in_is_part_of_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_openvino.install(monkeypatch)
    for compute, computed in (("auto", "bf16"), ("f32", "f32")):
        recipe = recipe_with(tmp_path, f"export.openvino={{compute: {compute}}}")
        require_runtimes(recipe)
        assert runtime_inputs(recipe) == {"openvino": {"version": "2026.4.1-fake", "computed": computed}}


def test_the_report_has_a_row_for_what_was_not_made() -> None:
    reason = "not available on this machine: no GPU"
    table = artifacts_table(run(not_made={"tensorrt_fp32": reason}))
    (row,) = [row for row in table.rows if row[0].text == "tensorrt_fp32"]
    assert len(row) == len(table.columns)
    assert row[-2].text == "not made"
    assert f"tensorrt_fp32: {reason}." in table.note


def test_the_report_says_what_runs_an_artifact() -> None:
    whole = run()
    fp32 = whole.artifacts["fp32"].model_dump()
    named = run(artifacts={"fp32": fp32, "openvino_fp32": fp32 | {"runtime": "openvino"}})
    note = "In OpenVINO (pip install 'compressor[openvino]'): openvino_fp32."
    assert note in artifacts_table(named).note
    assert "OpenVINO" not in artifacts_table(whole).note
    assert "pip install 'compressor[cpu]'" in model_card(named)
    quality = whole.model_dump()["quality"]
    quality["student"]["precision"] = "openvino_fp32"
    opened = model_card(named.model_copy(update={"quality": run(quality=quality).quality}))
    assert "`pip install 'compressor[openvino]'` is all it needs" in opened
