"""Models from elsewhere: what a folder is, what is asked for, on what it is compared, and the bundle."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import open_clip.factory as registry
import pytest
import torch
from safetensors.torch import save_file
from transformers import BlipForImageTextRetrieval

from compressor.data.files import FilePairs
from compressor.errors import (
    BundleError,
    CompressorError,
    DataError,
    MissingDependencyError,
    MissingResourceError,
    ModelError,
    RecipeError,
)
from compressor.export.pytorch import embed_images, embed_texts
from compressor.pipeline.exporting.export import Exported, export_checkpoint, load_model
from compressor.pipeline.exporting.request import ExportOptions, understand
from compressor.pipeline.exporting.samples import (
    calibration_samples,
    open_samples,
    parity_samples,
    writer_samples,
)
from compressor.pipeline.exporting.source import find_source
from compressor.pipeline.progress import QuietReporter
from compressor.recipe.base import resolve_path
from compressor.runtime import Bundle, Writer
from compressor.students.blip import HEADS
from compressor.students.checkpoint import save_checkpoint
from compressor.students.encoder import Model
from compressor.students.generator import GenerativeModel
from tests.export.toys import pictures, toy_model
from tests.students.blips import write_blip
from tests.teachers.conftest import MODEL_CFG, PREPROCESS_CFG, clip_folder, siglip_folder, write_open_clip

__all__ = ["clip_folder", "siglip_folder"]
NAME = "elsewhere-tiny"
SIDE = 32
AN_OLD_ONE = '{"schema_version": 1, "artifacts": {}}'


class Said(QuietReporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def finished(self, name: str, seconds: float, summary: str) -> None:
        self.said.append(summary)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures with captions beside them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(pictures(12)):
        picture.save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(f"photo number {number} of a dog\na word on {number * 7}\n")
    return folder


@pytest.fixture
def open_clip_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights file of a small architecture that open_clip knows by `NAME`; the rest is as on the hub."""
    monkeypatch.setattr(registry, "_MODEL_CONFIG_PATHS", list(registry._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(registry, "_MODEL_CONFIGS", dict(registry._MODEL_CONFIGS))
    config = tmp_path / "configs" / f"{NAME}.json"
    config.parent.mkdir()
    config.write_text(json.dumps(MODEL_CFG))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    weights = tmp_path / "weights" / "tiny.safetensors"
    weights.parent.mkdir()
    save_file(open_clip.CLIP(**MODEL_CFG).state_dict(), weights)
    described = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG}
    (weights.parent / "open_clip_config.json").write_text(json.dumps(described))
    return weights


def section_of(checkpoint: Path | str, weights: Path | None = None) -> dict[str, Any]:
    return find_source(str(checkpoint), weights).section


def blip(folder: Path, head: str = "caption") -> Path:
    return write_blip(folder, HEADS[head])  # type: ignore[index]


def folder_with(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


# What a checkpoint is


def test_every_kind_of_folder_is_known_by_its_configuration(
    tmp_path: Path, clip_folder: Path, siglip_folder: Path
) -> None:
    for folder in (clip_folder, siglip_folder):
        assert section_of(folder) == {"kind": "transformers", "path": str(folder)}
    captioner, answerer = blip(tmp_path / "captioner"), blip(tmp_path / "answerer", "vqa")
    assert section_of(captioner) == {"kind": "blip", "head": "caption", "path": str(captioner)}
    assert section_of(answerer) == {"kind": "blip", "head": "vqa", "path": str(answerer)}
    ranker = write_blip(tmp_path / "ranker", BlipForImageTextRetrieval)
    assert section_of(ranker) == {"kind": "blip_retrieval", "path": str(ranker)}
    theirs = write_open_clip(tmp_path / "theirs")
    assert section_of(theirs) == {"kind": "open_clip", "name": "theirs", "path": str(theirs)}
    ours = folder_with(tmp_path / "ours", {"family": "student"})
    assert section_of(ours) == {"kind": "checkpoint", "path": str(ours)}
    writes = folder_with(tmp_path / "writes", {"family": "blip", "head": "vqa"})
    assert section_of(writes) == {"kind": "blip", "head": "vqa", "path": str(writes)}


def test_a_run_folder_stands_for_its_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    checkpoint = folder_with(run / "checkpoint", {"family": "student"})
    found = find_source(str(run))
    assert found.section == {"kind": "checkpoint", "path": str(checkpoint)}
    assert found.bundle == find_source(str(checkpoint)).bundle == run / "run-bundle", (
        "not bundle: the run's own is compared and reported"
    )


def test_a_bundle_goes_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_clip_name: Path
) -> None:
    assert find_source(NAME, open_clip_name).bundle == open_clip_name.parent / "tiny-bundle"
    monkeypatch.chdir(tmp_path)
    assert find_source("builtin:scenes_teacher").bundle == tmp_path / "scenes_teacher-bundle"


@pytest.mark.parametrize(
    ("checkpoint", "kind", "sentence"),
    [
        ("nowhere", MissingResourceError, "there is no folder .*nowhere; give a checkpoint folder"),
        ("ViT-B-32", MissingResourceError, "open_clip's ViT-B-32 needs its weights here: --weights"),
        ("mobileone_s0", ModelError, "an image tower without a text tower.*student.image"),
        ("file.safetensors", ModelError, "weights alone do not say whose they are"),
        ("empty", MissingResourceError, "has no config.json"),
        ("timm", ModelError, "timm's fastvit_t8, an image tower without"),
        ("bert", ModelError, "holds a 'bert'; give"),
        ("blip", ModelError, "architecture 'BlipModel'; allowed: BlipForConditionalGeneration"),
        ("unnamed", ModelError, "architecture '7'; allowed: BlipForConditionalGeneration"),
        ("nested", ModelError, "architecture '{}'; allowed: BlipForConditionalGeneration"),
        ("broken", ModelError, "not valid JSON"),
        ("bundle", ModelError, "is a bundle already"),
        ("", MissingResourceError, "empty path"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_sentence(
    checkpoint: str,
    kind: type[CompressorError],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.safetensors").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    folder_with(tmp_path / "timm", {"architecture": "fastvit_t8"})
    folder_with(tmp_path / "bert", {"model_type": "bert"})
    folder_with(tmp_path / "blip", {"model_type": "blip", "architectures": ["BlipModel"]})
    folder_with(tmp_path / "unnamed", {"model_type": "blip", "architectures": 7})
    folder_with(tmp_path / "nested", {"model_type": "blip", "architectures": [{}]})
    (folder_with(tmp_path / "broken", {}) / "config.json").write_text("{")
    (folder_with(tmp_path / "bundle", {}) / "bundle.json").write_text("{}")
    with pytest.raises(kind, match=sentence) as raised:
        find_source(checkpoint)
    assert "\n" not in str(raised.value)


# What is asked for


def test_options_and_settings_become_sections(tmp_path: Path, clip_folder: Path, photos: Path) -> None:
    request = understand(
        ExportOptions(
            str(clip_folder),
            output=tmp_path / "out",
            precisions=("int8", "fp32"),
            opset=20,
            images=photos,
            settings=("export.parity.samples=9",),
        )
    )
    assert request.recipe.export.precisions == ("int8", "fp32")
    assert (request.recipe.export.default, request.recipe.export.opset) == ("int8", 20)
    assert request.recipe.export.parity.samples == 9
    assert request.recipe.data is not None
    assert request.recipe.data.kind == "folder"
    assert (request.split, request.folder) == ("val", tmp_path / "out")


@pytest.mark.parametrize("whole", [True, False])
def test_data_come_from_a_recipe_or_its_section_alone(whole: bool, tmp_path: Path, clip_folder: Path) -> None:
    keys = "kind: folder\npath: pictures\n"
    text = "name: other\ndata:\n  " + keys.replace("\n", "\n  ") if whole else keys
    (tmp_path / "data.yaml").write_text(text)
    request = understand(ExportOptions(str(clip_folder), data=tmp_path / "data.yaml"))
    assert request.recipe.data is not None
    assert getattr(request.recipe.data, "path", None) == tmp_path / "pictures", "relative to its file"


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"split": "dev"}, RecipeError, "the splits are train, val and test"),
        ({"precisions": ("int3",)}, RecipeError, "command line: export.precisions.0: .*allowed: .*fp32"),
        ({"settings": ("export.colour=3",)}, RecipeError, "export.colour: unknown key"),
        ({"settings": ("export.search=true",)}, RecipeError, "a search is part of a run"),
        ({"opset": 11}, RecipeError, "export.opset: is 11; allowed"),
        ({"settings": ("seed=1",)}, RecipeError, "seed: unknown key; allowed: teacher, export, data$"),
        ({"settings": ("export.default=balanced",)}, RecipeError, "which only a search finds"),
        ({"settings": ("export.precisions=[]",)}, RecipeError, "allowed: none is made"),
        (
            {"settings": ("export.openvino={}",), "text_length": "dynamic"},
            RecipeError,
            "command line: export.openvino: runs texts of one length",
        ),
        (
            {"settings": ("export.tensorrt.precisions=[int8]",)},
            RecipeError,
            "command line: export.tensorrt.precisions: int8 has activations",
        ),
        ({"output": Path("wrong.yaml/sub")}, BundleError, "wrong.yaml is a file"),
        ({"output": Path("x" * 300)}, BundleError, "cannot be made: File name too long"),
        ({"output": Path("/")}, BundleError, "^/ holds something else than a bundle"),
        ({"output": Path("student")}, BundleError, "student-failed holds something else than a bundle"),
        ({"output": Path("other")}, BundleError, "other holds something else than a bundle"),
        ({"output": Path("notes")}, BundleError, "notes holds 'thesis.txt', .* would be lost"),
        ({"data": Path("a.yaml"), "images": Path("a")}, RecipeError, "give one of them"),
        ({"data": Path("nothing.yaml")}, RecipeError, "nothing.yaml: there is no such file"),
        ({"data": Path("wrong.yaml")}, RecipeError, "neither a section 'data' nor"),
        ({"output": Path("full")}, BundleError, "holds something else than a bundle"),
        ({"output": Path("wrong.yaml")}, BundleError, "is a file"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_read(
    options: dict[str, Any],
    kind: type[CompressorError],
    sentence: str,
    tmp_path: Path,
    clip_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("name: x\n")
    for name in ("full", "student-failed", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    (tmp_path / "notes" / "bundle.json").write_text(AN_OLD_ONE)
    (folder_with(tmp_path / "other", {}) / "bundle.json").write_text('{"files": []}')
    with pytest.raises(kind, match=sentence):
        understand(ExportOptions(str(clip_folder), **options))


# On what it is compared


def samples_of(model: Model | GenerativeModel, asks: bool = False, **options: Any) -> Any:
    request = understand(ExportOptions(settings=("export.parity.samples=8",), **options))
    return open_samples(request, model.preprocessor.image.size, asks, lambda done, total: None)


def test_without_data_scenes_are_drawn_and_said_to_be(clip_folder: Path) -> None:
    model = toy_model()
    samples = samples_of(model, checkpoint=str(clip_folder))
    parity, about = parity_samples(model, samples, 8)
    assert parity.pixel_values.shape == (8, 3, SIDE, SIDE)
    assert (len(parity.input_ids), parity.recall) == (8, None)
    assert about.startswith("drawn scenes, because no data were given")


def test_pictures_with_captions_are_judged_by_recall_too(clip_folder: Path, photos: Path) -> None:
    (photos / "99.png").write_bytes(b"no picture")
    options = {"checkpoint": str(clip_folder), "images": photos}
    model = toy_model()
    with pytest.raises(DataError, match="1 of 13 samples are unusable"):
        samples_of(model, **options)
    (photos / "99.png").unlink()
    parity, about = parity_samples(model, samples_of(model, **options), 8)
    assert parity.recall is not None
    assert (parity.recall.images, len(parity.recall.input_ids)) == (12, 24)
    assert about == "12 images of folder, val"


def test_pictures_without_captions_take_the_texts_of_scenes(clip_folder: Path, photos: Path) -> None:
    for captions in photos.glob("*.txt"):
        captions.unlink()
    model = toy_model()
    samples = samples_of(model, checkpoint=str(clip_folder), images=photos)
    parity, about = parity_samples(model, samples, 8)
    expected = model.preprocessor.images([samples.pairs.image(index) for index in (0, 1, 3, 4, 6, 7, 9, 10)])
    np.testing.assert_array_equal(parity.pixel_values, expected)
    assert (len(parity.input_ids), parity.recall) == (8, None)
    assert "without captions" in about


def test_a_model_that_answers_wants_questions_and_others_do_not(
    tmp_path: Path, clip_folder: Path, photos: Path
) -> None:
    questions = tmp_path / "questions.yaml"
    questions.write_text("kind: scenes_questions\nval: 20\n")
    answerer = load_model(understand(ExportOptions(str(blip(tmp_path / "answerer", "vqa")))))
    assert isinstance(answerer, GenerativeModel)
    common = {"checkpoint": str(clip_folder)}
    with pytest.raises(DataError, match=r"pictures with questions .*data.kind is folder"):
        samples_of(answerer, asks=True, images=photos, **common)
    with pytest.raises(DataError, match="pictures with captions, not questions"):
        samples_of(toy_model(), data=questions, **common)
    for options in ({"data": questions}, {}):
        found = writer_samples(answerer, samples_of(answerer, asks=True, **options, **common), 8)
        assert len(found) == 8
        assert found.question_ids is not None


def test_static_int8_is_calibrated_on_other_pictures_than_it_is_judged_on(
    clip_folder: Path, photos: Path
) -> None:
    options = ExportOptions(str(clip_folder), images=photos, precisions=("fp32", "int8_static"))
    request, model = understand(options), toy_model()
    found = calibration_samples(request, model)
    judged = open_samples(request, SIDE, False, lambda done, total: None)
    assert found is not None
    assert isinstance(judged.pairs, FilePairs)
    assert len(found.pixel_values) + len(judged.kept) == 12
    assert calibration_samples(understand(ExportOptions(str(clip_folder))), model) is None


def test_static_int8_without_captions_is_not_made_and_costs_no_other_precision(
    tmp_path: Path, clip_folder: Path, photos: Path
) -> None:
    for captions in photos.glob("*.txt"):
        captions.unlink()
    options = {"images": photos, "precisions": ("fp32", "int8_static"), "output": tmp_path / "out"}
    manifest = exported(clip_folder, **options).manifest
    assert [(name, each.status) for name, each in manifest.artifacts.items()] == [("fp32", "passed")]
    assert manifest.not_made == {
        "int8_static": "--images has no captions, which int8_static is calibrated on"
    }


def test_data_without_training_pairs_say_so_without_a_path(
    tmp_path: Path, clip_folder: Path, photos: Path
) -> None:
    (tmp_path / "data.yaml").write_text(
        f"kind: folder\npath: {photos}\nsplit_fractions: {{train: 0, val: 1, test: 0}}\n"
    )
    options = ExportOptions(str(clip_folder), data=tmp_path / "data.yaml", precisions=("fp32", "int8_static"))
    assert calibration_samples(understand(options), toy_model()) == (
        "--data has no training pairs that int8_static could be calibrated on"
    )


@pytest.mark.parametrize(
    ("pictures_there", "precisions", "kind", "sentence"),
    [
        (None, (), MissingResourceError, "--images: there is no folder pics"),
        (0, (), DataError, "--images: there are no pictures in pics"),
        (1, (), DataError, "--images: one picture is too few to compare a model on; give more"),
        (
            1,
            ("int8_static",),
            DataError,
            "--images: one picture cannot be split into calibration and comparison; give more",
        ),
    ],
)
def test_pictures_that_are_not_there_or_too_few_are_said_in_the_words_of_the_command(
    pictures_there: int | None,
    precisions: tuple[str, ...],
    kind: type[CompressorError],
    sentence: str,
    tmp_path: Path,
    clip_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if pictures_there is not None:
        Path("pics").mkdir()
        for number, picture in enumerate(pictures(pictures_there)):
            picture.save(f"pics/{number}.png")
    with pytest.raises(kind) as raised:
        understand(ExportOptions(str(clip_folder), images=Path("pics"), precisions=precisions))
    assert str(raised.value) == sentence


def test_weights_that_are_not_there_are_said_in_the_words_of_the_command() -> None:
    with pytest.raises(MissingResourceError, match=r"^--weights: there is no file x\.safetensors$"):
        find_source("ViT-B-32", Path("x.safetensors"))


# The bundle


def exported(checkpoint: Path | str, reporter: Said | None = None, **options: Any) -> Exported:
    settings = ("export.parity.samples=8", *options.pop("settings", ()))
    precisions = options.pop("precisions", ("fp32",))
    wanted = ExportOptions(str(checkpoint), precisions=precisions, settings=settings, **options)
    return export_checkpoint(wanted, reporter or Said())


def test_a_transformers_clip_becomes_a_bundle_that_says_the_same(
    tmp_path: Path, clip_folder: Path, photos: Path
) -> None:
    told = Said()
    made = exported(clip_folder, told, images=photos, output=tmp_path / "out", licence="MIT")
    bundle = Bundle.open(made.folder, threads=1)
    assert (made.folder, bundle.manifest.licence) == (tmp_path / "out", "MIT")
    assert bundle.artifact.recall_delta == pytest.approx(0, abs=1e-6)
    assert bundle.manifest.lineage["trained_elsewhere"] == {"kind": "transformers", "name": clip_folder.name}
    assert str(tmp_path) not in (made.folder / "bundle.json").read_text(), "no path of this machine"
    model = load_model(understand(ExportOptions(str(clip_folder))))
    assert isinstance(model, Model)
    images, texts = pictures(3), ["a dog", "two words on the sand", "photo"]
    expected = embed_images(model.encoder, model.preprocessor.images(images))
    np.testing.assert_allclose(bundle.encode_images(images), expected, atol=1e-4)
    expected = embed_texts(model.encoder, model.preprocessor.texts(texts))
    np.testing.assert_allclose(bundle.encode_texts(texts), expected, atol=1e-4)
    assert told.said[1:] == ["12 images of folder, val", "fp32 passed"]


def test_a_run_is_called_by_its_name(tmp_path: Path) -> None:
    run = tmp_path / "quickstart"
    shutil.copytree(resolve_path("builtin:scenes_teacher"), run / "checkpoint")
    made = exported(run)
    assert made.folder == run / "quickstart-bundle"
    assert made.manifest.lineage["trained_elsewhere"] == {"kind": "checkpoint", "name": "quickstart"}
    assert made.manifest.origin.startswith("checkpoint quickstart: ")
    card = (made.folder / "README.md").read_text()
    assert "were compared with the original in PyTorch on drawn scenes, because no data were given" in card
    assert "real samples" not in card


def test_an_open_clip_name_with_its_file_becomes_a_bundle(open_clip_name: Path) -> None:
    made = exported(NAME, weights=open_clip_name)
    assert made.folder == open_clip_name.parent / "tiny-bundle"
    assert Bundle.open(made.folder, threads=1).artifact.recall_delta is None, "scenes are not its pairs"
    assert made.compared_on.startswith("drawn scenes")


def test_a_blip_becomes_a_bundle_that_writes_the_same(tmp_path: Path) -> None:
    folder = blip(tmp_path / "model")
    made = exported(folder, settings=("teacher.context_length=16",))
    model = load_model(understand(ExportOptions(str(folder), settings=("teacher.context_length=16",))))
    assert isinstance(model, GenerativeModel)
    pixels = model.preprocessor.images(pictures(3))
    expected = model.spell(model.generator.generate(torch.from_numpy(pixels)))
    assert Writer.open(made.folder, threads=1).caption(pictures(3)) == expected


@pytest.mark.parametrize("kind", ["siglip", "ranker", "ours", "answerer"])
def test_every_other_kind_reaches_the_writer_of_its_bundles(
    kind: str, tmp_path: Path, siglip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graphs of these families are tested beside the writers."""
    make: dict[str, Callable[[], Path]] = {
        "siglip": lambda: siglip_folder,
        "ranker": lambda: write_blip(tmp_path / kind, BlipForImageTextRetrieval),
        "answerer": lambda: blip(tmp_path / kind, "vqa"),
        "ours": lambda: tmp_path / kind,
    }
    folder = make[kind]()
    if kind == "ours":
        save_checkpoint(load_model(understand(ExportOptions("builtin:scenes_teacher"))), folder)  # type: ignore[arg-type]
    found: dict[str, Any] = {}

    def write(model: Any, folder: Path, section: Any, **keys: Any) -> None:
        found.update(keys, model=model, folder=folder, section=section)

    monkeypatch.setattr("compressor.export.bundle_writer.write_bundle", write)
    monkeypatch.setattr("compressor.export.writer_bundle.write_writer_bundle", write)
    nothing = SimpleNamespace(artifacts={}, not_made={})
    monkeypatch.setattr("compressor.pipeline.exporting.export.add_documents", lambda folder: None)
    monkeypatch.setattr("compressor.pipeline.exporting.export.read_manifest", lambda folder: nothing)
    made = exported(folder, output=tmp_path / "out")
    assert found["folder"] == made.folder == tmp_path / "out"
    assert isinstance(found["model"], GenerativeModel if kind == "answerer" else Model)
    pixels, size = found["samples"].pixel_values, found["model"].preprocessor.image.size
    assert pixels.shape == (8, 3, size, size)
    assert found["section"].precisions == ("fp32",)


def test_an_old_bundle_stays_where_the_new_one_fails(
    tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "bundle.json").write_text(AN_OLD_ONE)
    monkeypatch.setattr("compressor.export.bundle_writer.export_tower", fail)
    with pytest.raises(ModelError, match="no such operator"):
        exported(clip_folder, output=out)
    assert [path.name for path in tmp_path.iterdir() if path.name != "hub"] == ["out"]
    assert (out / "bundle.json").read_text() == AN_OLD_ONE


def fail(*arguments: Any, **keys: Any) -> None:
    raise ModelError("no such operator")


def test_what_a_failed_or_a_killed_export_left_is_replaced(tmp_path: Path, clip_folder: Path) -> None:
    listed = {"path": "fp32/image.onnx", "sha256": "0" * 64, "bytes": 1}
    left = {"schema_version": 2, "artifacts": {"fp32": {"image": {"file": listed}}}}
    for name in ("out", "out-failed"):
        (tmp_path / name / "fp32").mkdir(parents=True)
        for file in ("fp32/image.onnx", "LICENSE.md", ".README.md.tmp-host-1-2"):
            (tmp_path / name / file).write_text("x")
        (tmp_path / name / "bundle.json").write_text(json.dumps(left))
    understand(ExportOptions(str(clip_folder), output=tmp_path / "out"))


def test_a_runtime_that_is_missing_is_said_before_anything_is_loaded(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("compressor.pipeline.exporting.export.load_model", fail)
    with pytest.raises(MissingDependencyError, match=r"export\.openvino.*'compressor\[openvino\]'"):
        exported(clip_folder, settings=("export.openvino={}",))


def test_a_folder_that_lacks_files_is_named_with_them(tmp_path: Path, clip_folder: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    with pytest.raises(MissingResourceError, match=r"lacks model.safetensors or .*tokenizer.json"):
        exported(tmp_path / "part")
