"""What a recipe can ask of OpenVINO, and what not."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.recipe.check import check
from compressor.recipe.rehearse import rehearsal
from tests.recipe.conftest import Load


@pytest.mark.parametrize("search", ["true", "false"])
def test_precisions_that_are_made_are_allowed(load: Load, search: str) -> None:
    loaded = load(
        "export.openvino={precisions: [fp32, int8], compute: f32}",
        "export.default=openvino_int8",
        f"export.search={search}",
        "goals=['artifacts.openvino_fp32.recall_delta >= -1']",
    )
    check(loaded)
    assert loaded.recipe.export.artifacts[-2:] == ("openvino_fp32", "openvino_int8")
    assert loaded.recipe.export.searched == loaded.recipe.export.artifacts


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["export.openvino={precisions: [fp32, int8_static]}"],
            "export.openvino.precisions: export.precisions makes no int8_static graph to read; allowed: "
            "fp32, int8",
        ),
        (["export.openvino={precisions: [fp32, fp32]}"], "export.openvino.precisions: names one twice"),
        (
            ["export.openvino={}", "export.text_length=dynamic"],
            "export.openvino: runs texts of one length, and export.text_length is dynamic; allowed: null, or "
            "export.text_length=fixed",
        ),
        (
            ["export.default=openvino_fp32"],
            "export.default: is openvino_fp32, which export.openvino does not make; allowed: fp32, int8",
        ),
        (
            ["export.default=openvino_int8", "export.search=true", "export.openvino={}"],
            "export.default: is openvino_int8, which export.openvino does not make; allowed: fp32, fp16, ",
        ),
        (
            ["goals=['artifacts.openvino_fp32.recall_delta > -1']"],
            "artifacts.openvino_fp32.recall_delta is not available: export.openvino makes no openvino_fp32; "
            "take the goal out",
        ),
    ],
)
def test_what_openvino_has_no_files_of_is_refused(load: Load, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(load(*overrides))
    assert message in str(caught.value)


def test_a_rehearsal_does_not_insist_on_openvino(load: Load) -> None:
    small = rehearsal(load("export.openvino.optional=false").recipe)
    assert small.export.openvino is not None
    assert small.export.openvino.optional
    assert rehearsal(load().recipe).export.openvino is None


def test_what_a_student_is_compared_with_is_made_at_fp32_alone(load: Load) -> None:
    asked = load("export.openvino={}", "export.tensorrt={}", "export.search=true", "export.default=fastest")
    alone = asked.recipe.export.reference()
    assert alone.artifacts == ("fp32",)
    assert (alone.default, alone.search) == ("fp32", False)
