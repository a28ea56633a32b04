"""Several teachers as one, against loops over cosines and softmaxes of each teacher alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.errors import RecipeError
from compressor.losses import EmbeddingBatch, build_losses
from compressor.losses.affinity import affinity_loss
from compressor.losses.ensemble import Member, join_rows, mean_distributions, members_of, split_rows
from compressor.recipe.losses import AffinityLoss, FeatureLoss, RegressionLoss
from tests.losses import reference, reference_more
from tests.losses.cases import rows

Array = np.ndarray
few = settings(max_examples=25, deadline=None)
WEIGHTS = st.lists(st.floats(0.1, 10), min_size=2, max_size=4)


def teachers(count: int, widths: list[int], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Image and text rows of any length, of each teacher."""
    return [
        (rows(count, width, seed + 2 * k), rows(count, width, seed + 2 * k + 1))
        for k, width in enumerate(widths)
    ]


def joined(
    given: list[tuple[Tensor, Tensor]], weights: list[float] | None
) -> tuple[Tensor, Tensor, tuple[Member, ...]]:
    members = members_of([image.shape[1] for image, _ in given], weights)
    images, texts = zip(*given, strict=True)
    return join_rows(images, members), join_rows(texts, members), members


def shares(weights: list[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


@few
@given(WEIGHTS, st.integers(1, 5), st.integers(0, 1000))
def test_a_cosine_of_joined_rows_is_the_weighted_mean_of_the_members(
    weights: list[float], count: int, seed: int
) -> None:
    sides = teachers(count, [3 + k for k in range(len(weights))], seed)
    image, text, _ = joined(sides, weights)
    for i in range(count):
        assert np.linalg.norm(image[i].numpy()) == pytest.approx(1)
        for j in range(count):
            expected = sum(
                share * reference.cosine(v[i].numpy(), t[j].numpy())
                for share, (v, t) in zip(shares(weights), sides, strict=True)
            )
            assert float(image[i] @ text[j]) == pytest.approx(expected, abs=1e-12)


def test_without_weights_each_member_is_scaled_by_one_over_the_root_of_their_number() -> None:
    sides = teachers(2, [2, 3, 4], 0)
    image, _, members = joined(sides, None)
    unit = [torch.nn.functional.normalize(v) for v, _ in sides]
    torch.testing.assert_close(image, torch.cat(unit, dim=1) / math.sqrt(3))
    for part, expected in zip(split_rows(image, members), unit, strict=True):
        torch.testing.assert_close(part, expected)


def test_a_row_without_a_caption_stays_zeros() -> None:
    (_, text), other = teachers(3, [2, 4], 3)
    members = members_of([2, 4])
    text[1], blank = 0, other[1].clone()
    blank[1] = 0
    found = join_rows([text, blank], members)
    assert found[1].abs().sum() == 0
    assert found[0].norm().item() == pytest.approx(1)
    assert all(part[1].abs().sum() == 0 for part in split_rows(found, members))


def distributions(
    sides: list[tuple[Tensor, Tensor]], weights: list[float], temperature: float, mask: Array | None
) -> tuple[Array, Array]:
    """The mean of the members' softmax rows, image by image and text by text."""
    count = len(sides[0][0])
    found = []
    for transposed in (False, True):
        mean = np.zeros((count, count))
        for share, (image, text) in zip(shares(weights), sides, strict=True):
            queries, keys = (text, image) if transposed else (image, text)
            for i in range(count):
                kept = reference_more.kept_indices(i, count, mask, transposed)
                values = [reference.cosine(queries[i].numpy(), keys[j].numpy()) / temperature for j in kept]
                for j, probability in zip(kept, reference_more.softmax(values), strict=True):
                    mean[i, j] += share * probability
        found.append(mean)
    return found[0], found[1]


@few
@given(WEIGHTS, st.integers(1, 5), st.floats(0.02, 2), st.booleans(), st.integers(0, 1000))
def test_distributions_are_averaged_member_by_member(
    weights: list[float], count: int, temperature: float, masked: bool, seed: int
) -> None:
    sides = teachers(count, [2 + k for k in range(len(weights))], seed)
    image, text, members = joined(sides, weights)
    mask = None
    if masked:
        drawn = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < 0.4
        mask = drawn | drawn.T
    found = mean_distributions(image, text, members, temperature, mask)
    expected = distributions(sides, weights, temperature, None if mask is None else mask.numpy())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-12)
        np.testing.assert_allclose(one.sum(1).numpy(), 1)


def batch_of(
    count: int, sides: list[tuple[Tensor, Tensor]], sample: list[int] | None = None
) -> EmbeddingBatch:
    image, text, _ = joined(sides, [1.0, 3.0])
    own = [torch.nn.functional.normalize(rows(count, 4, seed)) for seed in (70, 71)]
    captions = torch.ones(count, dtype=torch.bool)
    samples = torch.tensor(sample or list(range(count)))
    return EmbeddingBatch(own[0], own[1], image, text, samples, captions, torch.tensor(10.0))


@pytest.mark.parametrize("divergence", ["kl", "cross_entropy"])
def test_affinity_looks_at_the_mean_of_the_distributions_or_of_the_similarities(divergence: str) -> None:
    sides = teachers(5, [3, 6], 9)
    sample = [0, 1, 2, 1, 4]
    batch = batch_of(5, sides, sample)
    members = members_of([3, 6], [1.0, 3.0])
    usual = {"kind": "affinity", "temperature": 0.2, "teacher_temperature": 0.1, "divergence": divergence}
    together = AffinityLoss.model_validate(usual | {"ensemble": "distributions"})
    found = build_losses([together], 4, 9, members=members)(batch)["affinity"].item()

    same = np.equal.outer(sample, sample)
    target = distributions(sides, [1.0, 3.0], 0.1, same)
    own = distributions([(batch.student_image, batch.student_text)], [1.0], 0.2, same)
    kept = [[j for j in range(5) if j == i or sample[j] != sample[i]] for i in range(5)]
    expected = sum(
        reference_more.divergence([p[i, j] for j in kept[i]], [q[i, j] for j in kept[i]], divergence)
        for p, q in zip(target, own, strict=True)
        for i in range(5)
    )
    assert found == pytest.approx(expected / 10, rel=1e-9)

    plain = AffinityLoss.model_validate(usual)
    joint = build_losses([plain], 4, 9, members=members)(batch)["affinity"]
    mask = torch.from_numpy(same)
    direct = affinity_loss(
        batch.student_image,
        batch.student_text,
        batch.teacher("image"),
        batch.teacher("text"),
        0.2,
        0.1,
        divergence,  # type: ignore[arg-type]
        mask,
    )
    torch.testing.assert_close(joint, direct)
    assert abs(joint.item() - found) > 1e-4


def test_losses_in_the_teachers_width_compare_with_joined_rows() -> None:
    sides = teachers(4, [3, 6], 20)
    batch = batch_of(4, sides)
    losses = build_losses([FeatureLoss(kind="feature", norm="l2")], 4, 9, members=members_of([3, 6])).double()
    assert losses.project is not None
    assert losses.project.weight.shape == (9, 4)
    weight = losses.project.weight.detach()
    expected = 0.0
    for own, taught in ((batch.student_image, "image"), (batch.student_text, "text")):
        projected = torch.nn.functional.normalize(own @ weight.T)
        expected += reference.feature(projected.numpy(), batch.teacher(taught).numpy(), "l2")  # type: ignore[arg-type]
    assert losses(batch)["feature"].item() == pytest.approx(expected)


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    for widths, weights in (([], None), ([2, 3], [1.0]), ([2, 3], [1.0, 0.0])):
        with pytest.raises(ValueError, match="members need a weight above 0 each"):
            members_of(widths, weights)
    members = members_of([2, 3])
    with pytest.raises(ValueError, match=r"members are \[2, 3\] wide"):
        join_rows([torch.ones(1, 2), torch.ones(1, 2)], members)
    with pytest.raises(ValueError, match=r"members are \[2, 3\] wide"):
        join_rows([torch.ones(1, 2), torch.ones(2, 3)], members)
    with pytest.raises(ValueError, match="joined rows of 5 columns"):
        split_rows(torch.ones(1, 4), members)
    with pytest.raises(ValueError, match="temperature"):
        mean_distributions(torch.ones(1, 5), torch.ones(1, 5), members, 0)
    alone = AffinityLoss(kind="affinity", ensemble="distributions")
    with pytest.raises(RecipeError, match="needs a teacher of kind ensemble"):
        build_losses([alone], 4, 5)


def test_regression_leaves_out_rows_that_a_text_teacher_says_nothing_of() -> None:
    losses = build_losses([RegressionLoss(kind="regression", normalize=False)], 4, 3).double()
    batch = batch_of(4, teachers(4, [3, 6], 30))
    target = rows(4, 3, 40)
    target[1] = 0
    captions = torch.tensor([True, False, True, True])
    batch = replace(batch, teacher_image=None, teacher_text=None, teacher_global=target, has_text=captions)
    value = losses(batch)["regression"]
    assert losses.regress is not None
    v, t = (losses.regress(own).detach().numpy() for own in (batch.student_image, batch.student_text))
    kept = captions.numpy()
    expected = reference_more.regression(v[kept], t[kept], target.numpy()[kept])
    assert value.item() == pytest.approx(expected)

    of_images = replace(batch, teacher_global=rows(4, 3, 40))
    expected = reference_more.regression(v, t, rows(4, 3, 40).numpy(), has_text=kept)
    assert losses(of_images)["regression"].item() == pytest.approx(expected)

    none = replace(batch, teacher_global=torch.zeros(4, 3, dtype=torch.float64))
    nothing = losses(none)["regression"]
    nothing.backward()
    assert nothing.item() == 0
    assert losses.regress.weight.grad is not None
    assert losses.regress.weight.grad.isfinite().all()
