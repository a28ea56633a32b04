"""A tower in OpenVINO: against ONNX Runtime where it is installed, by its interface otherwise."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compressor.errors import BundleError, ModelError
from compressor.runtime.openvino_tower import OpenVINOTower, load_openvino
from compressor.runtime.session import Tower
from tests.export.toys import LENGTH, SIZE
from tests.runtime.machine import not_verified, why_missing

IMAGE, TEXT = ("pixel_values", "image_embeds"), ("input_ids", "text_embeds")


class FakeOpenVINO(ModuleType):
    """The calls that are used of OpenVINO 2026.4, over ONNX Runtime."""

    def __init__(self) -> None:
        super().__init__("openvino")
        self.settings: dict[str, Any] = {}
        self.devices: list[str] = []

    def Core(self) -> Any:  # noqa: N802 (the name is the library's)
        return SimpleNamespace(compile_model=self._compile)

    def _compile(self, path: str, device: str, settings: dict[str, Any]) -> Any:
        if device != "CPU":
            raise RuntimeError("Exception from src/core.cpp:1:\nCheck 'x' failed\nDevice is not registered")
        self.settings = settings
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return SimpleNamespace(
            inputs=[_End(end) for end in session.get_inputs()],
            outputs=[_End(end) for end in session.get_outputs()],
            create_infer_request=lambda: _Request(session),
        )


class _End:
    def __init__(self, end: Any) -> None:
        self._end = end

    def get_any_name(self) -> str:
        return str(self._end.name)

    def get_names(self) -> set[str]:
        return {self._end.name}

    def get_partial_shape(self) -> list[Any]:
        return [
            SimpleNamespace(is_static=isinstance(n, int), get_length=lambda n=n: n) for n in self._end.shape
        ]

    def get_element_type(self) -> Any:
        return SimpleNamespace(to_dtype=lambda: np.int64 if "int64" in self._end.type else np.float32)


class _Request:
    def __init__(self, session: Any) -> None:
        self._session, self._found = session, dict[str, np.ndarray]()

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool) -> None:
        names = [end.name for end in self._session.get_outputs()]
        self._found = dict(zip(names, self._session.run(None, inputs), strict=True))

    def get_tensor(self, name: str) -> Any:
        return SimpleNamespace(data=self._found[name])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeOpenVINO:
    module = FakeOpenVINO()
    monkeypatch.setitem(sys.modules, "openvino", module)
    return module


def test_the_interface_is_that_of_a_tower(exported: Path, fake: FakeOpenVINO) -> None:
    _compare(exported)
    assert fake.settings["INFERENCE_NUM_THREADS"] == 1
    assert fake.settings["INFERENCE_PRECISION_HINT"] == "f32"
    assert OpenVINOTower(exported / "fp32/image.onnx", *IMAGE).providers == ("OpenVINO",)
    assert "INFERENCE_PRECISION_HINT" not in fake.settings


def test_the_real_openvino_gives_the_same_rows(exported: Path) -> None:
    """Where it is not installed, the summary says so, and the sentence about it is what is left."""
    missing = why_missing(load_openvino)
    if missing is None:
        _compare(exported)
    else:
        not_verified("rows from OpenVINO", missing)
        assert missing == "OpenVINO is not installed (pip install 'compressor[openvino]')"


def test_what_does_not_fit_is_refused(exported: Path, fake: FakeOpenVINO) -> None:
    path = exported / "fp32/text.onnx"
    with pytest.raises(BundleError, match=r"not a tower with input pixel_values .* it has inputs input_ids"):
        OpenVINOTower(path, *IMAGE, threads=1)
    with pytest.raises(BundleError, match=r"OpenVINO cannot load this graph: Device is not registered$"):
        OpenVINOTower(path, *TEXT, threads=1, device="NPU")
    with pytest.raises(BundleError, match="threads must be at least 1, not 0"):
        OpenVINOTower(path, *TEXT, threads=0)
    tower = OpenVINOTower(path, *TEXT, threads=1)
    with pytest.raises(ModelError, match=r"input_ids must be int64 \(N, 12\), not float64"):
        tower.run(np.zeros((1, LENGTH)))
    with pytest.raises(ModelError, match=r"input_ids \(1, 12\) cannot be run: "):
        tower.run(np.full((1, LENGTH), 10**6, np.int64))


def _compare(exported: Path) -> None:
    pixels = np.random.default_rng(0).standard_normal((7, 3, SIZE, SIZE), np.float32)
    ids = np.arange(7 * LENGTH, dtype=np.int64).reshape(7, LENGTH)
    for name, ends, rows in (("image", IMAGE, pixels), ("text", TEXT, ids)):
        path = exported / f"fp32/{name}.onnx"
        reference = Tower(path, *ends, threads=1)
        tower = OpenVINOTower(path, *ends, threads=1, precision="f32")
        assert (tower.item_shape, tower.width) == (reference.item_shape, reference.width)
        for count in (0, 1, 7):
            assert np.allclose(tower.run(rows[:count]), reference.run(rows[:count]), atol=1e-5)
        kept = tower.run(rows[:1])
        tower.run(rows[1:2])
        assert np.allclose(kept, reference.run(rows[:1]), atol=1e-5)
