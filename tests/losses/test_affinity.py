"""Affinity mimicking and interactive contrastive learning against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.losses.affinity import affinity_loss, affinity_to_distributions
from compressor.losses.icl import icl_loss
from compressor.losses.rows import unit_rows
from tests.losses import reference_more as reference
from tests.losses.cases import rows
from tests.losses.pair_cases import PairCase, four, pair_cases

few = settings(max_examples=25, deadline=None)
temperatures = st.floats(0.05, 2.0)
kinds = st.sampled_from(["kl", "cross_entropy"])


def teacher_distributions(
    image: torch.Tensor, text: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = unit_rows(image) @ unit_rows(text).T / temperature
    return logits.softmax(dim=1), logits.T.softmax(dim=1)


@few
@given(pair_cases(same_width=False), temperatures, temperatures, kinds, st.booleans())
def test_affinity_is_the_definition(
    case: PairCase, temperature: float, own: float, kind: str, masked: bool
) -> None:
    mask = case.mask if masked else None
    value = affinity_loss(*case.sides, temperature, own, kind, mask)  # type: ignore[arg-type]
    expected = reference.affinity(case.arrays, temperature, own, kind, None if mask is None else mask.numpy())
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@few
@given(pair_cases(same_width=False), temperatures, temperatures, kinds, st.booleans())
def test_one_teachers_distributions_give_its_affinity_loss(
    case: PairCase, temperature: float, own: float, kind: str, masked: bool
) -> None:
    v, t, V, T = case.sides
    mask = case.mask if masked else None
    given = affinity_to_distributions(v, t, *teacher_distributions(V, T, own), temperature, kind, mask)  # type: ignore[arg-type]
    torch.testing.assert_close(given, affinity_loss(v, t, V, T, temperature, own, kind, mask))  # type: ignore[arg-type]


def test_the_mean_of_two_teachers_distributions_has_the_mean_of_their_gradients() -> None:
    v, t, V, T = four(5, 1, 4, 6)
    v.requires_grad_()
    first, second = teacher_distributions(V, T, 0.1), teacher_distributions(V.flip(1), T, 0.1)
    ensemble = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    (expected,) = torch.autograd.grad(
        (affinity_to_distributions(v, t, *first) + affinity_to_distributions(v, t, *second)) / 2, v
    )
    (actual,) = torch.autograd.grad(affinity_to_distributions(v, t, *ensemble), v)
    torch.testing.assert_close(actual, expected)


def test_a_teacher_that_is_certain_gives_the_contrastive_loss_on_labels() -> None:
    v, t, _, _ = four(5, 2)
    value = affinity_to_distributions(v, t, torch.eye(5), torch.eye(5), 0.1)
    logits = unit_rows(v) @ unit_rows(t).T / 0.1
    labels = torch.arange(5)
    expected = torch.nn.functional.cross_entropy(logits, labels)
    expected = (expected + torch.nn.functional.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(value, expected)


def test_both_divergences_pull_a_student_the_same_way() -> None:
    v, t, V, T = four(6, 3)
    v.requires_grad_()
    pulls = [
        torch.autograd.grad(affinity_loss(v, t, V, T, 0.2, divergence=kind), v)[0]  # type: ignore[arg-type]
        for kind in ("kl", "cross_entropy")
    ]
    torch.testing.assert_close(*pulls)


def test_the_divergence_is_never_below_zero() -> None:
    for seed in range(20):
        _, _, V, T = four(16, seed, 8, 8, torch.float32)
        assert affinity_loss(V * (1 + 1e-6), T, V, T, 0.02) >= 0


def test_gradients_with_a_mask_equal_finite_differences() -> None:
    sides = [side.requires_grad_() for side in four(4, 4)]
    mask = torch.tensor([[True] * 4, [True, False, False, True], [False] * 4, [False, True, True, True]])
    for kind in ("kl", "cross_entropy"):
        assert torch.autograd.gradcheck(
            lambda *four, kind=kind: affinity_loss(*four, 0.5, 0.3, kind, mask), sides
        )
    assert torch.autograd.gradcheck(lambda *four: icl_loss(*four, 0.5, mask), sides)
    given = [rows(4, 4, seed).softmax(1).requires_grad_() for seed in (5, 6)]
    assert torch.autograd.gradcheck(
        lambda *four: affinity_to_distributions(*four, 0.5, mask=mask), (*sides[:2], *given)
    )


@few
@given(pair_cases(), temperatures, st.booleans())
def test_icl_is_the_definition(case: PairCase, temperature: float, masked: bool) -> None:
    mask = case.mask if masked else None
    expected = reference.icl(case.arrays, temperature, None if mask is None else mask.numpy())
    assert icl_loss(*case.sides, temperature, mask).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_icl_is_lowest_where_the_student_equals_a_teacher_that_pairs_perfectly() -> None:
    teacher = torch.eye(6, dtype=torch.float64)
    best = icl_loss(teacher, teacher, teacher, teacher)
    assert best < 1e-7
    for seed in range(5):
        assert icl_loss(teacher + 0.3 * rows(6, 6, seed), teacher, teacher, teacher) > best


@pytest.mark.parametrize("name", ["affinity", "distributions", "icl"])
def test_masked_entries_and_nothing_else_lose_their_influence(name: str) -> None:
    """Text 1 is masked from every image but its own: what it is then matters to its own row alone."""
    v, t, V, T = four(4, 6)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 1] = mask[1, :] = True

    def loss(t: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
        if name == "affinity":
            return affinity_loss(v, t, V, T, mask=mask)
        if name == "icl":
            return icl_loss(v, t, V, T, mask=mask)
        return affinity_to_distributions(v, t, *teacher_distributions(V, T, 0.05), mask=mask)

    changed, changed_teacher = t.clone(), T.clone()
    changed[1], changed_teacher[1] = rows(1, 4, 7)[0], rows(1, 4, 8)[0]
    torch.testing.assert_close(loss(changed, changed_teacher), loss(t, T))
    changed[0] = changed[1]
    assert not torch.isclose(loss(changed, changed_teacher), loss(t, T))


def test_the_mask_is_read_as_image_by_text() -> None:
    """Masking text 2 from image 0 must leave image 2 and text 0 to each other, in both directions."""
    sides = four(3, 9)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 2] = True
    arrays = [side.numpy() for side in sides]
    for value, expected in (
        (affinity_loss(*sides, mask=mask), reference.affinity(arrays, 0.05, 0.05, "kl", mask.numpy())),
        (icl_loss(*sides, mask=mask), reference.icl(arrays, 0.05, mask.numpy())),
    ):
        assert value.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    sides = four(3, 10)
    for call in (
        lambda: affinity_loss(*sides, temperature),
        lambda: affinity_loss(*sides, 0.1, temperature),
        lambda: affinity_to_distributions(*sides[:2], torch.eye(3), torch.eye(3), temperature),
        lambda: icl_loss(*sides, temperature),
    ):
        with pytest.raises(ValueError, match="temperature"):
            call()


def test_unknown_divergences_and_misshapen_matrices_are_refused() -> None:
    sides, wrong = four(3, 11), torch.zeros(2, 2, dtype=torch.bool)
    for call, words in (
        (lambda: affinity_loss(*sides, divergence="js"), "divergence"),  # type: ignore[arg-type]
        (lambda: affinity_loss(*sides, mask=wrong), "mask"),
        (lambda: icl_loss(*sides, mask=wrong), "mask"),
        (lambda: affinity_to_distributions(*sides[:2], torch.eye(2), torch.eye(3)), "image_to_text"),
        (lambda: affinity_to_distributions(*sides[:2], torch.eye(3), torch.eye(2)), "text_to_image"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
