"""Both towers of a student export to ONNX with a dynamic batch and compute the same there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from compressor.students.dual_encoder import DualEncoder
from compressor.students.encoder import Model
from tests.students.conftest import CAPTIONS


class Tower(nn.Module):
    def __init__(self, encoder: DualEncoder, method: str) -> None:
        super().__init__()
        self.encoder, self.method = encoder, method

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = getattr(self.encoder, self.method)(inputs)
        return output


@pytest.mark.parametrize("method", ["encode_image", "encode_text"])
def test_a_tower_exports_with_a_dynamic_batch(student: Model, tmp_path: Path, method: str) -> None:
    encoder = student.encoder
    assert isinstance(encoder, DualEncoder)
    encoder.eval()
    if method == "encode_image":
        inputs = torch.randn(5, 3, 32, 32)
    else:
        inputs = torch.from_numpy(student.preprocessor.texts([*CAPTIONS, "", "a " * 40]))
    program = torch.onnx.export(
        Tower(encoder, method).eval(),
        (inputs[:2],),
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None
    program.save(tmp_path / "tower.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tower.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = getattr(encoder, method)(inputs).numpy()
    for batch in (1, 5):
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs[:batch].numpy()})
        np.testing.assert_allclose(found, expected[:batch], atol=1e-5)


@pytest.mark.parametrize("pool", ["last", "first"])
def test_causal_text_towers_trace_with_any_batch(pool: str) -> None:
    from compressor.students.text_transformer import TextTransformer

    model = TextTransformer(30, 0, 2, 8, 1, 2, 2.0, 6, causal=True, pool=pool).eval()  # type: ignore[arg-type]
    ids = torch.tensor([[1, 5, 2, 0, 0, 0]]).repeat(4, 1)
    traced = torch.export.export(model, (ids[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    for batch in (1, 4):
        torch.testing.assert_close(traced(ids[:batch]), model(ids[:batch]))
