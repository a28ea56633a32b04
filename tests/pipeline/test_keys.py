"""Stage keys: equal for equal inputs, and changed for exactly the stages that a change concerns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from compressor.benchmark.device import device_key
from compressor.pipeline import benchmark_stage, keys
from compressor.pipeline.context import Context
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.keys import file_identity, stage_key, versions
from compressor.pipeline.progress import QuietReporter
from compressor.pipeline.run import stage_names
from compressor.pipeline.stages import STAGES
from compressor.recipe.load import load_recipe
from tests.integration.tiny import write_recipe

EVERY_STAGE = ["teacher", "cache", "distill", "export", "evaluate", "benchmark", "report"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = write_recipe(tmp_path)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "model.safetensors").write_bytes(b"weights")
    return path


def keys_of(recipe: Path, *overrides: str) -> dict[str, str]:
    """The keys of all stages, as they are when what the stages write depends on nothing but their keys."""
    loaded = load_recipe(recipe, overrides).recipe
    context = Context(loaded, RunFolder(recipe.parent / "runs" / loaded.name), QuietReporter())
    found: dict[str, str] = {}
    for stage in STAGES:
        upstream = {name: found[name] for name in stage.needs}
        found[stage.name] = stage_key(stage.name, stage.inputs(context), upstream)
    return found


def changed(recipe: Path, *overrides: str) -> list[str]:
    before, after = keys_of(recipe), keys_of(recipe, *overrides)
    return [name for name in before if before[name] != after[name]]


def test_the_stages_are_a_chain_in_order() -> None:
    assert stage_names() == EVERY_STAGE
    for number, stage in enumerate(STAGES):
        assert set(stage.needs) <= set(EVERY_STAGE[:number]), f"{stage.name} needs what comes after it"


def test_the_same_inputs_have_the_same_keys(recipe: Path) -> None:
    assert keys_of(recipe) == keys_of(recipe)
    assert len(set(keys_of(recipe).values())) == len(EVERY_STAGE)


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("data.train=40", "cache"),
        ("data.val=12", "cache"),
        ("distill.augmentation.horizontal_flip=0.5", "cache"),
        ("distill.optimizer.lr=0.5", "distill"),
        ("distill.losses=[{kind: feature, weight: 2}]", "distill"),
        ("student.embed_dim=24", "distill"),
        ("export.parity.samples=20", "export"),
    ],
)
def test_a_changed_section_changes_its_stage_and_those_after_it(
    recipe: Path, override: str, first: str
) -> None:
    assert changed(recipe, override) == EVERY_STAGE[EVERY_STAGE.index(first) :]


def test_another_seed_changes_every_stage_that_uses_it(recipe: Path) -> None:
    assert changed(recipe, "seed=3") == EVERY_STAGE


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("evaluate.bootstrap=60", ["evaluate", "report"]),
        ("data.test=12", ["evaluate", "report"]),
        ("benchmark.rounds=3", ["benchmark", "report"]),
        ("goals=['retention.rsum >= 0.1']", ["report"]),
    ],
)
def test_what_comes_after_training_is_measured_alone(recipe: Path, override: str, stages: list[str]) -> None:
    assert changed(recipe, override) == stages


@pytest.mark.parametrize("override", ["distill.workers=0", "distill.trackers=[]"])
def test_what_does_not_shape_the_weights_does_not_train_again(recipe: Path, override: str) -> None:
    assert changed(recipe, override) == ["report"]


def test_other_teacher_weights_change_every_stage(recipe: Path) -> None:
    before = keys_of(recipe)
    (recipe.parent / "teacher" / "model.safetensors").write_bytes(b"other weights")
    after = keys_of(recipe)
    assert [name for name in before if before[name] != after[name]] == EVERY_STAGE


def test_a_figure_of_another_machine_is_never_this_runs(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys_of(recipe)
    assert device_key() in str(benchmark_stage.inputs(_context(recipe)))
    monkeypatch.setattr(benchmark_stage, "device_key", lambda: "another machine")
    after = keys_of(recipe)
    assert [name for name in before if before[name] != after[name]] == ["benchmark", "report"]


def _context(recipe: Path) -> Context:
    return Context(load_recipe(recipe).recipe, RunFolder(recipe.parent / "runs" / "tiny"), QuietReporter())


def test_another_library_version_changes_the_stages_it_shapes(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys_of(recipe)
    real = keys.metadata.version

    def upgraded(name: str) -> str:
        return "99.0" if name == "onnxruntime" else real(name)

    monkeypatch.setattr(keys.metadata, "version", upgraded)
    assert versions("export")["onnxruntime"] == "99.0"
    after = keys_of(recipe)
    assert [n for n in before if before[n] != after[n]] == ["export", "evaluate", "benchmark", "report"]


def test_the_build_of_a_library_is_not_part_of_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.metadata, "version", lambda name: "2.9.0+cu128")
    assert set(versions("distill").values()) == {"2.9.0"}


def test_a_stage_that_changes_what_it_produces_raises_its_code_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs: dict[str, Any] = {"a": 1}
    before = stage_key("export", inputs, {})
    monkeypatch.setitem(keys.CODE_VERSION, "export", keys.CODE_VERSION["export"] + 1)
    assert stage_key("export", inputs, {}) != before


def test_identity_of_files_and_folders(tmp_path: Path) -> None:
    assert file_identity(None) is None
    assert file_identity(tmp_path / "absent") == {}
    folder = tmp_path / "weights"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.bin").write_bytes(b"abc")
    first = file_identity(folder)
    assert first == file_identity(folder)
    (folder / "inner" / "a.bin").write_bytes(b"abcd")
    grown = file_identity(folder)
    assert grown != first
    os.utime(folder / "inner" / "a.bin", ns=(1, 1))
    assert file_identity(folder) != grown
