from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from compressor.errors import BundleError, ModelError
from compressor.runtime.session import Tower, usable_cores
from tests.export.toys import LENGTH, SIZE, WIDTH


def image_tower(exported: Path, **options: Any) -> Tower:
    return Tower(exported / "fp32/image.onnx", "pixel_values", "image_embeds", **options)


def text_tower(exported: Path) -> Tower:
    return Tower(exported / "fp32/text.onnx", "input_ids", "text_embeds", threads=1)


def pixels(count: int) -> np.ndarray:
    return np.zeros((count, 3, SIZE, SIZE), np.float32)


def test_tower_knows_its_shapes(exported: Path) -> None:
    image, text = image_tower(exported, threads=1), text_tower(exported)
    assert (image.item_shape, image.width) == ((3, SIZE, SIZE), WIDTH)
    assert (text.item_shape, text.width) == ((LENGTH,), WIDTH)


def test_threads_are_those_asked_for_or_the_usable_cores(exported: Path) -> None:
    assert image_tower(exported, threads=1).threads == 1
    assert image_tower(exported).threads == usable_cores() == len(os.sched_getaffinity(0))
    with pytest.raises(BundleError, match="threads must be at least 1, not 0"):
        image_tower(exported, threads=0)
    with pytest.raises(BundleError, match="threads must be at most 1024, not 100000"):
        image_tower(exported, threads=100_000)


def test_session_options_are_explicit(exported: Path) -> None:
    options = image_tower(exported, threads=2)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("overflows", [True, False])
def test_int8_is_added_safely_where_it_would_overflow(
    exported: Path, monkeypatch: pytest.MonkeyPatch, overflows: bool
) -> None:
    monkeypatch.setattr("compressor.runtime.providers.adds_int8_in_16_bits", lambda: overflows)
    options = image_tower(exported, threads=1)._session.get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == str(int(overflows))


def test_low_memory_gives_the_same_and_keeps_no_arena(exported: Path) -> None:
    usual, low = image_tower(exported, threads=1), image_tower(exported, threads=1, low_memory=True)
    options = [tower._session.get_session_options() for tower in (usual, low)]
    assert [each.enable_cpu_mem_arena for each in options] == [True, False]
    assert [each.enable_mem_pattern for each in options] == [True, False]
    rows = np.random.default_rng(0).standard_normal((5, 3, SIZE, SIZE), np.float32)
    np.testing.assert_array_equal(low.run(rows), usual.run(rows))


def test_provider_that_is_not_installed_is_refused(exported: Path) -> None:
    with pytest.raises(BundleError, match=r"NoSuchProvider is not in this ONNX Runtime \(it has .*CPU"):
        image_tower(exported, providers=["NoSuchProvider", "CPUExecutionProvider"])


def test_silent_fallback_to_the_cpu_is_an_error(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is in the build, but its libraries do not load: ONNX Runtime goes on with the CPU."""
    available = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers, **more: real(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(
        BundleError, match=r"fell back to CPUExecutionProvider although TensorrtExecutionProvider"
    ):
        image_tower(exported, providers=["TensorrtExecutionProvider"])


def test_providers_in_use_are_told(exported: Path) -> None:
    assert image_tower(exported, threads=1).providers == ("CPUExecutionProvider",)


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (np.zeros((2, 3, SIZE, SIZE), np.float64), "float64"),
        (np.zeros((2, 3, SIZE, SIZE), np.uint8), "uint8"),
        (np.zeros((3, SIZE, SIZE), np.float32), r"float32 \(3, 32, 32\)"),
        (np.zeros((2, SIZE, SIZE, 3), np.float32), r"\(2, 32, 32, 3\)"),
        (np.zeros((2, 3, SIZE, SIZE + 1), np.float32), r"\(2, 3, 32, 33\)"),
        (np.zeros((), np.float32), r"float32 \(\)"),
        ([[0.0]], "list"),
    ],
)
def test_wrong_pixels_are_refused_with_both_shapes(exported: Path, inputs: Any, found: str) -> None:
    with pytest.raises(ModelError, match=rf"pixel_values must be .*float32 \(N, 3, 32, 32\), not .*{found}"):
        image_tower(exported, threads=1).run(inputs)


@pytest.mark.parametrize("inputs", [np.zeros((2, LENGTH), np.int32), np.zeros((2, LENGTH - 1), np.int64)])
def test_wrong_ids_are_refused(exported: Path, inputs: Any) -> None:
    with pytest.raises(ModelError, match=r"input_ids must be int64 \(N, 12\), not"):
        text_tower(exported).run(inputs)


def test_id_outside_the_vocabulary_is_one_clear_sentence(exported: Path) -> None:
    with pytest.raises(ModelError, match=r"input_ids \(1, 12\) cannot be run: ") as caught:
        text_tower(exported).run(np.full((1, LENGTH), 10**6, np.int64))
    assert "\n" not in str(caught.value)


def test_no_rows_give_no_rows(exported: Path) -> None:
    assert image_tower(exported, threads=1).run(pixels(0)).shape == (0, WIDTH)


def test_array_in_another_memory_order_is_fine(exported: Path) -> None:
    tower = image_tower(exported, threads=1)
    straight = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    np.testing.assert_array_equal(tower.run(np.asfortranarray(straight)), tower.run(straight))


def test_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="ONNX Runtime cannot load this graph"):
        Tower(tmp_path / "bad.onnx", "pixel_values", "image_embeds")


def test_graph_with_other_ends_is_refused(exported: Path) -> None:
    with pytest.raises(BundleError, match=r"not a tower with input input_ids.*\['pixel_values'\]"):
        Tower(exported / "fp32/image.onnx", "input_ids", "text_embeds")


def test_graph_of_another_shape_is_refused(tmp_path: Path) -> None:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "height", "width"])
        for name in ("pixel_values", "image_embeds")
    ]
    node = helper.make_node("Identity", ["pixel_values"], ["image_embeds"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "g.onnx")
    with pytest.raises(BundleError, match="only the batch may be dynamic"):
        Tower(tmp_path / "g.onnx", "pixel_values", "image_embeds")


def test_weights_outside_the_graphs_folder_are_not_read(tmp_path: Path) -> None:
    """A hostile graph that names a file elsewhere as its weights."""
    (tmp_path / "secret.bin").write_bytes(np.ones((3, 4), np.float32).tobytes())
    (tmp_path / "bundle").mkdir()
    weight = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[3, 4], data_location=TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value="../secret.bin")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("pixel_values", 3), ("image_embeds", 4))
    ]
    node = helper.make_node("MatMul", ["pixel_values", "w"], ["image_embeds"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "bundle/g.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="cannot load this graph"):
        Tower(tmp_path / "bundle/g.onnx", "pixel_values", "image_embeds")
