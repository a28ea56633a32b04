"""OpenVINO beside ONNX Runtime: artifacts of a bundle that read the same files, judged and timed there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from compressor.errors import MissingDependencyError
from compressor.export.bundle_parts import GraphFile
from compressor.export.engines import NOT_HERE
from compressor.export.onnx import TowerName
from compressor.recipe.outcome import OpenVINOSection, openvino_name
from compressor.runtime.openvino_tower import arithmetic, load_openvino, why_no_openvino

log = logging.getLogger(__name__)

Towers = dict[TowerName, GraphFile]


def in_openvino(
    graphs: Mapping[str, Mapping[TowerName, GraphFile]], section: OpenVINOSection
) -> tuple[dict[str, Towers], dict[str, str]]:
    """The ONNX files of `graphs` (by precision) as OpenVINO is to run them, by the name of the artifact; and
    why others are missing.

    Raises `MissingDependencyError` without OpenVINO, where the section does not call it optional.
    """
    reason = why_no_openvino()
    if reason is not None and not section.optional:
        raise MissingDependencyError(f"what OpenVINO runs (export.openvino) cannot be judged here: {reason}")
    made: dict[str, Towers] = {}
    not_made: dict[str, str] = {}
    for precision in section.precisions:
        name = openvino_name(precision)
        if reason is not None:
            not_made[name] = f"{NOT_HERE}: {reason}"
        elif precision not in graphs:
            not_made[name] = f"there is no {precision} graph to read"
        else:
            made[name] = {tower: _in_openvino(file, section) for tower, file in graphs[precision].items()}
            continue
        log.warning("%s is left out: %s", name, not_made[name])
    return made, not_made


def openvino_version(graphs: Mapping[str, Mapping[TowerName, GraphFile]]) -> dict[str, str]:
    """The version that opened some of these files, for a bundle's lineage; nothing where it opened none."""
    used = any(file.runtime == "openvino" for towers in graphs.values() for file in towers.values())
    return {"openvino": str(load_openvino().__version__)} if used else {}


def _in_openvino(file: GraphFile, section: OpenVINOSection) -> GraphFile:
    type_name = "f32" if section.compute == "f32" else arithmetic()
    computed = f"computed in {type_name}" if type_name else ""
    note = "; ".join(part for part in (file.note, computed) if part)
    return replace(file, note=note, runtime="openvino", compute=section.compute)
