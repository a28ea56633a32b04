"""`MODEL_CARD.md`: what the student is, what it may be used for, how well it does and where it came from.

The head is the YAML that the Hugging Face hub reads (https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from compressor.report import numbers as n
from compressor.report import run_tables, tables
from compressor.report.calibration_text import calibration_text
from compressor.report.generation_tables import written_latency_table, written_quality
from compressor.report.headline import headline
from compressor.report.html import REHEARSAL
from compressor.report.licences import licences
from compressor.report.markdown import fenced, markdown_table, text
from compressor.report.results import Results
from compressor.report.runtimes import default_runtime, install
from compressor.report.written_card import (
    how_to_write,
    what_writes,
    written_metadata,
    written_metrics,
    written_task,
)

_EMBEDS: dict[str, Any] = {
    "library_name": "onnx",
    "pipeline_tag": "feature-extraction",
    "tags": ["onnx", "clip", "image-text-retrieval", "knowledge-distillation", "compressor"],
}
_ALONE = {"library_name": "onnx", "license_link": "LICENSE.md"}
_DOWNLOAD = (
    "`bundle` is this folder as files: from the hub, `hf download REPOSITORY --local-dir bundle`; "
    "`compressor bundle verify bundle` shows that it is whole."
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_TASK = {"type": "image-text-retrieval", "name": "Image-text retrieval"}
_DATA = {
    "scenes": "procedurally drawn scenes with captions by a small grammar (generated, English)",
    "karpathy": "photos with captions in Karpathy's splits",
    "coco_captions": "COCO captions",
    "table": "a table of pictures and captions",
    "folder": "a folder of pictures and captions",
    "huggingface": "a Hugging Face data set",
    "webdataset": "WebDataset shards",
    "scenes_questions": "procedurally drawn scenes with questions by a small grammar (generated, English)",
    "vqa": "VQA v2: photos of COCO with people's questions and answers",
}


def model_card(results: Results, *, alone: bool = False) -> str:
    """The card of the student, for the run folder or (`alone`) for the bundle wherever it goes.

    Names no path of the machine it was made on.
    """
    told, notes = headline(results), licences(results)
    head = metadata(results) | (_ALONE if alone else {})
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip()}\n---",
        f"# {text(results.name)}",
        text(told.sentence),
    ]
    if results.rehearsal:
        parts.append(f"> {text(REHEARSAL)}")
    parts += [
        "## What it is",
        _what(results),
        "## Intended use",
        _use(results, alone),
        "## Limits",
        _limits(results),
    ]
    shown = (
        [*written_quality(results), written_latency_table(results)]
        if results.writes
        else [tables.quality_table(results), tables.shares_table(results), tables.latency_table(results)]
    )
    parts += ["## How well it does", *map(markdown_table, shown)]
    parts += [
        markdown_table(run_tables.size_table(results)),
        markdown_table(run_tables.artifacts_table(results)),
    ]
    if results.calibration is not None:
        parts += ["## Thresholds", calibration_text(results.calibration)]
    parts += ["## Data", _data(results), markdown_table(run_tables.data_table(results))]
    parts += ["## Training", _training(results), markdown_table(run_tables.training_table(results))]
    parts += ["## Licences", "\n".join(f"- {text(part)}: {text(note)}" for part, note in notes.items())]
    parts += ["## Lineage", markdown_table(run_tables.lineage_table(results))]
    return "\n\n".join(part for part in parts if part) + "\n"


def metadata(results: Results) -> dict[str, Any]:
    """The card's head. The licence is `other`: the terms of the teacher's weights and of the data apply.

    A base model is named where the student's weights come from one of the hub: one cut out of its teacher.
    """
    head: dict[str, Any] = {
        "license": "other",
        "license_name": "terms-of-teacher-and-data",
        **(written_metadata(results) if results.writes else _EMBEDS),
    }
    base = _base_model(results)
    if base:
        head["base_model"] = base
    if results.recipe.get("data", {}).get("kind") in ("scenes", "scenes_questions"):
        head["language"] = ["en"]
    measured = _metrics(results)
    if measured:
        head["model-index"] = [
            {
                "name": results.name,
                "results": [
                    {
                        "task": written_task(results) if results.writes else _TASK,
                        "dataset": {"type": _data_kind(results), "name": _split_name(results)},
                        "metrics": measured,
                    }
                ],
            }
        ]
    return head


def _base_model(results: Results) -> str | None:
    student, teacher = results.recipe.get("student", {}), results.recipe.get("teacher") or {}
    inherited = student.get("kind") == "inherit" or student.get("start") == "teacher"
    name = teacher.get("name") if teacher.get("kind") in ("transformers", "blip") and inherited else None
    return name if isinstance(name, str) and _HUB_NAME.fullmatch(name) else None


def _metrics(results: Results) -> list[dict[str, Any]]:
    if results.writes:
        return written_metrics(results)
    student = results.retrieval.get("student")
    if student is None or results.rehearsal:
        return []
    names = {"i2t": "image to text", "t2i": "text to image"}
    found = [
        {"type": "recall", "name": f"R@{k} {words}", "value": round(getattr(student, f"{way}_r{k}"), 2)}
        for way, words in names.items()
        for k in (1, 5, 10)
    ]
    return [*found, {"type": "rsum", "name": "RSUM", "value": round(student.rsum, 2)}]


def _what(results: Results) -> str:
    if results.writes:
        return what_writes(results)
    student = results.recipe.get("student", {})
    image = student.get("image", {})
    name = (
        image.get("name") or image.get("config", {}).get("model_type") or image.get("kind", "an image tower")
    )
    found = results.size.student
    counted = ""
    if found is not None:
        held = f"{n.size(found.bytes)} at {found.precision}"
        counted = f", {n.parameters(found.parameters)} parameters, {held}"
    width = student.get("embed_dim")
    space = f" into a common space of {width} dimensions" if width else ""
    origin = _teacher_fact(results, "origin") or _teacher_fact(results, "kind")
    taught = f" It was distilled from: {text(str(origin))}." if origin and origin != "none" else ""
    return (
        f"A dual encoder that embeds pictures and texts{space}: image tower {text(str(name))}{counted}, "
        f"exported to ONNX.{taught}"
    )


def _use(results: Results, alone: bool) -> str:
    if results.writes:
        told = how_to_write(results, alone)
        return f"{told}\n\n{_DOWNLOAD}" if alone else told
    example = (
        "from compressor.runtime import Bundle\n\n"
        'bundle = Bundle.open("bundle")\n'
        'images = bundle.encode_images([open("photo.jpg", "rb").read()])\n'
        'texts = bundle.encode_texts(["a red circle above a blue square"])\n'
        "cosines = images @ texts.T"
    )
    told = (
        "Finding pictures by text and texts by picture, on data like that it was trained on. "
        f"`{install(default_runtime(results))}` is all it needs; there is no torch in it.\n\n"
        + fenced(example, "python")
    )
    return f"{told}\n\n{_DOWNLOAD}" if alone else told


def _limits(results: Results) -> str:
    points = [
        "It was measured on the data named below. On other pictures or languages, measure before use.",
        "It inherits what its teacher and its data get wrong, biases included; it was not audited for them.",
        "It is not made for identifying people, nor for decisions about them.",
        "It may write what is not in the picture; nothing checks what it says."
        if results.writes
        else "A cosine of this model is not the same cosine of its teacher: "
        + ("set thresholds anew." if results.calibration is None else "map thresholds as told below."),
    ]
    kept = results.rsum_kept.rsum if results.rsum_kept and not results.rehearsal else None
    if kept is not None and kept < 1:
        points.insert(0, f"It is weaker than its teacher: {n.percent(kept)} of the RSUM on the same test.")
    latency = results.latency
    if latency is not None:
        points.append("Latencies hold for the machine and the threads they were measured on.")
    return "\n".join(f"- {point}" for point in points)


def _data(results: Results) -> str:
    kind = results.recipe.get("data", {}).get("kind")
    return f"Trained and measured on {_DATA.get(str(kind), 'pairs of pictures and captions')}."


def _training(results: Results) -> str:
    distill = results.recipe.get("distill", {})
    losses = ", ".join(str(loss.get("kind")) for loss in distill.get("losses", []))
    balancer = distill.get("balancer", {}).get("kind", "static")
    seed = results.recipe.get("seed")
    return text(f"Losses: {losses or 'not recorded'}; balancer: {balancer}; seed {seed}.")


def _data_kind(results: Results) -> str:
    return str(results.recipe.get("data", {}).get("kind", "custom"))


def _split_name(results: Results) -> str:
    return f"{_data_kind(results)}, {results.recipe.get('evaluate', {}).get('split', 'test')} split"


def _teacher_fact(results: Results, name: str) -> Any:
    facts = results.lineage.get("teacher")
    return facts.get(name) if isinstance(facts, dict) else None
