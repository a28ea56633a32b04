"""The last weights of a finished training: taken from its checkpoints once, and then kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import MissingResourceError
from compressor.files import read_json, write_json
from compressor.pipeline.ablation.context import Rows, SharedContext
from compressor.pipeline.ablation.last_weights import last_model
from compressor.pipeline.folder import RunFolder
from compressor.pipeline.progress import QuietReporter
from compressor.recipe.load import load_recipe
from tests.integration.tiny import write_recipe


class Words:
    """Models that are one word, in a file."""

    def load(self, folder: Path) -> dict[str, str]:
        return dict(read_json(folder / "model.json"))

    def fill(self, model: dict[str, str], weights: Path, name: str) -> None:
        model["weights"] = weights.read_text()

    def save(self, model: dict[str, str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        write_json(folder / "model.json", model)


@pytest.fixture
def context(tmp_path: Path) -> SharedContext:
    """A finished training whose published weights are the best ones."""
    recipe = load_recipe(write_recipe(tmp_path)).recipe
    folder = RunFolder(tmp_path / "run")
    folder.checkpoint.mkdir(parents=True)
    write_json(folder.checkpoint / "model.json", {"weights": "best"})
    folder.finish("distill", "ab" * 16, [folder.checkpoint], 1.0, {})
    return SharedContext(recipe, folder, QuietReporter(), rows=Rows(0))


def checkpoint(context: SharedContext, step: int, **files: str) -> Path:
    """A whole checkpoint of the training; the best weights lie beside it."""
    student = context.folder.training_of("ab" * 16) / "student"
    folder = student / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (student / "best").mkdir(exist_ok=True)
    write_json(folder / "state.json", {})
    for name, text in files.items():
        (folder / f"{name}.safetensors").write_text(text)
    return student


def test_the_newest_checkpoint_is_kept_and_the_rest_dropped(context: SharedContext) -> None:
    student = checkpoint(context, 2, model="second")
    checkpoint(context, 10, model="tenth")
    assert last_model(context, Words()) == {"weights": "tenth"}
    assert sorted(path.name for path in student.iterdir()) == ["last"]
    assert last_model(context, Words()) == {"weights": "tenth"}, "as it was kept"


def test_averaged_weights_are_the_models_own(context: SharedContext) -> None:
    checkpoint(context, 3, model="raw", average="averaged")
    assert last_model(context, Words()) == {"weights": "averaged"}


def test_a_training_done_again_replaces_what_was_kept(context: SharedContext) -> None:
    checkpoint(context, 3, model="first")
    last_model(context, Words())
    checkpoint(context, 3, model="again")
    assert last_model(context, Words()) == {"weights": "again"}


def test_weights_that_somebody_deleted_are_named(context: SharedContext) -> None:
    with pytest.raises(MissingResourceError, match=r"run are gone; delete that folder"):
        last_model(context, Words())
