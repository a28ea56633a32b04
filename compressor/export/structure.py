"""The first question of the parity gate: is the file a graph that a bundle may hold?"""

from __future__ import annotations

from pathlib import Path

import onnx

from compressor.runtime.padding import Padding
from compressor.runtime.schema import TEXT_INPUT

DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Operator sets of ONNX itself and of ONNX Runtime; nothing else runs without a library of its own."""


def structural_fault(path: Path, external: Path | None = None) -> str:
    """What is wrong with the ONNX file, or nothing.

    Valid to ONNX's own checker, operators of known sets only, one input and one output of which the batch is
    dynamic, and nothing else but the length of token ids; weights inside the file or in the one file
    `external` beside it.
    """
    try:
        onnx.checker.check_model(str(path), full_check=external is None)
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the checker's classes share no base but Exception
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"is no valid ONNX graph: {lines[0][:200] if lines else type(error).__name__}"
    graph = model.graph
    foreign = {node.domain for node in graph.node} - set(DOMAINS)
    if foreign:
        return f"has operators of other sets: {', '.join(sorted(foreign))}"
    if len(graph.input) != 1 or len(graph.output) != 1:
        return f"has {len(graph.input)} inputs and {len(graph.output)} outputs instead of one each"
    notes = {note.key: note.value for note in model.metadata_props}
    for end in (graph.input[0], graph.output[0]):
        batch, *others = end.type.tensor_type.shape.dim or [None]
        if end.name == TEXT_INPUT and Padding.of_notes(notes) is not None:
            others = others[1:]  # a text graph that says so takes any length
        if batch is None or not batch.dim_param or not all(size.HasField("dim_value") for size in others):
            return f"has an end {end.name} of which not exactly the batch is dynamic"
    allowed = {external.name} if external is not None else set()
    places = {
        entry.value
        for weight in graph.initializer
        for entry in weight.external_data
        if entry.key == "location"
    }
    if places - allowed:
        return f"keeps weights in {', '.join(sorted(places - allowed))}, which is no file of the bundle"
    return ""
