"""The models of `benchmarks.families`: full size, random weights, statistics as if they had been trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.data.scenes import ScenesPairs
from compressor.preprocess.preprocessor import ImagePreprocessor
from compressor.preprocess.spec import ImageSpec
from compressor.preprocess.tokenizers import clip_tokenizer
from compressor.recipe.blip import BlipTeacher, Head
from compressor.recipe.data import ScenesData
from compressor.recipe.models import ImageInput, TimmImageTower
from compressor.students.dual_encoder import unit_rows
from compressor.students.generator import GenerativeModel
from compressor.students.timm_tower import build_timm_tower

TIMM = (
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "efficientnet_lite0",
    "efficientvit_b0",
    "efficientvit_m0",
    "fastvit_t8",
    "fastvit_mci0",
    "fastvit_mci1",
    "fastvit_mci2",
    "mobileone_s0",
    "repvit_m0_9",
    "tiny_vit_5m_224",
    "convnextv2_atto",
)
"""MobileCLIP's image towers are fastvit_mci0 to 2 (S0 to S2)."""
SAMPLES = 14
"""Rows that are compared: batches of 1, 2 and 7 divide them."""
_LONGEST_TEXT = 40


@dataclass(frozen=True)
class Towers:
    """An encoder (or the image side of one) and what goes in: float32 (N, 3, H, W), int64 (N, L)."""

    encoder: Any
    inputs: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Writes:
    """A BLIP that writes, and what goes in."""

    model: GenerativeModel
    pixels: NDArray[np.float32]
    texts: list[str]
    questions: list[str] | None


class ImageSide(nn.Module):
    """An image tower alone as the image side of an encoder."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower, self.embed_dim = tower, width

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) float32 -> (B, width), unit rows."""
        return unit_rows(self.tower(pixel_values))


def families() -> dict[str, Callable[[], Towers | Writes]]:
    """What builds each family, by the name it has in the table."""
    found: dict[str, Callable[[], Towers | Writes]] = {f"timm {name}": partial(_timm, name) for name in TIMM}
    found["transformers CLIP ViT-B/32"] = partial(_clip, {}, {})
    found["transformers CLIP ViT-L/14"] = partial(
        _clip,
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
    )
    found["transformers SigLIP-B/16"] = _siglip
    found["open_clip ViT-B-32"] = partial(_open_clip, "ViT-B-32")
    found["open_clip RN50"] = partial(_open_clip, "RN50")
    found["BLIP base captioning"] = partial(_blip, "caption", "Salesforce/blip-image-captioning-base")
    found["BLIP base VQA"] = partial(_blip, "vqa", "Salesforce/blip-vqa-base")
    return found


def as_if_trained(
    model: nn.Module, run: Callable[[nn.Module], object] | None = None, seed: int = 0
) -> nn.Module:
    """The model with biases and gains moved away from where they start, and BatchNorm statistics of `run`.

    Fresh ones hide faults: a bias of zero may be lost, a layer scale of 1e-5 switches its block off, and the
    statistics of a new BatchNorm change nothing. Nor do they hold the signal up, which then drowns in the
    biases layer by layer: `run` calls the model on data, whose statistics every BatchNorm takes over.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.numel() == max(parameter.shape):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
        norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
        model.eval()
        if run is not None and norms:
            usual = [norm.momentum for norm in norms]
            for norm in norms:
                norm.train()
                norm.momentum = 1.0
            run(model)
            for norm, momentum in zip(norms, usual, strict=True):
                norm.momentum = momentum
    return model.eval().requires_grad_(False)


def _scenes(size: int, count: int = SAMPLES) -> tuple[list[Any], list[str]]:
    pairs = ScenesPairs(ScenesData(kind="scenes", image_size=min(size, 512), val=count), "val")
    return [pairs.image(k) for k in range(count)], [row.captions[k % 5] for k, row in enumerate(pairs.rows)]


def _pixels(spec: ImageSpec) -> NDArray[np.float32]:
    return ImagePreprocessor(spec).images(_scenes(spec.size)[0])


def _spec(size: int) -> ImageSpec:
    return ImageSpec(**ImageInput(size=size).model_dump())


def _timm(name: str) -> Towers:
    import timm

    config = timm.get_pretrained_cfg(name)
    size = 224 if config is None else int(config.input_size[-1])
    torch.manual_seed(0)
    tower = build_timm_tower(TimmImageTower(kind="timm", name=name, input=ImageInput(size=size)))
    pixels = _pixels(_spec(size))
    as_if_trained(tower, lambda model: model(torch.from_numpy(pixels)))
    return Towers(ImageSide(tower, tower.width), {"image": pixels})


def _clip(text: dict[str, Any], vision: dict[str, Any]) -> Towers:
    from transformers import CLIPConfig, CLIPModel

    from compressor.teachers.transformers_teacher import TransformersEncoder

    torch.manual_seed(0)
    width = text.get("hidden_size", 512)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    return Towers(TransformersEncoder(as_if_trained(CLIPModel(config)), width), _clip_inputs(224))


def _open_clip(name: str) -> Towers:
    from compressor.teachers.open_clip_source import architecture
    from compressor.teachers.open_clip_teacher import OpenClipEncoder, build_architecture

    torch.manual_seed(0)
    config = architecture(name)
    inputs = _clip_inputs(224)
    pixels = torch.from_numpy(inputs["image"])
    model = as_if_trained(build_architecture(config), lambda model: model.encode_image(pixels))
    return Towers(OpenClipEncoder(model, int(config["embed_dim"])), inputs)


def _clip_inputs(size: int) -> dict[str, NDArray[Any]]:
    tokenizer, _ = clip_tokenizer(77)
    return {"image": _pixels(_spec(size)), "text": tokenizer(_scenes(32)[1])}


def _siglip() -> Towers:
    from transformers import SiglipConfig, SiglipModel

    from compressor.teachers.transformers_teacher import TransformersEncoder

    torch.manual_seed(0)
    config = SiglipConfig()
    text = config.text_config
    # Its tokeniser is a file that is not here: any ids will do, closed and padded with 1 as its own are.
    random = np.random.default_rng(0)
    ids = random.integers(2, text.vocab_size, (SAMPLES, text.max_position_embeddings))
    for row, end in zip(ids, random.integers(3, 20, SAMPLES), strict=True):
        row[end:] = 1
    size = int(config.vision_config.image_size)
    encoder = TransformersEncoder(as_if_trained(SiglipModel(config)), int(config.vision_config.hidden_size))
    return Towers(encoder, {"image": _pixels(_spec(size)), "text": ids.astype(np.int64)})


def _blip(head: Head, name: str) -> Writes:
    from compressor.teachers.blip_teacher import load_blip

    torch.manual_seed(0)
    captions = _scenes(32)[1]
    section = BlipTeacher(kind="blip", head=head, name=name, context_length=_LONGEST_TEXT)
    model = load_blip(section, texts=captions, rehearse=True)
    assert isinstance(model.generator, nn.Module)
    as_if_trained(model.generator)
    pixels = _pixels(model.preprocessor.image)
    questions = [f"what is in {text}" for text in captions] if head == "vqa" else None
    return Writes(model, pixels, captions, questions)
