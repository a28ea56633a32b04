"""A block on top of both towers: one set of weights, in checkpoints, in counts, in both exported graphs."""

from __future__ import annotations

from math import erf, sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from compressor.export.onnx import export_tower, ready_for_export
from compressor.preprocess.spec import TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.students.build import build_encoder, build_student
from compressor.students.checkpoint import load_checkpoint, save_checkpoint
from compressor.students.dual_encoder import DualEncoder, parameter_counts
from compressor.students.encoder import Model
from compressor.students.outline import outline_encoder
from compressor.students.shared_block import SharedBlock
from tests.students.conftest import CAPTIONS, student_section

Parts = tuple[Tokenizer, TextSpec]


def student_with(tokenizer: Parts, **shared: object) -> Model:
    torch.manual_seed(0)
    return build_student(student_section(shared=shared or {}), *tokenizer)


def stirred(model: Model) -> DualEncoder:
    """The encoder in evaluation mode, its block no longer the identity."""
    encoder = model.encoder
    assert isinstance(encoder, DualEncoder)
    torch.manual_seed(1)
    for weight in encoder.shared.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return encoder.eval()


def block_by_hand(block: SharedBlock, x: np.ndarray) -> np.ndarray:
    """x + W2 gelu(W1 norm(x) + b1) + b2, row by row in float64."""
    for layer in block.blocks:
        norm, inner, outer = layer.norm, layer.inner, layer.outer
        gain, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
        rows = []
        for row in x:
            centred = row - row.mean()
            scaled = centred / sqrt((centred**2).mean() + norm.eps) * gain + bias
            hidden = inner.weight.detach().numpy() @ scaled + inner.bias.detach().numpy()
            active = np.array([h * (1 + erf(h / sqrt(2))) / 2 for h in hidden])
            rows.append(row + outer.weight.detach().numpy() @ active + outer.bias.detach().numpy())
        x = np.array(rows)
    return x


def test_the_block_is_residual_mlps_behind_layer_norms() -> None:
    torch.manual_seed(2)
    block = SharedBlock(6, layers=2, hidden_ratio=1.5).double()
    for weight in block.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(3, 6, dtype=torch.float64)
    np.testing.assert_allclose(block(x).detach().numpy(), block_by_hand(block, x.numpy()), rtol=1e-9)


def test_a_student_starts_as_it_would_without_the_block(tokenizer: Parts) -> None:
    with_block = student_with(tokenizer, layers=2)
    torch.manual_seed(5)
    without = build_encoder(student_section(), tokenizer[1], tokenizer[0].vocab_size).eval()
    own = with_block.encoder
    assert isinstance(own, DualEncoder)
    without.load_state_dict({k: v for k, v in own.state_dict().items() if not k.startswith("shared.")})
    own.eval()
    pixels = torch.randn(2, 3, 32, 32)
    ids = torch.from_numpy(with_block.preprocessor.texts(CAPTIONS))
    assert torch.equal(own.encode_image(pixels), without.encode_image(pixels))
    assert torch.equal(own.encode_text(ids), without.encode_text(ids))


def test_both_modalities_pass_the_same_weights_before_they_are_normalised(tokenizer: Parts) -> None:
    model = student_with(tokenizer, layers=1, hidden_ratio=0.5)
    encoder = stirred(model)
    pixels = torch.randn(2, 3, 32, 32)
    ids = torch.from_numpy(model.preprocessor.texts(CAPTIONS))
    for found, features in (
        (encoder.encode_image(pixels), encoder.image_projection(encoder.image_tower(pixels))),
        (encoder.encode_text(ids), encoder.text_projection(encoder.text_tower(ids))),
    ):
        rows = encoder.shared(features)
        torch.testing.assert_close(found, rows / rows.norm(dim=1, keepdim=True))
        assert not torch.allclose(found, torch.nn.functional.normalize(features), atol=1e-2)
    encoder.encode_image(pixels)[:, 0].sum().backward()
    seen = [weight.grad.clone() for weight in encoder.shared.parameters() if weight.grad is not None]
    encoder.encode_text(ids)[:, 0].sum().backward()
    both = [weight.grad for weight in encoder.shared.parameters()]
    assert len(seen) == len(both) == 6
    assert all(not torch.equal(one, two) for one, two in zip(seen, both, strict=True) if two is not None)


def test_shared_weights_count_once_in_the_total_alone(tokenizer: Parts) -> None:
    plain = build_student(student_section(), *tokenizer).encoder
    shared = student_with(tokenizer, layers=2, hidden_ratio=2.0).encoder
    assert isinstance(plain, DualEncoder)
    assert isinstance(shared, DualEncoder)
    before, after = parameter_counts(plain), parameter_counts(shared)
    width, hidden = 24, 48
    own = 2 * (2 * width + width * hidden + hidden + hidden * width + width)
    assert after == before | {"total": before["total"] + own}
    with torch.device("meta"):
        blank = build_encoder(
            student_section(shared={"layers": 2}), tokenizer[1], tokenizer[0].vocab_size, weights=False
        )
    outline = outline_encoder(blank, 32, 12)
    assert outline.parameters == after
    without = outline_encoder(plain.to("meta"), 32, 12)
    work = 2 * 2 * 2 * width * hidden  # two layers, two products, two operations each
    assert outline.image_flops - without.image_flops == outline.text_flops - without.text_flops == work


def test_a_checkpoint_keeps_the_block(tokenizer: Parts, tmp_path: Path) -> None:
    model = student_with(tokenizer, layers=1)
    encoder = stirred(model)
    save_checkpoint(model, tmp_path / "c")
    again = load_checkpoint(tmp_path / "c").encoder
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.encode_image(pixels), encoder.encode_image(pixels))


def test_a_student_without_a_block_holds_nothing_of_it(student: Model, tmp_path: Path) -> None:
    assert isinstance(student.encoder, DualEncoder)
    assert not any("shared" in name for name in student.encoder.state_dict())
    save_checkpoint(student, tmp_path / "c")
    config = tmp_path / "c" / "config.json"
    older = config.read_text().replace('"shared": null', '"initial_temperature": 0.07')
    assert older != config.read_text()
    config.write_text(older)
    assert load_checkpoint(tmp_path / "c").fingerprint == student.fingerprint


@pytest.mark.parametrize("side", ["image", "text"])
def test_each_exported_tower_contains_the_block(
    tokenizer: Parts, tmp_path: Path, side: Literal["image", "text"]
) -> None:
    model = student_with(tokenizer, layers=1)
    encoder = stirred(model)
    if side == "image":
        given = torch.randn(3, 3, 32, 32)
        expected = encoder.encode_image(given)
    else:
        given = torch.from_numpy(model.preprocessor.texts(CAPTIONS))
        expected = encoder.encode_text(given)
    with ready_for_export(encoder):
        export_tower(encoder, side, given.numpy(), tmp_path / "tower.onnx")
    session = InferenceSession(str(tmp_path / "tower.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=2e-5)
