"""A stand-in for OpenVINO on a machine without it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest


def install(monkeypatch: pytest.MonkeyPatch) -> FakeOpenVINO:
    """Put the stand-in where `import openvino` finds it."""
    module = FakeOpenVINO()
    monkeypatch.setitem(sys.modules, "openvino", module)
    return module


class FakeOpenVINO(ModuleType):
    """The calls that are used of OpenVINO 2026.4, over ONNX Runtime; `wrong`: with the output's columns
    turned round."""

    def __init__(self) -> None:
        super().__init__("openvino")
        self.__version__ = "2026.4.1-fake"
        self.settings: dict[str, Any] = {}
        self.wrong = False

    def Core(self) -> Any:  # noqa: N802 (the name is the library's)
        return SimpleNamespace(compile_model=self._compile, get_property=self._get_property)

    def _get_property(self, device: str, name: str) -> Any:
        assert (device, name) == ("CPU", "INFERENCE_PRECISION_HINT")
        return SimpleNamespace(get_type_name=lambda: "bf16")

    def _compile(self, path: str, device: str, settings: dict[str, Any]) -> Any:
        if device != "CPU":
            raise RuntimeError("Exception from src/core.cpp:1:\nCheck 'x' failed\nDevice is not registered")
        self.settings = settings
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return SimpleNamespace(
            inputs=[_End(end) for end in session.get_inputs()],
            outputs=[_End(end) for end in session.get_outputs()],
            create_infer_request=lambda: _Request(session, self.wrong),
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
    def __init__(self, session: Any, wrong: bool) -> None:
        self._session, self._wrong, self._found = session, wrong, dict[str, np.ndarray]()

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool) -> None:
        names = [end.name for end in self._session.get_outputs()]
        self._found = dict(zip(names, self._session.run(None, inputs), strict=True))

    def get_tensor(self, name: str) -> Any:
        return SimpleNamespace(data=self._found[name][:, ::-1] if self._wrong else self._found[name])
