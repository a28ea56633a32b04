"""The recipe's losses over a batch: the terms that are added, the masks, the queue and the projection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import RecipeError
from compressor.losses import EmbeddingBatch, LossSet, build_losses
from compressor.recipe.losses import (
    ContrastiveLoss,
    FeatureLoss,
    HardNegativeLoss,
    LossConfig,
    SimilarityLoss,
    TaskLoss,
)
from tests.losses import reference
from tests.losses.cases import rows

Array = np.ndarray
ALL: tuple[LossConfig, ...] = (
    ContrastiveLoss(kind="contrastive", queue=5),
    FeatureLoss(kind="feature"),
    SimilarityLoss(kind="similarity"),
    HardNegativeLoss(kind="hard_negative"),
    TaskLoss(kind="task"),
)


def unit(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(rows(count, dim, seed))


def batch_of(
    sample: list[int], has_text: list[bool] | None = None, dim: int = 4, teacher_dim: int = 4, seed: int = 0
) -> EmbeddingBatch:
    size = len(sample)
    captions = torch.tensor([True] * size if has_text is None else has_text, dtype=torch.bool)
    return EmbeddingBatch(
        unit(size, dim, seed),
        unit(size, dim, seed + 1),
        unit(size, teacher_dim, seed + 2),
        unit(size, teacher_dim, seed + 3) * captions[:, None],
        torch.tensor(sample, dtype=torch.long),
        captions,
        torch.tensor(11.0, dtype=torch.float64),
    )


def contrastive_reference(
    batch: EmbeddingBatch, earlier: list[EmbeddingBatch], config: ContrastiveLoss
) -> float:
    """The four terms by loops over lists of (sample, embedding) that may stand against a row."""
    assert batch.teacher_image is not None
    assert batch.teacher_text is not None
    sources = [*([batch] if config.batch_negatives else []), *(earlier if config.queue else [])]
    images = [(int(s), e.numpy()) for b in sources for s, e in zip(b.sample, b.teacher("image"), strict=True)]
    texts = [
        (int(s), e.numpy())
        for b in sources
        for s, e, there in zip(b.sample, b.teacher("text"), b.has_text, strict=True)
        if there
    ]
    everyone = range(len(batch.sample))
    captioned = [i for i in everyone if batch.has_text[i]]

    def term(
        query: torch.Tensor, key: torch.Tensor, chosen: list[int], against: list[tuple[int, Array]]
    ) -> float:
        total = 0.0
        for i in chosen:
            others = [
                reference.cosine(query[i].numpy(), e)
                for sample, e in against
                if sample != int(batch.sample[i])
            ]
            own = reference.cosine(query[i].numpy(), key[i].numpy())
            total += reference.info_nce(own, others, config.temperature)
        return total / max(len(chosen), 1)

    total = 0.0
    if config.pairs in ("intra", "both"):
        total += term(batch.student_image, batch.teacher_image, list(everyone), images)
        total += term(batch.student_text, batch.teacher_text, captioned, texts)
    if config.pairs in ("cross", "both"):
        total += term(batch.student_image, batch.teacher_text, captioned, texts)
        total += term(batch.student_text, batch.teacher_image, captioned, images)
    return total


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6),
    st.sampled_from(["intra", "cross", "both"]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_contrastive_adds_its_terms_with_batch_and_queue_as_negatives(
    now: list[tuple[int, bool]], before: list[tuple[int, bool]], pairs: str, in_batch: bool, seed: int
) -> None:
    batch = batch_of([s for s, _ in now], [t for _, t in now], seed=seed)
    config = ContrastiveLoss.model_validate(
        {"kind": "contrastive", "queue": 8, "pairs": pairs, "batch_negatives": in_batch, "temperature": 0.2}
    )
    losses = build_losses([config], 4, 4).double()
    earlier = []
    if before:
        earlier = [batch_of([s for s, _ in before], [t for _, t in before], seed=seed + 10)]
        old = earlier[0]
        losses.update_queue(old.teacher("image"), old.teacher("text"), old.sample, old.has_text)
    value = losses(batch)["contrastive"].item()
    assert value == pytest.approx(contrastive_reference(batch, earlier, config), rel=1e-9, abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=6),
    st.integers(0, 1000),
)
def test_the_other_losses_add_their_terms_over_the_rows_that_have_them(
    now: list[tuple[int, bool]], seed: int
) -> None:
    batch = batch_of([s for s, _ in now], [t for _, t in now], seed=seed)
    v, t, V, T = (
        rows.numpy()
        for rows in (
            batch.student_image,
            batch.student_text,
            batch.teacher("image"),
            batch.teacher("text"),
        )
    )
    captioned = batch.has_text.numpy()
    sample = batch.sample.numpy()[captioned]
    same = sample[:, None] == sample[None, :]
    cv, ct, cV, cT = (rows[captioned] for rows in (v, t, V, T))
    expected = {
        "feature": 2 * (reference.feature(v, V, "l2") + (reference.feature(ct, cT, "l2") if len(ct) else 0)),
        "similarity": reference.similarity(v, V) + (reference.similarity(ct, cT) if len(ct) else 0),
        "hard_negative": sum(
            reference.hard_negative(s, e, 0.3, "sum", same)
            for s, e in ((cv, cV), (ct, cT), (cv, cT), (ct, cV))
            if len(s)
        ),
        "task": reference.task(cv, ct, 11.0, same) if len(ct) else 0.0,
    }
    losses = build_losses(
        [
            FeatureLoss(kind="feature", norm="l2", weight=2.0),
            SimilarityLoss(kind="similarity"),
            HardNegativeLoss(kind="hard_negative", margin=0.3, mining="sum"),
            TaskLoss(kind="task"),
        ],
        4,
        4,
    )
    values = losses(batch)
    assert list(values) == list(expected)
    for kind, value in values.items():
        assert value.item() == pytest.approx(expected[kind], rel=1e-9, abs=1e-11), kind


def test_no_caption_in_the_batch_leaves_the_image_side_and_a_graph_without_nan() -> None:
    batch = batch_of([0, 1, 2], [False, False, False])
    student = batch.student_image.clone().requires_grad_()
    text = torch.full((3, 4), torch.nan, dtype=torch.float64, requires_grad=True)
    teacher_text = torch.full((3, 4), torch.nan, dtype=torch.float64)
    losses = build_losses(ALL, 4, 4)
    values = losses(replace(batch, student_image=student, student_text=text, teacher_text=teacher_text))
    torch.stack(list(values.values())).sum().backward()
    assert values["hard_negative"] == 0
    assert values["task"] == 0
    assert values["contrastive"] > 0
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


def test_a_queue_that_holds_the_whole_data_set_does_not_punish_a_perfect_student() -> None:
    teacher = torch.eye(4, dtype=torch.float64)
    everything = torch.ones(4, dtype=torch.bool)
    config = ContrastiveLoss(kind="contrastive", queue=12, temperature=0.02)
    losses = build_losses([config], 4, 4)
    for _ in range(3):
        losses.update_queue(teacher, teacher, torch.arange(4), everything)
    scale = torch.tensor(1.0)
    own = EmbeddingBatch(teacher, teacher, teacher, teacher, torch.arange(4), everything, scale)
    assert losses(own)["contrastive"] < 1e-12
    foreign = replace(own, sample=torch.arange(4) + 100)
    assert losses(foreign)["contrastive"].item() == pytest.approx(4 * np.log(1 + 3), abs=1e-9)


def test_widths_that_differ_get_one_seeded_isometry_for_both_modalities() -> None:
    batch = batch_of([0, 1, 2], dim=3, teacher_dim=6)
    losses = build_losses(ALL, 3, 6, seed=4)
    assert losses.project is not None
    assert dict(losses.named_parameters()).keys() == {"project.weight"}
    torch.testing.assert_close(losses.project.weight.T @ losses.project.weight, torch.eye(3))
    again, other = build_losses(ALL, 3, 6, seed=4), build_losses(ALL, 3, 6, seed=5)
    assert again.project is not None
    assert other.project is not None
    assert torch.equal(again.project.weight, losses.project.weight)
    assert not torch.equal(other.project.weight, losses.project.weight)

    losses = losses.double()
    weight = rows(6, 3, 8)
    with torch.no_grad():
        losses.project.weight.copy_(weight)
    values = losses(batch)
    projected = replace(
        batch, student_image=batch.student_image @ weight.T, student_text=batch.student_text @ weight.T
    )
    expected = build_losses(ALL, 6, 6)(projected)
    torch.testing.assert_close(values["task"], build_losses([ALL[-1]], 3, None)(batch)["task"])
    assert abs(values["task"] - expected.pop("task")) > 1e-3
    for kind, value in expected.items():
        torch.testing.assert_close(values[kind], value)
    sum(values.values()).backward()  # type: ignore[union-attr]
    assert losses.project.weight.grad is not None
    assert losses.project.weight.grad.abs().sum() > 0


def test_equal_widths_and_the_task_alone_need_no_projection() -> None:
    assert build_losses(ALL, 4, 4).project is None
    alone = build_losses([TaskLoss(kind="task")], 4, None)
    assert not alone.state_dict()
    batch = replace(batch_of([0, 1, 2]), teacher_image=None, teacher_text=None)
    assert alone(batch)["task"] > 0
    assert build_losses([TaskLoss(kind="task")], 4, 8).project is None


def test_the_queue_is_part_of_the_state() -> None:
    losses = build_losses(ALL, 3, 4)
    names = {"image", "text", "sample", "has_text", "pointer", "filled"}
    assert losses.state_dict().keys() == {"project.weight", *(f"queue.{name}" for name in names)}
    old = batch_of([5, 6, 7])
    losses.update_queue(old.teacher("image"), old.teacher("text"), old.sample, old.has_text)
    resumed = build_losses(ALL, 3, 4, seed=9)
    resumed.load_state_dict(losses.state_dict())
    batch = batch_of([0, 1, 2], dim=3, seed=30)
    for kind, value in losses(batch).items():
        assert torch.equal(value, resumed(batch)[kind])
    assert build_losses([ContrastiveLoss(kind="contrastive", queue=0)], 4, 4).queue is None


def test_losses_are_float32_under_autocast_and_in_half_precision() -> None:
    losses = build_losses(ALL, 3, 4)
    batch = batch_of([0, 1, 2, 3], dim=3)
    half = replace(
        batch,
        student_image=batch.student_image.bfloat16().requires_grad_(),
        student_text=batch.student_text.bfloat16(),
        teacher_image=batch.teacher("image").half(),
        teacher_text=batch.teacher("text").half(),
        logit_scale=batch.logit_scale.bfloat16(),
    )
    plain = losses(half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = losses(half)
    for kind, value in mixed.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, plain[kind])


def test_no_gradient_reaches_the_teacher() -> None:
    batch = batch_of([0, 1, 2])
    teacher = batch.teacher("image").clone().requires_grad_()
    student = batch.student_image.clone().requires_grad_()
    losses: LossSet = build_losses(ALL, 4, 4)
    values = losses(replace(batch, teacher_image=teacher, student_image=student))
    torch.stack(list(values.values())).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_what_cannot_work_is_refused_in_one_sentence() -> None:
    with pytest.raises(RecipeError, match="'similarity' needs a teacher's embeddings"):
        build_losses([TaskLoss(kind="task"), SimilarityLoss(kind="similarity")], 4, None)
    with pytest.raises(RecipeError, match="no negatives"):
        build_losses([ContrastiveLoss(kind="contrastive", queue=0, batch_negatives=False)], 4, 4)
    without = replace(batch_of([0, 1]), teacher_image=None, teacher_text=None)
    with pytest.raises(ValueError, match="carries none"):
        build_losses(ALL, 4, 4)(without)
    with pytest.raises(ValueError, match="both be given"):
        replace(batch_of([0, 1]), teacher_text=None)
    with pytest.raises(ValueError, match="sample has 3 rows"):
        replace(batch_of([0, 1]), sample=torch.arange(3))
