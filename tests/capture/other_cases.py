"""Small timm, open_clip and own models; the references come to their maps by other means than capture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import open_clip
import timm
import torch
from torch import Tensor, nn

from compressor.students.text_transformer import TextTransformer
from tests.capture.model_case import (
    HEADS,
    LAYERS,
    PIXELS,
    TOKENS,
    WIDTH,
    Case,
    inputs_of,
    load_weights,
    save_weights,
)

_VIT: dict[str, Any] = {"embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS, "img_size": (32, 48)}


def timm_case(name: str, model: str, prefix_tokens: int, **options: Any) -> Case:
    """The reference switches timm's fused attention off and reads what enters the attention dropout."""

    def build() -> nn.Module:
        return timm.create_model(model, num_classes=0, **(_VIT | options))

    def load(folder: Any, eager: bool) -> nn.Module:
        loaded: Any = load_weights(build)(folder, eager)
        for module in loaded.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = not eager
        return loaded

    def maps(eager: Any) -> list[Tensor]:
        drops = [module for name, module in eager.blocks.named_modules() if name.endswith("attn_drop")]
        with inputs_of(drops) as seen:
            eager(PIXELS)
        return seen

    return Case(
        name, save_weights(build), load, lambda m: m(PIXELS), maps, grid=(2, 3), prefix_tokens=prefix_tokens
    )


TIMM = [
    timm_case("timm vit", "vit_tiny_patch16_224", 1),
    timm_case("timm deit, distilled", "deit_tiny_distilled_patch16_224", 2),
    timm_case("timm registers, no class", "vit_wee_patch16_reg1_gap_256", 1, qk_norm=False),
    timm_case("timm qk-norm", "vit_tiny_patch16_224", 1, qk_norm=True),
    timm_case(
        "timm parallel",
        "vit_wee_patch16_reg1_gap_256",
        1,
        block_fn=timm.models.vision_transformer.ParallelScalingBlock,
    ),
    timm_case("timm rope", "vit_small_patch16_rope_224", 1),
    timm_case("timm eva", "eva02_tiny_patch14_224", 1, patch_size=16),
]

_IMAGE = {"image_size": (32, 48), "layers": LAYERS, "width": WIDTH, "head_width": 8, "patch_size": 16}
_TEXT = {"context_length": 7, "vocab_size": 16, "width": WIDTH, "heads": HEADS, "layers": LAYERS}
_DECODER = _TEXT | {"layers": 2}


def clip(**vision: Any) -> nn.Module:
    return open_clip.CLIP(16, _IMAGE | vision, _TEXT)


def coca() -> nn.Module:
    """An open_clip text tower with padding masked, and a decoder that looks at pooled pictures."""
    pooled = {
        "attentional_pool": True,
        "attn_pooler_heads": 4,
        "attn_pooler_queries": 5,
        "output_tokens": True,
    }
    text = _TEXT | {"embed_cls": True, "output_tokens": True, "pad_id": 1}
    model = open_clip.CoCa(WIDTH, _DECODER, text, _IMAGE | pooled, pad_id=1)
    nn.init.normal_(model.text_decoder.text_projection, std=WIDTH**-0.5)  # left as memory was, sometimes NaN
    return model


def open_clip_case(
    name: str,
    build: Callable[[], nn.Module],
    tower: Callable[[Any], nn.Module],
    run: Callable[[Any], Tensor],
    **options: Any,
) -> Case:
    """The reference asks each nn.MultiheadAttention for the weights of every head."""

    def maps(model: nn.Module) -> list[Tensor]:
        return multihead_weights(tower(model), partial(run, model))

    return Case(
        name, save_weights(build), load_weights(build), run, options.pop("maps", maps), tower, **options
    )


def multihead_weights(tower: nn.Module, run: Callable[[], Tensor]) -> list[Tensor]:
    """What each MultiheadAttention of a tower returns when asked for its weights."""
    seen: list[Tensor] = []

    def ask(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"need_weights": True, "average_attn_weights": False}

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append(output[1])

    for module in tower.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(ask, with_kwargs=True)
            module.register_forward_hook(keep)
    run()
    return seen


