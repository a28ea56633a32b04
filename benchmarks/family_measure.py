"""One family of `benchmarks.families`: exported, loaded, compared, timed. Returns plain figures."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.family_models import SAMPLES, Towers, Writes
from compressor.benchmark.latency import no_collection, order_of_round
from compressor.export.blip_onnx import export_blip
from compressor.export.onnx import ImageTower, TextTower, TowerName, export_tower, ready_for_export
from compressor.export.parity import centred_cosines
from compressor.export.writer_parity import judge_writer
from compressor.export.writer_reference import WriterReference
from compressor.export.writer_samples import WriterSamples
from compressor.recipe.outcome import ParityBounds
from compressor.runtime.opening import open_tower
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT, TEXT_INPUT, TEXT_OUTPUT
from compressor.runtime.writer_graphs import open_graphs
from compressor.runtime.writer_schema import IMAGE_STATES, PIXEL_VALUES, WriterVocabulary, Writing
from compressor.students.blip import BlipGenerator

BATCHES = (1, 2, 7)
FLOOR = 0.999
"""Of the worst sample's cosine at every batch size. The shuffled control must stay below it."""
_TEXT = Writing(beams=1, max_length=12, min_length=0)
_CALLS = 3
"""Calls of one way before it is the next one's turn."""


@dataclass(frozen=True)
class Timing:
    """How long is measured: `rounds` of a few calls of every way, on `threads` threads."""

    rounds: int
    threads: int
    compiled: bool


def measure(family: Towers | Writes, timing: Timing) -> dict[str, Any]:
    """`towers`: figures of each part. Raises whatever an export or a graph raises."""
    torch.set_num_threads(timing.threads)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(family, Writes):
            return {"towers": _writer(family, Path(folder), timing)}
        return {"towers": {name: _tower(family, name, Path(folder), timing) for name in family.inputs}}


def _tower(family: Towers, name: Any, folder: Path, timing: Timing) -> dict[str, Any]:
    tower: TowerName = name
    rows, path = family.inputs[tower], folder / f"{tower}.onnx"
    module = (ImageTower if tower == "image" else TextTower)(family.encoder)
    with ready_for_export(family.encoder):
        started = time.perf_counter()
        export_tower(family.encoder, tower, rows, path)
        seconds = time.perf_counter() - started
    ends = (IMAGE_INPUT, IMAGE_OUTPUT) if tower == "image" else (TEXT_INPUT, TEXT_OUTPUT)
    graph = open_tower(path, *ends, timing.threads)
    with torch.inference_mode():
        reference = module(torch.from_numpy(rows)).numpy()
    found = _compared(graph.run, rows, reference)
    one = np.ascontiguousarray(rows[:1])
    ways: dict[str, Callable[[], object]] = {"onnxruntime": lambda: graph.run(one)}
    times, missing = _timed(ways | _torch_ways(module, one, timing), timing)
    size = sum(file.stat().st_size for file in folder.glob(f"{tower}.onnx*"))
    return {
        **found,
        "megabytes": size / 1e6,
        "export_seconds": seconds,
        "p50_ms": times,
        "compile_missing": missing,
    }


def _compared(
    run: Callable[[NDArray[Any]], NDArray[np.float32]], rows: NDArray[Any], reference: NDArray[np.float32]
) -> dict[str, Any]:
    """Cosines to PyTorch with its mean subtracted: the worst of each batch size, the mean of all, and what
    other samples score. None stands for what has no direction, a tower that gives everything the same row."""
    reference = reference.reshape(len(rows), -1)
    scale = np.float32(np.linalg.norm(reference, axis=1).mean())
    outputs = {
        size: np.concatenate(
            [run(np.ascontiguousarray(rows[at : at + size])) for at in range(0, len(rows), size)]
        ).reshape(len(rows), -1)
        for size in BATCHES
    }
    found = {size: centred_cosines(reference / scale, output / scale) for size, output in outputs.items()}
    other = centred_cosines(reference / scale, np.roll(outputs[BATCHES[0]], 1, axis=0) / scale)
    if not all(np.isfinite(cosines).all() for cosines in (*found.values(), other)):
        return {"status": "failed", "reason": "some samples lie at the mean and have no direction"}
    worst = {str(size): float(cosines.min()) for size, cosines in found.items()}
    shuffled = float(other.mean())
    spread = float(np.sqrt((((reference - reference.mean(axis=0)) / scale) ** 2).sum(axis=1).mean()))
    faults = [f"batch {size}: worst cosine {value:.5f}" for size, value in worst.items() if value < FLOOR]
    if shuffled >= FLOOR:
        faults.append(f"shuffled samples agree as well ({shuffled:.5f})")
    return {
        "status": "failed" if faults else "passed",
        "reason": "; ".join(faults),
        "cosine": statistics.fmean(float(cosines.mean()) for cosines in found.values()),
        "worst": worst,
        "shuffled": shuffled,
        "spread": spread,
    }


