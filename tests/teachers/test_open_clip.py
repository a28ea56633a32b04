"""open_clip teachers: same embeddings, pixels and ids as open_clip gives; refusals that name the cure."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from compressor.errors import MissingResourceError, ModelError
from compressor.recipe.teacher import OpenClipTeacher
from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Encoder
from compressor.teachers.comparison import SAMPLE_TEXTS, sample_pictures
from compressor.teachers.load import load_teacher, missing_resources
from compressor.teachers.open_clip_source import architecture, find_source, tag_weights
from tests.teachers.conftest import MODEL_CFG, PREPROCESS_CFG, write_open_clip


def teacher(**keys: Any) -> OpenClipTeacher:
    return OpenClipTeacher.model_validate({"kind": "open_clip", "name": "tiny"} | keys)


def cached_tag(cache: Path, name: str, tag: str, content: bytes = b"") -> Path:
    """A file in the hub's cache layout where open_clip keeps the weights of a tag."""
    repository = open_clip.get_pretrained_cfg(name, tag)["hf_hub"].strip("/")
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    path = folder / "snapshots" / "abc" / "open_clip_model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_folder_gives_the_embeddings_of_open_clip_itself(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    model = load_teacher(teacher(path=str(folder)))
    own, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    own.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    pictures, texts = list(sample_pictures()), list(SAMPLE_TEXTS)
    with torch.no_grad():
        image = model.encoder.encode_image(torch.from_numpy(model.preprocessor.images(pictures)))
        expected = own.encode_image(torch.stack([transform(picture) for picture in pictures]), normalize=True)
        torch.testing.assert_close(image, expected, atol=1e-4, rtol=1e-3)
        text = model.encoder.encode_text(torch.from_numpy(model.preprocessor.texts(texts)))
        torch.testing.assert_close(text, own.encode_text(tokenize(texts), normalize=True))
    assert isinstance(model.encoder, Encoder)
    assert model.encoder.embed_dim == image.shape[1] == 16
    assert model.encoder.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    assert model.encoder.logit_bias is None
    assert "folder tiny" in model.origin


@pytest.mark.parametrize(
    "preprocess",
    [
        {"resize_mode": "squash", "interpolation": "bilinear"},
        {"resize_mode": "longest"},
        {"mean": [0.5] * 3, "std": [0.5] * 3},
    ],
)
def test_the_transform_of_a_folder_is_reproduced(tmp_path: Path, preprocess: dict[str, Any]) -> None:
    folder = write_open_clip(tmp_path / "tiny", preprocess=preprocess)
    model = load_teacher(teacher(path=str(folder)))
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    for picture in (*sample_pictures(), Image.new("RGB", (31, 200), (200, 10, 90))):
        np.testing.assert_allclose(
            model.preprocessor.images([picture])[0], transform(picture).numpy(), atol=1e-5
        )


def test_a_teacher_is_frozen_and_counted_by_side(tmp_path: Path) -> None:
    encoder = load_teacher(teacher(path=str(write_open_clip(tmp_path / "tiny")))).encoder
    assert isinstance(encoder, torch.nn.Module)
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    counts = parameter_counts(encoder)
    assert counts["image"] == sum(p.numel() for p in open_clip.CLIP(**MODEL_CFG).visual.parameters())
    assert counts["total"] == counts["image"] + counts["text"] + 1


