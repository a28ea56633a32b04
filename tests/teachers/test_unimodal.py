"""Teachers of one modality: timm image models and transformers text encoders, against the originals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.preprocessor import ImagePreprocessor, TextPreprocessor
from compressor.recipe.teacher import EnsembleTeacher, TextTeacher, TimmTeacher
from compressor.teachers.comparison import MEAN_TOLERANCE, SAMPLE_TEXTS, WORST_TOLERANCE, sample_pictures
from compressor.teachers.load import load_any_teacher, load_teacher, missing_resources
from compressor.teachers.outline import outline_teacher
from compressor.teachers.unimodal import ImageRepresentation, TextRepresentation, UnimodalModel

NAME = "vit_tiny_patch16_224"
OPTIONS: dict[str, Any] = {"embed_dim": 32, "depth": 1, "num_heads": 2}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LENGTH = 16


def image_teacher(**changes: Any) -> TimmTeacher:
    usual = {"kind": "timm", "name": NAME, "size": 32, "options": OPTIONS}
    return TimmTeacher.model_validate(usual | changes)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small ViT with its classifier, in timm's own layout."""
    torch.manual_seed(0)
    donor = timm.create_model(NAME, img_size=32, num_classes=7, **OPTIONS)
    save_file(donor.state_dict(), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with a word-piece tokeniser, as transformers saves them."""
    folder = tmp_path_factory.mktemp("bert")
    words = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz0123456789", "dog", "##s", "a", "the", "red", "on"]
    vocabulary = {word: row for row, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=LENGTH,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=len(vocabulary),
        max_position_embeddings=LENGTH,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def text_teacher(path: Path, **changes: Any) -> TextTeacher:
    return TextTeacher.model_validate({"kind": "text", "path": path, "context_length": LENGTH} | changes)


def loaded(section: TimmTeacher | TextTeacher, *, rehearse: bool = False) -> UnimodalModel:
    model = load_any_teacher(section, rehearse=rehearse)
    assert isinstance(model, UnimodalModel)
    return model


def test_an_image_teacher_gives_timms_own_features_whatever_their_length(weights: Path) -> None:
    model = loaded(image_teacher(path=weights))
    own = timm.create_model(NAME, img_size=32, num_classes=7, **OPTIONS).eval()
    own.load_state_dict(_tensors(weights))
    pixels = torch.randn(3, 3, 32, 32)
    assert isinstance(model.encoder, ImageRepresentation)
    with torch.no_grad():
        rows = model.encoder.encode_image(pixels)
        torch.testing.assert_close(rows, own.forward_head(own.forward_features(pixels), pre_logits=True))
    assert rows.shape == (3, model.encoder.embed_dim)
    assert not torch.allclose(rows.norm(dim=1), torch.ones(3), atol=0.1)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_pixels_follow_timms_data_config_but_for_its_margin(weights: Path) -> None:
    model = loaded(image_teacher(path=weights))
    assert isinstance(model.preprocessor, ImagePreprocessor)
    spec = model.preprocessor.image
    assert (spec.mean, spec.std, spec.interpolation) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(NAME).to_dict())
    assert config["crop_pct"] == 0.9
    whole = config | {"input_size": (3, 32, 32), "crop_pct": 1.0}
    transform: Any = timm.data.create_transform(**whole, is_training=False)
    for picture in sample_pictures():
        difference = np.abs(model.preprocessor.images([picture])[0] - transform(picture).numpy()) * 127.5
        assert difference.mean() <= MEAN_TOLERANCE
        assert difference.max() <= WORST_TOLERANCE


def test_a_tag_decides_the_preprocessing() -> None:
    model = loaded(image_teacher(name="vit_base_patch16_224.dino"), rehearse=True)
    assert isinstance(model.preprocessor, ImagePreprocessor)
    assert model.preprocessor.image.mean == pytest.approx((0.485, 0.456, 0.406))
    with pytest.raises(ModelError, match=r"teacher\.name: Invalid pretrained tag \(nonsense\)"):
        loaded(image_teacher(name="vit_base_patch16_224.nonsense"), rehearse=True)
    with pytest.raises(ModelError, match=r"no model named 'vit_tiny_patch16_225'.*vit_tiny_patch16_224"):
        missing_resources(image_teacher(name="vit_tiny_patch16_225"))


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_a_text_teacher_pools_the_encoders_own_states(bert: Path, pool: str) -> None:
    model = loaded(text_teacher(bert, pool=pool))
    assert isinstance(model.preprocessor, TextPreprocessor)
    assert isinstance(model.encoder, TextRepresentation)
    texts = ["a dog", "the red dogs on a red dog", ""]
    given = AutoTokenizer.from_pretrained(bert)(texts, padding=True, return_tensors="pt")
    own = AutoModel.from_pretrained(bert).eval()
    with torch.no_grad():
        states = own(**given).last_hidden_state
        rows = model.encoder.encode_text(torch.from_numpy(model.preprocessor.texts(texts)))
    for row, mask, state in zip(rows, given["attention_mask"], states, strict=True):
        real = state[: int(mask.sum())]
        expected = {"mean": real.mean(0), "first": real[0], "last": real[-1]}[pool]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)


def test_ids_of_a_text_teacher_are_its_own_tokenizers(bert: Path) -> None:
    model = loaded(text_teacher(bert))
    assert isinstance(model.preprocessor, TextPreprocessor)
    own = AutoTokenizer.from_pretrained(bert)
    expected = own(list(SAMPLE_TEXTS), padding="max_length", max_length=LENGTH, truncation=True)["input_ids"]
    assert np.array_equal(model.preprocessor.texts(SAMPLE_TEXTS), np.array(expected))


def test_unimodal_teachers_are_frozen_and_identified(weights: Path, bert: Path) -> None:
    sections = [
        image_teacher(path=weights),
        image_teacher(path=weights, options=OPTIONS | {"act_layer": "relu"}),
        text_teacher(bert),
        text_teacher(bert, pool="last"),
    ]
    found = [loaded(section) for section in sections]
    for model in found:
        assert not model.encoder.training
        assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    assert loaded(sections[0]).fingerprint == found[0].fingerprint
    assert len({model.fingerprint for model in found}) == 4


def test_what_is_missing_is_said_before_loading(weights: Path, bert: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert missing_resources(image_teacher(path=weights)) == []
    assert missing_resources(text_teacher(bert)) == []
    assert missing_resources(image_teacher(path=absent)) == [
        f"The teacher's weights {absent} are not there: set teacher.path."
    ]
    assert (
        "'timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k' is not on this machine"
        in (missing_resources(image_teacher())[0])
    )
    assert "is not there" in missing_resources(text_teacher(absent))[0]
    assert (
        "'someone/bert' is not on this machine"
        in (missing_resources(TextTeacher(kind="text", name="someone/bert"))[0])
    )
    copy = shutil.copytree(bert, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    assert "lacks tokenizer.json" in missing_resources(text_teacher(copy))[0]
    for section in (image_teacher(), image_teacher(path=absent), text_teacher(copy)):
        with pytest.raises(MissingResourceError):
            load_any_teacher(section)


def test_a_rehearsal_needs_no_weights(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = shutil.copytree(bert, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    for section in (image_teacher(), text_teacher(copy)):
        caplog.clear()
        assert "random weights" in loaded(section, rehearse=True).origin
        assert "RANDOM WEIGHTS" in caplog.text


def test_text_teachers_that_cannot_be_used_are_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not take 40 tokens"):
        loaded(text_teacher(bert, context_length=40))
    copy = shutil.copytree(bert, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot be loaded"):
        loaded(text_teacher(copy))
    config = json.loads((copy / "config.json").read_text()) | {"vocab_size": 5}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="take the tower's own tokenizer"):
        loaded(text_teacher(copy), rehearse=True)


def test_a_unimodal_teacher_embeds_no_pairs(weights: Path) -> None:
    with pytest.raises(ModelError, match="does not embed pairs"):
        load_teacher(image_teacher(path=weights))


def test_an_outline_counts_one_side_alone(weights: Path, bert: Path, tmp_path: Path) -> None:
    for section, side in ((image_teacher(path=weights), "image"), (text_teacher(bert), "text")):
        outline = outline_teacher(section)
        assert outline is not None
        model = loaded(section)
        counted = sum(parameter.numel() for parameter in model.encoder.parameters())
        other = "text" if side == "image" else "image"
        assert outline.parameters == {side: counted, other: 0, "total": counted}
        assert outline.embed_dim == model.encoder.embed_dim
        assert (outline.image_flops > 0, outline.text_flops > 0) == (side == "image", side == "text")
    assert outline_teacher(text_teacher(tmp_path / "absent")) is None


def test_what_an_ensemble_lacks_is_what_its_members_lack(tmp_path: Path) -> None:
    members = [
        {"kind": "checkpoint", "path": str(tmp_path / "one")},
        {"kind": "embeddings", "path": str(tmp_path / "two.safetensors")},
    ]
    section = EnsembleTeacher.model_validate({"kind": "ensemble", "members": members})
    first, second = missing_resources(section)
    assert str(tmp_path / "one") in first
    assert str(tmp_path / "two.safetensors") in second
    assert outline_teacher(section) is None
