"""Small students, and no network: whatever looks for a hub finds it switched off and its cache empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressor.preprocess.spec import TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.recipe.models import StudentSection
from compressor.students.build import build_student, build_tokenizer
from compressor.students.encoder import Model

CAPTIONS = ("a red square left of a blue circle", "two small green triangles", "a large striped star on sand")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def student_section(**changes: Any) -> StudentSection:
    """A student of half a million parameters, with parts replaced by `changes`."""
    content: dict[str, Any] = {
        "image": {"kind": "timm", "name": "mobilenetv3_small_050", "input": {"size": 32}},
        "text": {"kind": "transformer", "width": 32, "layers": 2, "heads": 2, "context_length": 12},
        "tokenizer": {"kind": "train", "vocab_size": 300},
        "embed_dim": 24,
    }
    return StudentSection.model_validate(content | changes)


@pytest.fixture(scope="session")
def tokenizer() -> tuple[Tokenizer, TextSpec]:
    return build_tokenizer(student_section().tokenizer, CAPTIONS * 3, 12)


@pytest.fixture
def student(tokenizer: tuple[Tokenizer, TextSpec]) -> Model:
    torch.manual_seed(0)
    return build_student(student_section(), *tokenizer)