def test_the_fingerprint_follows_weights_and_preprocessing(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    first = load_teacher(teacher(path=str(folder))).fingerprint
    assert load_teacher(teacher(path=str(folder))).fingerprint == first
    write_open_clip(folder, preprocess={"mean": [0.5, 0.5, 0.5]})
    assert load_teacher(teacher(path=str(folder))).fingerprint != first
    write_open_clip(folder)
    tensors = load_file(folder / "open_clip_model.safetensors")
    tensors["logit_scale"] += 1
    save_file(tensors, folder / "open_clip_model.safetensors")
    assert load_teacher(teacher(path=str(folder))).fingerprint != first


def test_a_tower_pair_traces_with_any_batch(tmp_path: Path) -> None:
    encoder = load_teacher(teacher(path=str(write_open_clip(tmp_path / "tiny")))).encoder

    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.encoder.encode_text(input_ids)

    ids = open_clip.SimpleTokenizer()(["a dog", "two dogs", "no dog at all"])
    batch = torch.export.Dim("batch")
    traced = torch.export.export(Text().eval(), (ids[:2],), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(traced(ids), encoder.encode_text(ids))


def test_an_unknown_name_or_tag_is_answered_with_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"no model named 'ViT-L-41'; did you mean"):
        missing_resources(teacher(name="ViT-L-41", pretrained="openai"))
    with pytest.raises(ModelError, match=r"no weights tagged 'nope'; it has: openai"):
        missing_resources(teacher(name="ViT-L-14", pretrained="nope"))


@pytest.mark.parametrize(
    ("name", "tag"), [("ViT-L-14", "openai"), ("ViT-B-32", "metaclip_400m"), ("ViT-H-14", "dfn5b")]
)
def test_quickgelu_weights_under_a_gelu_name_are_refused(name: str, tag: str) -> None:
    with pytest.raises(ModelError, match=f"trained with QuickGELU: use teacher.name: {name}-quickgelu"):
        load_teacher(teacher(name=name, pretrained=tag), rehearse=True)


def test_gelu_weights_under_a_quickgelu_name_are_refused() -> None:
    with pytest.raises(ModelError, match=r"trained with GELU, not QuickGELU: use teacher\.name: ViT-L-14"):
        load_teacher(teacher(name="ViT-L-14-quickgelu", pretrained="laion2b_s32b_b82k"))


def test_missing_weights_of_a_tag_are_one_sentence_with_the_command(tmp_path: Path) -> None:
    section = teacher(name="ViT-L-14-quickgelu", pretrained="openai")
    (sentence,) = missing_resources(section)
    assert str(tmp_path / "hub") in sentence
    assert "open_clip.create_model_and_transforms('ViT-L-14-quickgelu', pretrained='openai')" in sentence
    assert "teacher.path=FILE" in sentence
    with pytest.raises(MissingResourceError) as caught:
        load_teacher(section)
    assert str(caught.value) == sentence


def test_weights_of_a_tag_are_found_in_the_cache(tmp_path: Path) -> None:
    path = cached_tag(tmp_path / "hub", "ViT-L-14", "openai")
    assert missing_resources(teacher(name="ViT-L-14-quickgelu", pretrained="openai")) == []
    assert tag_weights("ViT-L-14-quickgelu", "openai")[0] == path


def test_damaged_weights_are_one_sentence(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors cannot be loaded") as caught:
        load_teacher(teacher(path=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_pickle_that_holds_code_is_never_run(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    (folder / "open_clip_model.safetensors").unlink()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weights": Evil()}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_teacher(teacher(path=str(folder)))
    assert not (tmp_path / "ran").exists()


def test_a_missing_folder_file_or_weights_is_said(tmp_path: Path) -> None:
    (sentence,) = missing_resources(teacher(name="ViT-B-32", path=str(tmp_path / "w.safetensors")))
    assert str(tmp_path / "w.safetensors") in sentence
    folder = write_open_clip(tmp_path / "tiny")
    (folder / "open_clip_model.safetensors").unlink()
    assert "open_clip_model.safetensors" in missing_resources(teacher(path=str(folder)))[0]


def test_a_folder_with_another_architecture_than_the_name_is_refused(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    with pytest.raises(ModelError, match="another model than ViT-B-32: embed_dim is 16, ViT-B-32 has 512"):
        load_teacher(teacher(name="ViT-B-32", path=str(folder)))


def test_a_hub_folder_without_quickgelu_under_a_quickgelu_name_is_refused(tmp_path: Path) -> None:
    cfg = architecture("ViT-B-32")
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": cfg, "preprocess_cfg": PREPROCESS_CFG})
    )
    save_file({"x": torch.zeros(1)}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(
        ModelError, match=r"open_clip_config\.json .* trained with GELU: use teacher\.name: ViT-B-32"
    ):
        load_teacher(teacher(name="ViT-B-32-quickgelu", path=str(tmp_path)))


@pytest.mark.parametrize(("stated", "name"), [("true", "ViT-B-32"), ("false", "ViT-B-32-quickgelu")])
def test_a_file_whose_metadata_states_another_activation_is_refused(
    tmp_path: Path, stated: str, name: str
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors", {"quick_gelu": stated})
    with pytest.raises(ModelError, match="the metadata of the weights file says"):
        load_teacher(teacher(name=name, path=str(tmp_path / "w.safetensors")))


def test_a_cached_openai_file_given_by_path_is_recognised(tmp_path: Path) -> None:
    path = cached_tag(tmp_path, "ViT-B-32", "openai")
    with pytest.raises(ModelError, match=r"the name of its download says .* QuickGELU"):
        load_teacher(teacher(name="ViT-B-32", path=str(path)))
    assert (
        find_source(teacher(name="ViT-B-32-quickgelu", path=str(path)), fetch=False).weights_quick_gelu
        is True
    )


def test_a_file_of_unknown_origin_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with caplog.at_level(logging.WARNING), pytest.raises(ModelError, match="cannot be loaded"):
        load_teacher(teacher(name="ViT-M-32-alt", path=str(tmp_path / "w.safetensors")))
    assert "QuickGELU" not in caplog.text  # this name has no other variant, there is nothing to confuse
    from compressor.teachers.activation import check_activation

    with caplog.at_level(logging.WARNING):
        check_activation("ViT-B-32", False, None, "")
    assert "teacher.name: ViT-B-32-quickgelu" in caplog.text


def test_a_lone_file_whose_preprocessing_cannot_be_known_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"different image preprocessings: put the open_clip_config\.json"):
        find_source(teacher(name="ViT-L-14", path=str(tmp_path / "w.safetensors")), fetch=False)
    found = find_source(teacher(name="ViT-L-14-quickgelu", path=str(tmp_path / "w.safetensors")), fetch=False)
    assert found.preprocess_cfg["resize_mode"] == "shortest"


def test_a_rehearsal_runs_the_real_architecture_with_random_weights_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    (folder / "open_clip_model.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        model = load_teacher(teacher(path=str(folder)), rehearse=True)
    assert "RANDOM WEIGHTS" in caplog.text
    assert "random weights" in model.origin
    assert parameter_counts(model.encoder)["total"] == sum(  # type: ignore[arg-type]
        p.numel() for p in open_clip.CLIP(**MODEL_CFG).parameters()
    )


def test_a_rehearsal_uses_real_weights_where_they_are(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "tiny")
    real = load_teacher(teacher(path=str(folder)))
    assert load_teacher(teacher(path=str(folder)), rehearse=True).fingerprint == real.fingerprint


def test_a_rehearsal_replaces_a_tokenizer_that_is_not_here(tmp_path: Path) -> None:
    text = MODEL_CFG["text_cfg"] | {
        "vocab_size": 600,
        "context_length": 20,
        "hf_tokenizer_name": "nobody/tokenizer",
    }
    cfg = MODEL_CFG | {"text_cfg": text}
    folder = write_open_clip(tmp_path / "tiny", model_cfg=cfg)
    from compressor.teachers.open_clip_teacher import stand_in_tokenizer

    tokenizer, spec = stand_in_tokenizer(600, 20)
    assert tokenizer.vocab_size <= 600
    assert spec.context_length == 20
    with pytest.raises(ModelError, match=r"tokenizer in .* cannot be read"):
        load_teacher(teacher(path=str(folder)))


def test_a_tokenizer_in_the_folder_is_converted(tmp_path: Path, siglip_folder: Path) -> None:
    text = MODEL_CFG["text_cfg"] | {
        "vocab_size": 120,
        "context_length": 16,
        "hf_tokenizer_name": "somebody/tokenizer",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    folder = write_open_clip(tmp_path / "tiny", model_cfg=MODEL_CFG | {"text_cfg": text})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((siglip_folder / name).read_bytes())
    model = load_teacher(teacher(path=str(folder)))
    own = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = [*SAMPLE_TEXTS, "A dog... &lt;3"]
    assert np.array_equal(model.preprocessor.texts(texts), own(texts).numpy())
    assert model.preprocessor.text.clean == "canonicalize"
