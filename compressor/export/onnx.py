"""One ONNX graph per tower, by PyTorch's own exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxscript import ir
from torch import Tensor, nn

from compressor.errors import ModelError
from compressor.export.fuse import folded
from compressor.runtime.padding import Padding
from compressor.runtime.schema import IMAGE_INPUT, IMAGE_OUTPUT, TEXT_INPUT, TEXT_OUTPUT
from compressor.students.encoder import Encoder

TowerName = Literal["image", "text"]
LARGEST_INLINE = 1_500_000_000
"""Bytes of weights up to which they stay inside the ONNX file; protobuf itself ends at 2 GiB."""

_CHECKED = 8  # texts that are embedded with and without their padding
_SAME = 1e-4  # largest difference between the two, of unit rows
_CHATTY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class ImageTower(nn.Module):
    """The image side of an encoder as a module of its own."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(N, 3, H, W) float32 -> (N, D), unit rows."""
        return self.encoder.encode_image(pixel_values)


class TextTower(nn.Module):
    """The text side of an encoder as a module of its own."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        """(N, L) int64 -> (N, D), unit rows."""
        return self.encoder.encode_text(input_ids)


def export_tower(
    encoder: Encoder,
    tower: TowerName,
    example: NDArray[np.float32] | NDArray[np.int64],
    path: Path,
    opset: int = 18,
    largest_inline: int = LARGEST_INLINE,
    padding: Padding | None = None,
) -> Path | None:
    """Write one tower as ONNX to `path`; returns the file of external weights, or None if they are inside.

    `example`: real inputs (N >= 1) of the tower; only their shape, and for texts their validity, matters.
    The batch is the one dynamic dimension; with `padding` so is the length of texts, up to the longest, and
    the graph is run without the padding that no row of a batch needs. The encoder must be on the CPU and in
    evaluation mode (`ready_for_export`). Blocks that fold into one convolution are folded in the graph alone
    (`compressor.export.fuse`). The same encoder gives the same bytes: whatever the exporter notes about the
    machine, source paths above all, is removed.

    Raises `ModelError` where the tower cannot be expressed as ONNX, or not at this opset; for a text tower
    that says something else without its padding, or takes texts of one length only.
    """
    module = ImageTower(encoder) if tower == "image" else TextTower(encoder)
    input_name, output_name = (IMAGE_INPUT, IMAGE_OUTPUT) if tower == "image" else (TEXT_INPUT, TEXT_OUTPUT)
    # Two rows: a batch of one would be taken for a constant.
    rows = torch.from_numpy(np.ascontiguousarray(np.resize(example, (2, *example.shape[1:]))))
    dynamic = {0: "batch"}
    if tower == "text" and padding is not None:
        _check_shorter_texts(module, example, padding)
        # Neither the longest, which would be taken for the only one, nor as many as there are rows.
        rows, dynamic = rows[:, : max(3, padding.longest // 2)].contiguous(), {0: "batch", 1: "length"}
    return export_graph(
        folded(module, rows) if tower == "image" else module,
        (rows,),
        path,
        name=f"the {tower} tower",
        input_names=[input_name],
        output_names=[output_name],
        dynamic_shapes={input_name: dynamic},
        opset=opset,
        largest_inline=largest_inline,
        notes=padding.as_notes() if tower == "text" and padding is not None else {},
    )


def _check_shorter_texts(module: nn.Module, example: NDArray[Any], padding: Padding) -> None:
    """Refuse a tower whose texts may not lose their padding: SigLIP reads it, open_clip's CLIP demands it."""
    for row in example[:_CHECKED]:
        whole = torch.from_numpy(row[None])
        short = torch.from_numpy(padding.trimmed(row[None]).copy())
        try:
            with torch.no_grad():
                difference = float((module(whole) - module(short)).abs().max())
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelError(
                f"the text tower takes {padding.longest} tokens and no fewer; set export.text_length to fixed"
            ) from error
        if not difference <= _SAME:
            raise ModelError(
                f"the text tower reads padding (without it embeddings differ by {difference:.2g}); "
                "set export.text_length to fixed"
            )


def export_graph(
    module: nn.Module,
    example: tuple[Any, ...],
    path: Path,
    *,
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: Any,
    opset: int = 18,
    largest_inline: int = LARGEST_INLINE,
    notes: Mapping[str, str] | None = None,
) -> Path | None:
    """Write a module as ONNX to `path`; returns the file of external weights, or None if they are inside.

    `example` are the arguments of one call, `dynamic_shapes` their dynamic dimensions as
    `torch.onnx.export` reads them, `name` what an error calls the graph, `notes` the file's metadata. The
    same module gives the same bytes, as for `export_tower`, which see for what is asked of the model and what
    is raised.
    """
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                example,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_shapes=dynamic_shapes,
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter lets any exception of the traced code through
        cause = error.__cause__ or error
        raise ModelError(
            f"{name} cannot be exported to ONNX: {type(cause).__name__}: {_summary(cause)}"
        ) from error
    assert program is not None
    model = program.model
    _check_opset(model, opset, name)
    _forget_the_machine(model)
    model.metadata_props.update(notes or {})
    external = _save(model, path, largest_inline)
    onnx.checker.check_model(str(path), full_check=external is None)
    return external


@contextmanager
def ready_for_export(encoder: Encoder | nn.Module) -> Iterator[None]:
    """The encoder (any module) on the CPU, in fp32 and evaluation mode, as it was before afterwards.

    Raises `ModelError` for weights of another float type: what is exported must be what was trained.
    """
    assert isinstance(encoder, nn.Module)
    other = {p.dtype for p in encoder.parameters() if p.is_floating_point() and p.dtype != torch.float32}
    if other:
        raise ModelError(
            f"weights must be float32 to be exported, not {', '.join(map(str, sorted(other, key=str)))}"
        )
    devices = {parameter.device for parameter in encoder.parameters()}
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval().cpu()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        if len(devices) == 1:
            encoder.to(devices.pop())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines, hints and warnings off the user's console; errors still raise."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _summary(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


def _check_opset(model: ir.Model, opset: int, name: str) -> None:
    """The exporter keeps its own opset, silently, where it cannot convert to the one that was asked for."""
    written = model.opset_imports.get("")
    if written != opset:
        raise ModelError(
            f"{name} cannot be written at ONNX opset {opset}, the exporter gives {written}; "
            f"set export.opset to {written}"
        )


def _forget_the_machine(model: ir.Model) -> None:
    """Remove stack traces (they hold local paths), tracing symbols and other notes from a graph."""
    model.metadata_props.clear()
    for graph in model.graphs():
        graph.metadata_props.clear()
        for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
            value.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()


def _save(model: ir.Model, path: Path, largest_inline: int) -> Path | None:
    """Write the model, with its weights inside where they are small enough."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = sum(
        value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value
    )
    if weights <= largest_inline:
        ir.save(model, str(path))
        return None
    external = path.with_name(f"{path.name}.data")
    ir.save(model, str(path), external_data=external.name)
    return external
