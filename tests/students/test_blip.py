"""BLIP as it reads: against transformers' own forward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from compressor.errors import ModelError
from compressor.recipe.blip import Head
from compressor.students.blip import BlipGenerator, build_blip
from compressor.students.generator import (
    IGNORED,
    GenerativeModel,
    Generator,
    Vocabulary,
    force_targets,
    task_loss,
)
from tests.students.blips import (
    CAPTIONS,
    END,
    PIXELS,
    START,
    TOKENS,
    Teachers,
    blip_config,
    forced,
    questions,
    targets,
)


def test_a_blip_is_a_generator(writer: GenerativeModel) -> None:
    assert isinstance(writer.generator, Generator)
    assert isinstance(writer.generator, torch.nn.Module)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_captions_are_read_as_transformers_reads_them(
    teachers: Teachers, blip_folders: dict[Head, Path], smoothing: float
) -> None:
    writer = teachers("caption")
    own = BlipForConditionalGeneration.from_pretrained(blip_folders["caption"]).eval()
    own.text_decoder.label_smoothing = smoothing
    ids = targets(writer)
    ids[:, 0] = START
    with torch.no_grad():
        expected = own(
            pixel_values=PIXELS,
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            labels=ids.masked_fill(ids == 0, IGNORED),
        )
        output = writer.generator(PIXELS, targets(writer))
    width = output.logits.shape[1]
    torch.testing.assert_close(output.logits, expected.logits[:, :width], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(task_loss(output.logits, output.labels, smoothing), expected.loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_answers_are_read_as_transformers_reads_them(
    teachers: Teachers, blip_folders: dict[Head, Path], smoothing: float
) -> None:
    writer = teachers("vqa")
    own = BlipForQuestionAnswering.from_pretrained(blip_folders["vqa"]).eval()
    own.text_decoder.label_smoothing = smoothing
    heard: list[Tensor] = []
    own.text_decoder.register_forward_hook(lambda _module, _args, output: heard.append(output.logits))
    asked = questions(writer)
    assert asked is not None
    for row in range(3):  # alone and without padding, which transformers' own decoder attends to
        question = asked[row, asked[row] != 0][None]
        answer = targets(writer)[row, targets(writer)[row] != 0][None]
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
            output = writer.generator(PIXELS[[row]], answer, question)
        torch.testing.assert_close(output.logits, heard[-1][:, :-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(task_loss(output.logits, output.labels, smoothing), loss)


def test_a_position_sees_no_later_token(writer: GenerativeModel) -> None:
    ids = targets(writer)[:1]
    length = int((ids != 0).sum())
    before = forced(writer, ids, [0])
    for place in range(1, length - 1):
        changed = ids.clone()
        changed[:, place] = TOKENS.index("star")
        after = forced(writer, changed, [0])
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-6, rtol=1e-6)
        assert not torch.allclose(after[:, place:], before[:, place:], atol=1e-3)


def test_a_row_means_the_same_in_any_batch(writer: GenerativeModel) -> None:
    ids = targets(writer)
    together = writer.generator(PIXELS, ids, questions(writer))
    for row in range(3):
        alone = forced(writer, ids, [row])[0]
        torch.testing.assert_close(together.logits[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)
        assert (together.labels[row, len(alone) :] == IGNORED).all()


def test_a_row_without_a_target_has_no_labels_and_finite_logits(writer: GenerativeModel) -> None:
    ids = targets(writer)
    ids[1] = 0
    output = writer.generator(PIXELS, ids, questions(writer))
    assert (output.labels[1] == IGNORED).all()
    assert output.logits.isfinite().all()


def test_a_prompt_is_given_and_neither_predicted_nor_returned(teachers: Teachers) -> None:
    writer = teachers("caption", prompt=" a  picture of ")
    prompt = [TOKENS.index(word) for word in ("a", "picture", "of")]
    assert writer.generator.vocabulary.prompt_ids == tuple(prompt)
    inputs, labels, _ = force_targets(targets(writer), writer.generator.vocabulary)
    plain = torch.from_numpy(teachers("caption").target_ids(CAPTIONS))
    assert inputs[0, :4].tolist() == [START, *prompt]
    for row in range(3):
        words = [int(token) for token in plain[row] if token != 0][1:]
        assert [int(x) for x in labels[row] if x != IGNORED] == words
    ids = writer.generator.generate(PIXELS, beams=1, max_length=5)
    best = writer.generator(PIXELS, torch.tensor([[2, *prompt, 9]] * 3)).logits[:, -1].argmax(dim=1)
    assert ids.tolist() == [[token if token != END else 0] for token in best.tolist()]


def test_the_question_opens_as_the_recipe_says(teachers: Teachers) -> None:
    as_written, as_trained = teachers("vqa"), teachers("vqa", question_start="enc")
    assert as_trained.generator.vocabulary.question_start_id == START + 1
    ids = questions(as_written)
    assert ids is not None
    ids[:, 0] = START + 1
    with torch.no_grad():
        expected = as_written.generator(PIXELS, targets(as_written), ids).logits
    torch.testing.assert_close(forced(as_trained, targets(as_trained)), expected)
    assert not torch.allclose(forced(as_written, targets(as_written)), expected, atol=1e-3)


def test_gradients_reach_every_part_of_a_student(writer: GenerativeModel) -> None:
    generator = writer.generator
    assert isinstance(generator, BlipGenerator)
    generator.requires_grad_(True)
    output = generator(PIXELS, targets(writer), questions(writer))
    task_loss(output.logits, output.labels).backward()
    without = [name for name, parameter in generator.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("side", [16, 40])
def test_pictures_of_another_size_are_refused(writer: GenerativeModel, side: int) -> None:
    with pytest.raises(ValueError, match=f"32 x 32 pixels, not {side} x {side}"):
        writer.generator(torch.zeros(3, 3, side, side), targets(writer), questions(writer))


def test_a_question_belongs_to_the_head_that_answers(teachers: Teachers) -> None:
    captioner, answerer = teachers("caption"), teachers("vqa")
    with pytest.raises(ValueError, match="question_ids are needed by the head 'vqa'"):
        answerer.generator(PIXELS, targets(answerer))
    with pytest.raises(ValueError, match="question_ids are needed by the head 'vqa'"):
        captioner.generator(PIXELS, targets(captioner), questions(answerer))


def test_an_answerer_with_towers_of_two_widths_is_refused() -> None:
    config = blip_config(vision={"hidden_size": 48, "num_attention_heads": 3})
    vocabulary = Vocabulary(size=START + 2, start_id=START, end_id=END, pad_id=0)
    with pytest.raises(ModelError, match="for VQA the ViT must be as wide as the BERT"):
        build_blip(config, "vqa", vocabulary)
    assert build_blip(config, "caption", vocabulary).head == "caption"
