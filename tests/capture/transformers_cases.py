"""Small transformers models; the reference is the same model loaded eager with output_attentions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    BlipVisionModel,
    CLIPConfig,
    CLIPModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.capture.model_case import COUNTS, HEADS, IMAGE, LAYERS, PIXELS, TOKENS, WIDTH, Case, sharpened

BODY: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
WORDS: dict[str, Any] = {"vocab_size": 16, "pad_token_id": 1, "bos_token_id": 5, "eos_token_id": 2}
TEXT: dict[str, Any] = BODY | WORDS | {"max_position_embeddings": 12}
STILL: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MEMORY = torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(6))
MEMORY_COUNTS = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])


def transformers_case(
    name: str,
    build: Callable[[], PreTrainedModel],
    inputs: dict[str, Any],
    *,
    attentions: str = "attentions",
    **options: Any,
) -> Case:
    kind = type(build())

    def save(folder: Path) -> None:
        sharpened(build).save_pretrained(folder)

    def load(folder: Path, eager: bool) -> nn.Module:
        return kind.from_pretrained(folder, attn_implementation="eager" if eager else None).eval()

    def run(model: nn.Module) -> Tensor:
        output = model(**inputs)
        tensors = [value for value in output.values() if isinstance(value, Tensor)]
        return torch.cat([value.flatten() for value in tensors])

    def maps(model: nn.Module) -> list[Tensor]:
        return list(getattr(model(**inputs, output_attentions=True), attentions))

    return Case(name, save, load, run, maps, **options)


def square_images(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"image_size": 32, "patch_size": 8}


def clip_part(part: str) -> Any:
    config = CLIPConfig(text_config=TEXT, vision_config=square_images(BODY))
    return getattr(CLIPModel(config), f"{part}_model")


def siglip_part(part: str) -> Any:
    config = SiglipConfig(text_config=TEXT, vision_config=square_images(BODY))
    return getattr(SiglipModel(config), f"{part}_model")


def t5(**changes: Any) -> T5Model:
    keys: dict[str, Any] = {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": LAYERS, "num_heads": HEADS}
    changes = {"num_decoder_layers": 2, "dropout_rate": 0.0} | changes
    return T5Model(T5Config(**keys, **WORDS, relative_attention_num_buckets=8, **changes))


def blip_text(**changes: Any) -> BlipTextModel:
    return BlipTextModel(
        BlipTextConfig(**TEXT, **STILL, encoder_hidden_size=WIDTH, sep_token_id=2, **changes)
    )


SQUARE = PIXELS[..., :32]
_TEXT: dict[str, Any] = {"input_ids": TOKENS, "attention_mask": COUNTS}
_PATCHES: dict[str, Any] = {"grid": (4, 4), "prefix_tokens": 1}
_T5: dict[str, Any] = {"input_ids": TOKENS, "attention_mask": COUNTS}
_T5 |= {"decoder_input_ids": TOKENS[:, :5], "decoder_attention_mask": COUNTS[:, :5]}

TRANSFORMERS = [
    transformers_case("clip image", lambda: clip_part("vision"), {"pixel_values": SQUARE}, **_PATCHES),
    transformers_case("clip text", lambda: clip_part("text"), {"input_ids": TOKENS}),
    transformers_case("clip text, padded", lambda: clip_part("text"), _TEXT, padded=True),
    transformers_case("siglip image", lambda: siglip_part("vision"), {"pixel_values": SQUARE}, grid=(4, 4)),
    transformers_case("siglip text, padded", lambda: siglip_part("text"), _TEXT, padded=True),
    transformers_case(
        "vit",
        lambda: ViTModel(ViTConfig(**BODY, **IMAGE)),
        {"pixel_values": PIXELS},
        grid=(2, 3),
        prefix_tokens=1,
    ),
    transformers_case(
        "deit",
        lambda: DeiTModel(DeiTConfig(**BODY, **IMAGE)),
        {"pixel_values": PIXELS},
        grid=(2, 3),
        prefix_tokens=2,
    ),
    transformers_case(
        "dinov2",
        lambda: Dinov2Model(Dinov2Config(**square_images(BODY))),
        {"pixel_values": SQUARE},
        grid=(4, 4),
        prefix_tokens=1,
    ),
    transformers_case("bert", lambda: BertModel(BertConfig(**TEXT, **STILL)), _TEXT, padded=True),
    transformers_case(
        "bert cross",
        lambda: BertModel(BertConfig(**TEXT, **STILL, is_decoder=True, add_cross_attention=True)),
        _TEXT
        | {"encoder_hidden_states": MEMORY, "encoder_attention_mask": MEMORY_COUNTS, "use_cache": False},
        attentions="cross_attentions",
        which="cross",
        padded=True,
    ),
    transformers_case("roberta", lambda: RobertaModel(RobertaConfig(**TEXT, **STILL)), _TEXT, padded=True),
    transformers_case(
        "xlm-roberta", lambda: XLMRobertaModel(XLMRobertaConfig(**TEXT, **STILL)), _TEXT, padded=True
    ),
    transformers_case(
        "distilbert",
        lambda: DistilBertModel(
            DistilBertConfig(
                dim=WIDTH,
                hidden_dim=48,
                n_layers=LAYERS,
                n_heads=HEADS,
                dropout=0,
                attention_dropout=0,
                **WORDS,
            )
        ),
        _TEXT,
        padded=True,
    ),
    transformers_case(
        "t5 encoder",
        t5,
        _T5,
        attentions="encoder_attentions",
        tower=lambda model: model.encoder,
        padded=True,
    ),
    transformers_case(
        "t5 decoder", t5, _T5, attentions="decoder_attentions", tower=lambda model: model.decoder, layers=2
    ),
    transformers_case(
        "t5 cross", t5, _T5, attentions="cross_attentions", which="cross", layers=2, padded=True
    ),
]

BLIP = [
    transformers_case(
        "blip image",
        lambda: BlipVisionModel(BlipVisionConfig(**square_images(BODY))),
        {"pixel_values": SQUARE},
        fused=False,
        **_PATCHES,
    ),
    transformers_case(
        "blip text encoder",
        lambda: blip_text(is_decoder=False),
        _TEXT | {"is_decoder": False},
        fused=False,
        padded=True,
    ),
    transformers_case(
        "blip text decoder",
        blip_text,
        _TEXT | {"is_decoder": True, "use_cache": False},
        fused=False,
        padded=True,
    ),
    transformers_case(
        "blip cross",
        blip_text,
        _TEXT | {"encoder_hidden_states": MEMORY, "use_cache": False},
        attentions="cross_attentions",
        which="cross",
        fused=False,
    ),
]
