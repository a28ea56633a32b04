"""Captions and answers without torch: token for token what the PyTorch model writes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from compressor.errors import BadImageError, BundleError, ModelError
from compressor.export.writer_reference import texts_of
from compressor.files import sha256_file
from compressor.recipe.blip import Head
from compressor.runtime import Bundle, Writer
from compressor.runtime.manifest import read_manifest
from compressor.runtime.writer_graphs import as_question
from compressor.runtime.writer_schema import GRAPHS, WriterManifest
from compressor.students.generator import GenerativeModel
from tests.export.toys import pictures
from tests.export.writers import HEADS, Exported, asked, questions_about
from tests.students.blips import SIDE

COUNT = 24


@pytest.fixture(scope="session")
def embedding(exported: Path) -> Path:
    """A bundle that embeds."""
    return exported


@pytest.fixture(params=HEADS)
def written(request: pytest.FixtureRequest, writers: dict[Head, Exported]) -> Exported:
    return writers[request.param]


@pytest.fixture
def captioner(writers: dict[Head, Exported]) -> Exported:
    return writers["caption"]


@pytest.fixture
def asking(writers: dict[Head, Exported]) -> Exported:
    return writers["vqa"]


@pytest.fixture
def damaged(captioner: Exported, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(captioner.folder, tmp_path / "bundle"))


def edit(folder: Path, change: Any) -> None:
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def by_torch(
    model: GenerativeModel, pixels: np.ndarray, ids: np.ndarray | None, **settings: int
) -> np.ndarray:
    questions = None if ids is None else torch.from_numpy(ids)
    return model.generator.generate(torch.from_numpy(pixels), questions, **settings).numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {"beams": 1, "max_length": 20},
        {"beams": 3, "max_length": 20},
        {"beams": 2, "max_length": 12, "min_length": 9},
        {"beams": 5, "max_length": 40},
    ],
    ids=str,
)
def test_ids_are_those_of_the_pytorch_model(written: Exported, settings: dict[str, int]) -> None:
    model, writer = written.model, written.writer
    pixels = model.preprocessor.images(pictures(COUNT))
    ids = asked(model, COUNT)
    expected = by_torch(model, pixels, ids, **settings)
    found = writer.generate(pixels, ids, **settings)
    np.testing.assert_array_equal(found, expected)
    assert len({tuple(row) for row in found.tolist()}) > 3, "the pictures must matter"


@pytest.mark.parametrize("settings", [{"num_beams": 1}, {"num_beams": 3, "min_length": 9}], ids=str)
def test_captions_are_those_of_transformers_own_class(captioner: Exported, settings: dict[str, int]) -> None:
    """Loaded from its folder by transformers alone, with the prompt as its processor writes it."""
    own = BlipForConditionalGeneration.from_pretrained(captioner.folder.parent / "model").eval()
    pixels = captioner.model.preprocessor.images(pictures(COUNT))
    words = captioner.writer.manifest.vocabulary
    prompt = torch.tensor([[words.start_id, *words.prompt_ids, words.end_id]]).repeat(COUNT, 1)
    given = prompt.shape[1] - 1
    expected = own.generate(torch.from_numpy(pixels), prompt, max_length=20, **settings)[:, given:].numpy()
    found = captioner.writer.generate(
        pixels, beams=settings["num_beams"], max_length=20, min_length=settings.get("min_length", 0)
    )
    assert texts_of(found, words.pad_id) == texts_of(
        np.where(expected == words.end_id, words.pad_id, expected), words.pad_id
    )


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_transformers_own_class(asking: Exported, beams: int) -> None:
    """One question at a time: of several it loses the mask."""
    own = BlipForQuestionAnswering.from_pretrained(asking.folder.parent / "model").eval()
    words = asking.writer.manifest.vocabulary
    pixels = asking.model.preprocessor.images(pictures(6))
    questions = asked(asking.model, 6)
    assert questions is not None
    for row in range(6):
        ids, _ = as_question(questions[[row]], words)
        (expected,) = own.generate(
            torch.from_numpy(ids), torch.from_numpy(pixels[[row]]), num_beams=beams, max_length=20
        )[:, 1:].numpy()
        found = asking.writer.generate(pixels[[row]], questions[[row]], beams=beams, max_length=20)
        ended = np.where(expected == words.end_id, words.pad_id, expected)
        assert texts_of(found, words.pad_id) == texts_of(ended[None], words.pad_id)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_size_of_a_batch_changes_nothing(written: Exported, size: int) -> None:
    """Answers neither: the padding of a question, which depends on its batch, is not attended to."""
    images, writer = pictures(COUNT), written.writer
    texts = [
        writer.answer(images, questions_about(COUNT), batch_size=each)
        if writer.asks
        else writer.caption(images, batch_size=each)
        for each in (size, COUNT)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_spelt_as_the_pytorch_model_spells_them(written: Exported, beams: int) -> None:
    model, writer = written.model, written.writer
    images = pictures(9, seed=4)
    pixels = model.preprocessor.images(images)
    expected = model.spell(torch.from_numpy(by_torch(model, pixels, asked(model, 9), beams=beams)))
    files = [as_png(image) for image in images]
    found = (
        writer.answer(files, questions_about(9), beams=beams)
        if writer.asks
        else writer.caption(files, beams=beams)
    )
    assert found == expected
    assert any(" " in text for text in found)


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_question_changes_the_answer(asking: Exported) -> None:
    images = pictures(1) * 3
    assert len(set(asking.writer.answer(images, questions_about(3)))) > 1


def test_there_may_be_no_pictures(written: Exported) -> None:
    writer = written.writer
    assert (writer.answer([], []) if writer.asks else writer.caption([])) == []
    pixels = np.zeros((0, 3, SIDE, SIDE), np.float32)
    assert writer.generate(pixels, np.zeros((0, 16), np.int64) if writer.asks else None).shape == (0, 0)


def test_the_gate_found_texts_equal_and_int8_is_measured(written: Exported) -> None:
    manifest = written.writer.manifest
    exact = manifest.artifacts["fp32"]
    assert (exact.status, exact.equal_greedy, exact.equal_beams, exact.texts) == ("passed", 1.0, 1.0, 13)
    assert exact.loss_delta == pytest.approx(0, abs=1e-5)
    assert set(exact.graphs) == set(GRAPHS[manifest.kind])
    assert all(graph.worst_cosine and graph.worst_cosine > 0.9999 for graph in exact.graphs.values())
    small = manifest.artifacts["int8"]
    assert all(graph.cosine and graph.cosine < 0.99999 for graph in small.graphs.values())
    assert sum(file.bytes for file in small.files()) < sum(file.bytes for file in exact.files())
    written.writer.verify()


def test_int8_writes_too(written: Exported) -> None:
    writer = Writer.open(written.folder, "int8", threads=1, allow_failed=True)
    images = pictures(3)
    texts = writer.answer(images, questions_about(3)) if writer.asks else writer.caption(images)
    assert len(texts) == 3


def test_what_is_not_said_is_as_in_the_manifest(captioner: Exported) -> None:
    images = pictures(6)
    assert captioner.writer.caption(images) == captioner.writer.caption(
        images, beams=3, max_length=20, min_length=0
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda w: w.answer(pictures(1), ["what is it"]),
            BundleError,
            "captions pictures; it cannot be asked",
        ),
        (lambda w: w.caption(pictures(1)[0]), TypeError, "put a single one into a list"),
        (lambda w: w.caption("photo.jpg"), TypeError, "caption takes a list of bytes or PIL images, not str"),
        (lambda w: w.caption([b"nothing"]), BadImageError, "image 0: "),
        (
            lambda w: w.caption([*pictures(9), b""], batch_size=4),
            BadImageError,
            "image 9: the image is empty",
        ),
        (lambda w: w.caption(pictures(1), max_length=4), ValueError, "above the 4 given tokens, at most 48"),
        (lambda w: w.caption(pictures(1), max_length=49), ValueError, "above the 4 given tokens, at most 48"),
        (lambda w: w.caption(pictures(1), beams=0), ValueError, "beams must be at least 1"),
        (lambda w: w.caption(pictures(1), batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda w: w.generate(np.zeros((1, 3, 8, 8), np.float32)), ModelError, r"float32 \(B, 3, 32, 32\)"),
        (
            lambda w: w.generate(np.zeros((1, 3, 32, 32), np.float32), np.zeros((1, 4), np.int64)),
            ModelError,
            "question_ids are needed by a model that answers, and by no other",
        ),
    ],
)
def test_what_a_captioner_cannot_do_is_one_sentence(
    captioner: Exported, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(captioner.writer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda w: w.caption(pictures(1)), BundleError, "answers questions; give it one for every picture"),
        (lambda w: w.answer(pictures(1), "what"), TypeError, "put a single one into a list"),
        (
            lambda w: w.answer(pictures(1), [1]),
            TypeError,
            "answer takes a list of questions, not a list with int",
        ),
        (lambda w: w.answer(pictures(2), ["what"]), ValueError, "2 images and 1 questions"),
        (
            lambda w: w.generate(np.zeros((2, 3, 32, 32), np.float32), np.zeros((1, 4), np.int64)),
            ModelError,
            "question_ids must be int64, one row for each of the 2 pictures",
        ),
        (
            lambda w: w.generate(np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int64)),
            ModelError,
            r"one row for each of the 2 pictures, not int64 \(2,\)",
        ),
        (
            lambda w: w.generate(np.zeros((1, 3, 32, 32), np.float32), np.full((1, 4), 10**6)),
            ModelError,
            "question.onnx cannot be run",
        ),
    ],
)
def test_what_a_model_that_answers_cannot_do_is_one_sentence(
    asking: Exported, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(asking.writer)
    assert "\n" not in str(caught.value)


def test_each_class_names_the_other_for_the_other_kind(captioner: Exported, embedding: Path) -> None:
    with pytest.raises(
        BundleError, match=r"writes text .*captioner.*; open it with compressor.runtime.Writer"
    ):
        Bundle.open(captioner.folder)
    with pytest.raises(BundleError, match=r"embeds pictures and texts .*; open it with .*Bundle"):
        Writer.open(embedding)
    assert isinstance(read_manifest(captioner.folder), WriterManifest)


@pytest.mark.parametrize("graph", ["vision", "cross", "decoder"])
def test_a_damaged_or_missing_graph_is_one_sentence(damaged: Path, graph: str) -> None:
    path = damaged / "fp32" / f"{graph}.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"'fp32/{graph}.onnx' is not the file that was exported"):
        Writer.open(damaged, threads=1)
    path.write_bytes(whole[:100])
    with pytest.raises(BundleError, match=f"'fp32/{graph}.onnx' has 100 bytes"):
        Writer.open(damaged, threads=1)
    path.unlink()
    with pytest.raises(BundleError, match=f"'fp32/{graph}.onnx' is missing"):
        Writer.open(damaged, threads=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(kind="singer"), "a bundle of kind 'singer' is not known to this version"),
        (lambda m: m.update(kind=7), "a bundle of kind '7' is not known to this version"),
        (lambda m: m.update(kind="vqa"), "of kind vqa has the graphs vision, question, cross, decoder"),
        (lambda m: m["artifacts"]["fp32"]["graphs"].pop("cross"), "this one has vision, decoder"),
        (
            lambda m: m["vocabulary"].update(size=95),
            r"gives logits \(.*, 94\), but the manifest says 95 words",
        ),
        (lambda m: m.pop("vocabulary"), "vocabulary: Field required"),
        (lambda m: m["vocabulary"].update(end_id=94), "vocabulary: .*a token id is outside the 94"),
        (lambda m: m.update(schema_version=99), "written by a newer version"),
        (lambda m: m["artifacts"]["fp32"].update(status="failed", reason="x"), "failed its parity gate"),
        (
            lambda m: m["artifacts"]["fp32"]["graphs"]["vision"]["file"].update(path="../a"),
            "not a path inside",
        ),
        (
            lambda m: m["artifacts"]["fp32"]["graphs"].update(
                vision=m["artifacts"]["fp32"]["graphs"]["cross"],
                cross=m["artifacts"]["fp32"]["graphs"]["vision"],
            ),
            "not the graph that the manifest promises",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_sentence(damaged: Path, change: Any, message: str) -> None:
    edit(damaged, change)
    with pytest.raises(BundleError, match=message) as caught:
        Writer.open(damaged, threads=1)
    assert "\n" not in str(caught.value)


def test_a_decoder_whose_cache_has_no_size_is_one_sentence(damaged: Path) -> None:
    path = damaged / "fp32" / "decoder.onnx"
    model = onnx.load(path)
    (past,) = [end for end in model.graph.input if end.name == "past_key_0"]
    past.type.tensor_type.shape.dim[2].dim_param = "heads"
    onnx.save(model, path)
    entry = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    edit(damaged, lambda m: m["artifacts"]["fp32"]["graphs"]["decoder"]["file"].update(entry))
    with pytest.raises(BundleError, match="takes no cache of a known size"):
        Writer.open(damaged, threads=1)


def test_a_precision_that_is_not_there_is_named(captioner: Exported) -> None:
    with pytest.raises(BundleError, match="has no precision 'fp64'; it has fp32, int8"):
        Writer.open(captioner.folder, "fp64")
