"""Attention maps brought to another grid of patches: mass is kept, prefix tokens are, places correspond."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.losses.amad import amad_loss
from compressor.losses.attention_grid import resize_attention

sides = st.integers(1, 6)


def attention(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).mul(2).softmax(dim=-1)


@settings(max_examples=40, deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2))
def test_rows_stay_distributions_and_prefix_tokens_keep_their_mass(
    grid_from: tuple[int, int], grid_to: tuple[int, int], prefix: int
) -> None:
    tokens, wanted = (prefix + rows * columns for rows, columns in (grid_from, grid_to))
    maps = attention(2, 3, tokens, tokens)
    resized = resize_attention(maps, grid_from, grid_to, prefix)
    assert resized.shape == (2, 3, wanted, wanted)
    assert (resized >= 0).all()
    torch.testing.assert_close(resized.sum(dim=-1), torch.ones(2, 3, wanted, dtype=torch.float64))
    torch.testing.assert_close(resized[:, :, :prefix, :prefix], maps[:, :, :prefix, :prefix])


def test_an_equal_grid_changes_nothing() -> None:
    maps = attention(2, 3, 10, 10)
    assert torch.equal(resize_attention(maps, (3, 3), (3, 3)), maps)


def test_a_smaller_grid_sees_every_patch_of_the_larger() -> None:
    for patch in range(144):
        sharp = torch.zeros(1, 1, 1, 144, dtype=torch.float64)
        sharp[..., patch] = 1.0
        resized = resize_attention(sharp, (12, 12), (3, 3), 0, resize_queries=False).view(3, 3)
        row, column = patch // 12 // 4, patch % 12 // 4
        assert resized[row, column] == resized.max()
        assert resized.sum() == pytest.approx(1)


def test_cross_attention_keeps_its_queries() -> None:
    maps = attention(2, 3, 4, 17)
    resized = resize_attention(maps, (4, 4), (2, 3), resize_queries=False)
    assert resized.shape == (2, 3, 4, 7)
    torch.testing.assert_close(resized[..., 0], maps[..., 0])


def test_uniform_attention_stays_uniform_over_patches() -> None:
    maps = torch.full((1, 2, 17, 17), 1 / 17, dtype=torch.float64)
    resized = resize_attention(maps, (4, 4), (3, 5))
    expected = torch.tensor([1 / 17] + [16 / 17 / 15] * 15, dtype=torch.float64)
    torch.testing.assert_close(resized, expected.expand(1, 2, 16, 16))


def test_a_patch_that_looks_at_itself_does_so_on_the_new_grid() -> None:
    identity = torch.eye(1 + 64, dtype=torch.float64)[None, None]
    for grid in ((4, 4), (8, 4), (4, 8), (3, 5)):
        resized = resize_attention(identity, (8, 8), grid)[0, 0]
        assert torch.equal(resized.argmax(dim=-1), torch.arange(1 + grid[0] * grid[1]))


def test_rows_and_columns_of_the_grid_are_not_confused() -> None:
    beside = torch.zeros(1, 1, 1, 8, dtype=torch.float64)
    beside[..., [1, 5]] = 0.5  # column 1 of a grid of 2 rows and 4 columns
    resized = resize_attention(beside, (2, 4), (4, 4), 0, resize_queries=False).view(4, 4)
    torch.testing.assert_close(resized[:, 1], torch.full((4,), 0.25, dtype=torch.float64))


def test_rows_of_zeros_stay_zero_and_gradients_finite() -> None:
    maps = attention(1, 2, 10, 10)
    maps[:, :, 0] = 0
    maps[:, 1] = 0
    maps.requires_grad_()
    resized = resize_attention(maps, (3, 3), (2, 2))
    assert not resized[:, 1].any()
    assert not resized[:, 0, 0].any()
    resized.square().sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_gradients_equal_finite_differences() -> None:
    maps = attention(1, 2, 7, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resize_attention(x, (2, 3), (3, 2)), (maps,))


def test_maps_of_two_patch_sizes_can_be_compared_after_resizing() -> None:
    teacher, student = attention(2, 4, 50, 50, seed=1).half(), attention(2, 3, 17, 17, seed=2).half()
    resized = resize_attention(teacher, (7, 7), (4, 4))
    assert resized.dtype == torch.float32
    assert amad_loss(resized, student).isfinite()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 x 3 patches after 1 other tokens has maps \(B, H, 10, 10\)"):
        resize_attention(attention(1, 1, 9, 9), (3, 3), (2, 2))
    with pytest.raises(ValueError, match=r"\(B, H, Q, 10\)"):
        resize_attention(attention(1, 1, 4, 9), (3, 3), (2, 2), resize_queries=False)
    with pytest.raises(ValueError, match="at least one row"):
        resize_attention(attention(1, 1, 10, 10), (3, 3), (0, 2))
