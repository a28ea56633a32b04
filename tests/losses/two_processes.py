"""The same few training steps in one process or in several; run as a module it is one of the processes.

python -m tests.losses.two_processes FOLDER RANK WORLD
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from compressor.errors import DataError
from compressor.losses import (
    Balancer,
    DSMDBalancer,
    EmbeddingBatch,
    LossSet,
    StaticBalancer,
    build_losses,
    gather_batch,
)
from compressor.losses.balancer import GradNormBalancer
from compressor.losses.balancer.gradnorm import gradient_norms
from compressor.recipe.losses import (
    ContrastiveLoss,
    FeatureLoss,
    HardNegativeLoss,
    LossConfig,
    SimilarityLoss,
    TaskLoss,
)
from tests.losses.cases import rows

STEPS, GLOBAL_BATCH, STUDENT_DIM, TEACHER_DIM = 3, 8, 5, 7
CONFIGS: tuple[LossConfig, ...] = (
    ContrastiveLoss(kind="contrastive", queue=12, temperature=0.2),
    FeatureLoss(kind="feature"),
    SimilarityLoss(kind="similarity"),
    HardNegativeLoss(kind="hard_negative", margin=0.3),
    TaskLoss(kind="task"),
)


class SmallDualEncoder(nn.Module):
    """Two LayerNorm MLPs, a stand-in for towers without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Sequential(nn.Linear(6, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, STUDENT_DIM))
        self.text = nn.Sequential(nn.Linear(4, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, STUDENT_DIM))
        self.log_logit_scale = nn.Parameter(torch.tensor(1.5))
        self.double()

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        normalize = nn.functional.normalize
        return normalize(self.image(pixels)), normalize(self.text(tokens))


def global_inputs(step: int) -> dict[str, Tensor]:
    """One batch for all processes: a sample twice, a row without a caption; in step 1 a half without any."""
    has_text = torch.tensor([True, True, False, True, True, True, True, True])
    if step == 1:
        has_text[4:] = False
    return {
        "pixels": rows(GLOBAL_BATCH, 6, 10 * step),
        "tokens": rows(GLOBAL_BATCH, 4, 10 * step + 1),
        "teacher_image": nn.functional.normalize(rows(GLOBAL_BATCH, TEACHER_DIM, 10 * step + 2)),
        "teacher_text": nn.functional.normalize(rows(GLOBAL_BATCH, TEACHER_DIM, 10 * step + 3))
        * has_text[:, None],
        "sample": torch.tensor([0, 1, 2, 3, 1, 5, 6, 7]) + 3 * step,
        "has_text": has_text,
    }


def train(rank: int, world: int, with_teacher: bool) -> dict[str, Tensor]:
    """Losses, balancer weights and gradients of every step, and the state of the losses at the end."""
    model = SmallDualEncoder()
    encoder: nn.Module = DistributedDataParallel(model) if world > 1 else model
    configs = CONFIGS if with_teacher else CONFIGS[-1:]
    losses: LossSet = build_losses(configs, STUDENT_DIM, TEACHER_DIM if with_teacher else None).double()
    balancer: Balancer = DSMDBalancer(rates="raw") if with_teacher else StaticBalancer()
    trained = [*model.named_parameters(), *losses.named_parameters()]
    optimizer = torch.optim.SGD([parameter for _, parameter in trained], lr=0.01)
    seen: dict[str, Tensor] = {}
    for step in range(STEPS):
        size = GLOBAL_BATCH // world
        part = {name: value[rank * size : (rank + 1) * size] for name, value in global_inputs(step).items()}
        student_image, student_text = encoder(part["pixels"], part["tokens"])
        batch = gather_batch(
            EmbeddingBatch(
                student_image,
                student_text,
                part["teacher_image"] if with_teacher else None,
                part["teacher_text"] if with_teacher else None,
                part["sample"],
                part["has_text"],
                model.log_logit_scale.exp(),
            )
        )
        values = losses(batch)
        total, weights = balancer.combine(values)
        optimizer.zero_grad()
        total.backward()
        for kind, value in values.items():
            seen[f"{step}.loss.{kind}"] = value.detach().clone()
            seen[f"{step}.weight.{kind}"] = torch.tensor(weights[kind], dtype=torch.float64)
        for name, parameter in trained:
            assert parameter.grad is not None, name
            seen[f"{step}.gradient.{name}"] = parameter.grad.clone()
        optimizer.step()
        if with_teacher:
            losses.update_queue(batch.teacher("image"), batch.teacher("text"), batch.sample, batch.has_text)
    return seen | {f"final.{name}": value.clone() for name, value in losses.state_dict().items()}


def refusal_of_uneven_batches(rank: int) -> str:
    """What gather_batch says to a process whose batch is one row longer than the other's."""
    size = 3 + rank
    unit, captions = torch.eye(size), torch.ones(size, dtype=torch.bool)
    batch = EmbeddingBatch(
        unit[:, :2], unit[:, :2], None, None, torch.arange(size), captions, torch.tensor(1.0)
    )
    try:
        gather_batch(batch)
    except DataError as error:
        return str(error)
    return "accepted"


def weights_of_unequal_losses(rank: int) -> dict[str, float]:
    """Balancer weights when the processes measured different losses: 1 and 3, 0.5 and 0.5."""
    balancer = DSMDBalancer()
    weights: dict[str, float] = {}
    for _ in range(2):
        _, weights = balancer.combine({"a": torch.tensor(1.0 + 2 * rank), "b": torch.tensor(0.5)})
    return weights


def gradnorm_over_rows(rank: int, world: int) -> dict[str, list[list[float]]]:
    """Norms and weights of a few steps, compared at this process's embeddings as the training loop does."""
    model, balancer = SmallDualEncoder(), GradNormBalancer(lr=0.2)
    losses = build_losses(CONFIGS, STUDENT_DIM, TEACHER_DIM).double()
    norms, weights = [], []
    for step in range(6):
        size = GLOBAL_BATCH // world
        part = {name: value[rank * size : (rank + 1) * size] for name, value in global_inputs(step).items()}
        image, text = (rows.detach().requires_grad_() for rows in model(part["pixels"], part["tokens"]))
        batch = gather_batch(
            EmbeddingBatch(
                image,
                text,
                part["teacher_image"],
                part["teacher_text"],
                part["sample"],
                part["has_text"],
                torch.tensor(4.0, dtype=torch.float64),
            )
        )
        values = losses(batch)
        norms.append(list(gradient_norms(values, (image, text)).values()))
        weights.append(list(balancer.combine(values, (image, text))[1].values()))
    return {"norms": norms, "weights": weights}


def main(folder: Path, rank: int, world: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    for with_teacher in (True, False):
        save_file(train(rank, world, with_teacher), folder / f"{with_teacher}.{rank}.safetensors")
    words = {
        "refusal": refusal_of_uneven_batches(rank),
        "weights": weights_of_unequal_losses(rank),
        "gradnorm": gradnorm_over_rows(rank, world),
    }
    (folder / f"words.{rank}.json").write_text(json.dumps(words), encoding="utf-8")
    dist.barrier()
    sys.stderr.flush()
    os._exit(0)  # all is written; gloo's threads may end an orderly teardown with std::terminate


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
