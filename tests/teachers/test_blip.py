"""BLIP teachers that write: their preprocessing against their own, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoImageProcessor, AutoTokenizer, BlipForConditionalGeneration

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.blip import BlipTeacher, Head
from compressor.students.blip import HEADS, BlipGenerator
from compressor.students.blip_checkpoint import save_blip_checkpoint
from compressor.students.dual_encoder import parameter_counts
from compressor.teachers.blip_folder import missing_blip_files
from compressor.teachers.blip_teacher import load_blip
from compressor.teachers.comparison import MEAN_TOLERANCE, SAMPLE_TEXTS, WORST_TOLERANCE, sample_pictures
from tests.students.blips import END, START, write_blip


@pytest.fixture(scope="module", params=["caption", "vqa"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("blip") / request.param, HEADS[request.param])


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("blip") / "caption", BlipForConditionalGeneration)


@pytest.fixture
def copy(captioner: Path, tmp_path: Path) -> Path:
    return shutil.copytree(captioner, tmp_path / "caption")


def teacher(path: Path, **keys: Any) -> BlipTeacher:
    head: Head = "vqa" if path.name == "vqa" else "caption"
    given = {"kind": "blip", "head": head, "path": path, "context_length": 16} | keys
    return BlipTeacher.model_validate(given)


def change(path: Path, part: str | None = None, **keys: Any) -> None:
    content = json.loads(path.read_text())
    (content if part is None else content[part]).update(keys)
    path.write_text(json.dumps(content))


def test_ids_equal_the_models_own_tokenizer(folder: Path) -> None:
    model = load_blip(teacher(folder))
    own = AutoTokenizer.from_pretrained(folder)
    texts = [*SAMPLE_TEXTS, "A Red SQUARE, on the dog!", "[SEP] red [MASK]", "\U0001f415 <b>", "x" * 3000]
    expected = own(texts, padding="max_length", max_length=16, truncation=True)["input_ids"]
    assert np.array_equal(model.preprocessor.texts(texts), np.array(expected))
    assert model.preprocessor.text.pad_id == 0


def test_pixels_are_within_the_stated_tolerance_of_the_models_own_processor(folder: Path) -> None:
    model = load_blip(teacher(folder))
    own = AutoImageProcessor.from_pretrained(folder)
    spec = model.preprocessor.image
    assert (spec.size, spec.resize, spec.interpolation) == (32, "squash", "bicubic")
    levels = 255 * np.array(spec.std)[:, None, None]
    for picture in sample_pictures():
        theirs = np.asarray(own(images=picture, return_tensors="np")["pixel_values"])[0]
        difference = np.abs(model.preprocessor.images([picture])[0] - theirs) * levels
        assert difference.mean() <= MEAN_TOLERANCE
        assert difference.max() <= WORST_TOLERANCE


def test_a_teacher_is_frozen_and_knows_its_special_tokens(folder: Path) -> None:
    model = load_blip(teacher(folder))
    generator = model.generator
    assert isinstance(generator, BlipGenerator)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    vocabulary = generator.vocabulary
    assert (vocabulary.size, vocabulary.start_id, vocabulary.end_id) == (START + 2, START, END)
    assert model.name == folder.name
    assert model.origin == f"BLIP {folder.name}"
    counts = parameter_counts(generator)
    assert counts["image"] == sum(p.numel() for p in generator.vision_model.parameters())
    assert counts["image"] + counts["text"] == counts["total"]


def test_a_fingerprint_is_of_the_weights_and_of_the_tokens(captioner: Path, copy: Path) -> None:
    marks = [
        load_blip(teacher(captioner)).fingerprint,
        load_blip(teacher(captioner, prompt="a picture of")).fingerprint,
        load_blip(teacher(captioner, context_length=12)).fingerprint,
    ]
    assert load_blip(teacher(copy)).fingerprint == marks[0]
    assert len(set(marks)) == 3


def test_missing_files_are_named(copy: Path, tmp_path: Path) -> None:
    assert missing_blip_files(teacher(copy)) == []
    (copy / "tokenizer.json").unlink()
    (copy / "model.safetensors").unlink()
    (sentence,) = missing_blip_files(teacher(copy))
    assert "model.safetensors or model.safetensors.index.json, tokenizer.json" in sentence
    with pytest.raises(MissingResourceError, match=r"tokenizer\.json"):
        load_blip(teacher(copy))
    assert "is not there" in missing_blip_files(teacher(tmp_path / "nowhere"))[0]


def test_a_hub_name_that_is_out_of_reach_is_one_sentence() -> None:
    section = BlipTeacher(kind="blip", head="vqa", name="Salesforce/blip-vqa-base")
    (sentence,) = missing_blip_files(section)
    assert "Salesforce/blip-vqa-base" in sentence
    with pytest.raises(MissingResourceError, match="switched off by HF_HUB_OFFLINE"):
        load_blip(section)


def test_a_rehearsal_needs_no_weights_and_sees_pictures(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    (copy / "model.safetensors").unlink()
    change(copy / "config.json", "vision_config", initializer_range=1e-10)
    model = load_blip(teacher(copy), rehearse=True)
    assert "random weights" in model.origin
    assert "RANDOM WEIGHTS" in caplog.text
    ids = torch.from_numpy(model.target_ids(["red", "red"]))
    with torch.no_grad():
        logits = model.generator(torch.randn(2, 3, 32, 32), ids).logits
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)


def test_damaged_weights_are_one_sentence(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_blip(teacher(copy))
    assert "\n" not in str(caught.value)


def test_weights_of_another_head_are_refused(captioner: Path, copy: Path) -> None:
    with pytest.raises(ModelError, match=r"BlipForConditionalGeneration.*needs a BlipForQuestionAnswering"):
        load_blip(teacher(captioner, head="vqa"))
    change(copy / "config.json", architectures=["BlipForQuestionAnswering"])
    with pytest.raises(ModelError, match=r"incomplete: text_encoder\."):
        load_blip(teacher(copy, head="vqa"))


def test_another_model_family_is_refused(copy: Path) -> None:
    change(copy / "config.json", model_type="bert", architectures=["BertModel"])
    with pytest.raises(ModelError, match="is a 'bert', this teacher must be a BLIP"):
        load_blip(teacher(copy))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"sep_token_id": 7}, f"ends texts with id 7 .*, its tokenizer with {END}"),
        ({"pad_token_id": 1}, "takes id 1 for padding, its tokenizer writes 0"),
        ({"bos_token_id": None}, "no bos_token_id"),
        ({"bos_token_id": START + 2}, f"token id {START + 2} is beyond the {START + 2}"),
        ({"vocab_size": START - 1}, f"{START} token ids, {START - 1} in its text tower"),
        ({"max_position_embeddings": 12}, "context_length is 16, .* has 12 positions"),
    ],
)
def test_a_configuration_that_contradicts_the_tokenizer_is_refused(
    copy: Path, keys: dict[str, Any], sentence: str
) -> None:
    change(copy / "config.json", "text_config", **keys)
    with pytest.raises(ModelError, match=sentence):
        load_blip(teacher(copy))


def test_only_square_pictures_are_supported(copy: Path) -> None:
    change(copy / "config.json", "vision_config", image_size=[32, 32])
    assert load_blip(teacher(copy)).preprocessor.image.size == 32
    change(copy / "config.json", "vision_config", image_size=[32, 48])
    with pytest.raises(ModelError, match=r"\[32, 48\] pixels are not supported, only square ones"):
        load_blip(teacher(copy))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"head": "caption"}, "give exactly one of path"),
        ({"head": "caption", "name": "a/b", "path": "c"}, "give exactly one of path"),
        ({"head": "vqa", "name": "a/b", "prompt": "a picture of"}, "prompt belongs to head: caption"),
        ({"head": "caption", "name": "a/b", "question_start": "enc"}, "question_start belongs to head: vqa"),
        ({"head": "retrieval", "name": "a/b"}, "'caption' or 'vqa'"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        BlipTeacher.model_validate({"kind": "blip"} | keys)


def test_it_provides_what_logits_and_attention_losses_ask_for() -> None:
    assert BlipTeacher.provides == {"attention", "logits"}
    assert BlipTeacher.runnable


@pytest.mark.parametrize("head", ["caption", "vqa"])
def test_a_checkpoint_of_this_project_teaches_as_it_was_trained(tmp_path: Path, head: Head) -> None:
    """Its words are lowered before they are cut, which transformers' tokenizer files do not tell."""
    sizes = {"layers": 1, "width": 16, "heads": 2}
    section = BlipTeacher.model_validate(
        {
            "kind": "blip",
            "head": head,
            "image": sizes | {"patch": 8, "size": 16},
            "text": sizes | {"context_length": 20},
            "tokenizer": {"kind": "train", "vocab_size": 300},
            "context_length": 16,
            "fine_tune": {"steps": 1},
        }
    )
    trained = load_blip(section, texts=["A red star left of a blue ring"])
    save_blip_checkpoint(trained, tmp_path / "own")
    again = load_blip(BlipTeacher(kind="blip", head=head, path=tmp_path / "own"))
    assert again.fingerprint == trained.fingerprint
    assert again.preprocessor.text == trained.preprocessor.text
    texts = ["A RED Star", "ring"]
    np.testing.assert_array_equal(again.target_ids(texts), trained.target_ids(texts))
    for keys, sentence in (
        ({"head": "caption" if head == "vqa" else "vqa"}, "was trained with head"),
        ({"context_length": 12}, "was trained with context_length 16, the recipe says 12"),
    ):
        other = BlipTeacher.model_validate({"kind": "blip", "head": head, "path": tmp_path / "own"} | keys)
        with pytest.raises(ModelError, match=sentence):
            load_blip(other)
