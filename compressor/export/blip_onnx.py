"""A BLIP that writes, as ONNX: one graph for the picture, one for the question, one for the keys and values
of cross-attention, one for a step of the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.export.blip_graphs import CrossGraph, DecoderGraph, KeyValue, QuestionGraph, VisionGraph
from compressor.export.onnx import LARGEST_INLINE, export_graph
from compressor.runtime.writer_schema import (
    CONTEXT_MASK,
    IMAGE_STATES,
    LOGITS,
    PIXEL_VALUES,
    QUESTION_MASK,
    QUESTION_STATES,
    STATES,
    TOKENS,
    GraphName,
    cache_names,
)
from compressor.students.blip import BlipGenerator, halves

_BATCH, _BEAMS, _LENGTH, _PAST, _WORDS = 2, 3, 4, 5, 6
"""Sizes of the example that is traced: no two alike and none of them 1, or they would pass for constants."""


@dataclass(frozen=True)
class Traced:
    """What the exporter needs of one graph."""

    module: nn.Module
    example: tuple[Any, ...]
    inputs: list[str]
    outputs: list[str]
    dynamic: Any


def export_blip(
    generator: BlipGenerator,
    folder: Path,
    opset: int = 18,
    largest_inline: int = LARGEST_INLINE,
    done: Callable[[GraphName], None] = lambda _: None,
) -> dict[GraphName, tuple[Path, Path | None]]:
    """Write `<folder>/<graph>.onnx` for every graph of the head: the file of each, and that of its weights
    where they are outside.

    The generator must be on the CPU and in evaluation mode (`ready_for_export`). `done` is called after each
    graph. Batch, beams, tokens, cache and the length of a question are dynamic. Raises `ModelError` as
    `export_graph` does.
    """
    files: dict[GraphName, tuple[Path, Path | None]] = {}
    for name, traced in blip_graphs(generator).items():
        path = folder / f"{name}.onnx"
        external = export_graph(
            traced.module,
            traced.example,
            path,
            name=f"the {name} graph",
            input_names=traced.inputs,
            output_names=traced.outputs,
            dynamic_shapes=traced.dynamic,
            opset=opset,
            largest_inline=largest_inline,
        )
        files[name] = (path, external)
        done(name)
    return files


def blip_graphs(generator: BlipGenerator) -> dict[GraphName, Traced]:
    """The graphs of a generator's head, in the order in which they run."""
    vision = VisionGraph(generator)
    pixels = torch.zeros(_BATCH, 3, generator.image_size, generator.image_size)
    with torch.no_grad():
        image = vision(pixels)
    found: dict[GraphName, Traced] = {
        "vision": Traced(vision, (pixels,), [PIXEL_VALUES], [IMAGE_STATES], ({0: "batch"},))
    }
    asks = generator.text_encoder is not None
    if asks:
        found["question"] = _question(generator, image)
    states = torch.zeros(_BATCH, _WORDS, image.shape[-1]) if asks else image
    found["cross"] = _cross(generator, states, asks=asks)
    found["decoder"] = _decoder(generator, states, asks=asks)
    return found


def _question(generator: BlipGenerator, image: Tensor) -> Traced:
    ids = torch.zeros(_BATCH, _WORDS, dtype=torch.long)
    words = {0: "batch", 1: "words"}
    return Traced(
        QuestionGraph(generator),
        (ids, torch.ones_like(ids, dtype=torch.bool), image),
        [TOKENS, QUESTION_MASK, IMAGE_STATES],
        [QUESTION_STATES],
        (words, words, {0: "batch"}),
    )


def _cross(generator: BlipGenerator, states: Tensor, *, asks: bool) -> Traced:
    dynamic = {0: "batch"} | ({1: "context"} if asks else {})
    names = cache_names("cross", _layers(generator))
    return Traced(CrossGraph(generator), (states,), [STATES], names, (dynamic,))


def _decoder(generator: BlipGenerator, states: Tensor, *, asks: bool) -> Traced:
    layers = _layers(generator)
    with torch.no_grad():
        cross: list[KeyValue] = CrossGraph(generator)(states)
    heads, width = cross[0][1].shape[1], cross[0][1].shape[3]
    past = [
        (torch.zeros(_BATCH, _BEAMS, heads, _PAST, width), torch.zeros(_BATCH, _BEAMS, heads, _PAST, width))
        for _ in range(layers)
    ]
    tokens = torch.zeros(_BATCH, _BEAMS, _LENGTH, dtype=torch.long)
    grown = {0: "batch", 1: "beams", 3: "past"}
    key, value = ({0: "batch"} | ({place: "context"} if asks else {}) for place in (3, 2))
    inputs = [TOKENS, *cache_names("past", layers), *cache_names("cross", layers)]
    example: tuple[Any, ...] = (tokens, past, cross)
    dynamic: tuple[Any, ...] = (
        {0: "batch", 1: "beams", 2: "length"},
        [(grown, grown)] * layers,
        [(key, value)] * layers,
    )
    if asks:
        inputs.append(CONTEXT_MASK)
        example += (torch.ones(states.shape[:2], dtype=torch.bool),)
        dynamic += ({0: "batch", 1: "context"},)
    outputs = [LOGITS, *cache_names("present", layers)]
    return Traced(DecoderGraph(generator), example, inputs, outputs, dynamic)


def _layers(generator: BlipGenerator) -> int:
    return int(halves(generator.config)[1].num_hidden_layers)
