"""What a recipe can ask of TensorRT, and what not."""

from __future__ import annotations

import pytest

from compressor.errors import RecipeError
from compressor.recipe.check import check
from compressor.recipe.rehearse import rehearsal
from tests.recipe.conftest import Load


def test_engines_of_precisions_that_are_made_are_allowed(load: Load) -> None:
    loaded = load(
        "export.tensorrt={precisions: [fp32]}", "goals=['artifacts.tensorrt_fp32.image.cosine > 0.9']"
    )
    check(loaded)
    assert loaded.recipe.export.artifacts == ("fp32", "int8", "tensorrt_fp32")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["export.tensorrt={precisions: [int8]}"],
            "export.tensorrt.precisions: int8 has activations that are quantised as they come, which "
            "TensorRT does not read; allowed: fp32",
        ),
        (
            ["export.tensorrt={precisions: [int4_weights]}", "export.search=true"],
            "export.tensorrt.precisions: int4_weights has an operator of ONNX Runtime's own, which TensorRT "
            "does not read; allowed: fp32, fp16, int8_static",
        ),
        (
            ["export.tensorrt={precisions: [int8_static]}", "export.precisions=[fp32, int8_static]"],
            "export.calibration.activations: is uint8, and export.tensorrt asks for int8_static: TensorRT "
            "reads no zero points; allowed: int8",
        ),
        (
            ["export.tensorrt={}", "export.text_length=dynamic"],
            "export.tensorrt: runs texts of one length, and export.text_length is dynamic; allowed: null, or "
            "export.text_length=fixed",
        ),
        (["export.tensorrt={precisions: [fp32, fp32]}"], "export.tensorrt.precisions: names one twice"),
        (
            ["export.tensorrt.profiles.text={min: 4, opt: 2}"],
            "export.tensorrt.profiles.text: is min 4, opt 2, max 32; allowed: min <= opt <= max",
        ),
        (
            ["goals=['artifacts.tensorrt_fp32.recall_delta > -1']"],
            "artifacts.tensorrt_fp32.recall_delta is not available: export.tensorrt makes no tensorrt_fp32; "
            "take the goal out",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(load: Load, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(load(*overrides))
    assert message in str(caught.value)


def test_a_rehearsal_does_not_insist_on_a_gpu(load: Load) -> None:
    small = rehearsal(load("export.tensorrt.optional=false").recipe)
    assert small.export.tensorrt is not None
    assert small.export.tensorrt.optional
    assert rehearsal(load().recipe).export.tensorrt is None
