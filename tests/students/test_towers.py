"""Image and text towers: names, options, weights from files, frozen BatchNorm, configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel

from compressor.errors import MissingResourceError, ModelError
from compressor.preprocess.spec import TextSpec
from compressor.recipe.models import PretrainedTextTower, TimmImageTower, TransformersImageTower
from compressor.students.timm_tower import build_timm_tower
from compressor.students.transformers_tower import build_image_tower, build_text_tower, plain_config

NAME = "mobilenetv3_small_050"
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 60,
    "max_position_embeddings": 12,
}
CLIP_VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 8,
}


def section(**changes: Any) -> TimmImageTower:
    return TimmImageTower.model_validate({"kind": "timm", "name": NAME, "input": {"size": 32}} | changes)


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(ModelError, match=r"no model named 'mobilenetv3_smal_050'.*mobilenetv3_small_050"):
        build_timm_tower(section(name="mobilenetv3_smal_050"))


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/somewhere"])
def test_a_name_cannot_fetch_anything(name: str) -> None:
    with pytest.raises(ModelError, match="no model named"):
        build_timm_tower(section(name=name))


@pytest.mark.parametrize("option", ["pretrained", "checkpoint_path", "num_classes"])
def test_options_cannot_load_weights(option: str) -> None:
    with pytest.raises(ModelError, match=f"may not set {option}"):
        build_timm_tower(section(options={option: "x"}))


def test_an_option_timm_does_not_know_is_named() -> None:
    with pytest.raises(ModelError, match="nonsense"):
        build_timm_tower(section(options={"nonsense": 1}))


def test_a_vision_transformer_is_built_for_the_recipes_size() -> None:
    tower = build_timm_tower(section(name="vit_tiny_patch16_224", options={"depth": 1}, input={"size": 48}))
    assert tower.width == 192
    assert tower(torch.zeros(2, 3, 48, 48)).shape == (2, 192)


def test_weights_are_loaded_and_the_classifier_is_dropped(tmp_path: Path) -> None:
    torch.manual_seed(1)
    donor = timm.create_model(NAME, num_classes=7)
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in donor.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    tower = build_timm_tower(section(weights=str(tmp_path / "w.safetensors"))).eval()
    own = tower.model.state_dict()
    assert not any(name.startswith("classifier.weight") for name in own)
    for name, value in donor.state_dict().items():
        if name in own:
            torch.testing.assert_close(own[name], value.half().to(own[name].dtype))
            assert own[name].dtype == value.dtype


def test_an_overlay_replaces_some_tensors(tmp_path: Path) -> None:
    donor = timm.create_model(NAME, num_classes=0)
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    save_file({"bn1.running_mean": torch.full_like(donor.bn1.running_mean, 3.0)}, tmp_path / "o.safetensors")
    tower = build_timm_tower(
        section(weights=str(tmp_path / "w.safetensors"), weights_overlay=str(tmp_path / "o.safetensors"))
    )
    assert tower.model.bn1.running_mean.tolist() == [3.0] * len(donor.bn1.running_mean)
    torch.testing.assert_close(tower.model.conv_stem.weight, donor.conv_stem.weight)


def test_an_overlay_for_another_model_is_refused(tmp_path: Path) -> None:
    save_file({"strange.weight": torch.zeros(1)}, tmp_path / "o.safetensors")
    with pytest.raises(ModelError, match=r"not part of the model: strange\.weight"):
        build_timm_tower(section(weights_overlay=str(tmp_path / "o.safetensors")))


def test_weights_of_another_width_are_refused_naming_the_first_tensors(tmp_path: Path) -> None:
    save_file(
        timm.create_model("mobilenetv3_small_100", num_classes=0).state_dict(), tmp_path / "w.safetensors"
    )
    with pytest.raises(
        ModelError, match=r"does not fit mobilenetv3_small_050: shapes differ: .* and \d+ more"
    ):
        build_timm_tower(section(weights=str(tmp_path / "w.safetensors")))


def test_truncated_and_absent_weights_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(MissingResourceError, match=r"no weights at .*w\.safetensors"):
        build_timm_tower(section(weights=str(path)))
    save_file(timm.create_model(NAME, num_classes=0).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        build_timm_tower(section(weights=str(path)))


def test_position_embeddings_are_resized_to_the_towers_grid(tmp_path: Path) -> None:
    options = {"depth": 1, "num_heads": 2, "embed_dim": 16}
    donor = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64, **options)
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    tower = build_timm_tower(
        section(
            name="vit_tiny_patch16_224",
            options=options,
            input={"size": 32},
            weights=str(tmp_path / "w.safetensors"),
        )
    )
    assert tower.model.pos_embed.shape == (1, 1 + 4, 16)
    torch.testing.assert_close(tower.model.pos_embed[:, 0], donor.pos_embed[:, 0])


@pytest.mark.parametrize("frozen", [False, True])
def test_batchnorm_statistics_move_unless_frozen(frozen: bool) -> None:
    torch.manual_seed(0)
    tower = build_timm_tower(section(freeze_batchnorm=frozen)).train()
    before = tower.model.bn1.running_mean.clone()
    tower(torch.randn(4, 3, 32, 32))
    assert torch.equal(before, tower.model.bn1.running_mean) == frozen
    assert tower.model.training


def test_a_transformers_vision_configuration_becomes_a_tower_of_the_recipes_size() -> None:
    tower = build_image_tower(
        TransformersImageTower(kind="transformers", config=CLIP_VISION, input={"size": 32})  # type: ignore[arg-type]
    )
    assert tower(torch.zeros(2, 3, 32, 32)).shape == (2, tower.width) == (2, 16)
    assert tower.config["image_size"] == 32


def test_an_unknown_configuration_key_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no key 'hiden_size'.*hidden_size"):
        build_image_tower(TransformersImageTower(kind="transformers", config=CLIP_VISION | {"hiden_size": 4}))
    with pytest.raises(ModelError, match="no model_type 'clip_vison_model'"):
        build_image_tower(
            TransformersImageTower(kind="transformers", config={"model_type": "clip_vison_model"})
        )


def test_a_vision_folder_keeps_its_weights_and_must_match_the_size(tmp_path: Path) -> None:
    keys = {key: value for key, value in CLIP_VISION.items() if key != "model_type"}
    donor = CLIPVisionModel(CLIPVisionConfig(**keys, image_size=32)).eval()
    donor.save_pretrained(tmp_path)
    tower = build_image_tower(
        TransformersImageTower(kind="transformers", path=str(tmp_path), input={"size": 32})  # type: ignore[arg-type]
    ).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(tower(pixels), donor(pixels).pooler_output)
    with pytest.raises(ModelError, match="is for 32 pixels"):
        build_image_tower(TransformersImageTower(kind="transformers", path=str(tmp_path)))  # type: ignore[arg-type]


def bert_folder(path: Path) -> BertModel:
    torch.manual_seed(0)
    donor = BertModel(BertConfig(**{key: value for key, value in BERT.items() if key != "model_type"})).eval()
    donor.save_pretrained(path)
    return donor


def test_a_pretrained_text_folder_pools_its_tokens_without_the_padding(tmp_path: Path) -> None:
    donor = bert_folder(tmp_path)
    text = TextSpec(context_length=8, pad_id=0, eos_id=3)
    tower = build_text_tower(
        PretrainedTextTower(kind="pretrained", path=tmp_path, context_length=8), text, 60
    ).eval()
    ids = torch.tensor([[2, 7, 8, 3, 0, 0, 0, 0]])
    with torch.no_grad():
        expected = donor(input_ids=ids[:, :4]).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(tower(ids), expected, atol=1e-5, rtol=1e-5)
    assert tower.model.pooler is None


def test_a_text_folder_that_is_too_small_is_refused(tmp_path: Path) -> None:
    bert_folder(tmp_path)
    text = TextSpec(context_length=8)
    with pytest.raises(ModelError, match="has 61 ids, the text tower 60"):
        build_text_tower(PretrainedTextTower(kind="pretrained", path=tmp_path, context_length=8), text, 61)
    long = TextSpec(context_length=40)
    with pytest.raises(ModelError, match="does not take 40 tokens"):
        build_text_tower(PretrainedTextTower(kind="pretrained", path=tmp_path, context_length=40), long, 60)


def test_a_text_folder_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    donor = bert_folder(tmp_path)
    kept = {k: v for k, v in donor.state_dict().items() if not k.startswith("encoder.layer.1")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"incomplete: encoder\.layer\.1"):
        build_text_tower(
            PretrainedTextTower(kind="pretrained", path=tmp_path), TextSpec(context_length=8), 60
        )


def test_a_hub_name_that_is_not_here_says_where_it_was_looked_for() -> None:
    tower = PretrainedTextTower(kind="pretrained", name="someone/small-bert", context_length=8)
    with pytest.raises(
        MissingResourceError, match=r"'someone/small-bert' is not on this machine .*HF_HUB_OFFLINE"
    ):
        build_text_tower(tower, TextSpec(context_length=8), 60)


def test_a_plain_configuration_builds_the_same_model_again() -> None:
    text = TextSpec(context_length=8)
    first = build_text_tower(PretrainedTextTower(kind="pretrained", config=BERT, context_length=8), text, 60)
    again = build_text_tower(
        PretrainedTextTower(kind="pretrained", config=first.config, context_length=8), text, 60
    )
    assert again.config == first.config == plain_config(first.model.config)
    assert {k: v.shape for k, v in first.state_dict().items()} == {
        k: v.shape for k, v in again.state_dict().items()
    }


def test_a_pretrained_text_tower_traces_with_any_batch() -> None:
    text = TextSpec(context_length=8, pad_id=0, eos_id=3)
    config = PretrainedTextTower(kind="pretrained", config=BERT, context_length=8)
    tower = build_text_tower(config, text, 60).eval()
    ids = torch.tensor([[2, 7, 8, 3, 0, 0, 0, 0], [2, 3, 0, 0, 0, 0, 0, 0], [2, 9, 9, 9, 9, 9, 9, 3]])
    traced = torch.export.export(tower, (ids[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad():
        torch.testing.assert_close(traced(ids), tower(ids), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(traced(ids[:1]), tower(ids[:1]), atol=1e-5, rtol=1e-5)
