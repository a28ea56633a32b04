from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from compressor.errors import ModelError
from compressor.export.onnx import export_tower, ready_for_export
from compressor.export.pytorch import embed_images, embed_texts
from compressor.recipe.models import StudentSection
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT, TEXT_INPUT, TEXT_OUTPUT
from compressor.runtime.session import Tower
from compressor.students.build import build_student
from compressor.teachers.open_clip_teacher import OpenClipEncoder
from compressor.teachers.transformers_teacher import TransformersEncoder
from tests.export.toys import LENGTH, SIZE, WIDTH, ToyEncoder, toy_preprocessor

EOT = 99


class Wrapped(nn.Module):
    """An image model as an encoder, by a function."""

    def __init__(self, inner: nn.Module, image: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.image = inner, image
        self.embed_dim = 0

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.image(self.inner, pixel_values), dim=-1)


def timm_model(name: str, **options: Any) -> Wrapped:
    return Wrapped(timm.create_model(name, num_classes=0, **options), lambda model, pixels: model(pixels))


def own_student() -> nn.Module:
    section = StudentSection.model_validate(
        {
            "image": {
                "kind": "timm",
                "name": "vit_tiny_patch16_224",
                "options": {"img_size": SIZE, "depth": 2},
                "input": {"size": SIZE},
            },
            "text": {"kind": "transformer", "width": 32, "layers": 2, "heads": 2, "context_length": LENGTH},
            "tokenizer": {"kind": "train", "vocab_size": 300},
            "embed_dim": WIDTH,
        }
    )
    preprocessor = toy_preprocessor()
    encoder = build_student(section, preprocessor.tokenizer, preprocessor.text).encoder
    assert isinstance(encoder, nn.Module)
    return encoder


def open_clip_model() -> nn.Module:
    inner = open_clip.model.CLIP(
        32,
        {"image_size": SIZE, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
        {"context_length": LENGTH, "vocab_size": 100, "width": 64, "heads": 4, "layers": 2},
        quick_gelu=True,
    )
    return OpenClipEncoder(inner, 32)


def transformers_model(family: str) -> nn.Module:
    common = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    vision = {**common, "image_size": SIZE, "patch_size": 8}
    text = {**common, "vocab_size": 100, "max_position_embeddings": LENGTH}
    text |= {"eos_token_id": EOT, "bos_token_id": 98, "pad_token_id": EOT}
    if family == "clip":
        clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        return TransformersEncoder(clip, 16)
    return TransformersEncoder(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), 32)


IMAGE_MODELS: dict[str, Callable[[], nn.Module]] = {
    "own": own_student,
    "vit_tiny": lambda: timm_model("vit_tiny_patch16_224", img_size=SIZE, depth=2),
    "mobilenetv3_small": lambda: timm_model("mobilenetv3_small_050"),
    "mobilenetv2": lambda: timm_model("mobilenetv2_050"),
    "open_clip": open_clip_model,
    "clip": lambda: transformers_model("clip"),
    "siglip": lambda: transformers_model("siglip"),
}
TEXT_MODELS = {name: IMAGE_MODELS[name] for name in ("own", "open_clip", "clip", "siglip")}


def rows_of_pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


def rows_of_ids(count: int) -> np.ndarray:
    """Token rows as CLIP makes them: the end of text, which has the largest id, at different places."""
    random = np.random.default_rng(count)
    ids = random.integers(1, 98, (count, LENGTH))
    for row, end in zip(ids, random.integers(1, LENGTH, count), strict=True):
        row[end:] = EOT
    return ids.astype(np.int64)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_image_graph_equals_pytorch_at_any_batch_size(name: str, tmp_path: Path) -> None:
    encoder = IMAGE_MODELS[name]().eval()
    export_tower(encoder, "image", rows_of_pixels(3), tmp_path / "image.onnx")
    tower = Tower(tmp_path / "image.onnx", IMAGE_INPUT, IMAGE_OUTPUT, threads=1)
    encoder.embed_dim = tower.width
    for count in (1, 2, 5):
        expected = embed_images(encoder, rows_of_pixels(count))
        np.testing.assert_allclose(tower.run(rows_of_pixels(count)), expected, atol=1e-5)


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_graph_finds_the_end_of_text_of_every_row(name: str, tmp_path: Path) -> None:
    encoder = TEXT_MODELS[name]().eval()
    export_tower(encoder, "text", rows_of_ids(3), tmp_path / "text.onnx")
    tower = Tower(tmp_path / "text.onnx", TEXT_INPUT, TEXT_OUTPUT, threads=1)
    encoder.embed_dim = tower.width
    for count in (1, 2, 5):
        expected = embed_texts(encoder, rows_of_ids(count))
        np.testing.assert_allclose(tower.run(rows_of_ids(count)), expected, atol=1e-5)


