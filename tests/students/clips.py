"""Small CLIPs of two families and one size, with what tests ask of them and of their parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from compressor.students.encoder import Model
from compressor.students.inherit_sizes import Cut, TowerCut
from tests.teachers.conftest import clip_vocabulary

IMAGE = {"layers": 5, "width": 48, "heads": 6, "hidden": 120}
TEXT = {"layers": 4, "width": 32, "heads": 4, "hidden": 80}
EMBED_DIM = 16
"""Both families are built to these sizes: heads are 8 wide, MLPs 2.5 times the width."""

OPEN_CLIP: dict[str, Any] = {
    "embed_dim": EMBED_DIM,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "layers": 5,
        "width": 48,
        "head_width": 8,
        "mlp_ratio": 2.5,
        "ls_init_value": 0.5,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "layers": 4,
        "width": 32,
        "heads": 4,
        "mlp_ratio": 2.5,
    },
}
FAMILIES = ("open_clip", "transformers")
SMALL = Cut(TowerCut(layers=3, width=32, heads=4), TowerCut(layers=2, width=16, heads=2), embed_dim=12)
TEXTS = ("a dog", "Two CHILDREN, one in a red coat; it's raining_hard!!", "", " ".join(["word"] * 120))


def write_transformers(folder: Path) -> None:
    """A small transformers CLIP with CLIP's own tokeniser and processor."""
    torch.manual_seed(0)
    image, text = (
        {
            "num_hidden_layers": tower["layers"],
            "hidden_size": tower["width"],
            "num_attention_heads": tower["heads"],
            "intermediate_size": tower["hidden"],
        }
        for tower in (IMAGE, TEXT)
    )
    image |= {"image_size": 32, "patch_size": 16}
    text |= {"vocab_size": 49408, "pad_token_id": 49407}
    config = CLIPConfig(text_config=text, vision_config=image, projection_dim=EMBED_DIM)
    CLIPModel(config).save_pretrained(folder)
    vocabulary, merges = clip_vocabulary()
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)


def pixels() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def embeddings(model: Model) -> Tensor:
    """Of three pictures and of texts that are short, long, empty and cut."""
    with torch.no_grad():
        texts = model.encoder.encode_text(torch.from_numpy(model.preprocessor.texts(TEXTS)))
        return torch.cat([model.encoder.encode_image(pixels()), texts])


def weights(model: Model) -> dict[str, Tensor]:
    assert isinstance(model.encoder, nn.Module)
    return {name.removeprefix("model."): value for name, value in model.encoder.state_dict().items()}


def modules(model: Model) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The layers of both towers."""
    own: Any = model.encoder.model  # type: ignore[attr-defined]
    if model.config["family"] == "open_clip":
        return own.visual.transformer.resblocks, own.transformer.resblocks
    return own.vision_model.encoder.layers, own.text_model.encoder.layers


def count(tower: dict[str, int], *, tokens: int, positions: int, norms: int, scales: int) -> int:
    """Parameters of a transformer tower, from the definition."""
    width, hidden = tower["width"], tower["hidden"]
    attention = 4 * (width * width + width)
    mlp = 2 * width * hidden + hidden + width
    layer = attention + mlp + 2 * 2 * width + scales * width
    return tower["layers"] * layer + (tokens + positions + 2 * norms) * width
