"""Inherited students: exactly the promised part of the teacher."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from compressor.students.dual_encoder import parameter_counts
from compressor.students.encoder import Model
from compressor.students.inherit import inherit_uniform, plan_inheritance
from compressor.students.inherit_sizes import Cut, TowerCut
from tests.students.clips import EMBED_DIM, SMALL, count, embeddings, modules, weights

# ---------------------------------------------------------------- what is kept


def test_keeping_everything_gives_the_teachers_own_embeddings(clip_teacher: Model) -> None:
    spelled = Cut(TowerCut(5, 48, 6), TowerCut(4, 32, 4), EMBED_DIM)
    for cut in (Cut(), spelled):
        student = inherit_uniform(clip_teacher, cut)
        assert torch.equal(embeddings(student), embeddings(clip_teacher))
        assert torch.equal(student.encoder.logit_scale, clip_teacher.encoder.logit_scale)


def test_dropping_layers_is_removing_them_from_the_teacher(clip_teacher: Model) -> None:
    student = inherit_uniform(clip_teacher, Cut(TowerCut(layers=3), TowerCut(layers=2)))
    shorter = copy.deepcopy(clip_teacher)
    for layers, gone in zip(modules(shorter), ((3, 1), (2, 1)), strict=True):
        for layer in gone:
            del layers[layer]
    assert torch.equal(embeddings(student), embeddings(shorter))
    assert not torch.allclose(embeddings(student), embeddings(clip_teacher), atol=1e-3)


def slices(whole: Tensor, *kept: list[int]) -> list[Any]:
    """The named rows, of each the named columns, picked one by one."""
    rows = [whole[row] for row in kept[0]]
    return [slices(row, *kept[1:]) if kept[1:] else row.tolist() for row in rows]


def test_open_clip_weights_are_the_stated_slices(clip_teachers: dict[str, Model]) -> None:
    clip_teacher = clip_teachers["open_clip"]
    student = inherit_uniform(clip_teacher, Cut(TowerCut(layers=3, width=24, heads=4), embed_dim=12))
    ours, theirs = weights(student), weights(clip_teacher)
    channels, hidden = list(range(24)), list(range(60))
    heads = [head * 8 + channel for head in range(4) for channel in range(6)]  # 4 of 6, each 6 wide of 8
    parts = [part * 48 + row for part in range(3) for row in heads]  # queries, keys, values
    expected: dict[str, tuple[list[int], ...]] = {
        "ln_1.weight": (channels,),
        "attn.in_proj_weight": (parts, channels),
        "attn.in_proj_bias": (parts,),
        "attn.out_proj.weight": (channels, heads),
        "ls_2.gamma": (channels,),
        "mlp.c_fc.weight": (hidden, channels),
        "mlp.c_fc.bias": (hidden,),
        "mlp.c_proj.weight": (channels, hidden),
    }
    for layer, source in ((0, 0), (1, 2), (2, 4)):
        for name, kept in expected.items():
            whole = theirs[f"visual.transformer.resblocks.{source}.{name}"]
            assert ours[f"visual.transformer.resblocks.{layer}.{name}"].tolist() == slices(whole, *kept)
    assert ours["visual.conv1.weight"].tolist() == slices(theirs["visual.conv1.weight"], channels)
    position = "visual.positional_embedding"
    assert ours[position].tolist() == slices(theirs[position], list(range(5)), channels)
    assert ours["visual.proj"].tolist() == slices(theirs["visual.proj"], channels, list(range(12)))
    assert ours["text_projection"].tolist() == slices(
        theirs["text_projection"], list(range(32)), list(range(12))
    )


def test_transformers_weights_are_the_stated_slices(clip_teachers: dict[str, Model]) -> None:
    clip_teacher = clip_teachers["transformers"]
    student = inherit_uniform(clip_teacher, Cut(text=TowerCut(layers=2, width=16, heads=4), embed_dim=12))
    ours, theirs = weights(student), weights(clip_teacher)
    channels, hidden = list(range(16)), list(range(40))
    heads = [head * 8 + channel for head in range(4) for channel in range(4)]  # all 4, each 4 wide of 8
    expected: dict[str, tuple[list[int], ...]] = {
        "self_attn.q_proj.weight": (heads, channels),
        "self_attn.k_proj.bias": (heads,),
        "self_attn.v_proj.weight": (heads, channels),
        "self_attn.out_proj.weight": (channels, heads),
        "layer_norm2.weight": (channels,),
        "mlp.fc1.weight": (hidden, channels),
        "mlp.fc2.weight": (channels, hidden),
    }
    for layer, source in ((0, 0), (1, 3)):
        for name, kept in expected.items():
            whole = theirs[f"text_model.encoder.layers.{source}.{name}"]
            assert ours[f"text_model.encoder.layers.{layer}.{name}"].tolist() == slices(whole, *kept)
    tokens, space = "text_model.embeddings.token_embedding.weight", list(range(12))
    assert ours[tokens][::999].tolist() == slices(theirs[tokens][::999], list(range(50)), channels)
    text, image = "text_projection.weight", "visual_projection.weight"
    assert ours[text].tolist() == slices(theirs[text], space, channels)
    assert ours[image].tolist() == slices(theirs[image], space, list(range(48)))


def test_every_weight_comes_from_the_teacher(clip_teacher: Model) -> None:
    student = inherit_uniform(clip_teacher, SMALL)
    known = {value for tensor in weights(clip_teacher).values() for value in tensor.flatten().tolist()}
    for tensor in weights(student).values():
        assert known.issuperset(tensor.flatten().tolist())


def test_heads_and_parameters_are_as_asked(clip_teacher: Model) -> None:
    student = inherit_uniform(clip_teacher, SMALL)
    assert isinstance(student.encoder, nn.Module)
    counts = parameter_counts(student.encoder)
    scales = 2 if clip_teacher.config["family"] == "open_clip" else 0
    image = {"layers": 3, "width": 32, "hidden": 80}
    text = {"layers": 2, "width": 16, "hidden": 40}
    patches = count(image, tokens=3 * 16 * 16 + 1, positions=5, norms=2, scales=scales)
    assert counts["image"] == patches + 32 * 12
    assert counts["text"] == count(text, tokens=49408, positions=77, norms=1, scales=0) + 16 * 12
    for layers, heads in zip(modules(student), (4, 2), strict=True):
        attention: list[Any] = [getattr(layer, "attn", None) or layer.self_attn for layer in layers]
        assert {part.num_heads for part in attention} == {heads}


def test_heads_follow_the_width_at_the_teachers_head_width(clip_teacher: Model) -> None:
    student = inherit_uniform(clip_teacher, Cut(TowerCut(width=24)))
    explicit = inherit_uniform(clip_teacher, Cut(TowerCut(width=24, heads=3)))
    assert student.fingerprint == explicit.fingerprint
    assert plan_inheritance(clip_teacher.config, Cut(TowerCut(width=24))).image.student.heads == 3