def test_one_example_row_is_enough(tmp_path: Path) -> None:
    export_tower(ToyEncoder(300).eval(), "image", rows_of_pixels(1), tmp_path / "image.onnx")
    tower = Tower(tmp_path / "image.onnx", IMAGE_INPUT, IMAGE_OUTPUT, threads=1)
    assert tower.run(rows_of_pixels(7)).shape == (7, tower.width)


def test_exporting_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        export_tower(ToyEncoder(300).eval(), "image", rows_of_pixels(2), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_graph_tells_nothing_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    export_tower(open_clip_model().eval(), "text", rows_of_ids(2), tmp_path / "text.onnx")
    content = (tmp_path / "text.onnx").read_bytes()
    for trace in (b".py", b"site-packages", b"stack_trace", str(Path(__file__).parent).encode()):
        assert trace not in content


def test_export_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    level = logging.getLogger("torch.onnx").level
    export_tower(transformers_model("siglip").eval(), "image", rows_of_pixels(2), tmp_path / "image.onnx")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert not recwarn.list
    assert logging.getLogger("torch.onnx").level == level


def test_large_weights_go_into_a_file_beside_the_graph(tmp_path: Path) -> None:
    encoder = ToyEncoder(300).eval()
    external = export_tower(encoder, "image", rows_of_pixels(2), tmp_path / "image.onnx", largest_inline=1000)
    assert external == tmp_path / "image.onnx.data"
    assert external.stat().st_size > (tmp_path / "image.onnx").stat().st_size
    tower = Tower(tmp_path / "image.onnx", IMAGE_INPUT, IMAGE_OUTPUT, threads=1)
    np.testing.assert_allclose(
        tower.run(rows_of_pixels(5)), embed_images(encoder, rows_of_pixels(5)), atol=1e-5
    )


def test_dropout_is_off_in_the_graph(tmp_path: Path) -> None:
    encoder = ToyEncoder(300).train()
    with ready_for_export(encoder):
        export_tower(encoder, "image", rows_of_pixels(2), tmp_path / "image.onnx")
    assert encoder.dropout.training
    assert "Dropout" not in {node.op_type for node in onnx.load(tmp_path / "image.onnx").graph.node}


def test_only_the_module_that_was_in_training_mode_returns_to_it() -> None:
    encoder = ToyEncoder(300).train()
    encoder.patches.eval()
    with ready_for_export(encoder):
        assert not any(module.training for module in encoder.modules())
    assert encoder.training
    assert not encoder.patches.training


def test_half_precision_weights_are_refused() -> None:
    with pytest.raises(ModelError, match=r"float32.*float16"), ready_for_export(ToyEncoder(300).half()):
        pass


def test_opset_the_exporter_cannot_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"opset 17.*set export\.opset to 18"):
        export_tower(open_clip_model().eval(), "text", rows_of_ids(2), tmp_path / "text.onnx", opset=17)


def test_newer_opset_is_written(tmp_path: Path) -> None:
    export_tower(ToyEncoder(300).eval(), "image", rows_of_pixels(2), tmp_path / "image.onnx", opset=20)
    assert onnx.load(tmp_path / "image.onnx").opset_import[0].version == 20


def test_tower_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    encoder = Wrapped(nn.Linear(1, 1), lambda _, x: x.flatten(1) if x.sum() > 0 else -x.flatten(1))
    with pytest.raises(ModelError, match="the image tower cannot be exported to ONNX: "):
        export_tower(encoder, "image", rows_of_pixels(2), tmp_path / "image.onnx")
