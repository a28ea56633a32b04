"""Small teachers saved in their originals' formats, and no network."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS_CFG: dict[str, Any] = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 16,
    "image_size": 32,
}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def write_open_clip(
    folder: Path, *, model_cfg: dict[str, Any] | None = None, preprocess: dict[str, Any] | None = None
) -> Path:
    """A tiny open_clip model in hub layout."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model_cfg = model_cfg or MODEL_CFG
    model = open_clip.CLIP(**model_cfg)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": model_cfg, "preprocess_cfg": PREPROCESS_CFG | (preprocess or {})}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's own vocabulary with the names transformers gives its special tokens."""
    spec = find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = letters + [letter + "</w>" for letter in letters] + ["".join(merge) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: row for row, word in enumerate(words)}, merges


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformers CLIP with CLIP's real tokeniser."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    text = TEXT | {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)).save_pretrained(folder)
    vocab, merges = clip_vocabulary()
    CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformers SigLIP with a unigram tokeniser that closes every text."""
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    text = TEXT | {"vocab_size": 120, "max_position_embeddings": 16, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -4.0) for code in range(97, 123)] + [("▁a", -3.0), ("▁dog", -3.5), ("word", -3.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    ).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
