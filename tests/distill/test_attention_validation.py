"""Validation of a student whose attention is compared: nobody takes its maps, so none are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressor.capture import watch
from compressor.distill.trainer import train
from compressor.recipe.losses import AMADLoss
from tests.distill.attention_world import amad_job, attention_world
from tests.distill.writing_world import build_writing_world

AMAD = AMADLoss(kind="amad", alpha=1.0)


def watched(model: nn.Module) -> list[str]:
    """The modules that hand their attention to somebody."""
    return [
        name
        for name, module in model.named_modules()
        if "forward" in vars(module) or ("dropout" in name and module._forward_pre_hooks)
    ]


def test_embeddings_are_validated_on_fused_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps: list[int] = []
    original = watch.attention_weights

    def counted(*args: Any, **kwargs: Any) -> Any:
        maps.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(watch, "attention_weights", counted)
    world = attention_world(tmp_path)
    before: list[int] = []
    after: list[int] = []

    def validate(encoder: Any) -> dict[str, float]:
        before.append(len(maps))
        with torch.no_grad():
            encoder.encode_image(torch.zeros(2, 3, 32, 32))
            encoder.encode_text(torch.ones(2, 10, dtype=torch.long))
        after.append(len(maps))
        assert watched(encoder) == []
        return {"rsum": 1.0}

    train(amad_job(world, "run", AMAD, steps=4, evaluate_every=2, validate=validate))
    assert before == after
    assert 0 < before[0] < before[1]  # and in between the training looked again


def test_texts_are_validated_without_being_watched(tmp_path: Path) -> None:
    world = build_writing_world(tmp_path, "vqa")
    seen: list[list[str]] = []

    def validate(generator: Any) -> dict[str, float]:
        seen.append(watched(generator))
        return {"loss": 1.0}

    def progress(_event: Any) -> None:
        assert isinstance(world.student.generator, nn.Module)
        seen.append(watched(world.student.generator))

    train(world.job(steps=2, evaluate_every=1, validate=validate, progress=progress))
    assert seen[0] == seen[2] == []
    assert len(seen[1]) == len(seen[3]) == 5  # ViT, decoder and question encoder, the last two also cross
