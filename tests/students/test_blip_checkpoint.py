"""Checkpoints of BLIPs: what comes back, here and in transformers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer

from compressor.errors import ModelError
from compressor.recipe.blip import BlipTeacher, Head
from compressor.students.blip import HEADS, TIED_WEIGHTS, BlipGenerator
from compressor.students.blip_build import build_blip_student
from compressor.students.blip_checkpoint import load_blip_checkpoint, save_blip_checkpoint
from compressor.students.checkpoint import CHECKPOINT_FILES, load_checkpoint
from compressor.students.generator import GenerativeModel, check_same_tokens
from compressor.teachers.blip_teacher import load_blip
from compressor.teachers.comparison import SAMPLE_TEXTS, sample_pictures
from tests.students.blips import ANSWERS, CAPTIONS, QUESTIONS, SIDE, student, write_blip

PIXELS = torch.linspace(-2, 2, 3 * 3 * SIDE * SIDE).sin().reshape(3, 3, SIDE, SIDE)


@pytest.fixture(scope="module", params=["caption", "vqa"])
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GenerativeModel:
    head: Head = request.param
    folder = write_blip(tmp_path_factory.mktemp("teacher"), HEADS[head])
    keys = {"prompt": "a picture of"} if head == "caption" else {"question_start": "enc"}
    section = {"kind": "blip", "head": head, "path": folder, "context_length": 16} | keys
    return load_blip(BlipTeacher.model_validate(section))


@pytest.fixture
def model(teacher: GenerativeModel) -> GenerativeModel:
    torch.manual_seed(1)
    return build_blip_student(student(), teacher)


@torch.no_grad()
def logits(model: GenerativeModel) -> Tensor:
    answers = model.generator.head == "vqa"
    asked = torch.from_numpy(model.question_ids(QUESTIONS)) if answers else None
    target = torch.from_numpy(model.target_ids(ANSWERS if answers else CAPTIONS))
    return model.generator(PIXELS, target, asked).logits


def test_a_student_comes_back_equal(teacher: GenerativeModel, model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    again = load_blip_checkpoint(tmp_path / "c")
    assert torch.equal(logits(again), logits(model))
    assert again.fingerprint == model.fingerprint
    assert (again.name, again.origin, again.config) == (model.name, model.origin, model.config)
    assert again.generator.vocabulary == model.generator.vocabulary
    assert not again.generator.training  # type: ignore[attr-defined]
    check_same_tokens(teacher, again)
    save_blip_checkpoint(again, tmp_path / "d")
    for file in (tmp_path / "c").iterdir():
        assert file.read_bytes() == (tmp_path / "d" / file.name).read_bytes()


def test_transformers_loads_it_too(model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    kind = HEADS[model.generator.head]
    loading: Any = kind.from_pretrained(tmp_path / "c", output_loading_info=True)
    own, info = loading
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    loaded = BlipGenerator(own.eval(), model.generator.vocabulary)
    expected = model.generator.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "c")
    ids = tokenizer(list(SAMPLE_TEXTS), padding="max_length", truncation=True)["input_ids"]
    assert np.array_equal(ids, model.preprocessor.texts(SAMPLE_TEXTS))
    processor = AutoImageProcessor.from_pretrained(tmp_path / "c")
    pixels = processor(images=list(sample_pictures()), return_tensors="np")["pixel_values"]
    assert np.abs(pixels - model.preprocessor.images(sample_pictures())).max() < 0.06  # 4 grey levels


def test_a_checkpoint_can_teach(model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    vocabulary = model.generator.vocabulary
    section = BlipTeacher(
        kind="blip",
        head=model.generator.head,
        path=tmp_path / "c",
        context_length=16,
        prompt=vocabulary.prompt,
        question_start="cls" if vocabulary.question_start_id is None else "enc",
    )
    assert torch.equal(logits(load_blip(section)), logits(model))


def test_half_precision_halves_the_file_and_loads_as_fp32(model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "full")
    save_blip_checkpoint(model, tmp_path / "half", dtype="float16")
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("full", "half")]
    sizes = [sum(value.nbytes for value in one.values()) for one in tensors]
    assert sizes[0] == 2 * sizes[1]
    again = load_blip_checkpoint(tmp_path / "half")
    assert {value.dtype for value in again.generator.state_dict().values()} == {torch.float32}  # type: ignore[attr-defined]
    torch.testing.assert_close(logits(again), logits(model), atol=5e-3, rtol=5e-2)


def test_a_tied_weight_is_stored_once(model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    stored = load_file(tmp_path / "c" / "model.safetensors")
    assert not TIED_WEIGHTS.keys() & stored.keys()
    assert sum(value.numel() for value in stored.values()) == sum(
        parameter.numel()
        for parameter in model.generator.parameters()  # type: ignore[attr-defined]
    )


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_missing_or_damaged_file_is_one_sentence(model: GenerativeModel, tmp_path: Path, name: str) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    path = tmp_path / "c" / name
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=name) as caught:
            load_blip_checkpoint(tmp_path / "c")
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ModelError, match=f"{name} missing"):
        load_blip_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 99}, "schema version 99 is newer"),
        ({"family": "student"}, "not a BLIP that writes"),
        ({"head": "sing"}, "does not describe a BLIP"),
        ({"vocabulary": {"size": 3}}, "does not describe a BLIP"),
        ({"text_config": {"hidden_size": "wide"}}, "does not describe a BLIP"),
        ({"vision_config": {"hidden_size": 17}}, "cannot build this BLIP|for VQA the ViT"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(
    model: GenerativeModel, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    path = tmp_path / "c" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=sentence):
        load_blip_checkpoint(tmp_path / "c")


def test_a_missing_tensor_is_named(model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    path = tmp_path / "c" / "model.safetensors"
    tensors = load_file(path)
    del tensors["vision_model.post_layernorm.weight"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"missing: vision_model\.post_layernorm\.weight"):
        load_blip_checkpoint(tmp_path / "c")


def test_a_blip_is_not_taken_for_a_dual_encoder(model: GenerativeModel, tmp_path: Path) -> None:
    save_blip_checkpoint(model, tmp_path / "c")
    with pytest.raises(ModelError, match="family 'blip'"):
        load_checkpoint(tmp_path / "c")
