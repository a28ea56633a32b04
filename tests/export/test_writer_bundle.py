"""The bundle of a model that writes, and its parity gate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compressor.errors import ModelError
from compressor.export import writer_bundle
from compressor.export.bundle_parts import GraphFile
from compressor.export.writer_parity import judge_writer
from compressor.export.writer_reference import WriterReference
from compressor.recipe.outcome import ParityBounds
from compressor.runtime.beam_search import Ids, Scores
from compressor.runtime.decoding import Decoding
from compressor.runtime.graph import Graph
from compressor.runtime.writer_schema import GRAPHS, LOGITS, Writing
from compressor.students.blip import BlipGenerator
from tests.export.writers import Exported, export_toy_writer, toy_writer_samples, write_toy_writer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_toy_writer(tmp_path_factory.mktemp("caption"), "caption")


@pytest.fixture
def reference(exported: Exported) -> WriterReference:
    generator = exported.model.generator
    assert isinstance(generator, BlipGenerator)
    vocabulary, samples = exported.writer.manifest.vocabulary, toy_writer_samples(exported.model)
    return WriterReference(generator.eval(), vocabulary, samples, Writing(max_length=12), ParityBounds())


@pytest.fixture
def quick(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs are there already and need not be exported again."""

    def copy(_: BlipGenerator, folder: Path, *__: Any) -> dict[str, tuple[Path, None]]:
        shutil.copytree(exported.folder / "fp32", folder)
        return {name: (folder / f"{name}.onnx", None) for name in GRAPHS["captioner"]}

    monkeypatch.setattr(writer_bundle, "export_blip", copy)


class Bent(Graph):
    """A graph that does something else with its outputs."""

    def __init__(self, graph: Graph, change: Any) -> None:
        vars(self).update(vars(graph))
        self.change = change

    def run(self, feed: Any) -> dict[str, np.ndarray]:
        return {name: self.change(name, value) for name, value in super().run(feed).items()}


def bent(exported: Exported, reference: WriterReference, graph: str, change: Any) -> Any:
    graphs = exported.writer.graphs
    changed: dict[str, Any] = {graph: Bent(getattr(graphs, graph), change)}
    return judge_writer(replace(graphs, **changed), reference, "fp32")


def test_the_manifest_says_what_was_made(exported: Exported) -> None:
    manifest, generator = exported.writer.manifest, exported.model.generator
    assert (manifest.kind, manifest.positions, manifest.role) == ("captioner", 48, "student")
    assert manifest.vocabulary.model_dump() == vars(generator.vocabulary)
    assert isinstance(generator, BlipGenerator)
    assert manifest.parameters["total"] == sum(p.numel() for p in generator.parameters())
    assert manifest.lineage["model"] == exported.model.fingerprint
    assert manifest.default_precision == "fp32"
    text = (exported.folder / "bundle.json").read_text()
    assert str(exported.folder.parent) not in text
    found = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*.*")}
    assert found == {entry.path for entry in manifest.files()} | {"bundle.json"}


def test_the_words_are_stored_once(exported: Exported) -> None:
    """The embedding table is the head's weights too."""
    graph = onnx.load(exported.folder / "fp32" / "decoder.onnx").graph
    table = [w for w in graph.initializer if set(w.dims) == {94, 32}]
    assert len(table) == 1
    words = exported.model.generator.text_decoder.get_input_embeddings().weight  # type: ignore[attr-defined]
    np.testing.assert_array_equal(numpy_helper.to_array(table[0]), words.detach().numpy())


def test_int8_leaves_the_embedding_table_alone(exported: Exported) -> None:
    """ONNX Runtime's quantiser transposes the weights of a Gemm in place, whoever else uses them."""
    graph = onnx.load(exported.folder / "int8" / "decoder.onnx").graph
    (gather,) = [node for node in graph.node if node.name == "node_embedding"]
    (table,) = [weight for weight in graph.initializer if weight.name == gather.input[0]]
    words = exported.model.generator.text_decoder.get_input_embeddings().weight  # type: ignore[attr-defined]
    np.testing.assert_array_equal(numpy_helper.to_array(table), words.detach().numpy())


def test_the_same_model_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    manifest = write_toy_writer(exported.model, tmp_path / "again", precisions=["fp32"])
    ours, theirs = manifest.artifacts["fp32"], exported.writer.manifest.artifacts["fp32"]
    assert [file.sha256 for file in ours.files()] == [file.sha256 for file in theirs.files()]


def test_a_true_artifact_passes(exported: Exported, reference: WriterReference) -> None:
    found = judge_writer(exported.writer.graphs, reference, "fp32")
    assert found.passed
    assert (found.equal_greedy, found.equal_beams, found.reason) == (1.0, 1.0, "")


