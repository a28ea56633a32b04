"""What distillation brings on Flickr8k: seeds, each loss alone, each loss left out, an ImageNet start.

    python benchmarks/flickr8k.py --data DIR [--imagenet FILE --imagenet-batchnorm FILE]

DIR holds `images/`, `dataset_flickr8k.json` and `teacher_embeddings.safetensors`. Every row trains the
student of `recipes/flickr8k_retrieval.yaml` for the same steps and is measured on the `val` split by its last
weights, in PyTorch; nothing is selected on that split. The rows that start from ImageNet have a MobileNetV2
at 64 pixels in its place and compare with each other only. Interrupt it at will: finished rows are kept and
unfinished ones continue. `table.json` and `table.md` in the runs folder are written after every row.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from compressor.files import atomic_write_text, write_json
from compressor.pipeline.progress import PlainReporter
from compressor.pipeline.run import Options, run
from compressor.recipe.load import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "flickr8k_retrieval.yaml"
LOSSES = {
    "contrastive": "{kind: contrastive, queue: 4096}",
    "feature": "{kind: feature}",
    "similarity": "{kind: similarity}",
    "hard_negative": "{kind: hard_negative}",
}
MOBILENET = (
    "student.image.name=mobilenetv2_100",
    "student.image.options={pad_type: same, bn_eps: 0.001}",
    "student.image.freeze_batchnorm=true",
    "distill.optimizer.lr=5e-4",  # at 4e-3 what it has learned is gone after the first epochs: RSUM 2.9
    "distill.precision=no",  # its depthwise convolutions are slower in bf16 on a CPU
    "student.image.input={size: 64, resize: squash, interpolation: bilinear, "
    "mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}",
)


@dataclass(frozen=True)
class Row:
    """One training of the table."""

    label: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.label.replace(' ', '-')}-seed{self.seed}"


def losses(kinds: list[str]) -> str:
    """The override that sets the losses."""
    return f"distill.losses=[{', '.join(LOSSES[kind] for kind in kinds)}]"


UNTAUGHT = ("teacher=null", "distill.losses=[{kind: task}]", "distill.balancer={kind: static}")
TASK_ONLY = (*UNTAUGHT, "distill.optimizer.lr=1e-3")
"""At the best of the rates that were tried for it; the losses of the teacher bear a larger one."""


def table_rows(seeds: int, imagenet: tuple[str, ...]) -> list[Row]:
    """All rows: the comparison over seeds first, then one seed each for the rest."""
    rows = []
    for seed in range(seeds):
        rows += [Row("distilled", seed, ()), Row("task only", seed, TASK_ONLY)]
    rows += [Row(f"{kind} alone", 0, (losses([kind]),)) for kind in LOSSES]
    rows += [Row(f"without {kind}", 0, (losses([k for k in LOSSES if k != kind]),)) for kind in LOSSES]
    rows.append(Row("task only at the distilled rate", 0, UNTAUGHT))
    if imagenet:
        rows += [
            Row("distilled from ImageNet", 0, (*MOBILENET, *imagenet)),
            Row("task only from ImageNet", 0, (*MOBILENET, *imagenet, *UNTAUGHT)),
        ]
    return rows


def measure(row: Row, data: Path, runs: Path, extra: list[str], console: Console) -> dict[str, Any]:
    """Train a row, or find it done, and read its last validation."""
    overrides = [
        f"data.root={data}",
        f"teacher.path={data / 'teacher_embeddings.safetensors'}",
        f"name={row.name}",
        f"seed={row.seed}",
        "distill.control=false",
        "goals=[]",
        *extra,
        *row.overrides,
    ]
    if "teacher=null" in row.overrides:
        overrides = [text for text in overrides if not text.startswith("teacher.")]
    recipe = load_recipe(RECIPE, overrides).recipe
    started = time.monotonic()
    run(recipe, runs, options=Options(until="distill"), reporter=PlainReporter(console, interval=30))
    state = json.loads((runs / row.name / "state.json").read_text(encoding="utf-8"))
    facts = state["stages"]["distill"]["facts"]["student"]
    lines = (runs / row.name / facts["curve"]).read_text(encoding="utf-8").splitlines()
    validations = [step["validation"] for step in map(json.loads, lines) if "validation" in step]
    return {
        "label": row.label,
        "seed": row.seed,
        "rsum": validations[-1]["rsum"],
        "best_rsum": facts["best_rsum"],
        "steps": facts["steps"],
        "training_seconds": facts["seconds"],
        "seconds_now": round(time.monotonic() - started, 1),
    }


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The table: mean and standard deviation over seeds where there are several."""
    lines = ["| student | seeds | RSUM on val | minutes a run |", "| --- | --- | --- | --- |"]
    for label in dict.fromkeys(row["label"] for row in rows):
        same = [row for row in rows if row["label"] == label]
        values = [row["rsum"] for row in same]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else " (one seed)"
        minutes = statistics.mean(row["training_seconds"] for row in same) / 60
        lines.append(f"| {label} | {len(same)} | {statistics.mean(values):.1f}{spread} | {minutes:.1f} |")
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[Path, typer.Option(help="Folder of Flickr8k and of the teacher's embeddings.")],
    runs: Annotated[Path, typer.Option(help="Folder of the runs and of the table.")] = Path(
        "runs/flickr8k_table"
    ),
    seeds: Annotated[int, typer.Option(help="Seeds of the main comparison.")] = 3,
    imagenet: Annotated[Path | None, typer.Option(help="mobilenetv2_100 weights (safetensors).")] = None,
    imagenet_batchnorm: Annotated[Path | None, typer.Option(help="BatchNorm overlay.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Rows by label; default: all.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="Further overrides for every row.")] = None,
) -> None:
    """Train what is missing of the table and print it."""
    console = Console()
    start: tuple[str, ...] = ()
    if imagenet is not None:
        start = (f"student.image.weights={imagenet}",)
        start += (f"student.image.weights_overlay={imagenet_batchnorm}",) if imagenet_batchnorm else ()
    chosen = [row for row in table_rows(seeds, start) if not only or row.label in only]
    found: list[dict[str, Any]] = []
    for number, row in enumerate(chosen, start=1):
        console.print(f"row {number} of {len(chosen)}: {row.label}, seed {row.seed}", highlight=False)
        found.append(measure(row, data, runs, override or [], console))
        write_json(runs / "table.json", found)
        atomic_write_text(runs / "table.md", as_markdown(found))
    console.print(as_markdown(found), markup=False)


if __name__ == "__main__":
    typer.run(main)