def _torch_ways(module: nn.Module, one: NDArray[Any], timing: Timing) -> dict[str, Callable[[], object]]:
    """The model as it was trained, not folded: what a person without an export would run."""
    tensor = torch.from_numpy(one)
    ways: dict[str, Callable[[], object]] = {"eager": lambda: module(tensor)}
    if timing.compiled:
        compiled = torch.compile(module)
        ways["compile"] = lambda: compiled(tensor)
    return ways


def _timed(ways: dict[str, Callable[[], object]], timing: Timing) -> tuple[dict[str, float], str]:
    """Median milliseconds of a call of each way, taking turns; and why `compile` is not among them."""
    missing = "" if timing.compiled else "not asked for"
    taken: dict[str, list[float]] = {}
    with torch.no_grad():
        for label, call in ways.items():
            try:
                for _ in range(_CALLS):
                    call()
                taken[label] = []
            except (
                Exception
            ) as error:  # torch.compile: no C++ compiler, or an operation that it does not know
                if label != "compile":
                    raise
                missing = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        for number in range(timing.rounds):
            with no_collection():
                for label in order_of_round(list(taken), number):
                    for _ in range(_CALLS):
                        started = time.perf_counter_ns()
                        ways[label]()
                        taken[label].append((time.perf_counter_ns() - started) / 1e6)
    return {label: statistics.median(times) for label, times in taken.items()}, missing


def _writer(family: Writes, folder: Path, timing: Timing) -> dict[str, Any]:
    """The ViT at all batch sizes; then every graph and the texts themselves through the gate of bundles."""
    from dataclasses import asdict

    generator, model = family.model.generator, family.model
    assert isinstance(generator, BlipGenerator)
    vocabulary = WriterVocabulary.model_validate(asdict(generator.vocabulary))
    with ready_for_export(generator):
        started = time.perf_counter()
        files = {name: path for name, (path, _) in export_blip(generator, folder).items()}
        seconds = time.perf_counter() - started
    graphs = open_graphs(files, "vqa" if family.questions else "captioner", vocabulary, timing.threads)
    with torch.inference_mode():
        states = generator.vision_model(
            pixel_values=torch.from_numpy(family.pixels)
        ).last_hidden_state.numpy()
    found = _compared(
        lambda rows: graphs.vision.run({PIXEL_VALUES: rows})[IMAGE_STATES], family.pixels, states
    )
    questions = model.question_ids(family.questions) if family.questions else None
    samples = WriterSamples(family.pixels, model.target_ids(family.texts), questions)
    reference = WriterReference(generator, vocabulary, samples.rows(SAMPLES // 2), _TEXT, ParityBounds())
    judged = judge_writer(graphs, reference, "fp32")
    one, asked = np.ascontiguousarray(family.pixels[:1]), None if questions is None else questions[:1]
    vision: dict[str, Callable[[], object]] = {"onnxruntime": lambda: graphs.vision.run({PIXEL_VALUES: one})}
    times, missing = _timed(vision | _torch_ways(generator.vision_model, one, timing), timing)
    settings = reference.settings(_TEXT.beams)
    tensors = torch.from_numpy(one), None if asked is None else torch.from_numpy(asked)
    lengths = {"beams": _TEXT.beams, "max_length": _TEXT.max_length}
    writes: dict[str, Callable[[], object]] = {
        "onnxruntime": lambda: graphs.write(one, asked, vocabulary, settings),
        "eager": lambda: generator.generate(*tensors, **lengths),
    }
    written, _ = _timed(writes, timing)
    cosines = [graph.cosine for graph in judged.graphs.values() if graph.cosine is not None]
    worst = [graph.worst_cosine for graph in judged.graphs.values() if graph.worst_cosine is not None]
    sizes = {name: path.stat().st_size / 1e6 for name, path in files.items()}
    image = sizes.pop("vision")
    return {
        "vision": {
            **found,
            "megabytes": image,
            "export_seconds": seconds,
            "p50_ms": times,
            "compile_missing": missing,
        },
        f"{_TEXT.max_length} tokens": {
            "status": "passed" if judged.passed else "failed",
            "reason": judged.reason,
            "cosine": min(cosines, default=None),
            "worst": {"gate": min(worst, default=None)},
            "equal_texts": judged.equal_greedy,
            "megabytes": sum(sizes.values()),
            "p50_ms": written,
            "compile_missing": "generate is not compiled",
        },
    }
