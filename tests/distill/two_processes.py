"""What one of two processes does: a store build and short trainings. Started by `torchrun`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from compressor.distill.job import GenerationJob, Job, TrainingJob
from compressor.distill.signals import StoredSignals
from compressor.distill.store import TeacherStore
from compressor.distill.trainer import train
from compressor.errors import ModelError, RecipeError
from compressor.recipe.losses import (
    AMADLoss,
    ContrastiveLoss,
    DSMDRatesBalance,
    FeatureLoss,
    GradNormBalance,
    HardNegativeLoss,
    SimilarityLoss,
    TaskLoss,
)
from tests.distill.attention_world import amad_job, attention_world
from tests.distill.world import World, build_world
from tests.distill.writing_world import LOSSES as WRITING_LOSSES
from tests.distill.writing_world import build_writing_world

LOSSES = [
    ContrastiveLoss(kind="contrastive", queue=20),
    FeatureLoss(kind="feature"),
    SimilarityLoss(kind="similarity"),
    HardNegativeLoss(kind="hard_negative"),
    TaskLoss(kind="task"),
]
RUNS: dict[str, dict[str, Any]] = {
    "one_step": {"steps": 1, "clip_norm": None, "losses": LOSSES},
    "four_steps": {
        "steps": 4,
        "clip_norm": None,
        "losses": LOSSES,
        "balancer": DSMDRatesBalance(kind="dsmd_rates"),
    },
    "gradnorm": {
        "steps": 3,
        "clip_norm": None,
        "losses": LOSSES,
        "micro_batch_size": 3,
        "balancer": GradNormBalance(kind="gradnorm", lr=0.2),
    },
    "pieces": {"steps": 2, "clip_norm": None, "losses": LOSSES, "micro_batch_size": 3},
}
WRITING: dict[str, dict[str, Any]] = {
    "one pass": {},
    "two passes, then one": {
        "losses": (*WRITING_LOSSES[:2], AMADLoss(kind="amad", alpha="match_initial_scale"))
    },
    "two passes": {"balancer": {"kind": "dsmd_rates"}},
}


def world_in(folder: Path) -> World:
    return build_world(folder / "world")


def build_store(folder: Path, world: World) -> TeacherStore:
    return TeacherStore.build(folder / "store", world.teacher, world.rows, [0], 4, shard_rows=5)


def jobs(folder: Path) -> dict[str, TrainingJob]:
    """Each with a student of its own, untouched by the others."""
    made = {}
    for name, changes in RUNS.items():
        world = world_in(folder)
        made[name] = world.job(
            str(folder / name), StoredSignals(build_store(folder, world), world.rows), **changes
        )
    return made


def attention_job(folder: Path) -> TrainingJob:
    """Attention maps of both towers, in pieces, beside a loss over the whole batch."""
    config = AMADLoss(kind="amad", variant="token", alpha="match_initial_scale")
    return amad_job(
        attention_world(folder / "attention-world"),
        str(folder / "attention"),
        config,
        losses=[TaskLoss(kind="task")],
        steps=3,
        micro_batch_size=3,
        clip_norm=None,
    )


def writing_jobs(folder: Path) -> list[GenerationJob]:
    """Answers, logits and attention maps, in pieces, with as many words in a process as there are.

    The balancer, and a factor that is only known after the first batch, decide how often a piece runs.
    """
    made = []
    for name, changes in WRITING.items():
        world = build_writing_world(folder / "writing-world", "vqa")
        world.folder = folder
        made.append(world.job(name, steps=2, micro_batch_size=2, clip_norm=None, **changes))
    return made


def refusals(folder: Path) -> list[str]:
    """What two processes must not do."""
    sentences = []
    world = build_world(folder / "world", student={"batchnorm": True})
    for changes in ({"losses": LOSSES[-1:]}, {"losses": LOSSES[-1:], "batch_size": 7}):
        try:
            train(world.job(str(folder / "refused"), None, **changes))
        except (ModelError, RecipeError) as error:
            sentences.append(str(error))
    job = world.job(str(folder / "frozen"), None, losses=LOSSES[-1:], batchnorm_across_processes="freeze")
    train(job)
    return sentences


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    made: list[Job] = [*jobs(folder).values(), attention_job(folder), *writing_jobs(folder)]
    for job in made:
        train(job)
    sentences = refusals(folder)
    if torch.distributed.get_rank() == 0:
        (folder / "refusals.txt").write_text("\n".join(sentences))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
