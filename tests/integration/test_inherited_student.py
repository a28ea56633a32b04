"""Whole runs whose student is cut out of its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
from safetensors.torch import save_file

from compressor.errors import ModelError
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.plan import make_plan
from compressor.recipe.load import load_recipe
from compressor.runtime.bundle import Bundle
from compressor.teachers.checkpoint import load_any_checkpoint
from tests.integration.conftest import Run
from tests.integration.tiny import write_recipe

CUT: dict[str, Any] = {"kind": "inherit", "image": {"width": 16}, "text": {"width": 8, "heads": 1}}


@pytest.fixture
def clip(small_clip: str, tmp_path: Path) -> dict[str, Any]:
    """A teacher section: a small open_clip model with weights of its own."""
    model = open_clip.create_model(small_clip, pretrained=None)
    path = tmp_path / "clip.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return {"kind": "open_clip", "name": small_clip, "path": str(path)}


def test_a_student_starts_as_a_part_of_its_teacher_and_is_a_bundle_at_the_end(
    run: Run, tmp_path: Path, clip: dict[str, Any]
) -> None:
    distill = {"losses": [{"kind": "task"}, {"kind": "affinity"}], "balancer": {"kind": "static"}}
    results = run(teacher=clip, student=CUT, distill=distill)
    assert results is not None
    assert results.size.teacher is not None
    assert results.size.student.image_parameters < results.size.teacher.image_parameters
    assert results.size.student.text_parameters < 0.6 * results.size.teacher.text_parameters
    folder = RunFolder(tmp_path / "runs" / "tiny")
    student = load_any_checkpoint(folder.checkpoint)
    assert student.config["family"] == "open_clip"
    assert student.config["model_cfg"]["vision_cfg"]["width"] == 16
    assert Bundle.open(folder.bundle).encode_texts(["a red star"]).shape == (1, 16)


def test_the_plan_knows_an_inherited_students_size(tmp_path: Path, clip: dict[str, Any]) -> None:
    recipe = load_recipe(write_recipe(tmp_path, teacher=clip, student=CUT)).recipe
    plan = make_plan(recipe, tmp_path / "runs")
    assert plan["student"]["parameters"]["total"] < plan["teacher"]["parameters"]["total"]
    assert set(plan["hours"]) == {"cache", "distill"}


def test_a_width_that_the_teacher_does_not_have_is_refused_before_any_work(
    run: Run, clip: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"inherit\.image\.width is 64, the teacher has 32"):
        run(teacher=clip, student={"kind": "inherit", "image": {"width": 64}})
    assert not (tmp_path / "runs" / "tiny" / "teacher").exists()
