"""What all models that write share: targets, the task loss, vocabularies, who may teach whom."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import ModelError
from compressor.students.generator import (
    IGNORED,
    GenerativeModel,
    Vocabulary,
    check_same_tokens,
    clean_generated,
    force_targets,
    make_vocabulary,
    task_loss,
)
from tests.students.blips import END, START, Teachers, targets


def test_a_target_is_shifted_once_and_starts_with_the_start_token(writer: GenerativeModel) -> None:
    ids = targets(writer)
    inputs, labels, mask = force_targets(ids, writer.generator.vocabulary)
    for row in range(3):
        words = [int(token) for token in ids[row] if token != 0]
        assert inputs[row, : len(words) - 1].tolist() == [START, *words[1:-1]]
        assert [int(x) for x in labels[row] if x != IGNORED] == words[1:]
        assert words[-1] == END
        assert mask[row].tolist() == [j < len(words) for j in range(mask.shape[1])]


def test_everything_after_the_closing_token_is_padding() -> None:
    vocabulary = Vocabulary(size=90, start_id=88, end_id=3, pad_id=0)
    ids = torch.tensor([[88, 7, 8, 3, 9], [88, 3, 3, 1, 1], [88, 5, 5, 5, 5]])
    assert clean_generated(ids, vocabulary, 1).tolist() == [[7, 8, 0, 0], [0, 0, 0, 0], [5, 5, 5, 5]]


def reference_loss(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    total, count = 0.0, 0
    for row, position in itertools.product(*map(range, labels.shape)):
        label = labels[row, position]
        if label == IGNORED:
            continue
        values = logits[row, position].astype(np.float64)
        logs = values - values.max() - np.log(np.exp(values - values.max()).sum())
        total += -(1 - smoothing) * logs[label] - smoothing * logs.mean()
        count += 1
    return total / max(count, 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), smoothing=st.sampled_from([0.0, 0.1, 0.5]), scale=st.floats(0.01, 30))
def test_the_task_loss_is_the_smoothed_cross_entropy_of_labelled_positions(
    seed: int, smoothing: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(3, 4, 7))
    labels = rng.integers(0, 7, (3, 4))
    labels[rng.random((3, 4)) < 0.4] = IGNORED
    found = task_loss(torch.from_numpy(logits), torch.from_numpy(labels), smoothing)
    assert found.item() == pytest.approx(reference_loss(logits, labels, smoothing), rel=1e-9, abs=1e-12)


def test_pieces_of_a_batch_add_up_to_its_task_loss() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 5, 9), torch.randint(0, 9, (6, 5))
    labels[0, 2:] = labels[4, 1:] = IGNORED
    count = int((labels != IGNORED).sum())
    pieces = [task_loss(x, y, count=count) for x, y in zip(logits.split(2), labels.split(2), strict=True)]
    torch.testing.assert_close(sum(pieces), task_loss(logits, labels))


def test_the_gradient_of_the_task_loss_is_its_slope() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 4, IGNORED], [0, IGNORED, IGNORED]])
    assert torch.autograd.gradcheck(lambda x: task_loss(x, labels), (logits,))


def test_nothing_to_predict_is_no_loss() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = task_loss(logits, torch.full((2, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_models_of_the_same_tokens_may_teach_each_other(teachers: Teachers) -> None:
    writer = teachers("caption")
    check_same_tokens(writer, teachers("caption"))
    for other, sentence in (
        (teachers("vqa"), "head is 'caption', the student's is 'vqa'"),
        (teachers("caption", prompt="a picture of"), "vocabularies differ: prompt"),
        (teachers("caption", context_length=12), "same tokens: give the student the teacher's"),
    ):
        with pytest.raises(ModelError, match=sentence) as caught:
            check_same_tokens(writer, other)
        assert "\n" not in str(caught.value)


def test_another_vocabulary_of_the_same_size_is_refused(teachers: Teachers) -> None:
    writer = teachers("caption")
    swapped = writer.preprocessor.tokenizer.to_json().replace('"red"', '"r3d"')
    tokenizer = type(writer.preprocessor.tokenizer).from_json(swapped)
    preprocessor = type(writer.preprocessor)(writer.preprocessor.image, writer.preprocessor.text, tokenizer)
    with pytest.raises(ModelError, match="must read the same tokens"):
        check_same_tokens(writer, replace(writer, preprocessor=preprocessor))


def test_a_vocabulary_without_a_teacher_adds_two_ids(teachers: Teachers) -> None:
    tokenizer = teachers("caption").preprocessor.tokenizer
    made = make_vocabulary(tokenizer, END, prompt="a picture of")
    assert (made.size, made.start_id, made.end_id, made.pad_id) == (START + 2, START, END, 0)
    for keys, sentence in (
        ({"end_id": None}, "no closing token"),
        ({"end_id": END, "size": START}, f"token id {START} is beyond the {START}"),
        ({"end_id": END, "prompt": "a " * 30}, "leaves no room in 16 tokens"),
    ):
        with pytest.raises(ModelError, match=sentence):
            make_vocabulary(tokenizer, **keys)