@pytest.mark.parametrize(
    ("graph", "change", "reason"),
    [
        ("vision", lambda name, value: np.ones_like(value), "vision graph: mean cosine"),
        ("vision", lambda name, value: value[:, :3], "vision graph: gives rows"),
        (
            "cross",
            lambda name, value: -value if name == "cross_key_1" else value,
            "cross graph: cross_key_1: ",
        ),
        ("cross", lambda name, value: value * np.nan, "cross graph: cross_key_0: 13 of 13 rows are NaN"),
        (
            "decoder",
            lambda name, value: value[:, :, ::-1] if name == LOGITS else value,
            "decoder graph: mean",
        ),
        (
            "decoder",  # a cache that is lost
            lambda name, value: value * 0 if name.startswith("present") else value,
            "decoder graph: ",
        ),
        (
            "decoder",
            lambda name, value: value * np.nan,
            "decoder graph: the decoder gives logits that are NaN",
        ),
    ],
)
def test_a_wrong_graph_fails_and_is_named(
    exported: Exported, reference: WriterReference, graph: str, change: Any, reason: str
) -> None:
    found = bent(exported, reference, graph, change)
    assert not found.passed
    assert found.reason.startswith(reason)
    assert [name for name, each in found.graphs.items() if not each.passed] == [graph]


@pytest.mark.parametrize(("beams", "how"), [(1, "greedily"), (3, "with beams")])
def test_texts_that_differ_fail_though_every_graph_is_right(
    exported: Exported, reference: WriterReference, beams: int, how: str
) -> None:
    reference.texts(beams)[:2] = [[7], [8]]
    found = judge_writer(exported.writer.graphs, reference, "fp32")
    assert all(graph.passed for graph in found.graphs.values())
    assert found.reason == f"2 of 13 texts written {how} are not PyTorch's, more than 1"
    assert judge_writer(exported.writer.graphs, reference, "int8").passed, "which is held to the loss"


def test_a_loss_that_rises_fails(exported: Exported, reference: WriterReference) -> None:
    """A chain whose parts are each close enough, but which has drifted by its end."""
    for part in reference.batches:
        for row, place in np.argwhere(part.labels >= 0):  # PyTorch is a little surer of the truth
            part.logits[row, place, part.labels[row, place]] += 0.3
    found = judge_writer(exported.writer.graphs, reference, "int8")
    assert "nats a token above PyTorch's" in found.reason
    assert found.loss_delta is not None
    assert found.loss_delta > 0.05


def test_a_rehearsal_compares_no_texts(exported: Exported, reference: WriterReference) -> None:
    found = judge_writer(exported.writer.graphs, reference, "fp32", judge_quality=False)
    assert found.passed
    assert (found.equal_greedy, found.loss_delta, found.texts) == (None, None, 0)


def test_the_decoder_along_a_text_gives_pytorchs_logits(
    exported: Exported, reference: WriterReference
) -> None:
    """In one piece and token by token: the cache holds what was read."""
    graphs, (part, *_) = exported.writer.graphs, reference.batches

    def steps() -> Decoding:
        return graphs.decoding(part.states)

    inputs: Ids = part.inputs[:, None, :]
    whole: Scores = steps()(inputs, None)[:, 0]
    np.testing.assert_allclose(whole[0], part.logits[0, -1], atol=1e-4)
    pieces = steps()
    pieces(inputs[:, :, :2], None)
    np.testing.assert_allclose(pieces(inputs[:, :, 2:], None)[:, 0], whole, atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_quantised_costs_fp32_nothing(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: GraphFile, target: Path) -> GraphFile:
        raise RuntimeError("no such luck\nand a page of details")

    monkeypatch.setattr(writer_bundle, "quantized", fail)
    manifest = write_toy_writer(exported.model, tmp_path / "bundle")
    assert manifest.not_made == {"int8": "RuntimeError: no such luck"}
    assert list(manifest.artifacts) == ["fp32"]
    assert not (tmp_path / "bundle" / "int8").exists()


@pytest.mark.usefixtures("quick")
def test_where_nothing_passes_the_files_are_kept_beside(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old").touch()
    monkeypatch.setattr(writer_bundle, "open_graphs", _refuse)
    with pytest.raises(
        ModelError, match=r"gate \(fp32: fp32/vision.onnx: broken\); the files are in .*bundle-failed"
    ):
        write_toy_writer(exported.model, tmp_path / "bundle", precisions=["fp32"])
    assert (tmp_path / "bundle" / "old").exists()
    kept = json.loads((tmp_path / "bundle-failed" / "bundle.json").read_text())
    assert kept["artifacts"]["fp32"]["status"] == "failed"
    assert str(tmp_path) not in json.dumps(kept)


def _refuse(files: dict[str, Path], *_: Any) -> Any:
    from compressor.errors import BundleError

    raise BundleError(f"{files['vision']}: broken")
