"""A recipe under `torchrun` with two processes ends like a run of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import compressor
from compressor.pipeline.folder import RunFolder
from tests.integration.conftest import Finished
from tests.integration.tiny import write_recipe


def _losses(folder: RunFolder) -> list[dict[str, float]]:
    record = folder.record("distill")
    assert record is not None
    file = folder.root / record["facts"]["student"]["curve"]
    return [json.loads(line)["losses"] for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def together(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    home = tmp_path_factory.mktemp("together")
    recipe = write_recipe(home, teacher={"path": str(teacher)})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*launcher, "-m", "compressor", "run", str(recipe), "goals=[]"],
        cwd=home,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(compressor.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return RunFolder(home / "runs" / "tiny"), done.stdout


def test_only_one_process_speaks_and_records(together: tuple[RunFolder, str]) -> None:
    folder, said = together
    assert said.count("[7/7] report") == 1
    assert folder.results.is_file()


def test_losses_equal_those_of_one_process(together: tuple[RunFolder, str], finished: Finished) -> None:
    mine, theirs = _losses(together[0]), _losses(finished.folder)
    assert len(mine) == len(theirs)
    for step, expected in zip(mine, theirs, strict=True):
        assert step == pytest.approx(expected, rel=2e-3)
