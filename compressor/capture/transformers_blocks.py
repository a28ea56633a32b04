"""transformers models whose attention is PyTorch's fused one: its `sdpa` implementation, the default.

The fused call is watched inside the chosen layers and the configuration is left alone. Another attention
function, registered under a name of ours and set in the configuration, would reach every layer of every model
that shares the configuration, and would need its own entry for masks: without one BERT gets no mask at all,
and padding is silently attended to.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from compressor.capture.watch import Watch, Which, watch_fused

FAMILY = "transformers CLIP, SigLIP, ViT, DeiT, DINOv2, BERT, RoBERTa, XLM-RoBERTa, DistilBERT and T5"

_BERT = {"self": "attention", "cross": "crossattention"}
_ATTENTION: dict[str, dict[str, str]] = {
    "clip.modeling_clip.CLIPEncoderLayer": {"self": "self_attn"},
    "siglip.modeling_siglip.SiglipEncoderLayer": {"self": "self_attn"},
    "vit.modeling_vit.ViTLayer": {"self": "attention"},
    "deit.modeling_deit.DeiTLayer": {"self": "attention"},
    "dinov2.modeling_dinov2.Dinov2Layer": {"self": "attention"},
    "bert.modeling_bert.BertLayer": _BERT,
    "roberta.modeling_roberta.RobertaLayer": _BERT,
    "xlm_roberta.modeling_xlm_roberta.XLMRobertaLayer": _BERT,
    "distilbert.modeling_distilbert.TransformerBlock": {"self": "attention"},
    "t5.modeling_t5.T5Block": {"self": "layer.0.SelfAttention", "cross": "layer.1.EncDecAttention"},
}
"""Where a block keeps its attention. By name: no modelling code is imported but what a model came with."""


def adapt(block: nn.Module, which: Which) -> Watch | None:
    """How to watch a transformers block."""
    kind = type(block)
    package, _, name = f"{kind.__module__}.{kind.__qualname__}".partition(".models.")
    path = _ATTENTION.get(name, {}).get(which) if package == "transformers" else None
    if path is None:
        return None
    try:
        return partial(watch_fused, block.get_submodule(path))
    except AttributeError:  # an encoder's block has no cross-attention
        return None
