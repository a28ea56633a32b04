"""Small BLIPs built by a recipe: sizes, tokens, starting weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from compressor.errors import ModelError
from compressor.recipe.blip import Head
from compressor.students.blip_build import blip_student_sizes, build_blip_student, start_blip
from compressor.students.dual_encoder import parameter_counts
from compressor.students.generator import check_same_tokens, make_vocabulary
from tests.students.blips import PIXELS, START, Teachers, blip, logits, student


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_a_student_reads_its_teachers_tokens_in_its_own_sizes(teachers: Teachers, head: Head) -> None:
    teacher = teachers(head)
    model = build_blip_student(student(), teacher)
    check_same_tokens(teacher, model)
    assert logits(model).shape == logits(teacher).shape
    generator = blip(model)
    assert len(generator.vision_model.encoder.layers) == 1  # type: ignore[union-attr,arg-type]
    assert len(generator.text_decoder.bert.encoder.layer) == 1
    assert parameter_counts(generator)["total"] < 0.3 * parameter_counts(blip(teacher))["total"]
    assert not generator.training
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_the_same_seed_gives_the_same_student(teachers: Teachers) -> None:
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(build_blip_student(student(), teachers("caption")).fingerprint)
    assert made[0] == made[1] != made[2]


def test_a_student_from_scratch_tells_pictures_apart(teachers: Teachers) -> None:
    """transformers' default for BLIP's ViT starts every weight within 1e-10 of zero."""
    model = build_blip_student(student(), teachers("caption"))
    with torch.no_grad():
        tokens = blip(model).vision_model(PIXELS).last_hidden_state[:, 0]
    assert (tokens[0] - tokens[1]).abs().max() > 0.01
    assert 0.01 < blip(model).vision_model.encoder.layers[0].mlp.fc1.weight.std().item() < 0.03  # type: ignore[union-attr,index]


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_sizes_are_known_without_weights(teachers: Teachers, head: Head) -> None:
    teacher = teachers(head)
    planned = blip_student_sizes(student(), head, teacher.generator.vocabulary)
    assert planned == parameter_counts(blip(build_blip_student(student(), teacher)))
    assert planned["image"] + planned["text"] == planned["total"]


def test_dropout_is_the_recipes(teachers: Teachers) -> None:
    generator = blip(build_blip_student(student(text={"dropout": 0.25}), teachers("caption")))
    rates = {module.p for module in generator.text_decoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.25}


def test_a_student_without_a_teacher_has_tokens_of_its_own(teachers: Teachers) -> None:
    words = teachers("caption").preprocessor
    vocabulary = make_vocabulary(words.tokenizer, words.text.eos_id, prompt="a picture of")
    model = start_blip(student(), "caption", words.tokenizer, words.text, vocabulary)
    assert logits(model).shape[-1] == START + 2
    with pytest.raises(ModelError, match="needs a teacher of kind blip"):
        start_blip(student(start="inherit"), "caption", words.tokenizer, words.text, vocabulary)


def test_what_does_not_fit_the_teacher_is_refused(teachers: Teachers) -> None:
    with pytest.raises(ModelError, match=r"makes 16 tokens, student\.text\.context_length is 8"):
        build_blip_student(student(text={"context_length": 8}), teachers("caption"))
    with pytest.raises(ModelError, match="for VQA the ViT must be as wide"):
        build_blip_student(student(image={"width": 24, "heads": 3}), teachers("vqa"))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"image": {"heads": 3}}, "width 16 is not a multiple of heads 3"),
        ({"image": {"patch": 7}}, "size 32 is not a multiple of patch 7"),
        ({"start": "towers"}, "start: towers needs image.weights, text.weights or both"),
        ({"text": {"weights": "b.safetensors"}}, "weights belong to start: towers, not to start: scratch"),
        ({"depth": 3}, "Extra inputs"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        student(**keys)
