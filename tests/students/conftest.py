"""Small students and teachers. No network: whatever looks for a hub finds it off and its cache empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressor.preprocess.spec import TextSpec
from compressor.preprocess.text import Tokenizer
from compressor.recipe.blip import Head
from compressor.recipe.models import StudentSection
from compressor.recipe.teacher import OpenClipTeacher, TransformersTeacher
from compressor.students.blip import HEADS
from compressor.students.build import build_student, build_tokenizer
from compressor.students.encoder import Model
from compressor.students.generator import GenerativeModel
from compressor.teachers.load import load_teacher
from tests.students.blips import Teachers, write_blip
from tests.students.blips import load_teacher as load_blip_teacher
from tests.students.clips import FAMILIES, OPEN_CLIP, write_transformers
from tests.teachers.conftest import write_open_clip

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


@pytest.fixture(scope="module")
def clip_teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A teacher of each family, loaded from its original's format, with weights of fp16 and uneven norms."""
    folders = {name: tmp_path_factory.mktemp(name) for name in FAMILIES}
    write_open_clip(folders["open_clip"], model_cfg=OPEN_CLIP)
    write_transformers(folders["transformers"])
    sections = (
        OpenClipTeacher(kind="open_clip", name="tiny", path=folders["open_clip"]),
        TransformersTeacher(kind="transformers", path=folders["transformers"]),
    )
    found: dict[str, Model] = {section.kind: load_teacher(section) for section in sections}
    for model in found.values():
        assert isinstance(model.encoder, nn.Module)
        for parameter in model.encoder.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            parameter.copy_(parameter.half())
    return found


@pytest.fixture(params=FAMILIES)
def clip_teacher(request: pytest.FixtureRequest, clip_teachers: dict[str, Model]) -> Model:
    return clip_teachers[request.param]


@pytest.fixture(scope="module")
def blip_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Head, Path]:
    return {head: write_blip(tmp_path_factory.mktemp(head), kind) for head, kind in HEADS.items()}


@pytest.fixture(scope="module")
def teachers(blip_folders: dict[Head, Path]) -> Teachers:
    def load(head: Head, **keys: Any) -> GenerativeModel:
        return load_blip_teacher(blip_folders[head], head, **keys)

    return load


@pytest.fixture(params=["caption", "vqa"])
def writer(request: pytest.FixtureRequest, teachers: Teachers) -> GenerativeModel:
    return teachers(request.param)
