"""Small BLIPs and where their weights come from: chance, towers trained elsewhere, the teacher."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.blip import BlipStudent, BlipTeacher, Head
from compressor.students.blip import HEADS, BlipGenerator
from compressor.students.blip_build import blip_student_sizes, build_blip_student, start_blip
from compressor.students.dual_encoder import parameter_counts
from compressor.students.generator import GenerativeModel, check_same_tokens, make_vocabulary
from compressor.students.inherit_plan import kept_layers
from compressor.teachers.blip_teacher import load_blip
from tests.students.blips import (
    ANSWERS,
    CAPTIONS,
    QUESTIONS,
    SIDE,
    START,
    blip_config,
    student,
    write_blip,
)

PIXELS = torch.linspace(-2, 2, 3 * 3 * SIDE * SIDE).sin().reshape(3, 3, SIDE, SIDE)
Teachers = Callable[[Head], GenerativeModel]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Teachers:
    folders = {head: write_blip(tmp_path_factory.mktemp(head), kind) for head, kind in HEADS.items()}

    def load(head: Head) -> GenerativeModel:
        return load_blip(BlipTeacher(kind="blip", head=head, path=folders[head], context_length=16))

    return load


def blip(model: GenerativeModel) -> BlipGenerator:
    assert isinstance(model.generator, BlipGenerator)
    return model.generator


@torch.no_grad()
def logits(model: GenerativeModel) -> Tensor:
    answers = blip(model).head == "vqa"
    asked = torch.from_numpy(model.question_ids(QUESTIONS)) if answers else None
    target = torch.from_numpy(model.target_ids(ANSWERS if answers else CAPTIONS))
    side = blip(model).image_size
    pixels = torch.nn.functional.interpolate(PIXELS, (side, side))
    return model.generator(pixels, target, asked).logits


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


def full_size(**image: Any) -> BlipStudent:
    sizes: dict[str, Any] = {"layers": 2, "width": 32, "heads": 2, "mlp_ratio": 2}
    return student(image=sizes | image, text=sizes | {"context_length": 48}, start="inherit")


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_a_student_of_the_teachers_sizes_inherits_its_logits(teachers: Teachers, head: Head) -> None:
    teacher = teachers(head)
    model = build_blip_student(full_size(), teacher)
    assert torch.equal(logits(model), logits(teacher))
    assert "made out of its teacher: image layers 0, 1 of 2" in model.origin


def test_an_inherited_position_is_interpolated_only_for_another_picture(teachers: Teachers) -> None:
    name = "vision_model.embeddings.position_embedding"
    table = blip(teachers("caption")).state_dict()[name]
    small = blip(build_blip_student(full_size(size=16), teachers("caption"))).state_dict()[name]
    assert small.shape == (1, 5, 32)
    assert torch.equal(small[:, 0], table[:, 0])
    grid = table[0, 1:].reshape(4, 4, 32).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(grid, (2, 2), mode="bicubic", antialias=True)
    torch.testing.assert_close(small[0, 1:], expected[0].flatten(1).T, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_an_inherited_weight_is_a_part_of_the_teachers(teachers: Teachers, head: Head) -> None:
    """Every tensor of a narrower student by index lists written out from the definition."""
    teacher = blip(teachers(head))
    sizes = {"layers": 1, "width": 16, "heads": 2, "mlp_ratio": 1.5}  # heads half as wide as the teacher's
    section = student(image=sizes, text=sizes, start="inherit")
    made = blip(build_blip_student(section, teachers(head))).state_dict()
    channels, hidden = list(range(16)), list(range(24))
    heads = [16 * head + channel for head in range(2) for channel in range(8)]
    three = [32 * part + row for part in range(3) for row in heads]
    layer = str(kept_layers(2, 1)[0])
    for name, value in made.items():
        source = teacher.state_dict()[
            name.replace(".layer.0.", f".layer.{layer}.").replace(".layers.0.", f".layers.{layer}.")
        ]
        output = channels
        if name.endswith(
            ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias")
        ):
            output = heads
        elif ".qkv." in name:
            output = three
        elif ".fc1." in name or ".intermediate." in name:
            output = hidden
        if "position_embeddings" in name:
            expected = source[:40, :16]
        elif "word_embeddings" in name or "decoder.weight" in name:
            expected = source[:, :16]
        elif name.endswith(("predictions.bias", "decoder.bias")):
            expected = source
        elif "class_embedding" in name or "position_embedding" in name:
            expected = source[..., :16]
        elif source.ndim == 1 or ".patch_embedding." in name:
            expected = source[output]
        else:
            inputs = channels
            if ".projection.weight" in name or ("attention.output.dense.weight" in name):
                inputs = heads
            elif ".fc2." in name or (name.endswith("output.dense.weight") and "attention" not in name):
                inputs = hidden
            expected = source[output][:, inputs]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize(
    ("image", "text", "sentence"),
    [
        ({"layers": 3}, {}, "student.image: layers is 3, the teacher it inherits from has 2"),
        ({"width": 48}, {}, "student.image: width is 48"),
        ({}, {"heads": 4}, "student.text: heads is 4"),
        (
            {},
            {"width": 24, "heads": 1},
            "student.text: width / heads is 24, the teacher it inherits from has 16",
        ),
        ({}, {"mlp_ratio": 8.0}, "student.text: width x mlp_ratio is 128"),
        ({"patch": 16}, {}, "student.image.patch is 16, to inherit it must be the teacher's 8"),
        ({}, {"context_length": 49}, "context_length is 49, the teacher has 48 positions"),
    ],
)
def test_more_than_the_teacher_has_cannot_be_inherited(
    teachers: Teachers, image: dict[str, Any], text: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        build_blip_student(student(image=image, text=text, start="inherit"), teachers("caption"))


def towers(image: Path | None = None, text: Path | None = None, **sizes: Any) -> BlipStudent:
    whole: dict[str, Any] = {"layers": 2, "width": 32, "heads": 2, "mlp_ratio": 2} | sizes
    return student(
        image=whole | {"weights": image and str(image)},
        text=whole | {"weights": text and str(text), "context_length": 40},
        start="towers",
    )


def test_a_vit_of_timm_keeps_its_features(teachers: Teachers, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vit = timm.models.VisionTransformer(
        img_size=SIDE, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, num_classes=5
    ).eval()
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    model = build_blip_student(towers(image=tmp_path / "vit.safetensors"), teachers("caption"))
    with torch.no_grad():
        tokens = blip(model).vision_model(PIXELS).last_hidden_state
        torch.testing.assert_close(tokens, vit.forward_features(PIXELS), atol=1e-5, rtol=1e-5)
    assert "started from vit.safetensors" in model.origin


@pytest.mark.parametrize(("keys", "sentence"), [({"reg_tokens": 1}, "reg_token"), ({"depth": 3}, "layers.2")])
def test_another_vit_is_refused(
    teachers: Teachers, tmp_path: Path, keys: dict[str, int], sentence: str
) -> None:
    sizes: dict[str, Any] = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "num_heads": 2}
    vit = timm.models.VisionTransformer(**sizes | {"depth": 2, "mlp_ratio": 2} | keys)
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(ModelError, match=f"does not fit student.image.*{sentence}"):
        build_blip_student(towers(image=tmp_path / "vit.safetensors"), teachers("caption"))


def test_sizes_are_known_before_the_towers_are_here(teachers: Teachers, tmp_path: Path) -> None:
    section = towers(text=tmp_path / "nowhere")
    counts = blip_student_sizes(section, "caption", teachers("caption").generator.vocabulary)
    assert counts["total"] > 0


def write_bert(folder: Path, **keys: Any) -> Any:
    torch.manual_seed(0)
    config: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config |= {"intermediate_size": 64, "vocab_size": START, "max_position_embeddings": 60}
    bert = BertForMaskedLM(BertConfig(**config | keys)).eval()
    bert.save_pretrained(folder)
    return bert


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_a_bert_keeps_its_features(teachers: Teachers, tmp_path: Path, head: Head) -> None:
    bert = write_bert(tmp_path / "bert")
    generator = blip(build_blip_student(towers(text=tmp_path / "bert"), teachers(head)))
    ids = torch.from_numpy(teachers(head).question_ids(QUESTIONS))
    mask = (ids != 0).long()
    halves = [generator.text_decoder.bert, *([generator.text_encoder] if generator.text_encoder else [])]
    with torch.no_grad():
        expected = bert.bert(ids, attention_mask=mask).last_hidden_state
        words = bert.cls(expected)
        for half in halves:
            tokens = half(input_ids=ids, attention_mask=mask).last_hidden_state
            torch.testing.assert_close(tokens[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            generator.text_decoder.cls(expected)[..., :START], words, atol=1e-5, rtol=1e-5
        )


def test_a_bert_without_a_word_head_and_in_old_spelling_serves_too(
    teachers: Teachers, tmp_path: Path
) -> None:
    bert = write_bert(tmp_path / "bert")
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in bert.bert.state_dict().items()
    }
    save_file(tensors, tmp_path / "old.safetensors")
    generator = blip(build_blip_student(towers(text=tmp_path / "old.safetensors"), teachers("caption")))
    embeddings = generator.text_decoder.bert.embeddings
    assert torch.equal(embeddings.LayerNorm.weight, bert.bert.embeddings.LayerNorm.weight)
    assert torch.equal(embeddings.word_embeddings.weight[:START], bert.bert.embeddings.word_embeddings.weight)
    assert generator.text_decoder.cls.predictions.decoder.weight is embeddings.word_embeddings.weight


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_both_halves_of_another_blip_are_taken_whole(teachers: Teachers, tmp_path: Path, head: Head) -> None:
    folder = write_blip(tmp_path / "other", HEADS[head], blip_config(text={"initializer_range": 0.3}))
    model = build_blip_student(towers(folder, folder), teachers(head))
    own = blip(load_blip(BlipTeacher(kind="blip", head=head, path=folder, context_length=16)))
    found = blip(model).state_dict()
    for name, value in own.state_dict().items():
        expected = value[:40] if "position_embeddings" in name else value
        assert torch.equal(found[name], expected), name
    assert model.generator.vocabulary == teachers(head).generator.vocabulary


def change_config(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_towers_that_do_not_fit_are_refused(
    teachers: Teachers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_bert(tmp_path / "bert")
    write_bert(tmp_path / "wide", hidden_size=64)
    write_bert(tmp_path / "words", vocab_size=START + 50)
    write_bert(tmp_path / "few", vocab_size=START - 1)
    write_bert(tmp_path / "headless")
    tensors = load_file(tmp_path / "headless" / "model.safetensors")
    del tensors["cls.predictions.bias"]
    save_file(tensors, tmp_path / "headless" / "model.safetensors")
    refused: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("bert", {"heads": 4}, r"student\.text\.heads is 4, .* was trained with 2"),
        ("bert", {"layers": 1}, r"does not fit student\.text: not part of the model"),
        ("bert", {"layers": 3}, r"does not fit student\.text: missing"),
        ("wide", {}, r"does not fit student\.text: shapes differ"),
        ("words", {}, f"has {START + 50} token ids, the tokenizer {START}"),
        ("few", {}, f"has {START - 1} token ids, the tokenizer {START}"),
        ("headless", {}, r"missing: cls\.predictions\.bias"),
    )
    for name, keys, sentence in refused:
        with pytest.raises(ModelError, match=sentence) as caught:
            build_blip_student(towers(text=tmp_path / name, **keys), teachers("caption"))
        assert "\n" not in str(caught.value)
    with pytest.raises(MissingResourceError, match="no weights at"):
        build_blip_student(towers(text=tmp_path / "nowhere"), teachers("caption"))
    assert not caplog.records
    save_file(load_file(tmp_path / "bert" / "model.safetensors"), tmp_path / "alone.safetensors")
    build_blip_student(towers(text=tmp_path / "alone.safetensors"), teachers("caption"))
    assert "says how many heads" in caplog.text