def normalised_weights(model: Any) -> list[Tensor]:
    """From the queries and keys that leave the two norms of each block."""
    seen: list[Tensor] = []
    for block in model.visual.transformer.resblocks:
        for norm in (block.attn.ln_q, block.attn.ln_k):
            norm.register_forward_hook(lambda _module, _args, output: seen.append(output))
    model.encode_image(PIXELS)
    pairs = zip(seen[::2], seen[1::2], strict=True)
    return [torch.einsum("bhqd,bhkd->bhqk", query / 8**0.5, key).softmax(-1) for query, key in pairs]


def trunk() -> nn.Module:
    vision = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "token"}
    return open_clip.CLIP(16, vision | {"timm_model_pretrained": False, "timm_proj": "linear"}, _TEXT)


def trunk_weights(model: Any) -> list[Tensor]:
    """As timm's own."""
    blocks = model.visual.trunk.blocks
    for block in blocks:
        block.attn.fused_attn = False
    with inputs_of([block.attn.attn_drop for block in blocks]) as seen:
        run_trunk(model)
    return seen


def run_image(model: Any) -> Tensor:
    return model.encode_image(PIXELS)


def run_trunk(model: Any) -> Tensor:
    return model.encode_image(PIXELS.repeat(1, 1, 5, 4)[..., :160])


def run_text(model: Any) -> Tensor:
    return model.encode_text(TOKENS)


def run_coca(model: Any) -> Tensor:
    return model(PIXELS, TOKENS)["logits"]


_GRID: dict[str, Any] = {"grid": (2, 3), "prefix_tokens": 1}

OPEN_CLIP = [
    open_clip_case("open_clip image", clip, lambda model: model.visual, run_image, **_GRID),
    open_clip_case("open_clip text", clip, lambda model: model.transformer, run_text),
    open_clip_case(
        "open_clip qk-norm",
        lambda: clip(qk_norm=True),
        lambda model: model.visual,
        run_image,
        maps=normalised_weights,
        **_GRID,
    ),
    open_clip_case(
        "open_clip timm",
        trunk,
        lambda model: model.visual,
        run_trunk,
        maps=trunk_weights,
        layers=6,
        grid=(10, 10),
        prefix_tokens=1,
    ),
    open_clip_case("coca text, padded", coca, lambda model: model.text, run_text),
    open_clip_case("coca decoder", coca, lambda model: model.text_decoder.resblocks, run_coca, layers=2),
    open_clip_case(
        "coca cross", coca, lambda model: model.text_decoder.cross_attn, run_coca, which="cross", layers=2
    ),
]


def own_case(name: str, causal: bool) -> Case:
    """The reference multiplies the weights out in float64, one head and one row at a time."""

    def build() -> nn.Module:
        return TextTransformer(
            16, pad_id=1, eos_id=2, width=WIDTH, layers=LAYERS, heads=HEADS, context_length=7, causal=causal
        )

    def maps(model: Any) -> list[Tensor]:
        with inputs_of([block.attention for block in model.blocks]) as inputs:
            model(TOKENS)
        return [
            own_weights(x, block.attention.qkv, causal) for x, block in zip(inputs, model.blocks, strict=True)
        ]

    return Case(name, save_weights(build), load_weights(build), lambda m: m(TOKENS), maps, padded=True)


def own_weights(x: Tensor, qkv: nn.Linear, causal: bool) -> Tensor:
    """softmax(q k / sqrt d) of one block, over the tokens up to the end of each text."""
    query, key, _ = (x.double() @ qkv.weight.double().T + qkv.bias.double()).chunk(3, dim=-1)
    depth = WIDTH // HEADS
    rows, length = TOKENS.shape
    result = torch.zeros(rows, HEADS, length, length, dtype=torch.float64)
    for row in range(rows):
        end = int((TOKENS[row] == 2).nonzero()[0])
        for head in range(HEADS):
            part = slice(head * depth, (head + 1) * depth)
            for position in range(length):
                seen = min(end, position) if causal else end
                scores = key[row, : seen + 1, part] @ query[row, position, part] / depth**0.5
                exponents = (scores - scores.max()).exp()
                result[row, head, position, : seen + 1] = exponents / exponents.sum()
    return result


OWN = [own_case("own text, padded", causal=False), own_case("own text, causal", causal=True)]
