"""BLIP as it reads and writes: against transformers' own forward pass, and against search by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from compressor.errors import ModelError
from compressor.recipe.blip import BlipTeacher, Head
from compressor.students.blip import HEADS, BlipGenerator, build_blip
from compressor.students.generator import (
    IGNORED,
    GenerativeModel,
    Generator,
    Vocabulary,
    check_same_tokens,
    clean_generated,
    force_targets,
    make_vocabulary,
    task_loss,
)
from compressor.teachers.blip_teacher import load_blip
from tests.students.blips import (
    ANSWERS,
    CAPTIONS,
    END,
    QUESTIONS,
    SIDE,
    START,
    TOKENS,
    blip_config,
    write_blip,
)

PIXELS = torch.linspace(-2, 2, 3 * 3 * SIDE * SIDE).sin().reshape(3, 3, SIDE, SIDE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Head, Path]:
    return {head: write_blip(tmp_path_factory.mktemp(head), kind) for head, kind in HEADS.items()}


def teacher(folders: dict[Head, Path], head: Head, **keys: Any) -> GenerativeModel:
    section = {"kind": "blip", "head": head, "path": folders[head], "context_length": 16} | keys
    return load_blip(BlipTeacher.model_validate(section))


@pytest.fixture(params=["caption", "vqa"])
def model(request: pytest.FixtureRequest, folders: dict[Head, Path]) -> GenerativeModel:
    return teacher(folders, request.param)


def targets(model: GenerativeModel) -> Tensor:
    return torch.from_numpy(model.target_ids(CAPTIONS if model.generator.head == "caption" else ANSWERS))


def questions(model: GenerativeModel) -> Tensor | None:
    if model.generator.head == "caption":
        return None
    return torch.from_numpy(model.question_ids(QUESTIONS))


def rows(ids: Tensor | None, chosen: list[int]) -> Tensor | None:
    return None if ids is None else ids[chosen]


@torch.no_grad()
def forced(model: GenerativeModel, target_ids: Tensor, chosen: list[int] | None = None) -> Tensor:
    chosen = chosen or [0, 1, 2]
    output = model.generator(PIXELS[chosen], target_ids[chosen], rows(questions(model), chosen))
    return output.logits


def test_a_blip_is_a_generator(model: GenerativeModel) -> None:
    assert isinstance(model.generator, Generator)
    assert isinstance(model.generator, torch.nn.Module)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_captions_are_read_as_transformers_reads_them(folders: dict[Head, Path], smoothing: float) -> None:
    model = teacher(folders, "caption")
    own = BlipForConditionalGeneration.from_pretrained(folders["caption"]).eval()
    own.text_decoder.label_smoothing = smoothing
    ids = targets(model)
    ids[:, 0] = START
    with torch.no_grad():
        expected = own(
            pixel_values=PIXELS,
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            labels=ids.masked_fill(ids == 0, IGNORED),
        )
        output = model.generator(PIXELS, targets(model))
    width = output.logits.shape[1]
    torch.testing.assert_close(output.logits, expected.logits[:, :width], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(task_loss(output.logits, output.labels, smoothing), expected.loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_answers_are_read_as_transformers_reads_them(folders: dict[Head, Path], smoothing: float) -> None:
    model = teacher(folders, "vqa")
    own = BlipForQuestionAnswering.from_pretrained(folders["vqa"]).eval()
    own.text_decoder.label_smoothing = smoothing
    heard: list[Tensor] = []
    own.text_decoder.register_forward_hook(lambda _module, _args, output: heard.append(output.logits))
    asked = questions(model)
    assert asked is not None
    for row in range(3):  # alone and without padding, which transformers' own decoder attends to
        question = asked[row, asked[row] != 0][None]
        answer = targets(model)[row, targets(model)[row] != 0][None]
        ids = torch.cat([torch.tensor([[START]]), answer[:, 1:]], dim=1)
        with torch.no_grad():
            loss = own(
                input_ids=question,
                attention_mask=torch.ones_like(question),
                pixel_values=PIXELS[[row]],
                decoder_input_ids=ids,
                decoder_attention_mask=torch.ones_like(ids),
                labels=ids,
            ).loss
            output = model.generator(PIXELS[[row]], answer, question)
        torch.testing.assert_close(output.logits, heard[-1][:, :-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(task_loss(output.logits, output.labels, smoothing), loss)


def test_a_position_sees_no_later_token(model: GenerativeModel) -> None:
    ids = targets(model)[:1]
    length = int((ids != 0).sum())
    before = forced(model, ids, [0])
    for place in range(1, length - 1):
        changed = ids.clone()
        changed[:, place] = TOKENS.index("star")
        after = forced(model, changed, [0])
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-6, rtol=1e-6)
        assert not torch.allclose(after[:, place:], before[:, place:], atol=1e-3)


def test_a_row_means_the_same_in_any_batch(model: GenerativeModel) -> None:
    ids = targets(model)
    together = model.generator(PIXELS, ids, questions(model))
    for row in range(3):
        alone = forced(model, ids, [row])[0]
        torch.testing.assert_close(together.logits[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)
        assert (together.labels[row, len(alone) :] == IGNORED).all()


def test_a_target_is_shifted_once_and_starts_with_the_start_token(model: GenerativeModel) -> None:
    ids = targets(model)
    inputs, labels, mask = force_targets(ids, model.generator.vocabulary)
    for row in range(3):
        words = [int(token) for token in ids[row] if token != 0]
        assert inputs[row, : len(words) - 1].tolist() == [START, *words[1:-1]]
        assert [int(x) for x in labels[row] if x != IGNORED] == words[1:]
        assert words[-1] == END
        assert mask[row].tolist() == [j < len(words) for j in range(mask.shape[1])]


def test_a_row_without_a_target_has_no_labels_and_finite_logits(model: GenerativeModel) -> None:
    ids = targets(model)
    ids[1] = 0
    output = model.generator(PIXELS, ids, questions(model))
    assert (output.labels[1] == IGNORED).all()
    assert output.logits.isfinite().all()


def test_a_prompt_is_given_and_neither_predicted_nor_returned(folders: dict[Head, Path]) -> None:
    model = teacher(folders, "caption", prompt=" a  picture of ")
    prompt = [TOKENS.index(word) for word in ("a", "picture", "of")]
    assert model.generator.vocabulary.prompt_ids == tuple(prompt)
    inputs, labels, _ = force_targets(targets(model), model.generator.vocabulary)
    plain = torch.from_numpy(teacher(folders, "caption").target_ids(CAPTIONS))
    assert inputs[0, :4].tolist() == [START, *prompt]
    for row in range(3):
        words = [int(token) for token in plain[row] if token != 0][1:]
        assert [int(x) for x in labels[row] if x != IGNORED] == words
    ids = model.generator.generate(PIXELS, beams=1, max_length=5)
    best = model.generator(PIXELS, torch.tensor([[2, *prompt, 9]] * 3)).logits[:, -1].argmax(dim=1)
    assert ids.tolist() == [[token if token != END else 0] for token in best.tolist()]


def test_greedy_search_follows_the_forced_logits(model: GenerativeModel) -> None:
    written = model.generator.generate(PIXELS, questions(model), beams=1, max_length=9)
    asked = questions(model)
    for row in range(3):
        ids = [2]
        for _ in range(8):
            target = torch.tensor([[*ids, END]])
            logits = model.generator(PIXELS[[row]], target, rows(asked, [row])).logits
            ids.append(int(logits[0, len(ids) - 1].argmax()))
            if ids[-1] == END:
                break
        expected = [token for token in ids[1:] if token != END]
        assert [token for token in written[row].tolist() if token != 0] == expected


def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_text(model: GenerativeModel) -> None:
    """Two tokens, every one of which is tried by hand: mean log-probability of what was written."""
    generator = model.generator
    size = generator.vocabulary.size
    written = generator.generate(PIXELS, questions(model), beams=size, max_length=3)
    for row in range(3):
        asked = rows(questions(model), [row])
        pairs = torch.tensor([[2, first, 9] for first in range(1, size)])
        many = [row] * len(pairs)
        asked_often = None if asked is None else asked.expand(len(pairs), -1)
        with torch.no_grad():
            logits = generator(PIXELS[many], pairs, asked_often).logits.double()
        scores = logits.log_softmax(dim=-1)
        best: float = -np.inf
        found: list[int] = []
        for first in range(1, size):
            start = float(scores[first - 1, 0, first])
            if first == END:
                best, found = max((best, found), (start, [END]))
                continue
            second = int(scores[first - 1, 1].argmax())
            mean = (start + float(scores[first - 1, 1, second])) / 2
            best, found = max((best, found), (mean, [first, second]))
        assert [x for x in written[row].tolist() if x != 0] == [x for x in found if x not in (0, END)]


def test_what_is_written_does_not_depend_on_the_batch(model: GenerativeModel) -> None:
    together = model.generator.generate(PIXELS, questions(model), beams=3, max_length=12)
    for row in range(3):
        alone = model.generator.generate(PIXELS[[row]], rows(questions(model), [row]), beams=3, max_length=12)
        assert model.spell(together[[row]]) == model.spell(alone)


def test_the_configuration_of_a_model_does_not_change_its_search(folders: dict[Head, Path]) -> None:
    written = teacher(folders, "caption").generator.generate(PIXELS)
    own = BlipForConditionalGeneration.from_pretrained(folders["caption"]).eval()
    own.text_decoder.generation_config.update(num_beams=1, max_length=4, repetition_penalty=3.0)
    vocabulary = teacher(folders, "caption").generator.vocabulary
    assert torch.equal(BlipGenerator(own, vocabulary).generate(PIXELS), written)


def test_a_text_is_not_shorter_than_asked(model: GenerativeModel) -> None:
    generator = model.generator
    assert isinstance(generator, BlipGenerator)
    with torch.no_grad():
        generator.text_decoder.cls.predictions.bias[END] += 100.0
        short = generator.generate(PIXELS, questions(model), max_length=12)
        long = generator.generate(PIXELS, questions(model), max_length=12, min_length=6)
    assert (short == 0).all()
    assert ((long != 0).sum(dim=1) >= 5).all()


def test_written_ids_are_spelled_as_words(model: GenerativeModel) -> None:
    ids = torch.tensor([[TOKENS.index("red"), TOKENS.index("dog"), TOKENS.index("##s"), 0, 0], [0] * 5])
    assert model.spell(ids) == ["red dogs", ""]


def test_everything_after_the_closing_token_is_padding() -> None:
    vocabulary = Vocabulary(size=90, start_id=88, end_id=3, pad_id=0)
    ids = torch.tensor([[88, 7, 8, 3, 9], [88, 3, 3, 1, 1], [88, 5, 5, 5, 5]])
    assert clean_generated(ids, vocabulary, 1).tolist() == [[7, 8, 0, 0], [0, 0, 0, 0], [5, 5, 5, 5]]


def test_the_question_opens_as_the_recipe_says(folders: dict[Head, Path]) -> None:
    as_written, as_trained = teacher(folders, "vqa"), teacher(folders, "vqa", question_start="enc")
    assert as_trained.generator.vocabulary.question_start_id == START + 1
    ids = questions(as_written)
    assert ids is not None
    ids[:, 0] = START + 1
    with torch.no_grad():
        expected = as_written.generator(PIXELS, targets(as_written), ids).logits
    torch.testing.assert_close(forced(as_trained, targets(as_trained)), expected)
    assert not torch.allclose(forced(as_written, targets(as_written)), expected, atol=1e-3)


def test_gradients_reach_every_part_of_a_student(model: GenerativeModel) -> None:
    generator = model.generator
    assert isinstance(generator, BlipGenerator)
    generator.requires_grad_(True)
    output = generator(PIXELS, targets(model), questions(model))
    task_loss(output.logits, output.labels).backward()
    without = [name for name, parameter in generator.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("side", [16, 40])
def test_pictures_of_another_size_are_refused(model: GenerativeModel, side: int) -> None:
    with pytest.raises(ValueError, match=f"32 x 32 pixels, not {side} x {side}"):
        model.generator(torch.zeros(3, 3, side, side), targets(model), questions(model))


def test_a_question_belongs_to_the_head_that_answers(folders: dict[Head, Path]) -> None:
    captioner, answerer = teacher(folders, "caption"), teacher(folders, "vqa")
    with pytest.raises(ValueError, match="question_ids are needed by the head 'vqa'"):
        answerer.generator(PIXELS, targets(answerer))
    with pytest.raises(ValueError, match="question_ids are needed by the head 'vqa'"):
        captioner.generator(PIXELS, targets(captioner), questions(answerer))


@pytest.mark.parametrize("length", [1, 49])
def test_a_length_the_model_cannot_write_is_refused(model: GenerativeModel, length: int) -> None:
    with pytest.raises(ValueError, match=f"max_length is {length}"):
        model.generator.generate(PIXELS, questions(model), max_length=length)


def test_an_answerer_with_towers_of_two_widths_is_refused() -> None:
    config = blip_config(vision={"hidden_size": 48, "num_attention_heads": 3})
    vocabulary = Vocabulary(size=START + 2, start_id=START, end_id=END, pad_id=0)
    with pytest.raises(ModelError, match="for VQA the ViT must be as wide as the BERT"):
        build_blip(config, "vqa", vocabulary)
    assert build_blip(config, "caption", vocabulary).head == "caption"


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


def test_models_of_the_same_tokens_may_teach_each_other(folders: dict[Head, Path]) -> None:
    model = teacher(folders, "caption")
    check_same_tokens(model, teacher(folders, "caption"))
    for other, sentence in (
        (teacher(folders, "vqa"), "head is 'caption', the student's is 'vqa'"),
        (teacher(folders, "caption", prompt="a picture of"), "vocabularies differ: prompt"),
        (teacher(folders, "caption", context_length=12), "same tokens: give the student the teacher's"),
    ):
        with pytest.raises(ModelError, match=sentence) as caught:
            check_same_tokens(model, other)
        assert "\n" not in str(caught.value)


def test_another_vocabulary_of_the_same_size_is_refused(folders: dict[Head, Path]) -> None:
    model = teacher(folders, "caption")
    swapped = model.preprocessor.tokenizer.to_json().replace('"red"', '"r3d"')
    tokenizer = type(model.preprocessor.tokenizer).from_json(swapped)
    preprocessor = type(model.preprocessor)(model.preprocessor.image, model.preprocessor.text, tokenizer)
    with pytest.raises(ModelError, match="must read the same tokens"):
        check_same_tokens(model, replace(model, preprocessor=preprocessor))


def test_a_vocabulary_without_a_teacher_adds_two_ids(folders: dict[Head, Path]) -> None:
    tokenizer = teacher(folders, "caption").preprocessor.tokenizer
    made = make_vocabulary(tokenizer, END, prompt="a picture of")
    assert (made.size, made.start_id, made.end_id, made.pad_id) == (START + 2, START, END, 0)
    for keys, sentence in (
        ({"end_id": None}, "no closing token"),
        ({"end_id": END, "size": START}, f"token id {START} is beyond the {START}"),
        ({"end_id": END, "prompt": "a " * 30}, "leaves no room in 16 tokens"),
    ):
        with pytest.raises(ModelError, match=sentence):
            make_vocabulary(tokenizer, **keys)
