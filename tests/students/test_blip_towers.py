"""Small BLIPs that start from towers trained elsewhere: a ViT, a BERT, another BLIP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.blip import BlipStudent, BlipTeacher, Head
from compressor.students.blip import HEADS
from compressor.students.blip_build import blip_student_sizes, build_blip_student
from compressor.teachers.blip_teacher import load_blip
from tests.students.blips import (
    PIXELS,
    QUESTIONS,
    SIDE,
    START,
    Teachers,
    blip,
    blip_config,
    student,
    write_blip,
)


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
