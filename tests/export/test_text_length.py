"""Text graphs of any length: the same embeddings without the padding, and a refusal where it matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compressor.errors import ModelError
from compressor.export.onnx import export_tower
from compressor.export.pytorch import embed_texts
from compressor.export.structure import structural_fault
from compressor.runtime.padding import Padding
from compressor.runtime.schema import TEXT_INPUT, TEXT_OUTPUT
from compressor.runtime.session import Tower
from tests.export.test_onnx import EOT, TEXT_MODELS, rows_of_ids
from tests.export.toys import LENGTH, toy_model, toy_preprocessor, write_toy_bundle

PADDINGS = {"own": Padding(LENGTH, toy_preprocessor().text.pad_id, toy_preprocessor().text.eos_id)}
CLIP = Padding(LENGTH, EOT, EOT)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def texts(name: str) -> np.ndarray:
    """Rows of different lengths, all shorter than the context."""
    if name != "own":
        ids = rows_of_ids(6)
        ids[:, LENGTH - 3 :] = EOT
        return ids
    return toy_preprocessor().texts(["a red circle", "blue", "a green star", "", "a line", "grey"])


@pytest.mark.parametrize("name", ["own", "clip"])
def test_a_graph_of_any_length_gives_what_pytorch_gives_padded_texts(name: str, tmp_path: Path) -> None:
    encoder, padding = TEXT_MODELS[name]().eval(), PADDINGS.get(name, CLIP)
    path, ids = tmp_path / "text.onnx", texts(name)
    export_tower(encoder, "text", ids, path, padding=padding)
    assert structural_fault(path) == ""
    tower = Tower(path, TEXT_INPUT, TEXT_OUTPUT, threads=1)
    assert tower.item_shape == (LENGTH,)
    encoder.embed_dim = tower.width
    for rows in (ids, ids[:1], ids[2:5], rows_of_ids(2) if name == "clip" else ids[:2]):
        np.testing.assert_allclose(tower.run(rows), embed_texts(encoder, rows), atol=1e-5)  # type: ignore[arg-type]


def test_padding_does_not_reach_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TEXT_MODELS["own"]().eval()
    path, ids = tmp_path / "text.onnx", texts("own")
    export_tower(encoder, "text", ids, path, padding=PADDINGS["own"])
    seen = []
    trimmed = Padding.trimmed
    monkeypatch.setattr(Padding, "trimmed", lambda self, rows: seen.append(trimmed(self, rows)) or seen[-1])
    Tower(path, TEXT_INPUT, TEXT_OUTPUT, threads=1).run(ids)
    assert seen[0].shape[1] < LENGTH


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("siglip", "the text tower reads padding"), ("open_clip", "takes 12 tokens and no fewer")],
)
def test_a_tower_that_needs_its_padding_is_refused(name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{sentence}.*set export.text_length to fixed"):
        export_tower(TEXT_MODELS[name]().eval(), "text", texts(name), tmp_path / "text.onnx", padding=CLIP)
    assert not list(tmp_path.iterdir())


def test_a_graph_whose_length_is_dynamic_but_not_explained_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    export_tower(TEXT_MODELS["own"]().eval(), "text", texts("own"), path, padding=PADDINGS["own"])
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    assert "not exactly the batch is dynamic" in structural_fault(path)


def test_a_recipe_chooses_the_length(tmp_path: Path) -> None:
    model = toy_model(TEXT_MODELS["own"]())
    for length in ("fixed", "dynamic"):
        manifest = write_toy_bundle(tmp_path / length, model, text_length=length, precisions=["fp32", "int8"])
        assert {name: found.status for name, found in manifest.artifacts.items()} == {
            "fp32": "passed",
            "int8": "passed",
        }
        (end,) = onnx.load(tmp_path / length / "int8" / "text.onnx").graph.input
        assert bool(end.type.tensor_type.shape.dim[1].dim_param) == (length == "dynamic")
