"""A run whose student writes, killed again and again."""

from __future__ import annotations

import random
from multiprocessing.context import ForkServerContext
from pathlib import Path

from compressor.files import sha256_file
from compressor.pipeline.folder import RunFolder
from tests.integration.kills import kill_after, start, steps
from tests.integration.tiny_writing import write

STEPS = 36
OFTEN = {"batch_size": 8, "checkpoint_every": 2, "trackers": []}


def home(folder: Path) -> RunFolder:
    """A run to come: teacher, student and control of as many steps, in pieces, with checkpoints often."""
    write(
        folder,
        teacher={"fine_tune": {"steps": STEPS, **OFTEN}},
        distill={"epochs": STEPS // 4, "micro_batch_size": 4, **OFTEN},
    )
    return RunFolder(folder / "runs" / "tiny")


def weights(folder: RunFolder) -> list[str]:
    places = (folder.tuned_teacher, folder.checkpoint, folder.root / "control" / "checkpoint")
    return [sha256_file(place / "model.safetensors") for place in places]


def test_killed_again_and_again_it_ends_with_the_same_weights(
    server: ForkServerContext, tmp_path: Path
) -> None:
    undisturbed, killed = home(tmp_path / "undisturbed"), home(tmp_path / "killed")
    first = start(server, undisturbed)
    chance = random.Random(2201)
    kills = (("teacher", 12), ("student", 20), ("control", 12))
    for role, least in kills:
        kill_after(server, killed, role, least + chance.randint(0, 4), chance.uniform(0, 0.03))
        assert killed.record("distill") is None
        assert (killed.record("teacher") is None) == (role == "teacher")
    last = start(server, killed)
    for process in (first, last):
        process.join(120)
        assert process.exitcode == 0
    assert weights(killed) == weights(undisturbed)
    log = killed.log.read_text()
    assert log.count("teacher: started") == 2
    assert log.count("teacher: finished") == 1, "what was finished is not done again"
    assert log.count("distill: started") == 3
    assert log.count("distill: finished") == 1
    for role in ("teacher", "student", "control"):
        assert steps(killed, role) == STEPS
    assert not [file for file in killed.root.rglob("*") if ".tmp-" in file.name]
