"""Forward passes in pieces give the gradients of one large pass."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.distill.gradcache import MicroBatches, Towers
from tests.distill.world import TinyEncoder, World, build_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("gradcache"))


def seed_piece(number: int) -> None:
    torch.manual_seed(100 + number)


def contrast(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Every row looks at every other, so the gradient of one piece depends on all."""
    logits = scale * image @ text.T
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(logits)))


def gradients(encoder: TinyEncoder, world: World, rows: int, size: int) -> tuple[float, dict[str, Tensor]]:
    encoder.zero_grad()
    batch = world.rows.batch(list(range(rows)), 0)
    towers = Towers(encoder, world.student.preprocessor.image)
    leaves = MicroBatches(towers, size, seed_piece).embed(batch.pixels, batch.input_ids)
    loss = contrast(leaves.image, leaves.text, leaves.logit_scale)
    loss.backward()
    leaves.backward()
    return loss.item(), {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def equal(gradient: Tensor, expected: Tensor, name: str) -> None:
    """Up to what single precision leaves of sums as large as the largest entry."""
    atol = 1e-6 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=atol, msg=name)


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(2, 12), size=st.integers(1, 12))
def test_pieces_give_the_gradient_of_the_whole_batch(world: World, rows: int, size: int) -> None:
    encoder = copy.deepcopy(world.student.encoder).double().train()
    batch = world.rows.batch(list(range(rows)), 0)
    towers = Towers(encoder, world.student.preprocessor.image).float()
    encoder.zero_grad()
    contrast(*towers(batch.pixels, batch.input_ids).values()).backward()
    direct = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    _, cached = gradients(encoder, world, rows, size)
    assert set(cached) == set(direct)
    assert "log_logit_scale" in direct
    for name, gradient in direct.items():
        equal(cached[name], gradient, name)


def test_both_passes_of_a_piece_drop_the_same_units(world: World) -> None:
    encoder = copy.deepcopy(world.student.encoder)
    encoder.dropout.p = 0.5
    encoder.train()
    batch = world.rows.batch(list(range(8)), 0)
    towers = Towers(encoder, world.student.preprocessor.image)
    rows = []
    for number, piece in enumerate(torch.arange(8).split(3)):
        seed_piece(number)
        rows.append(towers(batch.pixels[piece], batch.input_ids[piece]))
    image, text = (torch.cat([row[side] for row in rows]) for side in ("image", "text"))
    encoder.zero_grad()
    contrast(image, text, rows[-1]["logit_scale"]).backward()
    direct = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    _, cached = gradients(encoder, world, 8, 3)
    for name, gradient in direct.items():
        equal(cached[name], gradient, name)


def test_only_one_piece_holds_a_graph_at_a_time(world: World) -> None:
    seen: list[tuple[int, bool]] = []
    encoder = copy.deepcopy(world.student.encoder)
    encoder.pixels.register_forward_hook(lambda _m, i, _o: seen.append((len(i[0]), torch.is_grad_enabled())))
    gradients(encoder, world, 10, 4)
    assert seen == [(4, False), (4, False), (2, False), (4, True), (4, True), (2, True)]


def test_an_output_that_no_loss_uses_gets_zeros_instead_of_nothing(world: World, tmp_path: Path) -> None:
    encoder = copy.deepcopy(world.student.encoder)
    batch = world.rows.batch(list(range(4)), 0)
    towers = Towers(encoder, world.student.preprocessor.image)
    leaves = MicroBatches(towers, 4, seed_piece).embed(batch.pixels, batch.input_ids)
    leaves.image.sum().backward()
    leaves.backward()
    assert encoder.log_logit_scale.grad.item() == 0.0
    assert torch.count_nonzero(encoder.words.weight.grad) == 0
    assert torch.count_nonzero(encoder.image_out.weight.grad) > 0
