"""One finished run for all tests of this folder, and the means to make others quickly."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

import compressor
from compressor.cli import main
from compressor.pipeline.folder import RunFolder
from compressor.report.results import Results
from tests.integration.tiny import merged, write_recipe, write_teacher

STAGES = ["teacher", "cache", "distill", "export", "evaluate", "benchmark", "report"]
GOALS = ["quality.student.rsum > 0", "artifacts.fp32.image.cosine >= 0.99"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Runs in this process and in others add up in the same order, so that weights can be compared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _hear_ctrl_c() -> None:
    """A shell starts its background jobs deaf to Ctrl-C, and so all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def program(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """`compressor` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "compressor", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(compressor.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_ctrl_c,
        **options,
    )


@dataclass(frozen=True)
class Finished:
    """A run that ended: where it was started, what it said, what it left."""

    home: Path
    code: int
    out: str
    err: str

    @property
    def recipe(self) -> Path:
        return self.home / "recipe.yaml"

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.home / "runs" / "tiny")

    @property
    def results(self) -> Results:
        return Results.model_validate_json(self.folder.results.read_text())


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    return write_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="session")
def finished(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The tiny recipe, run to its end as a user runs it. Tests read it and leave it as it is."""
    home = tmp_path_factory.mktemp("finished")
    write_recipe(home, teacher={"path": str(teacher)}, goals=GOALS)
    process = program("run", "recipe.yaml", "--json", cwd=home)
    out, err = process.communicate(timeout=300)
    return Finished(home, process.returncode, out, err)


@pytest.fixture
def again(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished run that a test may change."""
    shutil.copytree(finished.home, tmp_path / "again")
    return Finished(tmp_path / "again", finished.code, finished.out, finished.err)


Run = Callable[..., Results | None]


@pytest.fixture
def run(teacher: Path, tmp_path: Path) -> Run:
    """run(until=..., **sections): a small run in this process, fp32 only and without a control."""

    def start(*overrides: str, until: str | None = None, rehearse: bool = False, **sections: Any) -> Any:
        usual: dict[str, Any] = {
            "teacher": {"kind": "checkpoint", "path": str(teacher)},
            "distill": {"control": False},
            "export": {"precisions": ["fp32"]},
        }
        sections = merged(usual, sections)
        recipe = write_recipe(tmp_path, **sections)
        return compressor.run(recipe, overrides, runs=tmp_path / "runs", until=until, rehearse=rehearse)

    return start


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """command(home, *arguments) -> exit code, output and errors of a command, in this process."""

    def call(home: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(home)
        monkeypatch.setattr(sys, "argv", ["compressor", *arguments])
        monkeypatch.setattr("compressor.cli.quieten_libraries", lambda: None)
        code: Any = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def small_clip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A small architecture that open_clip knows by name."""
    import open_clip

    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    path = tmp_path / "ViT-Tiny-test-quickgelu.json"
    path.write_text(json.dumps(config))
    registry = open_clip.factory
    monkeypatch.setattr(registry, "_MODEL_CONFIG_PATHS", list(registry._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(registry, "_MODEL_CONFIGS", dict(registry._MODEL_CONFIGS))
    open_clip.add_model_config(path)
    return path.stem


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Imports the heavy libraries once; every run is a fresh process of its own all the same."""
    context = multiprocessing.get_context("forkserver")
    heavy = [
        "tests.integration.worker",
        "timm",
        "compressor.distill.trainer",
        "compressor.teachers.blip_teacher",
    ]
    context.set_forkserver_preload(heavy)
    return context
